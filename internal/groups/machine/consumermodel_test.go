package machine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
	"github.com/stretchr/testify/require"
)

// topicMap is Metadata for tests: partition counts by topic name.
type topicMap map[string]int32

func topicID(name string) (id partition.TopicID) {
	copy(id[:], name)
	return id
}

func (t topicMap) Topic(name string) (Topic, bool) {
	n, ok := t[name]
	return Topic{Name: name, ID: topicID(name), Partitions: n}, ok
}

func (t topicMap) TopicByID(id partition.TopicID) (Topic, bool) {
	for name, n := range t { // in any order: ids are unique
		if topicID(name) == id {
			return Topic{Name: name, ID: id, Partitions: n}, true
		}
	}
	return Topic{}, false
}

func testConfig() Config {
	n := 0
	return Config{
		MinSessionTimeout: 6 * time.Second, MaxSessionTimeout: 30 * time.Minute, MaxSize: 1 << 30,
		ConsumerSessionTimeout: 45 * time.Second, ConsumerHeartbeatInterval: 5 * time.Second, ConsumerMaxSize: 1 << 30, Assignors: []string{"uniform", "range"},
		OffsetsRetention: 7 * 24 * time.Hour, OffsetMetadataMaxBytes: 4096,
		NewID: func() string { n++; return "id-" + strconv.Itoa(n) },
	}
}

// fakeConsumer is a client that speaks KIP-848 as it should: what it owns it owns until it has said otherwise.
type fakeConsumer struct {
	id, instance string
	topics       []string
	epoch        int32
	owned        partition.Set // may be working on
	pending      bool          // a heartbeat is under way
	heard        time.Time     // when it last had an answer
	interval     time.Duration
	revoked      bool // the last answer took something away
	alive        bool
}

// world is a coordinator with clients, and a disk that may fail.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	c       *Coordinator
	now     time.Time
	topics  topicMap
	log     []entry.Entry
	clients []*fakeConsumer
	ids     map[uint64]*fakeConsumer
	next    uint64
	fail    float64 // share of writes that fail
	lose    float64 // share of answers that are lost
	names   int

	unchecked bool // nobody looks whether two members work on one partition: that takes time
	forgetful bool // the log is not kept
}

func (w *world) round(fx *Effects) {
	entries := w.c.Flush(w.now, fx)
	w.deliver(fx)
	for len(entries) > 0 {
		var err error
		if w.rng.Float64() < w.fail {
			err = ErrCoordinatorNotAvailable
		} else if !w.forgetful {
			w.log = append(w.log, entries...)
		}
		w.c.Written(w.now, err, fx)
		w.deliver(fx)
		entries = w.c.Flush(w.now, fx)
		w.deliver(fx)
	}
}

func (w *world) deliver(fx *Effects) {
	for _, r := range fx.Replies {
		cl := w.ids[r.ID]
		require.NotNil(w.t, cl, "a reply to a request that has none, or has had it")
		delete(w.ids, r.ID)
		cl.pending = false
		if w.rng.Float64() < w.lose || !cl.alive {
			continue
		}
		w.take(cl, r)
	}
	for _, r := range fx.Regexes {
		_ = r
	}
	fx.Reset()
}

func (w *world) take(cl *fakeConsumer, r Reply) {
	switch r.Err {
	case nil:
	case ErrFencedMemberEpoch, ErrUnknownMember, ErrGroupIDNotFound:
		cl.owned, cl.epoch = nil, 0 // everything is given up, and the member joins again
		return
	default:
		return
	}
	cl.heard = w.now
	s := r.Result.(*ConsumerState)
	if s.MemberEpoch < 0 {
		return
	}
	cl.epoch, cl.interval = s.MemberEpoch, s.HeartbeatInterval
	if s.Assignment != nil {
		// What is taken away is given up at once; the next heartbeat says so.
		cl.revoked = !cl.owned.SubsetOf(*s.Assignment)
		cl.owned = *s.Assignment
	}
	for _, o := range w.clients {
		if !w.unchecked && o != cl && o.alive {
			require.Empty(w.t, cl.owned.Intersect(o.owned), "%s and %s work on the same partitions", cl.id, o.id)
		}
	}
}

