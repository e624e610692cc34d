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
	"github.com/stretchr/testify/require"
)

// trialClient is a client that speaks the classic protocol as it should.
type trialClient struct {
	group     string
	name      string // of the client
	id        string // "" before it has been given one
	instance  string
	version   int
	protocols []string
	topics    []string
	session   time.Duration

	state      trialPhase
	generation int32
	list       []JoinedMember // it leads these
	request    uint64         // the one it waits for
	alive      bool
}

type trialPhase int8

const (
	toJoin   trialPhase = iota // has to join
	joinSent                   // JoinGroup is under way
	toSync                     // has to sync
	syncSent                   // SyncGroup is under way
	works                      // has its assignment
)

// trial is a coordinator with clients, and a disk that may fail.
type trial struct {
	t      testing.TB
	rng    *rand.Rand
	config Config
	c      *Coordinator
	fx     Effects
	now    time.Time
	log    []entry.Entry
	live   []*trialClient
	asked  map[uint64]*trialRequest
	next   uint64
	names  int
	fail   float64 // share of writes that fail
	lose   float64 // share of answers that are lost

	told    map[trialGeneration]string // leader by generation
	newest  map[*classicGroup]int32
	history []string // what happened, for a failure
}

// trialRequest is a request without an answer.
type trialRequest struct {
	m      *trialClient // nil: an administrator's
	r      Request
	newest int32 // generation of the group that somebody had been told
	busy   bool  // the group had members and was not being written
}

type trialGeneration struct {
	k          *classicGroup
	generation int32
}

// Clients join, work, lose answers, die and come back under the same instance id; administrators interfere; writes fail and the coordinator moves. At every moment the tables of a classic group agree and
// just those timers run that have to, each answer is what was promised, and when all is quiet every client works.
func TestClassicGroupInvariants(t *testing.T) {
	for seed := range modelSeeds(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runTrial(t, seed) })
	}
}

func runTrial(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 62))
	c := testConfig()
	c.OffsetsRetention = time.Hour
	if rng.IntN(2) == 0 {
		c.InitialRebalanceDelay = 3 * time.Second
	}
	if rng.IntN(3) == 0 {
		c.MaxSize = 4
	}
	w := &trial{t: t, rng: rng, config: c, c: New(c), now: time.UnixMilli(1_700_000_000_000), asked: map[uint64]*trialRequest{}}
	w.forget()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("\n" + strings.Join(w.history[max(0, len(w.history)-80):], "\n"))
		}
	})
	w.c.Loaded(w.now, topicMap{"a": 4, "b": 3}, &w.fx)
	if rng.IntN(2) == 0 {
		w.fail = 0.2
	}
	if rng.IntN(2) == 0 {
		w.lose = 0.1
	}
	for range 300 {
		for range 1 + rng.IntN(5) {
			w.random()
		}
		w.round()
	}
	w.quiet()
}

// forget ends what is known of a coordinator that is no more.
func (w *trial) forget() {
	w.told, w.newest = map[trialGeneration]string{}, map[*classicGroup]int32{}
}

