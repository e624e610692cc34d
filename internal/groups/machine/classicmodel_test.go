package machine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/groups/embedded"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
	"github.com/stretchr/testify/require"
)

// The phases of a client of the classic protocol.
const (
	outside  = iota // it is to join
	unsynced        // it has a generation and no assignment yet
	inside          // it works, and heartbeats
)

// fakeMember is a client that speaks one of the protocols as it should.
type fakeMember struct {
	name, id, instance string
	topics             []string
	sticky             bool // it prefers another protocol than most
	consumer           bool // it speaks KIP-848
	skips              bool // it knows SkipAssignment
	named              bool // it is told its id first
	alive              bool

	phase      int
	generation int32 // or member epoch
	protocol   string
	plan       []Assignment  // that it gives as the leader
	owned      partition.Set // what it works on
	heard      time.Time     // when it was last told that all is well

	asked   Request // what waits for an answer
	askedID uint64
	askedAt time.Time
}

// rejoin has the client give up its partitions and join.
func (cl *fakeMember) rejoin() { cl.phase, cl.owned, cl.plan = outside, nil, nil }

// generationOf is what is known of one generation from outside. Static members count by their instance ids.
type generationOf struct {
	leader string
	given  map[string]string
}

// commitOf is a commit under way.
type commitOf struct {
	at     int32 // the group's generation when it was asked for; -1: it has none
	tp     TopicPartition
	offset int64
	epoch  int32
}

// classicWorld is a coordinator with clients, and a disk that may fail.
type classicWorld struct {
	t       *testing.T
	rng     *rand.Rand
	config  Config
	c       *Coordinator
	now     time.Time
	topics  topicMap
	log     []entry.Entry
	clients []*fakeMember
	open    map[uint64]*fakeMember
	stray   map[uint64]bool // requests whose clients do not listen any more
	next    uint64
	names   int
	fail    float64 // share of writes that fail
	lose    float64 // share of answers that are lost
	mixed   bool    // some clients speak KIP-848

	group       *classicGroup // the latest
	generation  int32         // its latest
	generations map[int32]*generationOf
	commits     map[uint64]*commitOf
	committed   map[TopicPartition]int64
}

// Members of a classic group come and go, lose answers, die, come back under their instance ids; writes fail, the coordinator moves. In a generation there is one leader and what it has assigned is what
// everybody gets, no commit of an old generation is taken, and when all is quiet the group is stable with those that live.
func TestClassicGroupModel(t *testing.T) {
	for seed := range modelSeeds(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runClassicModel(t, seed, false) })
	}
}

// The same with members that speak KIP-848 among them, so that the group changes its kind again and again. Whenever the coordinator assigns, no two members work on one partition.
func TestMigrationModel(t *testing.T) {
	for seed := range modelSeeds(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runClassicModel(t, seed, true) })
	}
}

func runClassicModel(t *testing.T, seed uint64, mixed bool) {
	rng := rand.New(rand.NewPCG(seed, 62))
	w := &classicWorld{
		t: t, rng: rng, now: time.UnixMilli(1_700_000_000_000), topics: topicMap{"a": 4, "b": 3}, open: map[uint64]*fakeMember{}, stray: map[uint64]bool{}, mixed: mixed,
		generations: map[int32]*generationOf{}, commits: map[uint64]*commitOf{}, committed: map[TopicPartition]int64{},
	}
	w.config = testConfig()
	if rng.IntN(2) == 0 {
		w.config.InitialRebalanceDelay = 3 * time.Second
	}
	if rng.IntN(2) == 0 {
		w.fail = 0.2
	}
	if rng.IntN(2) == 0 {
		w.lose = 0.1
	}
	var fx Effects
	w.c = New(w.config)
	w.c.Loaded(w.now, w.topics, &fx)
	for range 400 {
		for range 1 + rng.IntN(4) {
			w.random(&fx)
		}
		w.settle(&fx)
	}
	w.quiet(&fx)
}