func (w *world) beat(cl *fakeConsumer, fx *Effects) {
	if cl.pending || !cl.alive {
		return
	}
	r := &ConsumerHeartbeat{Group: "g", MemberID: cl.id, InstanceID: cl.instance, MemberEpoch: cl.epoch, RebalanceTimeout: -1}
	if cl.epoch == 0 {
		r.RebalanceTimeout, r.Topics, r.Owned = time.Hour, slices.Clone(cl.topics), new(partition.Set)
	} else {
		owned := cl.owned
		r.Owned, r.Topics, r.RebalanceTimeout = &owned, slices.Clone(cl.topics), time.Hour
	}
	w.step(cl, r, fx)
}

func (w *world) step(cl *fakeConsumer, r Request, fx *Effects) {
	w.next++
	w.ids[w.next] = cl
	cl.pending = true
	w.c.Step(w.now, w.next, r, fx)
}

// reload makes a new coordinator of the log, which must be in the same state.
func (w *world) reload(fx *Effects) {
	c := New(testConfig())
	for _, e := range w.log {
		c.Replay(recode(w.t, e))
	}
	want := slices.Collect(w.c.Entries())
	require.Equal(w.t, want, slices.Collect(c.Entries()), "what is loaded is not what was")
	rewritten := New(testConfig())
	for _, e := range want {
		rewritten.Replay(e)
	}
	require.Equal(w.t, want, slices.Collect(rewritten.Entries()), "what was written again is not what was")
	w.c = c
	c.Loaded(w.now, w.topics, fx)
	for id, cl := range w.ids {
		cl.pending = false
		delete(w.ids, id)
	}
}

// recode sends an entry through its bytes.
func recode(t testing.TB, e entry.Entry) entry.Entry {
	value, ok := e.AppendValue(nil)
	if !ok {
		value = nil
	}
	got, err := entry.Parse(e.AppendKey(nil), value)
	require.NoError(t, err)
	return got
}

// Consumers come and go, change their minds, lose answers, stop for longer than their sessions; writes fail, the coordinator moves, topics appear, grow and vanish. At no time do two members work on
// one partition, and when all is quiet everything is assigned to those who want it.
func TestConsumerGroupModel(t *testing.T) {
	for seed := range modelSeeds(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runConsumerModel(t, seed) })
	}
}

func runConsumerModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 848))
	w := &world{t: t, rng: rng, c: New(testConfig()), now: time.UnixMilli(1_700_000_000_000), topics: topicMap{"a": 4, "b": 3}, ids: map[uint64]*fakeConsumer{}}
	var fx Effects
	w.c.Loaded(w.now, w.topics, &fx)
	if rng.IntN(2) == 0 {
		w.fail = 0.2
	}
	if rng.IntN(2) == 0 {
		w.lose = 0.1
	}
	for range 300 {
		for range 1 + rng.IntN(4) {
			w.random(&fx)
		}
		w.round(&fx)
	}
	w.quiet(&fx)
}

func (w *world) random(fx *Effects) {
	var cl *fakeConsumer
	if len(w.clients) > 0 {
		cl = w.clients[w.rng.IntN(len(w.clients))]
	}
	switch n := w.rng.IntN(100); {
	case n < 8 && len(w.clients) < 6:
		w.names++
		cl := &fakeConsumer{id: "m" + strconv.Itoa(w.names), topics: w.subscription(), alive: true}
		if w.rng.IntN(3) == 0 {
			cl.instance = "i" + strconv.Itoa(w.rng.IntN(3))
		}
		w.clients = append(w.clients, cl)
		w.beat(cl, fx)
	case cl == nil:
	case n < 70:
		w.beat(cl, fx)
	case n < 75 && !cl.pending && cl.epoch > 0: // leaves
		epoch := LeaveEpoch
		if cl.instance != "" {
			epoch = LeaveStaticEpoch
		}
		w.step(cl, &ConsumerHeartbeat{Group: "g", MemberID: cl.id, InstanceID: cl.instance, MemberEpoch: epoch, RebalanceTimeout: -1}, fx)
		w.drop(cl)
	case n < 78: // dies
		w.drop(cl)
	case n < 82 && !cl.pending:
		cl.topics = w.subscription()
	case n < 86:
		w.setTopics(fx)
	case n < 88:
		w.advance(time.Duration(w.rng.IntN(60))*time.Second, fx)
	case n < 92:
		w.round(fx)
		w.reload(fx)
	default:
		w.advance(time.Duration(w.rng.IntN(6))*time.Second, fx)
	}
}