func (w *trial) tell(format string, args ...any) {
	w.history = append(w.history, w.now.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *trial) random() {
	m := w.anyone()
	switch n := w.rng.IntN(1000); {
	case n < 60 && len(w.live) < 7:
		w.live = append(w.live, w.newMember())
	case n < 90:
		w.tick(time.Duration(w.rng.IntN(4)) * time.Second) // before what was decided is written
	case n < 100:
		w.advance(time.Duration(w.rng.IntN(90)) * time.Second)
	case n < 103:
		w.advance(time.Duration(w.rng.IntN(90)) * time.Minute)
	case n < 115:
		w.round()
		w.reload()
	case n < 125:
		w.administer()
	case m == nil:
	case n < 145:
		w.die(m)
	case n < 160:
		w.leave(m)
	case n < 170:
		m.topics = w.subscription()
		m.state, m.request = toJoin, 0
	case n < 200:
		w.commit(m, m.generation-int32(w.rng.IntN(3)))
	case n < 240 && (m.state == joinSent || m.state == syncSent): // impatience
		m.state--
		w.act(m)
	default:
		w.act(m)
	}
	w.take()
}

func (w *trial) anyone() *trialClient {
	if len(w.live) == 0 {
		return nil
	}
	return w.live[w.rng.IntN(len(w.live))]
}

func (w *trial) subscription() []string { return []string{"a", "b", "c"}[:1+w.rng.IntN(3)] }

func (w *trial) newMember() *trialClient {
	w.names++
	m := &trialClient{
		group: []string{"g", "g", "g", "h"}[w.rng.IntN(4)], name: "c" + strconv.Itoa(w.names), version: []int{3, 4, 9}[w.rng.IntN(3)], protocols: []string{"range"}, topics: w.subscription(),
		session: time.Duration(6+w.rng.IntN(60)) * time.Second, generation: -1, alive: true,
	}
	if w.rng.IntN(2) == 0 {
		m.protocols = append([]string{"sticky"}, m.protocols...)
	}
	if w.rng.IntN(3) == 0 {
		m.instance = "i" + strconv.Itoa(w.rng.IntN(3))
		m.version = max(m.version, 5)
	}
	return m
}

// die ends a client without a word. Another one may come with its instance id.
func (w *trial) die(m *trialClient) {
	w.tell("%s dies", m.name)
	m.alive = false
	w.live = slices.DeleteFunc(w.live, func(o *trialClient) bool { return o == m })
	if m.instance != "" && w.rng.IntN(2) == 0 {
		again := w.newMember()
		again.group, again.instance, again.version = m.group, m.instance, max(again.version, 5)
		w.live = append(w.live, again)
	}
}

func (w *trial) leave(m *trialClient) {
	if m.id == "" {
		return
	}
	w.ask(m, &Leave{Group: m.group, Members: []LeavingMember{{MemberID: m.id, InstanceID: m.instance}}})
	m.alive = false
	w.live = slices.DeleteFunc(w.live, func(o *trialClient) bool { return o == m })
}

func (w *trial) administer() {
	group := []string{"g", "h"}[w.rng.IntN(2)]
	switch w.rng.IntN(4) {
	case 0:
		w.ask(nil, &DeleteGroup{Group: group})
	case 1:
		w.ask(nil, &DeleteOffsets{Group: group, Partitions: []TopicPartition{{"a", 0}, {"c", 0}}})
	case 2:
		w.ask(nil, &Commit{Group: group, Epoch: -1, Offsets: []CommitOffset{{Topic: "c", Offset: int64(w.rng.IntN(100)), LeaderEpoch: -1}}})
	case 3:
		w.ask(nil, &Leave{Group: group, Members: []LeavingMember{{InstanceID: "i" + strconv.Itoa(w.rng.IntN(3))}, {MemberID: "nobody"}}})
	}
}

// act has a client do what comes next.
func (w *trial) act(m *trialClient) {
	switch m.state {
	case toJoin:
		r := &Join{
			Group: m.group, MemberID: m.id, InstanceID: m.instance, ClientID: m.name, ClientHost: "/h", SessionTimeout: m.session, RebalanceTimeout: 30 * time.Second,
			ProtocolType: consumerProtocol, RequireMemberID: m.version >= 4, SkipAssignment: m.version >= 9,
		}
		for _, name := range m.protocols {
			r.Protocols = append(r.Protocols, Protocol{Name: name, Metadata: embedded.Subscription{Topics: m.topics}.Append(nil, 0)})
		}
		m.state = joinSent
		w.ask(m, r)
	case toSync:
		if w.rng.IntN(4) == 0 { // it takes its time
			w.ask(m, &Heartbeat{Group: m.group, MemberID: m.id, InstanceID: m.instance, Generation: m.generation})
			return
		}
		r := &Sync{Group: m.group, MemberID: m.id, InstanceID: m.instance, Generation: m.generation, ProtocolType: consumerProtocol}
		for _, o := range m.list {
			r.Assignments = append(r.Assignments, Assignment{MemberID: o.MemberID, Assignment: fmt.Appendf(nil, "%d/%s", m.generation, o.MemberID)})
		}
		m.state = syncSent
		w.ask(m, r)
	case works:
		if w.rng.IntN(3) == 0 {
			w.commit(m, m.generation)
		} else {
			w.ask(m, &Heartbeat{Group: m.group, MemberID: m.id, InstanceID: m.instance, Generation: m.generation})
		}
	}
}

func (w *trial) commit(m *trialClient, generation int32) {
	if m.id == "" {
		return
	}
	w.ask(m, &Commit{
		Group: m.group, MemberID: m.id, InstanceID: m.instance, Epoch: max(0, generation),
		Offsets: []CommitOffset{{Topic: m.topics[0], Offset: int64(w.rng.IntN(100)), LeaderEpoch: -1, TopicID: topicID(m.topics[0])}},
	})
}

func (w *trial) ask(m *trialClient, r Request) {
	w.next++
	switch r.(type) {
	case *Join, *Sync:
		m.request = w.next
	}
	a := &trialRequest{m: m, r: r, newest: -1}
	if g := w.c.groups[r.group()]; g != nil && g.classic != nil {
		a.busy = !g.writing && g.classic.state != classicEmpty
		if n, ok := w.newest[g.classic]; ok {
			a.newest = n
		}
	}
	w.asked[w.next] = a
	w.tell("#%d %T %+v", w.next, r, r)
	w.c.Step(w.now, w.next, r, &w.fx)
	w.take()
}

// round writes what was decided.
func (w *trial) round() {
	w.check()
	for {
		entries := w.c.Flush(w.now, &w.fx)
		w.take()
		if len(entries) == 0 {
			break
		}
		var err error
		if w.rng.Float64() < w.fail {
			err = ErrCoordinatorNotAvailable
		} else {
			w.log = append(w.log, entries...)
		}
		for _, e := range entries {
			w.tell("write (%v): %+v", err, e)
		}
		w.c.Written(w.now, err, &w.fx)
		w.take()
	}
	w.check()
}

// take hands the answers out.
func (w *trial) take() {
	replies := slices.Clone(w.fx.Replies)
	for _, n := range w.fx.Notices {
		w.tell("%s: %s", n.Group, n.Text)
	}
	w.fx.Reset()
	for _, r := range replies {
		a := w.asked[r.ID]
		require.NotNil(w.t, a, "#%d has had its answer", r.ID)
		delete(w.asked, r.ID)
		w.tell("#%d: %v %+v", r.ID, r.Err, r.Result)
		w.checkReply(a, r)
		if m := a.m; m != nil && m.alive && w.rng.Float64() >= w.lose {
			w.deliver(m, r, a)
		}
	}
}

// deliver has a client take an answer as Kafka's clients do.
func (w *trial) deliver(m *trialClient, r Reply, a *trialRequest) {
	if _, ok := a.r.(*Heartbeat); !ok && r.ID != m.request {
		return // it does not wait for that
	}
	switch r.Err {
	case nil:
	case ErrMemberIDRequired:
		m.id, m.state = r.Result.(*Joined).MemberID, toJoin
		return
	case ErrUnknownMember:
		m.id, m.generation, m.state = "", -1, toJoin
		return
	case ErrFencedInstance, ErrInconsistentProtocol:
		w.die(m)
		return
	default:
		m.state = toJoin
		return
	}
	switch result := r.Result.(type) {
	case *Joined:
		m.id, m.generation, m.list, m.state = result.MemberID, result.Generation, result.Members, toSync
		if result.SkipAssignment {
			m.list = nil
		}
	case *Synced:
		m.state = works
	}
}

// checkReply checks what answers promise.
func (w *trial) checkReply(a *trialRequest, r Reply) {
	g := w.c.groups[a.r.group()]
	switch q := a.r.(type) {
	case *Join:
		if r.Err != nil {
			return
		}
		j, k := r.Result.(*Joined), g.classic
		at := trialGeneration{k, j.Generation}
		if leader, ok := w.told[at]; ok && leader != j.Leader {
			instance := func(id string) string { return id[:strings.LastIndex(id, "-id-")] }
			require.Equal(w.t, instance(leader), instance(j.Leader), "two leaders of generation %d", j.Generation) // or one static member
		}
		w.told[at] = j.Leader
		require.GreaterOrEqual(w.t, j.Generation, w.newest[k], "generations rise")
		w.newest[k] = max(w.newest[k], j.Generation)
		require.Equal(w.t, len(j.Members) > 0, j.Leader == j.MemberID, "the leader is told the members")
		for _, p := range q.Protocols {
			if p.Name == j.Protocol {
				return
			}
		}
		require.Fail(w.t, "a protocol that the member does not have")
	case *Sync:
		if r.Err != nil {
			return
		}
		generation, member, ok := strings.Cut(string(r.Result.(*Synced).Assignment), "/")
		require.True(w.t, ok, "an assignment by the leader")
		require.Equal(w.t, strconv.Itoa(int(q.Generation)), generation, "the assignment of another generation")
		require.True(w.t, member == q.MemberID || a.m.instance != "" && strings.HasPrefix(member, a.m.instance+"-"), "the assignment of another member")
	case *Commit:
		if r.Err != nil {
			return
		}
		if q.Epoch >= 0 {
			require.GreaterOrEqual(w.t, q.Epoch, a.newest, "a commit of an old generation")
		} else {
			require.False(w.t, a.busy, "a commit by nobody in a group that has members")
		}
	}
}

// check looks at the groups from inside.
func (w *trial) check() {
	for _, id := range w.c.ids() {
		g := w.c.groups[id]
		require.Nil(w.t, g.consumer)
		if g.classic != nil {
			w.checkGroup(g.classic)
		}
		require.True(w.t, g.changes > 0 || len(g.later) == 0 && !g.writing, "something waits for nothing")
	}
}

func (w *trial) checkGroup(k *classicGroup) {
	t := w.t
	require.ElementsMatch(t, k.order, slices.Collect(maps.Keys(k.members)))
	require.Equal(t, len(k.members) > 0, k.leader != "")
	if k.leader != "" {
		require.Contains(t, k.members, k.leader)
	}
	if k.reads != nil && k.reads.protocol == k.protocol { // else it is read anew
		require.Equal(t, k.readTopics(), k.reads)
	}
	static := 0
	for id, m := range k.members {
		require.Equal(t, id, m.id)
		if m.instanceID != "" {
			static++
			require.Equal(t, id, k.instances[m.instanceID], "two members with one instance id")
		}
		waits := m.joining || m.syncing
		require.False(t, m.joining && m.syncing)
		require.True(t, k.g.writing || m.timer.set() == (!waits || m.fresh), "%s: joining=%v syncing=%v fresh=%v", id, m.joining, m.syncing, m.fresh)
		require.False(t, m.fresh && !m.joining)
		require.False(t, m.joining && k.state != preparingRebalance)
		require.False(t, m.syncing && k.state != completingRebalance)
		if k.state == completingRebalance || k.state == classicStable {
			require.True(t, slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == k.protocol }), "%s has no %s", id, k.protocol)
		}
	}
	require.Len(t, k.instances, static)
	for id := range k.pending {
		require.NotContains(t, k.members, id)
	}
	if !k.g.writing { // a timer that rings meanwhile has to wait
		require.Equal(t, k.state == preparingRebalance, k.joinEnd.set(), "%v", k.state)
		all := !slices.ContainsFunc(k.order, func(id string) bool { return !k.members[id].synced })
		require.Equal(t, (k.state == completingRebalance || k.state == classicStable) && !all, k.syncEnd.set(), "%v all=%v", k.state, all)
	}
	switch k.state {
	case classicEmpty:
		require.Empty(t, k.members)
	case completingRebalance, classicStable:
		require.NotEmpty(t, k.members)
	}
	require.LessOrEqual(t, len(k.members), w.config.MaxSize)
}