func (w *classicWorld) random(fx *Effects) {
	var cl *fakeMember
	if len(w.clients) > 0 {
		cl = w.clients[w.rng.IntN(len(w.clients))]
	}
	switch n := w.rng.IntN(100); {
	case n < 6 && len(w.clients) < 6:
		w.enter(fx)
	case cl == nil:
	case n < 72:
		w.act(cl, fx)
	case n < 75:
		w.leave(cl, fx)
	case n < 78: // dies
		w.drop(cl)
	case n < 80 && cl.asked == nil && cl.phase == inside: // changes its mind, which its next JoinGroup or heartbeat tells
		cl.topics = w.subscription()
		if !cl.consumer {
			cl.rejoin()
		}
	case n < 83 && cl.asked == nil && cl.phase == inside && !cl.consumer:
		w.commit(cl, fx)
	case n < 85 && cl.asked != nil: // does not wait any longer
		w.desert(cl)
	case n < 87:
		w.advance(time.Duration(w.rng.IntN(30))*time.Second, fx)
	case n < 90:
		w.settle(fx)
		w.reload(fx)
	default:
		w.advance(time.Duration(w.rng.IntN(4000))*time.Millisecond, fx)
	}
}

// enter has a new client begin, some with the instance id of one that is gone.
func (w *classicWorld) enter(fx *Effects) {
	w.names++
	cl := &fakeMember{name: "c" + strconv.Itoa(w.names), topics: w.subscription(), alive: true, sticky: w.rng.IntN(2) == 0, skips: w.rng.IntN(2) == 0, named: w.rng.IntN(2) == 0, heard: w.now}
	cl.consumer = w.mixed && w.rng.IntN(2) == 0
	if cl.consumer {
		cl.id = cl.name
	}
	if w.rng.IntN(3) == 0 {
		instance := "i" + strconv.Itoa(w.rng.IntN(3))
		if !slices.ContainsFunc(w.clients, func(o *fakeMember) bool { return o.instance == instance }) {
			cl.instance = instance
		}
	}
	w.clients = append(w.clients, cl)
	w.act(cl, fx)
}

func (w *classicWorld) subscription() []string {
	return strings.Split(pick(w.rng, "a", "b", "a,b"), ",")
}

// drop forgets a client, whose requests go on without it.
func (w *classicWorld) drop(cl *fakeMember) {
	w.desert(cl)
	cl.alive, cl.owned = false, nil
	w.clients = slices.DeleteFunc(w.clients, func(o *fakeMember) bool { return o == cl })
}

func (w *classicWorld) desert(cl *fakeMember) {
	if cl.asked != nil {
		delete(w.open, cl.askedID)
		w.stray[cl.askedID] = true
		cl.asked = nil
	}
}

func (w *classicWorld) leave(cl *fakeMember, fx *Effects) {
	switch {
	case cl.asked != nil || cl.id == "" || cl.phase == outside:
	case cl.consumer:
		epoch := LeaveEpoch
		if cl.instance != "" && w.rng.IntN(2) == 0 {
			epoch = LeaveStaticEpoch
		}
		w.step(cl, &ConsumerHeartbeat{Group: "g", MemberID: cl.id, InstanceID: cl.instance, MemberEpoch: epoch, RebalanceTimeout: -1}, fx)
		w.drop(cl)
	case cl.instance == "" || w.rng.IntN(2) == 0: // static ones only by an administrator
		l := LeavingMember{MemberID: cl.id}
		if cl.instance != "" {
			l = LeavingMember{InstanceID: cl.instance}
		}
		w.step(cl, &Leave{Group: "g", Members: []LeavingMember{l}}, fx)
		w.drop(cl)
	}
}

func (w *classicWorld) step(cl *fakeMember, r Request, fx *Effects) {
	w.next++
	cl.asked, cl.askedID, cl.askedAt = r, w.next, w.now
	w.open[w.next] = cl
	w.c.Step(w.now, w.next, r, fx)
}

// act has a client send what it has to send next.
func (w *classicWorld) act(cl *fakeMember, fx *Effects) {
	switch {
	case cl.asked != nil:
	case cl.consumer:
		r := &ConsumerHeartbeat{Group: "g", MemberID: cl.id, InstanceID: cl.instance, MemberEpoch: cl.generation, RebalanceTimeout: time.Hour, Topics: slices.Clone(cl.topics)}
		owned := cl.owned
		if cl.phase == outside {
			r.MemberEpoch, owned = 0, nil
		}
		r.Owned = &owned
		w.step(cl, r, fx)
	case cl.phase == outside:
		r := &Join{
			Group: "g", MemberID: cl.id, InstanceID: cl.instance, ClientID: "c", ClientHost: "/h", SessionTimeout: 10 * time.Second, RebalanceTimeout: 20 * time.Second, ProtocolType: "consumer",
			RequireMemberID: cl.named, SkipAssignment: cl.skips,
		}
		if w.mixed { // only sessions end: whoever is removed has noticed by then
			r.RebalanceTimeout = time.Hour
		}
		metadata := embedded.Subscription{Topics: cl.topics, Generation: -1}.Append(nil, 3)
		r.Protocols = []Protocol{{"range", metadata}, {"sticky", metadata}} // what is loaded has the chosen one only: everybody must support both
		if cl.sticky {
			slices.Reverse(r.Protocols)
		}
		w.step(cl, r, fx)
	case cl.phase == unsynced:
		w.step(cl, &Sync{Group: "g", MemberID: cl.id, InstanceID: cl.instance, Generation: cl.generation, ProtocolType: "consumer", Protocol: cl.protocol, Assignments: cl.plan}, fx)
	default:
		w.step(cl, &Heartbeat{Group: "g", MemberID: cl.id, InstanceID: cl.instance, Generation: cl.generation}, fx)
	}
}

