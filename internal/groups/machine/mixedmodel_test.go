package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/groups/embedded"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
	"github.com/stretchr/testify/require"
)

// mixed is a coordinator under requests of both protocols that make sense now and then: ids and generations are those it has given out, or nearly.
type mixed struct {
	t       *testing.T
	rng     *rand.Rand
	c       *Coordinator
	now     time.Time
	topics  topicMap
	log     []entry.Entry
	next    uint64
	open    map[uint64]Request
	members []string
	epochs  []int32
}

// Whatever comes, in whatever order, over a disk that fails and a coordinator that moves: every request is answered once, state is what the log says, and when nobody is heard of any more all groups are
// empty.
func TestMixedModel(t *testing.T) {
	for seed := range modelSeeds(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &mixed{
				t: t, rng: rand.New(rand.NewPCG(seed, 27)), c: New(testConfig()), now: time.UnixMilli(1_700_000_000_000), topics: topicMap{"a": 4, "b": 2},
				open: map[uint64]Request{}, members: []string{""}, epochs: []int32{0, -1},
			}
			m.run()
		})
	}
}

func (m *mixed) run() {
	var fx Effects
	m.c.Loaded(m.now, m.topics, &fx)
	for range 400 {
		for range 1 + m.rng.IntN(4) {
			m.next++
			r := m.request()
			m.open[m.next] = r
			m.c.Step(m.now, m.next, r, &fx)
		}
		m.settle(&fx, 0.1)
		switch m.rng.IntN(20) {
		case 0:
			m.advance(time.Duration(m.rng.IntN(70))*time.Second, &fx)
		case 1:
			m.reload(&fx)
		case 2:
			m.topics = topicMap{"a": int32(1 + m.rng.IntN(6)), "b": 2}
			m.c.SetMetadata(m.now, m.topics, nil, &fx)
		case 3:
			m.c.RegexResolved(m.now, "g", "a.*", []string{"a"}, 1, &fx)
		default:
			m.advance(time.Duration(m.rng.IntN(3000))*time.Millisecond, &fx)
		}
		m.settle(&fx, 0.1)
	}
	m.advance(2*time.Hour, &fx)
	require.Empty(m.t, m.open, "never answered")
	for _, l := range m.c.List() {
		require.Equal(m.t, "Empty", l.State, l.ID)
	}
	m.reload(&fx)
}

func (m *mixed) settle(fx *Effects, fail float64) {
	for {
		entries := m.c.Flush(m.now, fx)
		m.replies(fx)
		if len(entries) == 0 {
			return
		}
		var err error
		if m.rng.Float64() < fail {
			err = ErrCoordinatorNotAvailable
		} else {
			m.log = append(m.log, entries...)
		}
		m.c.Written(m.now, err, fx)
		m.replies(fx)
	}
}

func (m *mixed) replies(fx *Effects) {
	for _, r := range fx.Replies {
		q, ok := m.open[r.ID]
		require.True(m.t, ok, "a second answer to request %d", r.ID)
		delete(m.open, r.ID)
		switch v := r.Result.(type) {
		case *Joined:
			m.remember(v.MemberID, v.Generation)
		case *ConsumerState:
			m.remember(v.MemberID, v.MemberEpoch)
		case *Committed:
			require.NotNil(m.t, q)
		}
	}
	fx.Reset()
}

func (m *mixed) remember(member string, epoch int32) {
	if !slices.Contains(m.members, member) {
		m.members = append(m.members, member)
	}
	if !slices.Contains(m.epochs, epoch) {
		m.epochs = append(m.epochs, epoch)
	}
	m.members = m.members[max(0, len(m.members)-6):]
	m.epochs = m.epochs[max(0, len(m.epochs)-6):]
}

func (m *mixed) advance(d time.Duration, fx *Effects) {
	end := m.now.Add(d)
	for {
		next, ok := m.c.Next()
		if !ok || next.After(end) {
			break
		}
		m.now = next
		m.c.Tick(m.now, fx)
		m.settle(fx, 0)
	}
	m.now = end
}

func (m *mixed) reload(fx *Effects) {
	c := New(testConfig())
	for _, e := range m.log {
		c.Replay(recode(m.t, e))
	}
	want, got := slices.Collect(m.c.Entries()), slices.Collect(c.Entries())
	require.Equal(m.t, len(want), len(got))
	for i := range want {
		require.Equal(m.t, recode(m.t, want[i]), got[i])
	}
	m.c = c
	clear(m.open) // their clients ask again
	c.Loaded(m.now, m.topics, fx)
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func (m *mixed) request() Request {
	group := pick(m.rng, "g", "g", "g", "h")
	member, epoch := pick(m.rng, m.members...), pick(m.rng, m.epochs...)
	instance := pick(m.rng, "", "", "", "i1", "i2")
	switch m.rng.IntN(12) {
	case 0, 1, 2:
		r := &Join{
			Group: group, MemberID: member, InstanceID: instance, ClientID: "c", ClientHost: "/h", SessionTimeout: 10 * time.Second, RebalanceTimeout: 20 * time.Second,
			ProtocolType: "consumer", RequireMemberID: m.rng.IntN(3) == 0, SkipAssignment: m.rng.IntN(2) == 0,
		}
		sub := embedded.Subscription{Topics: strings.Split(pick(m.rng, "a", "a,b"), ","), Generation: -1}.Append(nil, 3)
		if m.rng.IntN(15) == 0 {
			sub = []byte("garbage")
		}
		for _, p := range strings.Split(pick(m.rng, "range", "range,sticky", "sticky,range"), ",") {
			r.Protocols = append(r.Protocols, Protocol{p, sub})
		}
		return r
	case 3, 4:
		var given []Assignment
		for _, id := range m.members {
			given = append(given, Assignment{id, embedded.Assignment{Partitions: []embedded.TopicPartitions{{Topic: "a", Partitions: []int32{int32(m.rng.IntN(4))}}}}.Append(nil, 0)})
		}
		return &Sync{Group: group, MemberID: member, InstanceID: instance, Generation: epoch, Assignments: given}
	case 5:
		return &Heartbeat{Group: group, MemberID: member, InstanceID: instance, Generation: epoch}
	case 6:
		return &Leave{Group: group, Members: []LeavingMember{{MemberID: member, InstanceID: instance}}}
	case 7, 8, 9:
		r := &ConsumerHeartbeat{
			Group: group, MemberID: pick(m.rng, "x1", "x2", "x3", member), MemberEpoch: pick(m.rng, epoch, 0, 0, -1, -2), InstanceID: instance, ClientID: "c", ClientHost: "/h", RebalanceTimeout: 20 * time.Second,
			Topics: []string{pick(m.rng, "a", "b")}, Owned: new(partition.Set),
		}
		if m.rng.IntN(4) == 0 {
			pattern := "a.*"
			r.Regex = &pattern
		}
		return r
	case 10:
		return &Commit{Group: group, MemberID: member, InstanceID: instance, Epoch: epoch, ByEpoch: m.rng.IntN(2) == 0, Offsets: []CommitOffset{{Topic: "a", Offset: int64(m.next), LeaderEpoch: -1}}}
	}
	if m.rng.IntN(2) == 0 {
		return &DeleteOffsets{Group: group, Partitions: []TopicPartition{{"a", 0}}}
	}
	return &DeleteGroup{Group: group}
}