// tick moves the clock without writing.
func (w *trial) tick(by time.Duration) {
	w.now = w.now.Add(by)
	w.tell("tick")
	w.c.Tick(w.now, &w.fx)
}

func (w *trial) advance(by time.Duration) {
	end := w.now.Add(by)
	for {
		w.round()
		at, ok := w.c.Next()
		if !ok || at.After(end) {
			break
		}
		w.now = at
		w.c.Tick(w.now, &w.fx)
		w.take()
	}
	w.now = end
}

// reload moves the groups to a new coordinator, which knows what is written.
func (w *trial) reload() {
	w.tell("reload")
	c := New(w.config)
	for _, e := range w.log {
		c.Replay(recode(w.t, e))
	}
	want := slices.Collect(w.c.Entries())
	require.Equal(w.t, want, slices.Collect(c.Entries()), "what is loaded is not what was")
	w.c = c
	w.forget()
	w.c.Loaded(w.now, topicMap{"a": 4, "b": 3}, &w.fx)
	clear(w.asked)
	for _, m := range w.live {
		if m.state == joinSent || m.state == syncSent {
			m.state = toJoin
		}
	}
}

// quiet ends all trouble: every request is answered, and those who are alive are in their groups.
func (w *trial) quiet() {
	w.fail, w.lose = 0, 0
	for _, m := range w.live { // answers that were lost are asked for again
		if a := w.asked[m.request]; a == nil && (m.state == joinSent || m.state == syncSent) {
			m.state = toJoin
		}
	}
	for range 350 {
		w.advance(2 * time.Second)
		for _, m := range slices.Clone(w.live) {
			if m.alive {
				w.act(m)
			}
		}
		w.round()
	}
	for _, m := range w.live {
		w.tell("in the end: %+v", *m)
	}
	require.Empty(w.t, w.asked, "requests without an answer")
	for _, group := range []string{"g", "h"} {
		alive := map[string]bool{}
		for _, m := range w.live {
			if m.group == group && m.state == works {
				alive[m.id] = true
			}
		}
		g := w.c.groups[group]
		if len(alive) == 0 {
			require.True(w.t, g == nil || !g.hasMembers())
			continue
		}
		require.Equal(w.t, classicStable, g.classic.state)
		require.ElementsMatch(w.t, slices.Collect(maps.Keys(alive)), g.classic.order)
		all := 0
		for _, m := range w.live {
			if m.group == group {
				all++
				if m.state == works {
					require.Equal(w.t, g.classic.generation, m.generation)
				}
			}
		}
		require.Len(w.t, alive, min(all, w.config.MaxSize))
	}
	w.reload()
}
