package machine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/fuzztest"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// someRecords holds every kind of record with every field set.
func someRecords() []Record {
	value := "v\x00"
	id := log.TopicID{1, 2, 3, 15: 9}
	p := Partition{
		Replicas: []int32{1, 2, 300000}, ISR: []int32{2}, ELR: []int32{1}, LastKnownELR: []int32{1}, Leader: 2, LeaderEpoch: 7, PartitionEpoch: 1 << 30, Recovering: true,
	}
	return []Record{
		&ClusterID{"cluster"},
		&RegisterBroker{Broker{ID: 3, Epoch: 1 << 40, Incarnation: id, DirectoryID: log.TopicID{5}, Addr: "host:1", Rack: "r", Fenced: true, InControlledShutdown: true, DirectoryOffline: true}},
		&RegisterBroker{Broker{ID: 3, Known: 300}},
		&RegisterBroker{Broker{ID: 3, SlowDisk: true}},
		&FeatureLevel{Level: Newest},
		&UnregisterBroker{ID: 3, Epoch: 4},
		&BrokerChange{ID: 3, Epoch: 4, Fenced: Set, InControlledShutdown: Unset, DirectoryOffline: Set},
		&BrokerChange{ID: 3, Epoch: 4, SlowDisk: Unset},
		&TopicRecord{Name: "orders", ID: id},
		&PartitionRecord{TopicID: id, Number: 4, Partition: p},
		&PartitionChange{TopicID: id, Number: 4, Has: HasISR | HasLeader | HasReplicas | HasELR | HasLastKnownELR | HasRecovering, Replicas: p.Replicas, ISR: p.ISR, ELR: p.ELR, LastKnownELR: p.LastKnownELR, Leader: -1, Recovering: true},
		&PartitionChange{TopicID: id, Number: 4, Has: HasISR},
		&PartitionRecord{TopicID: id, Number: 5, Partition: Partition{Replicas: []int32{3, 1}, ISR: []int32{1}, Leader: 1, Adding: []int32{3}, Removing: []int32{1}}},
		&PartitionRecord{TopicID: id, Number: 6, Partition: Partition{Replicas: []int32{1, 2}, ISR: []int32{1}, Leader: 1, Removing: []int32{2}}},
		&PartitionChange{TopicID: id, Number: 4, Has: HasAdding | HasRemoving, Adding: []int32{3}, Removing: []int32{1, 2}},
		&PartitionChange{TopicID: id, Number: 4, Has: HasRemoving},
		&PartitionRecord{TopicID: id, Number: 7, Partition: Partition{Replicas: []int32{1, 2, 300000}, ELR: []int32{2, 300000}, Unsure: []int32{300000}, Leader: -1}},
		&PartitionChange{TopicID: id, Number: 4, Has: HasUnsure | HasELR, ELR: []int32{2, 300000}, Unsure: []int32{300000}},
		&PartitionChange{TopicID: id, Number: 4, Has: HasUnsure},
		&PartitionRecord{TopicID: id, Number: 8, Partition: Partition{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1, HandOver: []int32{2}}},
		&PartitionChange{TopicID: id, Number: 4, Has: HasUnsure | HasHandOver, HandOver: []int32{300000}},
		&PartitionChange{TopicID: id, Number: 4, Has: HasHandOver},
		&ConfigRecord{Resource: TopicResource, Name: "orders", Key: "k", Value: &value},
		&ConfigRecord{Resource: BrokerResource, Name: "", Key: "k"},
		&RemoveTopic{ID: id},
		&ProducerIDs{BrokerID: 1, BrokerEpoch: 2, Next: 3000},
		&ClearELR{Topic: "orders"},
		&ScramRecord{User: ScramUser{"alice", sasl.ScramSHA512}, Credential: someCredential(sasl.ScramSHA512, 7)},
		&RemoveScram{User: ScramUser{"alice", sasl.ScramSHA256}},
		&ACLRecord{Binding: someBinding("orders")},
		&RemoveACL{Binding: someBinding("orders")},
		&QuotaRecord{Entity: QuotaEntity{User: QuotaName{Has: true, Name: "alice"}, ClientID: QuotaName{Has: true, Default: true}}, Key: ProducerByteRate, Value: 1e6},
		&QuorumRecord{Quorum{Version: 2, Members: []Member{{ID: 1}, {ID: 300000, Voter: true}}, Outgoing: []int32{1, 300000}}},
		&QuorumRecord{Quorum{Version: 1 << 40, Members: []Member{{ID: 1, Voter: true}, {ID: 300000, Addr: "host:1", DirectoryID: id}}}},
		&QuotaRecord{Entity: QuotaEntity{IP: QuotaName{Has: true, Name: "::1"}}, Key: ConnectionCreationRate, Remove: true},
	}
}

func someCredential(t sasl.ScramType, seed byte) sasl.Credential {
	c, err := sasl.FromSaltedPassword(t, 5000, []byte{seed, 0, 255}, bytes.Repeat([]byte{seed}, map[sasl.ScramType]int{sasl.ScramSHA256: 32, sasl.ScramSHA512: 64}[t]))
	if err != nil {
		panic(err)
	}
	return c
}

func someBinding(topic string) acl.Binding {
	return acl.Binding{Pattern: acl.Pattern{Type: acl.Topic, Name: topic, Kind: acl.Prefixed}, Principal: "User:alice", Host: "10.0.0.1", Operation: acl.Read, Permission: acl.Deny}
}

