package interop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// remover removes a member from outside, by its instance id.
type remover func(c *crew, admin *kadm.Client, instance string) error

func removeWithKadm(c *crew, admin *kadm.Client, instance string) error {
	left, err := admin.LeaveGroup(context.Background(), kadm.LeaveGroup(c.group).InstanceIDs(instance).Reason("a test"))
	if err != nil {
		return err
	}
	return left[instance].Err
}

func removeWithSarama(c *crew, _ *kadm.Client, instance string) error {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, &phone{site: c.site, ledger: c.ledger}
	admin, err := sarama.NewClusterAdmin(c.site.seeds(), config)
	if err != nil {
		return err
	}
	defer admin.Close()
	resp, err := admin.RemoveMemberFromConsumerGroup(c.group, []string{instance})
	if err != nil {
		return err
	}
	if e := resp.Members[0].Err; e != sarama.ErrNoError {
		return kerr.ErrorForCode(int16(e))
	}
	return nil
}

// Static members (KIP-345), of clients that can be such: one that dies and comes back in time is not noticed, there is one of each name, and an administrator can remove them. kafka-go's have no names.
func TestStaticMembers(t *testing.T) {
	const sessions = 6 * time.Second
	s := newStreetOf(t, 3, sessions)
	for _, one := range []struct {
		kind   kind
		remove remover
	}{
		{franzRange, removeWithKadm},
		{franzCooperative, removeWithKadm},
		{saramaRange, removeWithSarama},
		{saramaSticky, removeWithKadm},
		{franzNext, removeWithKadm},
	} {
		t.Run(one.kind.name, func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, s, "static "+one.kind.name, 100*time.Millisecond, one.kind)
			f := &statics{crew: c, t: t, next: strings.Contains(one.kind.name, "KIP-848"), admin: kadm.NewClient(franzOn(t, &phone{site: s, ledger: c.ledger}))}
			defer f.admin.Close()
			p := newPress(t, s, c)
			defer p.client.Close()
			ctx, stop := context.WithCancel(t.Context())
			printed := make(chan struct{})
			go func() {
				defer close(printed)
				for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-tick.C {
					p.print(c, 2*crewPartitions)
				}
				p.flush()
			}()
			f.start()
			f.comesBack()
			f.twice()
			f.removed(one.remove)
			stop()
			<-printed
			f.end(one.remove)
		})
	}
}

// statics are a crew of static members.
type statics struct {
	*crew
	t     *testing.T
	next  bool // they speak KIP-848
	admin *kadm.Client
	told  []string // what came of it
}

func (f *statics) within(what string, cond func() bool) {
	f.t.Helper()
	if !f.settle(30*time.Second, what, cond) {
		f.report()
		f.t.FailNow()
	}
}

// placed is what the coordinator says about a member.
type placed struct {
	member     string
	partitions []int32
}

// places is what the coordinator says about the group: its members by their instance ids, and the epoch of a KIP-848 group. Members of a classic group know the generation, see generation.
func (f *statics) places() (map[string]placed, int32) {
	f.t.Helper()
	found, epoch, err := f.describe()
	ok(f.t, err)
	return found, epoch
}

func (f *statics) describe() (map[string]placed, int32, error) {
	found := map[string]placed{}
	if f.next {
		groups, err := f.admin.DescribeConsumerGroups(f.t.Context(), f.group)
		if err != nil {
			return nil, 0, err
		}
		for _, m := range groups[f.group].Members {
			found[*m.InstanceID] = placed{m.MemberID, slices.Sorted(maps.Keys(m.Assignment[f.topic]))}
		}
		return found, groups[f.group].Epoch, nil
	}
	groups, err := f.admin.DescribeGroups(f.t.Context(), f.group)
	if err != nil {
		return nil, 0, err
	}
	if groups[f.group].State != "Stable" {
		return nil, 0, nil
	}
	for _, m := range groups[f.group].Members {
		var ps []int32
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				ps = append(ps, t.Partitions...)
			}
		}
		slices.Sort(ps)
		found[*m.InstanceID] = placed{m.MemberID, ps}
	}
	return found, 0, nil
}

// spread waits until the members with these instance ids have an equal share each, and have processed something of it.
func (f *statics) spread(instances ...string) map[string]placed {
	f.t.Helper()
	var found map[string]placed
	f.within(fmt.Sprintf("%v share the partitions", instances), func() bool {
		var epoch int32
		var err error
		if found, epoch, err = f.describe(); err != nil { // the first group's coordinator may be about to begin
			f.note("describing: %v", err)
		}
		for _, i := range instances {
			if len(found[i].partitions) != crewPartitions/len(instances) {
				return false
			}
		}
		if f.next && slices.ContainsFunc(f.members, func(m *member) bool { return f.generation(m) != epoch }) {
			return false // the coordinator is ahead of members until their next heartbeat, even if they have what they should
		}
		return len(found) == len(instances)
	})
	for _, m := range f.members {
		if slices.Contains(instances, m.instance) {
			f.works(m)
		}
	}
	return found
}

