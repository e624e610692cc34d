package machine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var modelSeeds = flag.Uint64("model.seeds", 2000, "how many seeds TestModel runs")

// TestModel lets three to five machines talk to each other and to a simple controller over a network that loses, delays and reorders, while brokers crash, come back, are fenced by mistake and
// go on as zombies. After every step God's view is checked: what was committed is never lost, altered or committed twice. At the end faults stop, and everything must come together.
func TestModel(t *testing.T) {
	seeds := *modelSeeds
	if testing.Short() {
		seeds = 100
	}
	moved := 0
	for seed := range seeds {
		w := newWorld(t, seed)
		w.moved = &moved
		for range 1500 {
			w.step()
			w.check()
		}
		w.heal()
	}
	if moved < int(seeds)/2 {
		t.Fatalf("the model moves leaderships by plan: %d times in %d seeds", moved, seeds)
	}
}

// FuzzModel looks for further seeds.
func FuzzModel(f *testing.F) {
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := newWorld(t, seed)
		for range 1500 {
			w.step()
			w.check()
		}
		w.heal()
	})
}

const modelLag = 10 * time.Second

// world is the nodes, the controller, the messages between them and what God knows.
type world struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	now    time.Time
	synced bool // flush.messages=1, and crashes lose unsynced tails
	minISR int
	faults int // per thousand steps
	steps  int
	nodes  []*node
	ctl    controller
	net    []message
	trace  []string

	value     uint64
	committed []entry            // what any leader's high watermark has passed, by offset
	leaders   map[int32][2]int64 // leader epoch -> node and life
	acked     int
	moved     *int           // planned moves that drained, over all seeds
	robbed    map[int32]bool // leader epochs that were ended without a word of their leaders
}

// entry is one record. chain identifies it together with all before it.
type entry struct {
	epoch int32
	chain uint64
}

type node struct {
	w      *world
	id     int32
	up     bool
	life   int64 // broker epoch, as registered
	m      *Machine
	fx     Effects
	log    []entry
	epochs []epochStart
	synced int64
	hw     int64
	table  []broker // brokers as this node has heard of them
	retry  bool
}

type broker struct {
	epoch  int64
	fenced bool
}

type message struct {
	to    int32 // 0: the controller
	life  int64 // of the receiver, for answers: they belong to a connection
	sent  time.Time
	state *State
	table []broker

	fetch  *fetchMessage
	answer *fetchAnswer
	alter  *alterMessage
	result *alterResult
}

type fetchMessage struct {
	from              int32
	life              int64
	epoch             int32
	offset, lastEpoch int64
}

type fetchAnswer struct {
	epoch     int32
	asked     Position
	diverging bool
	end       EpochEnd
	entries   []entry
	hw        int64
}

type alterMessage struct {
	from     int32
	life     int64
	attempt  uint64
	proposal Proposal
}

type alterResult struct {
	attempt uint64
	answer  Answer
	state   State
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 17))
	n := 3 + rng.IntN(3)
	w := &world{
		t: t, seed: seed, rng: rng, now: time.Unix(0, 0).Add(time.Hour), synced: rng.IntN(4) > 0, minISR: 1 + rng.IntN(2),
		faults: []int{3, 10, 30, 100}[rng.IntN(4)], leaders: map[int32][2]int64{}, robbed: map[int32]bool{}, moved: new(int),
	}
	replicas := make([]int32, n)
	for i := range replicas {
		replicas[i] = int32(i + 1)
	}
	w.ctl = controller{w: w, brokers: make([]broker, n+1), state: State{Leader: 1, Replicas: replicas, ISR: slices.Clone(replicas)}}
	for _, id := range replicas {
		w.nodes = append(w.nodes, &node{w: w, id: id})
		w.node(id).start()
	}
	w.ctl.publish()
	return w
}

func (w *world) node(id int32) *node { return w.nodes[id-1] }

