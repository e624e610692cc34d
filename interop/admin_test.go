package interop

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What an administrator sees of groups and may do to them, with franz-go's admin client.
func TestGroupAdmin(t *testing.T) {
	s := newStreet(t, 3)
	client := franz(t, s)
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	createTopic(t, client, "other", 1)
	classic, next := newCrew(t, s, "admin classic", 50*time.Millisecond, franzRange), newCrew(t, s, "admin KIP-848", 50*time.Millisecond, franzNext)
	crews := []*crew{classic, next}
	p := newPress(t, s, crews...)
	defer p.client.Close()
	for _, c := range crews {
		p.print(c, 60)
		c.join(2)
	}
	p.flush()
	for _, c := range crews {
		if !c.settle(30*time.Second, "all is committed", func() bool { return c.missing() == 0 && c.behind() == 0 }) {
			t.Fatal(c.events)
		}
	}

	listed, err := admin.ListGroups(ctx)
	ok(t, err)
	same(t, "groups", len(listed), 2)
	same(t, "type", listed[classic.group].GroupType, "classic")
	same(t, "type", listed[next.group].GroupType, "consumer")
	for _, c := range crews {
		same(t, "protocol type", listed[c.group].ProtocolType, "consumer")
		same(t, "state", listed[c.group].State, "Stable")
		same(t, "coordinator", listed[c.group].Coordinator, s.leader("__consumer_offsets", 0))
	}
	listed, err = admin.ListGroups(ctx, "Empty")
	ok(t, err)
	same(t, "empty groups", len(listed), 0)
	listed, err = admin.ListGroupsByType(ctx, []string{"consumer"})
	ok(t, err)
	same(t, "groups of type consumer", len(listed), 1)

	described, err := admin.DescribeGroups(ctx, classic.group, next.group)
	ok(t, err)
	d := described[classic.group]
	ok(t, d.Err)
	same(t, "state", d.State, "Stable")
	same(t, "protocol", d.Protocol, "range")
	same(t, "members", len(d.Members), 2)
	assigned := d.AssignedPartitions()
	same(t, "assigned partitions", len(assigned[classic.topic]), crewPartitions)
	for _, m := range d.Members {
		same(t, "client", m.ClientID, "kgo")
		if j, _ := m.Join.AsConsumer(); j == nil || len(j.Topics) != 1 || j.Topics[0] != classic.topic {
			t.Errorf("subscription %+v", j)
		}
	}
	fails(t, "describe a KIP-848 group as a classic one", described[next.group].Err, kerr.GroupIDNotFound)

	modern, err := admin.DescribeConsumerGroups(ctx, next.group, classic.group, "unknown")
	ok(t, err)
	m := modern[next.group]
	ok(t, m.Err)
	same(t, "state", m.State, "Stable")
	same(t, "assignor", m.AssignorName, "uniform")
	same(t, "members", len(m.Members), 2)
	same(t, "assignment epoch", m.AssignmentEpoch, m.Epoch)
	n := 0
	for _, x := range m.Members {
		same(t, "client", x.ClientID, "kgo")
		same(t, "epoch", x.MemberEpoch, m.Epoch)
		same(t, "type", x.MemberType, int8(1))
		same(t, "subscription", x.SubscribedTopics[0], next.topic)
		n += len(x.Assignment[next.topic])
	}
	same(t, "assigned partitions", n, crewPartitions)
	fails(t, "describe a classic group as a KIP-848 one", modern[classic.group].Err, kerr.GroupIDNotFound)
	fails(t, "describe an unknown group", modern["unknown"].Err, kerr.GroupIDNotFound)

	// all offsets of several groups with one request
	all := admin.FetchManyOffsets(ctx, classic.group, next.group, "unknown")
	for _, c := range crews {
		r := all[c.group]
		ok(t, r.Err)
		same(t, "partitions with offsets", len(r.Fetched[c.topic]), crewPartitions)
		for i, o := range r.Fetched[c.topic] {
			same(t, "offset", o.At, int64(10))
			ok(t, o.Err)
			same(t, "partition", o.Partition, i)
		}
	}
	ok(t, all["unknown"].Err)
	same(t, "offsets of an unknown group", len(all["unknown"].Fetched), 0)

	// Offsets of topics that members read are theirs, others can be set and deleted.
	for _, c := range crews {
		one := kadm.TopicsSet{c.topic: {0: {}}}
		deleted, err := admin.DeleteOffsets(ctx, c.group, one)
		ok(t, err)
		fails(t, "delete an offset that is in use", deleted[c.topic][0], kerr.GroupSubscribedToTopic)
		err = admin.CommitAllOffsets(ctx, c.group, offsets("other", 0, 7))
		fails(t, "commit to a group that has members", err, kerr.UnknownMemberID)
		gone, err := admin.DeleteGroups(ctx, c.group)
		ok(t, err)
		fails(t, "delete a group that has members", gone[c.group].Err, kerr.NonEmptyGroup)
	}
	_, err = admin.DeleteOffsets(ctx, "unknown", kadm.TopicsSet{"other": {0: {}}})
	fails(t, "delete an offset of an unknown group", err, kerr.GroupIDNotFound)

	for _, c := range crews {
		for len(c.members) > 0 {
			c.remove(0)
		}
		c.stop() // who looks would miss the offsets
		c.wg.Wait()
		ok(t, admin.CommitAllOffsets(ctx, c.group, offsets("other", 0, 7)))
		fetched, err := admin.FetchOffsets(ctx, c.group)
		ok(t, err)
		o, _ := fetched.Lookup("other", 0)
		same(t, "offset that was set", o.At, int64(7))
		same(t, "metadata", o.Metadata, "by hand")
		deleted, err := admin.DeleteOffsets(ctx, c.group, kadm.TopicsSet{"other": {0: {}}, c.topic: {5: {}}})
		ok(t, err)
		ok(t, deleted.Error())
		fetched, err = admin.FetchOffsets(ctx, c.group)
		ok(t, err)
		_, there := fetched.Lookup("other", 0)
		same(t, "offset that was deleted is there", there, false)
		same(t, "offsets that are left", len(fetched[c.topic]), crewPartitions-1)
	}
	described, err = admin.DescribeGroups(ctx, classic.group)
	ok(t, err)
	same(t, "state", described[classic.group].State, "Empty")
	gone, err := admin.DeleteGroups(ctx, classic.group, next.group, "unknown")
	ok(t, err)
	ok(t, gone[classic.group].Err)
	ok(t, gone[next.group].Err)
	fails(t, "delete an unknown group", gone["unknown"].Err, kerr.GroupIDNotFound)
	listed, err = admin.ListGroups(ctx)
	ok(t, err)
	same(t, "groups", len(listed), 0)
	for _, c := range crews {
		fetched, err := admin.FetchOffsets(ctx, c.group)
		ok(t, err)
		same(t, "offsets of a group that was deleted", len(fetched), 0)
	}
	dead := kmsg.NewPtrDescribeGroupsRequest() // kadm turns "no such group" into what it was before version 6
	dead.Groups = []string{classic.group}
	resp, err := dead.RequestWith(ctx, client)
	ok(t, err)
	same(t, "groups described", len(resp.Groups), 1)
	fails(t, "describe a group that was deleted", kerr.ErrorForCode(resp.Groups[0].ErrorCode), kerr.GroupIDNotFound)
	t.Logf("%-48s ListGroups, DescribeGroups, ConsumerGroupDescribe, OffsetFetch of all, OffsetCommit, OffsetDelete, DeleteGroups", "franz-go admin, classic and KIP-848")
}

func offsets(topic string, partition int32, at int64) kadm.Offsets {
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: topic, Partition: partition, At: at, LeaderEpoch: -1, Metadata: "by hand"})
	return os
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, not %v", what, err, want)
	}
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}