// works waits until a member processes something more.
func (f *statics) works(m *member) {
	f.t.Helper()
	took := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return m.took
	}
	before := took()
	f.within(fmt.Sprintf("%v processes something", m), func() bool { return took() > before })
}

// mark is a point in what went over the wire.
func (f *statics) mark() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.trace.calls)
}

// heard tells whether a member was answered so since a mark, to a request about its membership.
func (f *statics) heard(since int, m *member, want error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.trace.calls[since:], func(c *call) bool {
		if c.seat != m.seat || c.answered.IsZero() {
			return false
		}
		_, err := memberOf(c)
		return err == want
	})
}

// generation is the latest generation or epoch in which a member was heard to be.
func (f *statics) generation(m *member) (g int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range slices.Backward(f.trace.calls) {
		if _, err := memberOf(c); c.seat != m.seat || c.answered.IsZero() || err != nil {
			continue
		}
		switch req := c.req.(type) {
		case *kmsg.HeartbeatRequest:
			return req.Generation
		case *kmsg.SyncGroupRequest:
			return req.Generation
		case *kmsg.ConsumerGroupHeartbeatRequest:
			return c.resp.(*kmsg.ConsumerGroupHeartbeatResponse).MemberEpoch
		}
	}
	return -1
}

func (f *statics) generations() (all []int32) {
	for _, m := range f.members {
		all = append(all, f.generation(m))
	}
	return all
}

// undisturbed checks that since a mark no member but those named has joined, been told of a rebalance, or been assigned anything.
func (f *statics) undisturbed(since int, but ...*member) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.trace.calls[since:] {
		if c.seat == nil || c.answered.IsZero() || slices.ContainsFunc(but, func(m *member) bool { return m.seat == c.seat }) {
			continue
		}
		if _, err := memberOf(c); err != nil {
			f.t.Errorf("%v is told %v", c.seat, err)
		}
		switch req := c.req.(type) {
		case *kmsg.JoinGroupRequest:
			f.t.Errorf("%v joins", c.seat)
		case *kmsg.ConsumerGroupHeartbeatRequest:
			if resp := c.resp.(*kmsg.ConsumerGroupHeartbeatResponse); resp.MemberEpoch != req.MemberEpoch {
				f.t.Errorf("%v, of epoch %d, is told epoch %d", c.seat, req.MemberEpoch, resp.MemberEpoch)
			}
		}
	}
}

// kept checks that the members have the places that they had, and that the one with this instance id has a member id of its own now, if it is another incarnation.
func (f *statics) kept(before map[string]placed, another string) {
	f.t.Helper()
	now, _ := f.places()
	for i, b := range before {
		same(f.t, i+"'s partitions", fmt.Sprint(now[i].partitions), fmt.Sprint(b.partitions))
		same(f.t, i+" has another member id", now[i].member != b.member, i == another)
	}
	same(f.t, "members", len(now), len(before))
}

func (f *statics) start() {
	for _, i := range []string{"a", "b", "c"} {
		f.enter(f.kinds[0], i)
	}
	f.size()
	f.spread("a", "b", "c")
}

// comesBack has a member die without leaving, and come back.
func (f *statics) comesBack() {
	f.t.Helper()
	before := f.spread("a", "b", "c")
	_, epoch := f.places()
	generations := f.generations()
	same(f.t, "generations", len(slices.Compact(slices.Clone(generations))), 1)
	mark, died := f.mark(), time.Now()
	f.kill(1)
	if f.next { // a member that speaks KIP-848 says that it will be back. kgo leaves its name out of that, and is refused, as by Kafka.
		bye := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		bye.Group, bye.MemberID, bye.MemberEpoch, bye.InstanceID = f.group, before["b"].member, -2, kmsg.StringPtr("b")
		client := franz(f.t, f.site)
		defer client.Close()
		resp, err := bye.RequestWith(f.t.Context(), client)
		ok(f.t, err)
		ok(f.t, kerr.ErrorForCode(resp.ErrorCode))
		same(f.t, "epoch", resp.MemberEpoch, -2)
	}
	b := f.enter(f.kinds[0], "b")
	f.works(b)
	f.t.Logf("%s: back at work after %v", f.name, time.Since(died).Round(time.Millisecond))
	f.kept(before, "b")
	a, c := f.members[0], f.members[1]
	f.works(a)
	f.works(c)
	f.undisturbed(mark, b)
	for _, m := range f.members {
		f.within("it is heard", func() bool { return f.generation(m) >= 0 })
		same(f.t, fmt.Sprintf("generation of %v", m), f.generation(m), generations[0])
	}
	_, now := f.places()
	same(f.t, "epoch", now, epoch)
	f.told = append(f.told, "comes back unnoticed")
	if f.next {
		f.comesBackUnannounced(b)
	}
}

