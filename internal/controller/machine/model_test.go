package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cluster plays brokers against a machine: replicas with log ends, a high watermark by Kafka's rules, crashes, and restarts that lose what was not confirmed or anything.
// It knows which records were committed, which no clean election may lose.
type cluster struct {
	t       *testing.T
	rng     *rand.Rand
	m       *Machine
	img     *Image
	now     time.Time
	brokers int32
	logs    map[log.TopicID][]*replicas
	late    []late          // proposals of leaders that are on their way
	lossy   int32           // the one broker that lost data and is not back in every ISR yet; 0 none
	leaving [6]bool         // by id: brokers that shut down
	lives   map[int32]int64 // epochs of the brokers before the present batch
	quiet   [6]bool         // by id: brokers that serve nobody any more, because they shut down and were told so
	deaf    [6]bool         // by id: brokers that hear nothing of moves
	slow    [6]bool         // by id: brokers whose disks are slow
	calm    bool            // who is in sync stays so
	drained int             // moves that leaders made way for
	stepped int             // leaderships that moved because their leaders had stepped down
	quieted int             // shutdowns that ended so
	next    byte
	waits   int
	back    map[int32]func() // brokers that restarted, and were told to wait: how they ask again
	losses  int
	older   int             // of them: with an older copy of the disk
	trace   []func() string // formatted only when something went wrong
}

// replicas is what the brokers hold of one partition.
type replicas struct {
	end         map[int32]int64
	epochs      map[int32][]int32 // of the records; shared by replicas that have the same
	committed   int64
	leaderEpoch int32
	fetched     map[int32]int32 // leader epoch in which the broker last fetched
	stopped     [2]int32        // leader and partition epoch under which the leader has said that it hands over
	down        int32           // the leader epoch up to which its leader has stepped down, plus one
}

// late is a leader's proposal for one partition that is on its way. It may arrive when it is old, and twice.
type late struct {
	req *kmsg.AlterPartitionRequest
	id  log.TopicID
	n   int
}

func (l late) partition() *kmsg.AlterPartitionRequestTopicPartition {
	return &l.req.Topics[0].Partitions[0]
}

// pending is the proposal that may be accepted yet, if there is one.
func (c *cluster) pending(id log.TopicID, n int, p *Partition) *kmsg.AlterPartitionRequestTopicPartition {
	for _, l := range c.late {
		if rp := l.partition(); l.id == id && l.n == n && rp.LeaderEpoch == p.LeaderEpoch && rp.PartitionEpoch == p.PartitionEpoch {
			return rp
		}
	}
	return nil
}

// deliver has one of those that are on their way arrive.
func (c *cluster) deliver() {
	if len(c.late) == 0 {
		return
	}
	i := c.rng.IntN(len(c.late))
	l := c.late[i]
	if c.rng.IntN(4) > 0 {
		c.late = slices.Delete(c.late, i, i+1)
	}
	if c.img.TopicIDs[l.id] != nil {
		c.note("late isr %v-%d %v", l.id, l.n, l.partition().NewEpochISR)
		c.propose(l.req)
	}
}

// propose has the controller judge a leader's proposal. One that hands over may move the leadership only to a log that has all that the leader has, whatever happened since it was sent.
func (c *cluster) propose(req *kmsg.AlterPartitionRequest) {
	id, rp := req.Topics[0].TopicID, &req.Topics[0].Partitions[0]
	before, l := c.img.TopicIDs[id].Partitions[rp.Partition], c.logs[id][rp.Partition]
	had := l.has(before.Leader)
	c.handle(req)
	p := c.img.TopicIDs[id].Partitions[rp.Partition]
	if _, ok := drainedTo(rp); !ok || p.Leader == before.Leader {
		return
	}
	c.drained++
	if before.Leader != req.BrokerID || l.has(p.Leader) != had {
		c.t.Fatalf("%d handed over to %d, which has %v of %v\n%s", before.Leader, p.Leader, l.has(p.Leader), had, c.tail())
	}
}

// has tells what a replica's log holds: how many records, the last of which epoch.
func (l *replicas) has(id int32) [2]int64 { return [2]int64{l.end[id], int64(l.lastEpoch(id))} }