func (w *world) logf(format string, a ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, a...))
	if len(w.trace) > 80 {
		w.trace = w.trace[1:]
	}
}

func (w *world) fatalf(format string, a ...any) {
	w.t.Helper()
	for _, l := range w.trace {
		w.t.Log(l)
	}
	w.t.Fatalf("seed %d (synced=%v, min ISR %d): %s", w.seed, w.synced, w.minISR, fmt.Sprintf(format, a...))
}

func (w *world) send(m message) {
	m.sent = w.now
	w.net = append(w.net, m)
}

// step is one random event. Faults come at the rate of the seed, and not at all in every fourth period.
func (w *world) step() {
	w.steps++
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if w.steps/100%4 != 3 && w.rng.IntN(1000) < w.faults {
		w.fault(n)
		return
	}
	switch p := w.rng.IntN(100); {
	case p < 50:
		w.deliver(w.rng.IntN(500) < w.faults)
	case p < 72:
		n.sendFetch()
	case p < 82:
		for _, l := range w.nodes { // zombies too
			l.append()
		}
	case p < 92:
		n.sync()
	case p < 94:
		w.ctl.plan()
	case p < 96:
		w.now = w.now.Add(time.Duration(w.rng.IntN(1000)) * time.Millisecond)
		n.tick()
	default: // what was lost comes again, and who was fenced comes back
		w.ctl.unfence(n.id)
		w.sendState(n)
	}
}