// comesBackUnannounced has a member of a KIP-848 group come back that has not said so: it has to wait for its old session to end.
func (f *statics) comesBackUnannounced(b *member) {
	f.t.Helper()
	mark, died := f.mark(), time.Now()
	f.kill(slices.Index(f.members, b))
	b = f.enter(f.kinds[0], "b")
	f.within("it is refused", func() bool { return f.heard(mark, b, kerr.UnreleasedInstanceID) })
	f.works(b)
	if waited := time.Since(died); waited < f.site.session()/2 {
		f.t.Errorf("back after %v, of a session of %v", waited, f.site.session())
	}
	f.spread("a", "b", "c")
	f.told = append(f.told, "waits for its session to end if it has not said that it comes back")
}

// twice starts a second member with a name that is taken. In a classic group the new one takes the place, in a KIP-848 group it is refused.
func (f *statics) twice() {
	f.t.Helper()
	before := f.spread("a", "b", "c")
	i := slices.IndexFunc(f.members, func(m *member) bool { return m.instance == "b" })
	first, mark := f.members[i], f.mark()
	generation := f.generation(first)
	second := f.enter(f.kinds[0], "b")
	if f.next {
		f.within("the second is refused", func() bool { return f.heard(mark, second, kerr.UnreleasedInstanceID) })
		f.works(first)
		f.undisturbed(mark, second)
		f.kept(before, "")
		f.remove(slices.Index(f.members, second))
		f.mu.Lock()
		same(f.t, "records of the second", second.took, 0)
		f.mu.Unlock()
		f.told = append(f.told, "second refused")
		return
	}
	f.within("the first is fenced", func() bool { return f.heard(mark, first, kerr.FencedInstanceID) })
	f.works(second)
	f.kept(before, "b")
	f.undisturbed(mark, first, second)
	same(f.t, "generation", f.generation(second), generation)
	f.remove(i)
	f.works(second)
	f.kept(before, "b")
	f.told = append(f.told, "first fenced by the second")
}

// removed has an administrator remove a member that is dead, whose partitions the others get at once, and one that lives, which comes back.
func (f *statics) removed(remove remover) {
	f.t.Helper()
	fails(f.t, "remove whoever is not there", remove(f.crew, f.admin, "nobody"), kerr.UnknownMemberID)
	f.spread("a", "b", "c")
	i := slices.IndexFunc(f.members, func(m *member) bool { return m.instance == "c" })
	died := time.Now()
	f.kill(i)
	ok(f.t, remove(f.crew, f.admin, "c"))
	f.spread("a", "b")
	f.t.Logf("%s: without the dead after %v", f.name, time.Since(died).Round(time.Millisecond))
	if f.heldOn(died) {
		f.t.Errorf("the others got its partitions no sooner than its session would have ended, after %v", time.Since(died))
	}
	live := f.members[slices.IndexFunc(f.members, func(m *member) bool { return m.instance == "b" })]
	mark := f.mark()
	before, _ := f.places()
	ok(f.t, remove(f.crew, f.admin, "b"))
	f.within("it is told", func() bool { return f.heard(mark, live, kerr.UnknownMemberID) })
	after := f.spread("a", "b")
	same(f.t, "it has joined anew", after["b"].member != before["b"].member, true)
	f.told = append(f.told, "removed when dead, removed when alive")
}

// heldOn tells whether as much time has passed as a session has.
func (f *statics) heldOn(since time.Time) bool { return time.Since(since) >= f.site.session() }

// end checks what was processed and committed, and takes the group apart.
func (f *statics) end(remove remover) {
	f.t.Helper()
	f.within("all is processed", func() bool { return f.missing() == 0 })
	f.within("all is committed", func() bool { return f.behind() == 0 })
	for len(f.members) > 0 {
		instance := f.members[0].instance
		f.remove(0)
		ok(f.t, remove(f.crew, f.admin, instance))
	}
	found, _ := f.places()
	same(f.t, "members", len(found), 0)
	f.verdict()
	f.report()
	f.t.Logf("%s: %s", f.name, strings.Join(f.told, ", "))
}