func newCluster(t *testing.T, rng *rand.Rand, factors ...int16) *cluster {
	c := &cluster{t: t, rng: rng, img: Empty(), now: time.Unix(1_000_000, 0), brokers: 5, logs: map[log.TopicID][]*replicas{}, back: map[int32]func(){}, lives: map[int32]int64{}}
	config := Config{ClusterID: "c", SessionTimeout: 9 * time.Second, DefaultPartitions: 1, PreferredInterval: 20 * time.Second, Rand: rng}
	c.m = New(config, c.img, c.now)
	b := c.m.Begin(c.img, 0, c.now)
	b.Found()
	c.commit(b)
	for id := range c.brokers {
		c.register(id+1, -1)
		c.beat(id+1, false)
	}
	for i, rf := range factors {
		c.create(fmt.Sprintf("t%d", i), rf)
	}
	return c
}

func (c *cluster) create(name string, rf int16) {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 2, rf
	req.Topics = append(req.Topics, rt)
	require.Zero(c.t, c.handle(req).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
}

func (c *cluster) handle(req kmsg.Request) kmsg.Response {
	b := c.m.Begin(c.img, c.img.Offset+1, c.now)
	resp, err := b.Handle(req)
	require.NoError(c.t, err)
	c.commit(b)
	return resp
}

func (c *cluster) commit(b *Batch) {
	records, err := b.Records()
	require.NoError(c.t, err)
	if len(records) == 0 {
		return
	}
	old := c.img
	img, _, err := old.Apply(old.Offset+1, 1, records)
	require.NoError(c.t, err)
	for id, br := range c.img.Brokers {
		c.lives[id] = br.Epoch
	}
	c.img = img
	for _, r := range records {
		c.note("  %v", r)
	}
	checkInvariants(c.t, old, img, nil)
	for _, t := range img.Topics {
		for n, p := range t.Partitions {
			if before := old.TopicIDs[t.ID]; before != nil && n < len(before.Partitions) && before.Partitions[n].Leader != NoLeader && p.Leader != before.Partitions[n].Leader {
				c.excused(t, n, before.Partitions[n], p)
			}
			c.follow(t, n, p)
		}
	}
}

// excused tells that a leader made way for another, or is over: nobody may act on it any more.
func (c *cluster) excused(t *Topic, n int, before, p *Partition) {
	l, id := c.logs[t.ID][n], before.Leader
	br := c.img.Brokers[id]
	switch {
	case l.down > before.LeaderEpoch:
		c.stepped++
	case l.stopped == [2]int32{before.LeaderEpoch, before.PartitionEpoch}, br == nil, br.Fenced, br.Epoch != c.lives[id], c.quiet[id]:
	default:
		c.t.Fatalf("%s-%d: %d is not the leader any more, and has not said anything: %v, then %v\n%s", t.Name, n, id, before, p, c.tail())
	}
}

// follow lets the replicas learn a partition's state.
func (c *cluster) follow(t *Topic, n int, p *Partition) {
	for len(c.logs[t.ID]) <= n {
		c.logs[t.ID] = append(c.logs[t.ID], &replicas{end: map[int32]int64{}, epochs: map[int32][]int32{}, fetched: map[int32]int32{}})
	}
	l := c.logs[t.ID][n]
	if p.Leader != NoLeader && p.LeaderEpoch > l.leaderEpoch && c.back[p.Leader] == nil { // one that waits does not serve
		if p.Recovering || l.end[p.Leader] < l.committed {
			c.t.Fatalf("%s-%d: leader %d has %d of %d committed records: %v\n%s", t.Name, n, p.Leader, l.end[p.Leader], l.committed, p, c.tail())
		}
	}
	l.leaderEpoch = p.LeaderEpoch
	for id := range l.end { // who is no replica any more deletes its log
		if !slices.Contains(p.Replicas, id) {
			delete(l.end, id)
			delete(l.fetched, id)
		}
	}
	c.advance(t, n, p, l)
}

// advance moves the high watermark: only with enough replicas in sync, to what all of them hold, and whoever may have joined them.
func (c *cluster) advance(t *Topic, n int, p *Partition, l *replicas) {
	if p.Leader == NoLeader || len(p.ISR) < c.img.MinISR(t, p, nil) {
		return
	}
	hw := l.end[p.ISR[0]]
	for _, id := range p.ISR {
		hw = min(hw, l.end[id])
	}
	if rp := c.pending(t.ID, n, p); rp != nil {
		for _, m := range rp.NewEpochISR {
			hw = min(hw, l.end[m.BrokerID])
		}
	}
	l.committed = max(l.committed, hw)
}

func (c *cluster) note(format string, args ...any) {
	c.trace = append(c.trace[max(0, len(c.trace)-60):], func() string { return fmt.Sprintf(format, args...) })
}

// tail tells what happened last.
func (c *cluster) tail() string {
	var b strings.Builder
	for _, line := range c.trace {
		fmt.Fprintln(&b, line())
	}
	return b.String()
}

func (c *cluster) register(id int32, previous int64) { c.registerAs(id, previous, false) }

func (c *cluster) registerAs(id int32, previous int64, rebooted bool) {
	c.next++
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.PreviousBrokerEpoch = id, "c", previous
	req.IncarnationID = log.TopicID{byte(id), c.next, byte(c.img.Offset), byte(c.img.Offset >> 8)}
	req.LogDirs = [][16]byte{{0: 1, 15: byte(id)}}
	if rebooted {
		SetRebooted(req)
	}
	c.ask(req)
}

// ask asks for a registration. Who has to wait does nothing else meanwhile.
func (c *cluster) ask(req *kmsg.BrokerRegistrationRequest) {
	id := req.BrokerID
	c.note("register %d previous=%d", id, req.PreviousBrokerEpoch)
	code := c.handle(req).(*kmsg.BrokerRegistrationResponse).ErrorCode
	delete(c.back, id)
	if code == kerr.CoordinatorLoadInProgress.Code {
		c.back[id] = func() { c.ask(req) }
		c.waits++
		return
	}
	require.Zero(c.t, code)
	c.leaving[id], c.quiet[id] = false, false
}

func (c *cluster) beat(id int32, shutdown bool) {
	shutdown = shutdown || c.leaving[id]
	if again := c.back[id]; again != nil {
		again()
		return
	}
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset, req.WantShutdown = id, c.img.Brokers[id].Epoch, c.img.Offset, shutdown
	SetLogEnds(req, c.ends(id))
	if c.quiet[id] = c.quiet[id] && shutdown; c.quiet[id] {
		req.WantFence = true
		c.quieted++
	}
	SetSteppedDown(req, c.down(id))
	if c.slow[id] && !shutdown {
		SetSlowDisk(req)
	}
	c.note("heartbeat %d shutdown=%v", id, shutdown)
	resp := c.handle(req).(*kmsg.BrokerHeartbeatResponse)
	c.leaving[id] = !resp.IsFenced && shutdown
	if c.rng.IntN(3) == 0 {
		return // the answer is lost
	}
	recalled, all := Recalled(resp)
	c.quiet[id] = c.quiet[id] || all
	for _, r := range recalled {
		c.note("%d steps down from %v-%d:%d", id, r.TopicID, r.Partition, r.LeaderEpoch)
		c.logs[r.TopicID][r.Partition].down = r.LeaderEpoch + 1
	}
}

// down is what a broker says that it has stepped down from.
func (c *cluster) down(id int32) (from []Leadership) {
	for _, name := range c.img.TopicNames() {
		t := c.img.Topics[name]
		for n, p := range t.Partitions {
			if l := c.logs[t.ID][n]; p.Leader == id && l.down > p.LeaderEpoch {
				from = append(from, Leadership{t.ID, int32(n), p.LeaderEpoch})
			}
		}
	}
	return from
}

func (l *replicas) lastEpoch(id int32) int32 {
	if l.end[id] == 0 {
		return -1
	}
	return l.epochs[id][l.end[id]-1]
}

// ends are those of a broker's logs that have no leader.
func (c *cluster) ends(id int32) (ends []LogEnd) {
	for _, name := range c.img.TopicNames() {
		t := c.img.Topics[name]
		for n, p := range t.Partitions {
			if l := c.logs[t.ID][n]; p.Leader == NoLeader && slices.Contains(p.Replicas, id) {
				ends = append(ends, LogEnd{TopicID: t.ID, Partition: int32(n), LeaderEpoch: p.LeaderEpoch, LastEpoch: l.lastEpoch(id), Offset: l.end[id]})
			}
		}
	}
	return ends
}

// step does one thing at random.
func (c *cluster) step() {
	id := c.rng.Int32N(c.brokers) + 1
	if len(c.late) > 0 && c.rng.IntN(4) == 0 { // one of whom a leader believes that it is in sync, and that it will be told so
		members := c.late[c.rng.IntN(len(c.late))].partition().NewEpochISR
		id = members[c.rng.IntN(len(members))].BrokerID
	}
	switch n := c.rng.IntN(45); {
	case n < 2: // its session ends
		if s := c.m.sessions[id]; s != nil {
			s.contact = c.now.Add(-time.Hour)
			c.tick(0)
		}
	case n < 3: // it restarts, having lost nothing that it confirmed
		if c.back[id] == nil {
			c.registerAs(id, c.img.Brokers[id].Epoch, c.rng.IntN(2) == 0)
		}
	case n < 4:
		c.losesRecords(id, func() { c.register(id, -1) })
	case n < 5: // with an older copy of its disk
		if c.back[id] == nil {
			c.losesRecords(id, func() {
				c.older++
				c.registerAs(id, c.img.Brokers[id].Epoch, true)
			})
		}
	case n < 6:
		switch c.rng.IntN(4) {
		case 0:
			c.slow[id] = !c.slow[id]
		case 1:
			c.deaf[id] = !c.deaf[id]
		default:
			c.beat(id, true)
		}
	case n < 8:
		c.deliver()
	case n < 9:
		c.handle(kmsg.NewPtrElectLeadersRequest())
	case n < 11:
		c.tick(time.Duration(c.rng.IntN(3)) * time.Second)
	case n < 21:
		if b := c.img.Brokers[id]; b.Fenced && b.InControlledShutdown {
			if c.back[id] == nil {
				c.register(id, b.Epoch)
			}
		}
		c.beat(id, false)
	default:
		c.data()
	}
}

func (c *cluster) tick(d time.Duration) {
	c.now = c.now.Add(d)
	b := c.m.Begin(c.img, c.img.Offset+1, c.now)
	b.Tick()
	c.commit(b)
}

// losesRecords restarts a broker without the ends of all its logs. One broker at a time, until it is back in sync or needed by nobody: that is what min.insync.replicas=2 covers. Partitions
// with less cover are out of the model's reach; a broker with one is left alone.
func (c *cluster) losesRecords(id int32, restart func()) {
	if c.lossy != 0 && c.lossy != id {
		if c.back[c.lossy] != nil { // it is in sync as the controller knows, who has it wait
			return
		}
		for _, t := range c.img.Topics {
			for _, p := range t.Partitions {
				if slices.Contains(p.Replicas, c.lossy) && !slices.Contains(p.ISR, c.lossy) {
					return
				}
				if len(p.ISR) < c.img.MinISR(t, p, nil) { // it may have been taken out of the replicas, and nobody else have its part yet
					return
				}
			}
		}
	}
	for _, t := range c.img.Topics {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, id) && p.Factor() < 3 {
				return
			}
		}
	}
	c.lossy = id
	c.losses++
	for _, parts := range c.logs {
		for _, l := range parts {
			if l.end[id] > 0 {
				l.end[id] = c.rng.Int64N(l.end[id] + 1)
			}
			l.fetched[id] = -1
		}
	}
	restart()
}