func TestCodecRoundTrip(t *testing.T) {
	want := someRecords()
	b := EncodeRecords(nil, want)
	got, err := DecodeRecords(b)
	require.NoError(t, err)
	assert.Equal(t, b, EncodeRecords(nil, got))
	require.Len(t, got, len(want))
	kinds := map[kind]bool{}
	for i, r := range want {
		if s, ok := r.(*ScramRecord); ok { // its keys hide from comparison
			assert.True(t, s.Credential.Equal(got[i].(*ScramRecord).Credential))
		} else {
			assert.Equal(t, r, got[i])
		}
		kinds[r.kind()] = true
		require.IsType(t, r, newRecord(r.kind()))
	}
	for k := range kind(2000) {
		assert.Equal(t, newRecord(k) != nil, kinds[k], "kind %d is not covered", k)
	}
}

// The stored form may not change. (KIP numbers do not apply: the encoding is insync's own.)
func TestCodecGolden(t *testing.T) {
	got := EncodeRecords(nil, []Record{&TopicRecord{Name: "ab", ID: log.TopicID{1, 15: 2}}, &PartitionChange{Number: 3, Has: HasISR | HasLeader, ISR: []int32{1, 2}, Leader: 2}})
	want := []byte{
		1, 2,
		2, 20, 2, 'a', 'b', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0,
		5, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 3, 2, 2, 4, 4, 0,
	}
	assert.Equal(t, want, got)
}

func TestCodecCutAnywhere(t *testing.T) {
	b := EncodeRecords(nil, someRecords())
	for n := range b {
		_, err := DecodeRecords(b[:n])
		var ce *CodecError
		require.ErrorAs(t, err, &ce, "cut at %d", n)
	}
	_, err := DecodeRecords(append(b, 0))
	assert.EqualError(t, err, fmt.Sprintf("metadata records at byte %d: bytes left over", len(b)))
}

// F41: a newer version may add tagged fields to a record, not kinds of records.
func TestCodecNewerVersions(t *testing.T) {
	body := append(putString(nil, "orders"), 2, 0, 3, 'n', 'e', 'w', 9, 0)
	b := append([]byte{entryVersion, 1, byte(kindClearELR), byte(len(body))}, body...)
	got, err := DecodeRecords(b)
	require.NoError(t, err)
	assert.Equal(t, []Record{&ClearELR{Topic: "orders"}}, got)

	_, err = DecodeRecords([]byte{entryVersion, 1, 77, 1, 0})
	assert.ErrorIs(t, err, ErrUnknownRecord)
	_, err = DecodeRecords([]byte{entryVersion + 1, 0})
	assert.EqualError(t, err, "metadata records at byte 0: entry version 2, expected 1")
}

func TestSnapshotOfRecords(t *testing.T) {
	s := randomCluster(t, rand.New(rand.NewPCG(5, 6)), 300, 1, 2, 3)
	got, _, err := Empty().Apply(s.img.Offset, s.img.Epoch, s.img.Records())
	require.NoError(t, err)
	assert.True(t, got.Equal(s.img))
	assert.Equal(t, EncodeRecords(nil, s.img.Records()), EncodeRecords(nil, got.Records()))
}

// Whoever starts from a snapshot finds a reassignment as it stood, and goes back to where it began.
func TestSnapshotOfReassignment(t *testing.T) {
	c := newCluster(t, rand.New(rand.NewPCG(5, 7)), 3)
	move := func(replicas []int32) {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		rt.Topic = "t0"
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		rp.Replicas = replicas
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		require.Zero(t, c.handle(req).(*kmsg.AlterPartitionAssignmentsResponse).Topics[0].Partitions[0].ErrorCode)
	}
	was := c.img.Topics["t0"].Partitions[0].Replicas
	others := without(c.img.BrokerIDs(), was...)
	move([]int32{others[0], was[0]})
	move([]int32{others[1], was[0]}) // others[0] is in both lists
	p := c.img.Topics["t0"].Partitions[0]
	require.Len(t, p.Adding, 2)
	require.Contains(t, p.Removing, others[0])

	records, err := DecodeRecords(EncodeRecords(nil, c.img.Records()))
	require.NoError(t, err)
	got, _, err := Empty().Apply(c.img.Offset, c.img.Epoch, records)
	require.NoError(t, err)
	require.True(t, got.Equal(c.img))
	require.Equal(t, p, got.Topics["t0"].Partitions[0])
	c.img, c.m = got, New(c.m.c, got, c.now)
	move(nil)
	assert.ElementsMatch(t, was, c.img.Topics["t0"].Partitions[0].Replicas)
	assert.False(t, c.img.Topics["t0"].Partitions[0].Reassigning())
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add(EncodeRecords(nil, someRecords()))
	for _, r := range someRecords() {
		f.Add(EncodeRecords(nil, []Record{r}))
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Bounded(t, 4*len(b), func() { _, _ = DecodeRecords(b) }) // the disk is ours, and its structs are large
		records, err := DecodeRecords(b)
		if err != nil {
			var ce *CodecError
			if !errors.As(err, &ce) && !errors.Is(err, ErrUnknownRecord) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again, err := DecodeRecords(EncodeRecords(nil, records))
		require.NoError(t, err)
		require.Equal(t, EncodeRecords(nil, records), EncodeRecords(nil, again))
		// Whatever decodes either fits an image or is refused; it never panics.
		if img, _, err := Empty().Apply(0, 1, records); err == nil {
			_ = img.Records()
		}
	})
}