func (w *classicWorld) commit(cl *fakeMember, fx *Effects) {
	tp := TopicPartition{pick(w.rng, "a", "b"), int32(w.rng.IntN(3))}
	generation := cl.generation - int32(w.rng.IntN(2)) // the one before now and then
	at := int32(-1)
	if k := w.classic(); k != nil {
		at = k.generation
	}
	w.commits[w.next+1] = &commitOf{at: at, tp: tp, offset: int64(w.next), epoch: generation}
	w.step(cl, &Commit{
		Group: "g", MemberID: cl.id, InstanceID: cl.instance, Epoch: generation, Offsets: []CommitOffset{{Topic: tp.Topic, Partition: tp.Partition, Offset: int64(w.next), LeaderEpoch: -1}},
	}, fx)
}

func (w *classicWorld) classic() *classicGroup {
	if g := w.c.groups["g"]; g != nil && g.consumer == nil {
		return g.classic
	}
	return nil
}

// settle writes until there is nothing to write.
func (w *classicWorld) settle(fx *Effects) {
	for {
		entries := w.c.Flush(w.now, fx)
		w.deliver(fx)
		if len(entries) == 0 {
			break
		}
		var err error
		if w.rng.Float64() < w.fail {
			err = ErrCoordinatorNotAvailable
		} else {
			w.log = append(w.log, entries...)
		}
		w.c.Written(w.now, err, fx)
		w.deliver(fx)
	}
	w.checkOffsets()
	w.watch()
}

// watch looks whether generations rise. A group of which nothing was ever written may be forgotten, and begin anew.
func (w *classicWorld) watch() {
	k := w.classic()
	switch {
	case k == nil || w.mixed:
		return
	case k != w.group:
		clear(w.generations)
	default:
		require.GreaterOrEqual(w.t, k.generation, w.generation, "the generation falls")
	}
	w.group, w.generation = k, k.generation
}

func (w *classicWorld) checkOffsets() {
	got := map[TopicPartition]int64{}
	for _, o := range w.c.Offsets("g") {
		got[o.TopicPartition] = o.Offset
	}
	require.Equal(w.t, w.committed, got)
}

func (w *classicWorld) deliver(fx *Effects) {
	w.watch()
	for _, r := range fx.Replies {
		if c := w.commits[r.ID]; c != nil {
			w.checkCommit(c, r)
		}
		if w.stray[r.ID] {
			delete(w.stray, r.ID)
			continue
		}
		cl := w.open[r.ID]
		require.NotNil(w.t, cl, "a reply to request %d, which has none, or has had it", r.ID)
		delete(w.open, r.ID)
		asked := cl.asked
		cl.asked = nil
		if w.rng.Float64() < w.lose {
			continue
		}
		if r.Err != nil {
			w.refused(cl, asked, r)
			continue
		}
		w.take(cl, asked, r)
	}
	fx.Reset()
}

func (w *classicWorld) checkCommit(c *commitOf, r Reply) {
	delete(w.commits, r.ID)
	if r.Err != nil {
		return
	}
	w.committed[c.tp] = c.offset
	if !w.mixed {
		require.GreaterOrEqual(w.t, c.epoch, c.at, "a commit of an old generation is taken")
	}
}