// data lets one partition's leader append, a follower fetch, and the leader propose an in-sync set.
func (c *cluster) data() {
	names := c.img.TopicNames()
	t := c.img.Topics[names[c.rng.IntN(len(names))]]
	n := c.rng.IntN(len(t.Partitions))
	p, l := t.Partitions[n], c.logs[t.ID][n]
	if p.Leader == NoLeader || c.back[p.Leader] != nil || c.quiet[p.Leader] || l.down > p.LeaderEpoch {
		return
	}
	if l.stopped == [2]int32{p.LeaderEpoch, p.PartitionEpoch} { // it has said that it hands over
	} else if len(p.ISR) >= c.img.MinISR(t, p, nil) || c.rng.IntN(3) == 0 { // acks=1 may append below the minimum
		for range c.rng.Int64N(3) {
			end := l.end[p.Leader]
			l.epochs[p.Leader] = append(l.epochs[p.Leader][:end:end], p.LeaderEpoch)
			l.end[p.Leader]++
		}
	}
	follower := p.Replicas[c.rng.IntN(len(p.Replicas))]
	if follower != p.Leader && c.img.Brokers[follower].Active() && c.back[follower] == nil {
		l.end[follower], l.epochs[follower] = l.end[p.Leader], l.epochs[p.Leader] // truncates, too
		l.fetched[follower] = p.LeaderEpoch
	}
	c.advance(t, n, p, l)
	isr := []int32{p.Leader}
	for _, id := range p.Replicas {
		switch {
		case id == p.Leader:
		case slices.Contains(p.ISR, id) && (c.calm || c.rng.IntN(4) > 0),
			c.img.Brokers[id].Active() && l.fetched[id] == p.LeaderEpoch && l.end[id] >= l.committed && l.end[id] == l.end[p.Leader]:
			isr = append(isr, id)
		}
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = 3, p.Leader, c.img.Brokers[p.Leader].Epoch
	rt := kmsg.NewAlterPartitionRequestTopic()
	rt.TopicID = t.ID
	rp := kmsg.NewAlterPartitionRequestTopicPartition()
	rp.Partition, rp.LeaderEpoch, rp.PartitionEpoch = int32(n), p.LeaderEpoch, p.PartitionEpoch
	for _, id := range isr {
		m := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		m.BrokerID, m.BrokerEpoch = id, c.img.Brokers[id].Epoch
		rp.NewEpochISR = append(rp.NewEpochISR, m)
	}
	drains := p.heir() != NoLeader && l.has(p.heir()) == l.has(p.Leader) && l.fetched[p.heir()] == p.LeaderEpoch && !c.deaf[p.Leader] && c.rng.IntN(2) == 0
	if drains {
		rp.NewEpochISR = nil
		for _, id := range p.ISR {
			m := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
			m.BrokerID, m.BrokerEpoch = id, c.img.Brokers[id].Epoch
			rp.NewEpochISR = append(rp.NewEpochISR, m)
		}
		SetDrained(&rp, p.heir())
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	if c.pending(t.ID, n, p) != nil { // one at a time
		return
	}
	c.note("isr %s-%d %v drained=%v", t.Name, n, isr, drains)
	if drains {
		l.stopped = [2]int32{p.LeaderEpoch, p.PartitionEpoch}
	}
	if c.rng.IntN(6) == 0 {
		c.late = append(c.late, late{req, t.ID, n})
	} else {
		c.propose(req)
	}
}

func randomCluster(t *testing.T, rng *rand.Rand, steps int, factors ...int16) *cluster {
	c := newCluster(t, rng, factors...)
	for range steps {
		c.step()
	}
	return c
}

// V3, V8: through fences, shutdowns, clean restarts and one lossy broker at a time no leader is elected that lacks a committed record, none uncleanly, and every image keeps the invariants.
func TestNoCommittedRecordIsLost(t *testing.T) {
	for name, factors := range map[string][]int16{"rf=1,2,3": {1, 2, 3}, "rf=3,3,5": {3, 3, 5}} {
		t.Run(name, func(t *testing.T) {
			var committed int64
			losses, older, drained := 0, 0, 0
			for seed := range uint64(40) {
				c := randomCluster(t, rand.New(rand.NewPCG(seed, 1)), 600, factors...)
				losses, older, drained = losses+c.losses, older+c.older, drained+c.drained
				for _, parts := range c.logs {
					for _, l := range parts {
						committed += l.committed
					}
				}
			}
			require.Greater(t, committed, int64(2_500), "the model commits records")
			require.Greater(t, drained, 30, "leaders hand over in the model")
			require.True(t, factors[0] < 3 || losses > 80, "the model loses replicas: %d", losses)
			require.True(t, factors[0] < 3 || older > 20, "the model brings disks back as older copies: %d", older)
		})
	}
}

// Internal topics that grow lose nothing either, whatever happens to the brokers and to the controller meanwhile, and in the end they have grown.
func TestInternalTopicsGrowWithoutLoss(t *testing.T) {
	grown, losses := 0, 0
	for seed := range uint64(60) {
		c := newCluster(t, rand.New(rand.NewPCG(seed, 2)))
		c.create(offsetsTopic, 1)
		c.create(transactionsTopic, 2)
		for range 400 {
			c.step()
			if c.rng.IntN(20) == 0 {
				c.m = New(c.m.c, c.img, c.now) // another controller takes over
			}
		}
		losses += c.losses
		for _, topic := range c.img.Topics {
			for _, p := range topic.Partitions {
				require.LessOrEqual(t, len(p.Replicas), 3)
				if len(p.Replicas) == 3 {
					grown++
				}
			}
		}
	}
	require.Greater(t, grown, 200, "of 240 partitions")
	require.Greater(t, losses, 40, "the model loses replicas")
}

// reassign gives a random partition a random target of the same size, or goes back.
func (c *cluster) reassign() {
	names := c.img.TopicNames()
	t := c.img.Topics[names[c.rng.IntN(len(names))]]
	n := c.rng.IntN(len(t.Partitions))
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = t.Name
	rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	rp.Partition = int32(n)
	if c.rng.IntN(4) > 0 {
		for _, id := range c.rng.Perm(int(c.brokers))[:3] {
			rp.Replicas = append(rp.Replicas, int32(id)+1)
		}
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	c.note("reassign %s-%d %v", t.Name, n, rp.Replicas)
	c.handle(req)
}

// Reassignments lose nothing either, whatever happens meanwhile, and come to an end when it stops.
func TestReassignmentsLoseNothing(t *testing.T) {
	completed, losses, drained, stepped, quieted := 0, 0, 0, 0, 0
	var committed int64
	for seed := range uint64(60) {
		c := newCluster(t, rand.New(rand.NewPCG(seed, 3)), 3, 3)
		reassigning := func() (n int) {
			for _, topic := range c.img.Topics {
				for _, p := range topic.Partitions {
					if p.Reassigning() {
						n++
					}
				}
			}
			return n
		}
		before := 0
		for range 500 {
			if c.rng.IntN(12) == 0 {
				c.reassign()
			}
			if c.rng.IntN(50) == 0 {
				c.m = New(c.m.c, c.img, c.now) // another controller takes over
			}
			c.step()
			now := reassigning()
			completed += max(0, before-now)
			before = now
		}
		for i := range 3 * c.brokers { // twice for those who have to wait until all were heard of
			id := i%c.brokers + 1
			if b := c.img.Brokers[id]; b.InControlledShutdown && c.back[id] == nil {
				c.register(id, b.Epoch)
			}
			c.leaving[id], c.slow[id] = false, false
			c.beat(id, false)
		}
		c.calm = true
		for i := range 2000 {
			if i%100 == 0 { // leaders that do not hand over are given time, and then up
				c.tick(3 * time.Second)
				for id := range c.brokers {
					c.beat(id+1, false)
				}
			}
			c.data()
			c.deliver()
		}
		require.Zero(t, reassigning(), "seed %d: %s", seed, c.tail())
		losses, drained, stepped, quieted = losses+c.losses, drained+c.drained, stepped+c.stepped, quieted+c.quieted
		for _, parts := range c.logs {
			for _, l := range parts {
				committed += l.committed
			}
		}
	}
	t.Logf("%d hand over, %d step down, %d shutdowns are recalled", drained, stepped, quieted)
	require.Greater(t, drained, 100, "leaders hand over in the model")
	require.Greater(t, completed, 250, "the model completes reassignments")
	require.Greater(t, losses, 40, "the model loses replicas")
	require.Greater(t, committed, int64(2_500), "the model commits records")
}