func (w *world) drop(cl *fakeConsumer) {
	cl.alive = false
	cl.owned = nil
	w.clients = slices.DeleteFunc(w.clients, func(o *fakeConsumer) bool { return o == cl })
}

func (w *world) subscription() []string {
	all := []string{"a", "b", "c"}
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+w.rng.IntN(3)]
}

func (w *world) setTopics(fx *Effects) {
	topics := maps.Clone(w.topics)
	name := string(rune('a' + w.rng.IntN(3)))
	var deleted []string
	switch n, ok := topics[name]; {
	case ok && w.rng.IntN(4) == 0:
		delete(topics, name)
		deleted = append(deleted, name)
		for _, cl := range w.clients {
			cl.owned = cl.owned.Keep(func(id partition.TopicID) bool { return id != topicID(name) }) // nothing is left to work on
		}
	case ok:
		topics[name] = n + 1
	default:
		topics[name] = 2
	}
	w.topics = topics
	w.c.SetMetadata(w.now, topics, deleted, fx)
}

// advance moves the clock.
func (w *world) advance(d time.Duration, fx *Effects) {
	end := w.now.Add(d)
	for {
		w.round(fx)
		next, ok := w.c.Next()
		if !ok || next.After(end) {
			break
		}
		w.now = next
		w.giveUp()
		w.c.Tick(w.now, fx)
	}
	w.now = end
	w.giveUp()
	for _, cl := range w.clients {
		w.beat(cl, fx)
	}
	w.round(fx)
}

// giveUp has clients that have had no answer for the length of a session stop: others may have their partitions by now.
func (w *world) giveUp() {
	for _, cl := range w.clients {
		if cl.epoch > 0 && w.now.Sub(cl.heard) >= 45*time.Second {
			cl.owned, cl.epoch = nil, 0
		}
	}
}

// quiet ends all trouble and checks that the group comes to rest.
func (w *world) quiet(fx *Effects) {
	w.fail, w.lose = 0, 0
	for range 40 {
		w.advance(4*time.Second, fx)
	}
	d, ok := w.c.DescribeConsumer("g")
	if len(w.clients) == 0 {
		return
	}
	require.True(w.t, ok)
	var members []*fakeConsumer
	for _, cl := range w.clients { // of two with one instance id the second never gets in
		if slices.ContainsFunc(d.Members, func(m ConsumerMemberDescription) bool { return m.MemberID == cl.id }) {
			members = append(members, cl)
		}
	}
	require.NotEmpty(w.t, members)
	require.Len(w.t, d.Members, len(members))
	require.Equal(w.t, "Stable", d.State)
	var all partition.Set
	for _, cl := range members {
		require.True(w.t, cl.owned.Equal(d.Members[slices.IndexFunc(d.Members, func(m ConsumerMemberDescription) bool { return m.MemberID == cl.id })].Assigned))
		all = all.Union(cl.owned)
	}
	want := partition.Set{}
	for name, n := range w.topics {
		for _, cl := range members {
			if slices.Contains(cl.topics, name) {
				for p := range n {
					want = want.Union(partition.Of(partition.Partition{Topic: topicID(name), Number: p}))
				}
			}
		}
	}
	require.True(w.t, want.Equal(all), "assigned %v, wanted %v", all, want)
	require.Empty(w.t, w.ids, "requests without an answer")
	w.reload(fx)
}