// refused has a client do what its error calls for.
func (w *classicWorld) refused(cl *fakeMember, asked Request, r Reply) {
	_, commit := asked.(*Commit)
	_, sync := asked.(*Sync)
	switch r.Err {
	case ErrMemberIDRequired:
		cl.id = r.Result.(*Joined).MemberID
	case ErrUnknownMember, ErrGroupIDNotFound:
		// While a request waits its member is alive: nothing but itself or an administrator removes it.
		require.Equal(w.t, w.now, cl.askedAt, "%s is removed while it waits with %T", cl.name, asked)
		if !cl.consumer {
			cl.id = ""
		}
		cl.rejoin()
	case ErrFencedMemberEpoch:
		cl.rejoin()
	case ErrIllegalGeneration, ErrRebalanceInProgress:
		if !commit { // the next heartbeat tells
			cl.rejoin()
		}
	case ErrCoordinatorNotAvailable:
		if sync {
			cl.rejoin()
		}
	case ErrUnreleasedInstance:
	case ErrFencedInstance: // fatal
		w.drop(cl)
	default:
		require.NoError(w.t, r.Err, "%T", asked)
	}
}

// who names a member by its instance id, if it has one: static members change their ids within a generation.
func who(id string) string {
	if name, _, ok := strings.Cut(id, "-"); ok && strings.HasPrefix(name, "i") {
		return name
	}
	return id
}

func (w *classicWorld) take(cl *fakeMember, asked Request, r Reply) {
	switch v := r.Result.(type) {
	case *Joined:
		w.joined(cl, v)
	case *Synced:
		cl.phase, cl.heard = inside, w.now
		if w.classic() != nil && !w.mixed {
			require.Equal(w.t, w.generations[cl.generation].given[who(cl.id)], string(v.Assignment), "not what the leader has given to %s", cl.id)
		}
		a, err := embedded.ParseAssignment(v.Assignment)
		if len(v.Assignment) > 0 {
			require.NoError(w.t, err)
		}
		cl.owned = w.idsOf(a.Partitions)
	case *ConsumerState:
		if v.MemberEpoch < 0 {
			return
		}
		cl.phase, cl.generation, cl.heard = inside, v.MemberEpoch, w.now
		if v.Assignment != nil {
			cl.owned = *v.Assignment
		}
	case nil:
		if _, ok := asked.(*Heartbeat); ok {
			cl.heard = w.now
		}
	}
	w.disjoint(cl)
}

// joined takes a generation, and makes a plan for it if the client leads.
func (w *classicWorld) joined(cl *fakeMember, v *Joined) {
	cl.id, cl.generation, cl.protocol, cl.phase, cl.plan, cl.heard = v.MemberID, v.Generation, v.Protocol, unsynced, nil, w.now
	if v.Leader == "" {
		require.True(w.t, w.mixed, "nobody leads")
		return
	}
	gen := w.generations[v.Generation]
	if gen == nil || w.mixed {
		gen = &generationOf{leader: who(v.Leader)}
		w.generations[v.Generation] = gen
	}
	require.Equal(w.t, gen.leader, who(v.Leader), "two leaders in generation %d", v.Generation)
	if v.Leader != v.MemberID {
		require.Empty(w.t, v.Members, "only the leader is told of the members")
		return
	}
	require.True(w.t, slices.ContainsFunc(v.Members, func(m JoinedMember) bool { return m.MemberID == v.MemberID }))
	if v.SkipAssignment {
		return
	}
	cl.plan = w.assign(v.Members)
	gen.given = map[string]string{}
	for _, a := range cl.plan {
		gen.given[who(a.MemberID)] = string(a.Assignment)
	}
}

// assign gives every topic's partitions to its subscribers in turn.
func (w *classicWorld) assign(members []JoinedMember) []Assignment {
	given := map[string]*embedded.Assignment{}
	for _, topic := range slices.Sorted(maps.Keys(w.topics)) {
		var subscribers []string
		for _, m := range members {
			sub, err := embedded.ParseSubscription(m.Metadata)
			require.NoError(w.t, err)
			if slices.Contains(sub.Topics, topic) {
				subscribers = append(subscribers, m.MemberID)
			}
		}
		parts := map[string][]int32{}
		for p := range w.topics[topic] {
			if len(subscribers) > 0 {
				id := subscribers[int(p)%len(subscribers)]
				parts[id] = append(parts[id], p)
			}
		}
		for _, id := range subscribers {
			if given[id] == nil {
				given[id] = &embedded.Assignment{}
			}
			given[id].Partitions = append(given[id].Partitions, embedded.TopicPartitions{Topic: topic, Partitions: parts[id]})
		}
	}
	var out []Assignment
	for _, id := range slices.Sorted(maps.Keys(given)) {
		out = append(out, Assignment{id, given[id].Append(nil, 0)})
	}
	return out
}