func (w *world) fault(n *node) {
	switch w.rng.IntN(6) {
	case 0:
		n.crash()
	case 1, 2:
		n.start()
	case 3:
		w.ctl.fence(n.id)
	case 4:
		w.ctl.move()
	case 5:
		w.now = w.now.Add(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
	}
	for _, n := range w.nodes {
		if w.rng.IntN(4) == 0 {
			n.timeout()
		}
	}
}

func (w *world) deliver(lose bool) {
	if len(w.net) == 0 {
		return
	}
	i := w.rng.IntN(len(w.net))
	m := w.net[i]
	w.net = slices.Delete(w.net, i, i+1)
	if lose || w.now.Sub(m.sent) > modelLag/2 { // connections do not live for ever
		return
	}
	if m.to == 0 {
		w.ctl.alter(m.alter)
		return
	}
	n := w.node(m.to)
	if !n.up || (m.life != 0 && m.life != n.life) {
		return
	}
	switch {
	case m.state != nil:
		n.apply(*m.state, m.table)
	case m.fetch != nil:
		n.serve(m.fetch)
	case m.answer != nil:
		n.receive(m.answer)
	case m.result != nil:
		n.event(func() { n.m.Answered(m.result.attempt, m.result.answer, m.result.state, w.now, &n.fx) })
	}
}

func (w *world) sendState(n *node) {
	s := w.ctl.state
	s.Replicas, s.ISR, s.ELR, s.HandOver = slices.Clone(s.Replicas), slices.Clone(s.ISR), slices.Clone(s.ELR), slices.Clone(s.HandOver)
	// A node applies no state from before its registration, see replication.Replica.Apply.
	w.send(message{to: n.id, life: n.life, state: &s, table: slices.Clone(w.ctl.brokers)})
}

// start brings a broker up: a new life that registers, fenced at first.
func (n *node) start() {
	if n.up {
		return
	}
	n.up = true
	n.life = n.w.ctl.register(n.id)
	n.table = slices.Clone(n.w.ctl.brokers)
	n.m = New(n.id, Settings{MinISR: n.w.minISR, Synced: n.w.synced, LagTime: modelLag, HandOverTime: modelLag / 2}, func(id int32, epoch int64) bool {
		b := n.table[id]
		return !b.fenced && (epoch < 0 || epoch == b.epoch)
	})
	n.w.logf("%d starts, life %d, log end %d", n.id, n.life, len(n.log))
	n.w.ctl.unfence(n.id)
	n.w.sendState(n)
}

// crash takes a broker down. With synced offsets that is a power loss: some of the unsynced tail is gone, and the checkpointed high watermark is old.
func (n *node) crash() {
	if !n.up {
		return
	}
	n.up, n.m = false, nil
	if n.w.synced {
		n.cut(n.synced + n.w.rng.Int64N(int64(len(n.log))-n.synced+1))
	}
	n.synced = int64(len(n.log))
	n.hw = n.w.rng.Int64N(n.hw + 1)
	n.w.logf("%d crashes, log end %d", n.id, len(n.log))
}

func (n *node) apply(s State, table []broker) {
	for i, b := range table { // metadata is applied in order; an old message must not bring old brokers back
		if b.epoch > n.table[i].epoch || s.PartitionEpoch >= n.m.State().PartitionEpoch {
			n.table[i] = b
		}
	}
	n.event(func() {
		n.m.Apply(s, Positions{LogEnd: int64(len(n.log)), SyncedEnd: n.synced, HighWatermark: n.hw}, n.w.now, &n.fx)
		if n.fx.StartEpoch {
			n.epochs = append(n.epochs, epochStart{n.m.LeaderEpoch(), int64(len(n.log))})
			n.w.logf("%d leads epoch %d from %d, hw %d, isr %v", n.id, n.m.LeaderEpoch(), len(n.log), n.hw, s.ISR)
		}
	})
}

// event runs one event of the machine and performs its effects.
func (n *node) event(f func()) {
	n.fx.Reset()
	f()
	if n.fx.HighWatermark >= 0 {
		n.advance(n.fx.HighWatermark)
	}
	for c := n.fx.Completed(); c != nil; c = c.Next() {
		if c.Outcome == Acked {
			n.ack(c.Owner.(int64))
		}
	}
	if n.fx.Propose {
		p := n.fx.Proposal
		p.Members = slices.Clone(p.Members)
		n.w.logf("%d proposes #%d %v hand-over=%v under %d/%d", n.id, p.Attempt, p.Members, p.HandOver, p.LeaderEpoch, p.PartitionEpoch)
		n.w.send(message{alter: &alterMessage{from: n.id, life: n.life, attempt: p.Attempt, proposal: p}})
	}
	n.retry = n.retry || n.fx.RetryIn > 0
}

// advance is a leader's high watermark: what it passes is committed, and must not contradict what was committed before.
func (n *node) advance(hw int64) {
	w := n.w
	if hw > int64(len(n.log)) {
		w.fatalf("%d: high watermark %d above log end %d", n.id, hw, len(n.log))
	}
	if hw < n.hw {
		w.fatalf("%d: high watermark falls from %d to %d", n.id, n.hw, hw)
	}
	for o := n.hw; o < hw; o++ {
		if o == int64(len(w.committed)) {
			w.committed = append(w.committed, n.log[o])
		} else if w.committed[o] != n.log[o] {
			w.fatalf("%d commits at offset %d what differs from what was committed there", n.id, o)
		}
	}
	n.hw = hw
	w.logf("%d epoch %d: high watermark %d", n.id, n.m.LeaderEpoch(), hw)
}

// ack checks V9: an acknowledged record is confirmed on min ISR replicas.
func (n *node) ack(end int64) {
	copies := 0
	for _, o := range n.w.nodes {
		have := int64(len(o.log))
		if n.w.synced {
			have = o.synced
		}
		if have >= end && o.log[end-1] == n.log[end-1] {
			copies++
		}
	}
	if copies < n.w.minISR {
		n.w.fatalf("%d acknowledges offset %d with %d copies", n.id, end-1, copies)
	}
	n.w.acked++
}

func (n *node) append() {
	if !n.up || n.m.Role() != Leader {
		return
	}
	check, enough := n.m.CheckAppend(AcksAll, -1)
	if check != EpochOK || !enough && n.w.rng.IntN(4) > 0 { // sometimes acks=1 all the same
		return
	}
	n.w.value++
	n.push(n.m.LeaderEpoch(), n.w.value)
	n.event(func() { n.m.Appended(int64(len(n.log)), n.w.now, &n.fx) })
	end := int64(len(n.log))
	if n.m.Outcome(AcksAll, end) == Waiting {
		n.m.Wait(&Waiter{Owner: end}, AcksAll, end)
	} else {
		n.ack(end)
	}
}

func (n *node) push(epoch int32, value uint64) {
	chain := value
	if len(n.log) > 0 {
		chain = n.log[len(n.log)-1].chain*0x9e3779b97f4a7c15 + value
	}
	n.log = append(n.log, entry{epoch, chain})
}

func (n *node) sync() {
	if !n.up {
		return
	}
	n.synced = int64(len(n.log))
	n.event(func() { n.m.Synced(n.synced, n.w.now, &n.fx) })
}

func (n *node) tick() {
	if n.up {
		n.event(func() { n.m.Tick(n.w.now, &n.fx) })
	}
}

// timeout gives up the proposal in flight, which may be on its way all the same.
func (n *node) timeout() {
	if n.up {
		n.event(func() { n.m.Answered(n.m.isr.attempt, Unanswered, State{}, n.w.now, &n.fx) })
	}
}

func (n *node) view() epochLog { return epochLog{end: int64(len(n.log)), epochs: n.epochs} }

func (n *node) cut(to int64) {
	l := n.view()
	l.truncate(to)
	n.log, n.epochs = n.log[:l.end], l.epochs
	n.synced, n.hw = min(n.synced, l.end), min(n.hw, l.end)
}

func (n *node) sendFetch() {
	if !n.up || n.m.Role() != Follower {
		return
	}
	if n.w.synced && n.synced < int64(len(n.log)) {
		return // not confirmed yet
	}
	l := n.view()
	n.w.send(message{to: n.m.State().Leader, fetch: &fetchMessage{
		from: n.id, life: n.life, epoch: n.m.LeaderEpoch(), offset: l.end, lastEpoch: int64(l.latest()),
	}})
}

func (n *node) serve(f *fetchMessage) {
	if n.m.CheckEpoch(f.epoch, true) != EpochOK || n.table[f.from].epoch > f.life {
		return
	}
	l := n.view()
	own := l.endFor(int32(f.lastEpoch))
	a := &fetchAnswer{epoch: f.epoch, asked: Position{f.offset, int32(f.lastEpoch)}, end: own}
	switch CheckFetch(f.offset, int32(f.lastEpoch), own, 0, l.end) {
	case FetchOutOfRange:
		n.w.fatalf("%d: fetch of %d at %d, epoch %d is out of range; log end %d, epochs %v", n.id, f.from, f.offset, f.lastEpoch, l.end, n.epochs)
	case FetchDiverging:
		a.diverging = true
	default:
		ok := false
		n.event(func() {
			ok = n.m.FollowerFetched(Fetched{Follower: f.from, BrokerEpoch: f.life, Offset: f.offset, LogEnd: l.end}, n.w.now, &n.fx)
		})
		if !ok {
			return
		}
		a.entries = slices.Clone(n.log[f.offset:min(l.end, f.offset+1+n.w.rng.Int64N(4))])
	}
	a.hw = n.hw
	n.w.send(message{to: f.from, life: f.life, answer: a})
}

func (n *node) receive(a *fetchAnswer) {
	l := n.view()
	if !n.m.AcceptsFetched(a.epoch, a.asked, Position{l.end, l.latest()}) {
		return
	}
	if a.diverging {
		to := TruncateTo(a.end, l.endFor(a.end.Epoch), l.end)
		n.w.logf("%d truncates from %d to %d, epoch %d ends at %d", n.id, len(n.log), to, a.end.Epoch, a.end.End)
		n.cut(to)
		return
	}
	for _, e := range a.entries {
		if e.epoch > a.epoch {
			break
		}
		if l := n.view(); l.latest() < e.epoch {
			n.epochs = append(n.epochs, epochStart{e.epoch, l.end})
		}
		n.log = append(n.log, e)
	}
	n.hw, _ = FollowerBounds(a.hw, 0, n.hw, 0, int64(len(n.log)))
}

// check is God's view.
func (w *world) check() {
	for _, n := range w.nodes {
		n.check()
	}
	members := slices.Concat(w.ctl.state.ISR, w.ctl.state.ELR)
	for _, id := range members { // V2, V3: whoever may be elected has everything that was committed
		n := w.node(id)
		have := int64(len(n.log))
		if w.synced {
			have = n.synced
		}
		if c := len(w.committed); c > 0 && (have < int64(c) || n.log[c-1] != w.committed[c-1]) {
			w.fatalf("V2: %d is in ISR %v or ELR %v without what was committed up to %d (log end %d, synced %d)", id, w.ctl.state.ISR, w.ctl.state.ELR, c, len(n.log), n.synced)
		}
	}
	for _, n := range w.nodes { // whoever may be asked where the log ends does not tell of an end that was passed
		if n.up && n.m.Role() == Leader && n.m.OffsetAvailable() && !n.m.HandedOver() && !w.robbed[n.m.LeaderEpoch()] && n.hw < int64(len(w.committed)) {
			w.fatalf("%d leads epoch %d with high watermark %d, but %d are committed in epoch %d", n.id, n.m.LeaderEpoch(), n.hw, len(w.committed), w.ctl.state.LeaderEpoch)
		}
	}
	for _, n := range w.nodes {
		if !n.up || n.m.Role() != Leader || n.m.LeaderEpoch() != w.ctl.state.LeaderEpoch || len(n.m.State().ISR) < w.minISR {
			continue
		}
		maximal := n.m.MaximalISR(nil)
		for _, id := range members { // V4
			if !slices.Contains(maximal, id) {
				w.fatalf("V4: %d leads with maximal ISR %v, controller has ISR %v, ELR %v", n.id, maximal, w.ctl.state.ISR, w.ctl.state.ELR)
			}
		}
	}
}

func (n *node) check() {
	w := n.w
	if n.hw > int64(len(n.log)) || n.hw > int64(len(w.committed)) || n.synced > int64(len(n.log)) {
		w.fatalf("V7: %d has high watermark %d, synced %d, log end %d; committed %d", n.id, n.hw, n.synced, len(n.log), len(w.committed))
	}
	if n.hw > 0 && n.log[n.hw-1] != w.committed[n.hw-1] { // V5: chains are equal, hence all before
		w.fatalf("V5: %d differs below its high watermark %d from what was committed", n.id, n.hw)
	}
	if !n.up || n.m.Role() != Leader {
		return
	}
	who := [2]int64{int64(n.id), n.life}
	if other, ok := w.leaders[n.m.LeaderEpoch()]; ok && other != who { // V1
		w.fatalf("V1: epoch %d is led by %v and %v", n.m.LeaderEpoch(), other, who)
	}
	w.leaders[n.m.LeaderEpoch()] = who
	if n.m.HighWatermark() != n.hw {
		w.fatalf("%d: machine's high watermark %d, log's %d", n.id, n.m.HighWatermark(), n.hw)
	}
}

// heal ends all faults: within a bounded number of exchanges every replica is in the ISR and has everything, and every append is answered.
func (w *world) heal() {
	w.logf("heal")
	for _, n := range w.nodes {
		n.start()
	}
	for round := range 300 {
		w.now = w.now.Add(500 * time.Millisecond)
		for _, n := range w.nodes {
			w.ctl.unfence(n.id)
			w.sendState(n)
			n.sync()
			n.tick()
			n.sendFetch()
			if round == 0 && n.m.isr.sent {
				n.timeout() // its message or the answer may have been lost
			}
		}
		for len(w.net) > 0 {
			w.deliver(false)
			w.check()
		}
		if w.healed() {
			return
		}
	}
	for _, n := range w.nodes {
		w.logf("%d %v epoch %d: hw %d, log end %d, synced %d", n.id, n.m.Role(), n.m.LeaderEpoch(), n.hw, len(n.log), n.synced)
	}
	w.fatalf("does not heal: controller %+v", w.ctl.state)
}

func (w *world) healed() bool {
	if len(w.ctl.state.ISR) < len(w.nodes) {
		return false
	}
	for _, n := range w.nodes {
		if n.hw != int64(len(w.committed)) || int64(len(n.log)) != n.hw || n.m.allWaiters.head != nil {
			return false
		}
	}
	return true
}

// controller is the partition's part of a controller: elections from the ISR, then the ELR (KIP-966); ISR changes by compare and set.
type controller struct {
	w       *world
	state   State
	brokers []broker // by id
}

func (c *controller) publish() {
	c.w.logf("controller: %+v", c.state)
	for _, n := range c.w.nodes {
		if n.up {
			c.w.sendState(n)
		}
	}
}

// register is a broker's new life. Leaving a leadership raises the epoch, even when nobody else can lead: two lives never lead in one epoch.
func (c *controller) register(id int32) int64 {
	c.fence(id)
	c.brokers[id].epoch++
	return c.brokers[id].epoch
}

func (c *controller) fence(id int32) {
	if c.brokers[id].fenced {
		return
	}
	c.brokers[id].fenced = true
	if c.state.Leader == id {
		c.w.robbed[c.state.LeaderEpoch] = true
	}
	isr := slices.DeleteFunc(slices.Clone(c.state.ISR), func(o int32) bool { return o == id })
	if len(isr) == len(c.state.ISR) && c.state.Leader != id {
		return
	}
	c.commit(isr, c.state.Leader == id)
}

func (c *controller) unfence(id int32) {
	if !c.w.node(id).up || !c.brokers[id].fenced {
		return
	}
	c.brokers[id].fenced = false
	if c.state.Leader < 0 {
		c.commit(c.state.ISR, true)
		return
	}
	for _, n := range c.w.nodes { // brokers hear of it
		if n.up {
			c.w.sendState(n)
		}
	}
}

// plan has the leader hand over to another member, or not any more.
func (c *controller) plan() {
	s := &c.state
	if s.Leader < 0 {
		return
	}
	id := s.ISR[c.w.rng.IntN(len(s.ISR))]
	switch {
	case len(s.HandOver) > 0 && c.w.rng.IntN(8) > 0: // it hurries up, so that a leader has something to say
		heir := c.w.node(s.HandOver[0])
		for range 3 {
			heir.sync()
			heir.sendFetch()
			c.w.deliver(false)
			c.w.deliver(false)
		}
		if c.w.rng.IntN(4) == 0 { // the answer does not come
			c.w.node(s.Leader).timeout()
			c.w.now = c.w.now.Add(2 * proposalBackoffMin)
			c.w.node(s.Leader).tick()
		}
		return
	case len(s.HandOver) > 0 && c.w.rng.IntN(2) == 0:
		s.HandOver = nil
	case id == s.Leader || c.brokers[id].fenced || slices.Equal(s.HandOver, []int32{id}):
		return
	default:
		s.HandOver = []int32{id}
	}
	s.PartitionEpoch++
	c.publish()
}

// lead gives the leadership to a member.
func (c *controller) lead(id int32) {
	c.state.Leader, c.state.HandOver = id, nil
	c.state.LeaderEpoch++
	c.state.PartitionEpoch++
	c.publish()
}

// move hands the leadership to another member, without waiting for what only the leader has, but for its word: it may not know yet that it leads.
func (c *controller) move() {
	if c.state.Leader < 0 || !c.w.node(c.state.Leader).up {
		return
	}
	for _, id := range c.state.ISR {
		if old := c.w.node(c.state.Leader); id != old.id && !c.brokers[id].fenced {
			c.w.logf("%d steps down from epoch %d", old.id, c.state.LeaderEpoch)
			old.event(func() { old.m.StepDown(c.state.LeaderEpoch, &old.fx) })
			if rest := slices.DeleteFunc(slices.Clone(c.state.ISR), func(id int32) bool { return id == old.id }); len(rest) >= c.w.minISR { // it shuts down, or is to be no replica: nobody waits for it
				c.state.ISR, c.state.ELR = rest, nil
			}
			c.lead(id)
			return
		}
	}
}

// commit sets the ISR, keeps in the ELR who left while it was below the minimum, and elects.
func (c *controller) commit(isr []int32, elect bool) {
	s := &c.state
	old := slices.Concat(s.ISR, s.ELR)
	s.ISR, s.ELR = isr, nil
	if elect {
		s.Leader = -1
		s.LeaderEpoch++
		for _, id := range s.Replicas {
			if slices.Contains(isr, id) && !c.brokers[id].fenced {
				s.Leader = id
				break
			}
		}
		if len(isr) == 0 {
			for _, id := range s.Replicas {
				if slices.Contains(old, id) && !c.brokers[id].fenced {
					s.Leader, s.ISR = id, []int32{id}
					break
				}
			}
		}
	}
	if len(s.ISR) < c.w.minISR {
		for _, id := range old {
			if !slices.Contains(s.ISR, id) && !slices.Contains(s.ELR, id) {
				s.ELR = append(s.ELR, id)
			}
		}
	}
	if elect || len(s.HandOver) > 0 && !slices.Contains(s.ISR, s.HandOver[0]) {
		s.HandOver = nil
	}
	s.PartitionEpoch++
	c.publish()
}

// alter is AlterPartition.
func (c *controller) alter(a *alterMessage) {
	answer := c.judge(a)
	c.w.logf("controller: alter of %d #%d: %d", a.from, a.attempt, answer)
	switch {
	case answer != Applied:
	case len(a.proposal.HandOver) > 0:
		// Whatever the leader has by now, or had when it crashed, be it of this very moment: the next one has it.
		to, from := c.w.node(a.proposal.HandOver[0]), c.w.node(a.from)
		if n := len(from.log); n > len(to.log) || n > 0 && to.log[n-1] != from.log[n-1] {
			c.w.fatalf("%d handed over to %d, which has %d of %d entries", from.id, to.id, len(to.log), n)
		}
		*c.w.moved++
		c.lead(to.id)
		answer = AwaitUpdate // NEW_LEADER_ELECTED
	default:
		isr := make([]int32, 0, len(a.proposal.Members))
		for _, m := range a.proposal.Members {
			isr = append(isr, m.ID)
		}
		c.commit(isr, false)
	}
	s := State{LeaderEpoch: c.state.LeaderEpoch, PartitionEpoch: c.state.PartitionEpoch, ISR: slices.Clone(c.state.ISR)}
	c.w.send(message{to: a.from, life: a.life, result: &alterResult{attempt: a.attempt, answer: answer, state: s}})
}

func (c *controller) judge(a *alterMessage) Answer {
	if c.w.rng.IntN(10) == 0 {
		return NotApplied // OPERATION_NOT_ATTEMPTED
	}
	if c.brokers[a.from].epoch != a.life || a.proposal.LeaderEpoch != c.state.LeaderEpoch || a.proposal.PartitionEpoch != c.state.PartitionEpoch || a.from != c.state.Leader {
		return AwaitUpdate
	}
	for _, m := range a.proposal.Members {
		b := c.brokers[m.ID]
		if b.fenced || (m.Epoch >= 0 && m.Epoch != b.epoch) {
			return NotApplied
		}
	}
	if len(a.proposal.HandOver) > 0 && (c.w.rng.IntN(4) == 0 || !slices.Equal(a.proposal.HandOver, c.state.HandOver)) {
		return NotApplied
	}
	return Applied
}