func (w *classicWorld) idsOf(named []embedded.TopicPartitions) partition.Set {
	var ps []partition.Partition
	for _, t := range named {
		for _, n := range t.Partitions {
			ps = append(ps, partition.Partition{Topic: topicID(t.Topic), Number: n})
		}
	}
	return partition.Of(ps...)
}

// disjoint checks that nobody else works on a client's partitions while the coordinator assigns.
func (w *classicWorld) disjoint(cl *fakeMember) {
	if g := w.c.groups["g"]; g == nil || !g.born() {
		return
	}
	for _, o := range w.clients {
		if o != cl {
			require.Empty(w.t, cl.owned.Intersect(o.owned), "%s and %s work on the same partitions", cl.name, o.name)
		}
	}
}

// advance moves the clock; timers ring on the way.
func (w *classicWorld) advance(d time.Duration, fx *Effects) {
	end := w.now.Add(d)
	for {
		w.settle(fx)
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
}

// giveUp has clients stop that have heard nothing for the length of a session: others may have their partitions by now.
func (w *classicWorld) giveUp() {
	for _, cl := range w.clients {
		session := 10 * time.Second
		if cl.consumer {
			session = 45 * time.Second
		}
		if cl.phase != outside && w.now.Sub(cl.heard) >= session {
			w.desert(cl)
			cl.rejoin()
		}
	}
}

// reload makes a new coordinator of the log, which must be in the same state. Whatever waited is forgotten, and so are generations that were never written.
func (w *classicWorld) reload(fx *Effects) {
	c := New(w.config)
	for _, e := range w.log {
		c.Replay(recode(w.t, e))
	}
	want, got := slices.Collect(w.c.Entries()), slices.Collect(c.Entries())
	require.Equal(w.t, len(want), len(got))
	for i := range want {
		require.Equal(w.t, recode(w.t, want[i]), got[i], "what is loaded is not what was")
	}
	w.c = c
	c.Loaded(w.now, w.topics, fx)
	w.checkOffsets()
	clear(w.open)
	clear(w.stray)
	clear(w.commits)
	for _, cl := range w.clients {
		cl.asked = nil
	}
	if w.group = w.classic(); w.group != nil {
		w.generation = w.group.generation
	}
	maps.DeleteFunc(w.generations, func(generation int32, _ *generationOf) bool { return w.group == nil || generation != w.generation })
}

// epoch is the group's epoch or generation.
func (w *classicWorld) epoch() int32 {
	if d, ok := w.c.DescribeConsumer("g"); ok {
		return d.Epoch
	}
	if k := w.classic(); k != nil {
		return k.generation
	}
	return 0
}

// quiet ends all trouble and checks that the group comes to rest.
func (w *classicWorld) quiet(fx *Effects) {
	w.fail, w.lose = 0, 0
	var rest int32
	for i := range 400 {
		for _, cl := range slices.Clone(w.clients) {
			w.act(cl, fx)
		}
		w.advance(2*time.Second, fx)
		if i == 350 {
			rest = w.epoch()
		}
	}
	if len(w.clients) > 0 { // an empty group may expire
		require.Equal(w.t, rest, w.epoch(), "rebalances without a reason")
	}
	require.Empty(w.t, w.stray, "requests without an answer")
	for _, cl := range w.clients {
		require.Equal(w.t, inside, cl.phase, "%s waits with %T", cl.name, cl.asked)
	}
	require.Empty(w.t, w.open, "requests without an answer")
	var ids, living []string
	var all, want partition.Set
	for _, cl := range w.clients {
		living = append(living, cl.id)
		require.Empty(w.t, all.Intersect(cl.owned), "a partition of two")
		all = all.Union(cl.owned)
		for _, topic := range cl.topics {
			for n := range w.topics[topic] {
				want = want.Union(partition.Of(partition.Partition{Topic: topicID(topic), Number: n}))
			}
		}
	}
	state := "Empty"
	if d, ok := w.c.DescribeConsumer("g"); ok {
		state = d.State
		for _, m := range d.Members {
			ids = append(ids, m.MemberID)
		}
	} else if d, ok := w.c.Describe("g"); ok {
		state = d.State
		for _, m := range d.Members {
			ids = append(ids, m.MemberID)
		}
	}
	slices.Sort(ids)
	slices.Sort(living)
	require.Equal(w.t, living, ids)
	require.True(w.t, want.Equal(all), "assigned %v, wanted %v", all, want)
	if len(living) == 0 {
		require.Equal(w.t, "Empty", state)
	} else {
		require.Equal(w.t, "Stable", state)
	}
	w.reload(fx)
}
