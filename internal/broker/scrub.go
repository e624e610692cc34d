package broker

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	defaultScrubInterval = 24 * time.Hour
	defaultScrubRate     = 16 << 20 // bytes a second
	scrubDelay           = time.Minute

	// scrubLogCost is what going to a log and its small files costs, in bytes of reading: thousands of logs that are nearly empty are gone through in their time, too.
	scrubLogCost = 64 << 10

	mendRetryMin = 100 * time.Millisecond
	mendRetryMax = time.Minute

	// hashPatience is for how long a node is asked for a hash that works for others.
	hashPatience = time.Minute

	// keptRepairs is how many repairs are remembered.
	keptRepairs = 256
)

// Repair is damage that was found in a replica of this node, and what became of it.
type Repair struct {
	Topic     string
	Partition int32
	Damage    log.Damage
	Found     time.Time
	Mended    time.Time // zero: it is damaged still
	From      int32     // the node that had good bytes; -1: nobody
	Err       error     // why the last attempt to mend it failed
}

// scrubber reads the logs of this node again and again, slowly, and has what is damaged mended by other replicas; what readers come upon at once. It has a goroutine only while there is something to do.
//
//	a reader meets a bad batch ──▶ suspect ─┐
//	a follower complains ──────────────────▶├─▶ scrub of that log ──▶ ranges marked ──▶ batches of another replica ──▶ segment built anew, swapped in, sealed
//	every ScrubInterval, all logs ─────────▶┘
type scrubber struct {
	b       *Broker
	running atomic.Bool

	mu struct {
		sync.Mutex
		due      bool // all logs
		suspects map[*partition]bool
		repairs  []Repair // the newest last
	}
}

func newScrubber(b *Broker) *scrubber {
	s := &scrubber{b: b}
	s.mu.suspects = map[*partition]bool{}
	return s
}

// Repairs lists the damage that was found on this node, the newest last.
func (b *Broker) Repairs() []Repair {
	b.scrubber.mu.Lock()
	defer b.scrubber.mu.Unlock()
	return slices.Clone(b.scrubber.mu.repairs)
}

// Scrub has all logs of this node read and checked, beginning now.
func (b *Broker) Scrub() { b.scrubber.all() }

func (s *scrubber) all() {
	s.mu.Lock()
	s.mu.due = true
	s.mu.Unlock()
	s.start()
}

// suspect has a log looked at, at once, that may be damaged. It does not block.
func (s *scrubber) suspect(p *partition, _ int64) {
	s.mu.Lock()
	s.mu.suspects[p] = true
	s.mu.Unlock()
	s.start()
}

func (s *scrubber) start() {
	if !s.running.CompareAndSwap(false, true) {
		return
	}
	if !s.b.spawn(s.run) {
		s.running.Store(false)
	}
}

// run does what there is to do. A damaged log that nobody can mend now is tried again, the less often the longer it takes.
func (s *scrubber) run() {
	pause := mendRetryMin
	for s.b.ctx.Err() == nil {
		s.mu.Lock()
		list := make([]*partition, 0, len(s.mu.suspects))
		for p := range s.mu.suspects {
			list = append(list, p)
		}
		clear(s.mu.suspects)
		due := s.mu.due
		s.mu.due = false
		if len(list) == 0 && !due {
			s.running.Store(false)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		sortPartitions(list)
		var left []*partition
		for _, p := range list {
			if !s.look(p) {
				left = append(left, p)
			}
		}
		if due {
			left = append(left, s.pass()...)
		}
		if len(left) == 0 {
			pause = mendRetryMin
			continue
		}
		s.mu.Lock()
		for _, p := range left {
			s.mu.suspects[p] = true
		}
		s.mu.Unlock()
		sleep(s.b.ctx, pause)
		pause = min(2*pause, mendRetryMax)
	}
}

// pacer holds back who reads, so that it is no more than so many bytes a second; a negative rate is no bound. It is for one at a time.
type pacer struct {
	rate int64
	debt time.Duration
}

// take waits for what was read before, and notes what is. Error: ctx's, also where there is nothing to wait for: many small pieces take long on a slow disk.
func (p *pacer) take(ctx context.Context, bytes int) error {
	if p.rate < 0 {
		return ctx.Err()
	}
	p.debt += time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second))
	if p.debt < 50*time.Millisecond {
		return ctx.Err()
	}
	sleep(ctx, p.debt)
	p.debt = 0
	return ctx.Err()
}

// pass goes through all logs at the configured rate, and returns those that stay damaged though somebody may have good bytes.
func (s *scrubber) pass() (left []*partition) {
	p := pacer{rate: s.b.c.ScrubRate}
	c := log.Scrubber{Pace: func(bytes int) error { return p.take(s.b.ctx, bytes) }}
	for _, p := range s.b.replicas.all() {
		if c.Pace(scrubLogCost) == nil && !s.visit(p, c) {
			left = append(left, p)
		}
	}
	if s.b.ctx.Err() != nil {
		return left
	}
	if r, err := s.b.c.Directory.ScrubFiles(); err != nil {
		s.b.logger.Error("cannot check the directory's files", "error", err)
	} else if len(r) > 0 {
		s.b.logger.Warn("damaged files of the directory were written anew", "files", r)
	}
	return left
}

// visit scrubs one log, compares it with those of others and has it mended, as look does.
func (s *scrubber) visit(p *partition, c log.Scrubber) bool {
	damage, ok := s.check(p, c)
	if ok && len(damage) == 0 {
		l := p.replica.Log()
		s.compare(p, l, c)
		damage = l.Damage()
	}
	return s.repair(p, damage)
}

// look scrubs one log, as fast as it goes, and has it mended. False: it is damaged still, and another attempt may help. Somebody waits for what is damaged, and the others take their time to compare: that is not done here.
func (s *scrubber) look(p *partition) bool {
	damage, _ := s.check(p, log.Scrubber{Pace: func(int) error { return s.b.ctx.Err() }})
	return s.repair(p, damage)
}

// check scrubs one log and returns what is damaged in it; ok is false if it is not here any more, or cannot be scrubbed, or there is no time left.
func (s *scrubber) check(p *partition, c log.Scrubber) (damage []log.Damage, ok bool) {
	if p.replica == nil || s.b.replicas.getByID(p.id, p.index) != p {
		return nil, false
	}
	r, err := p.replica.Log().Scrub(c)
	if err != nil {
		if s.b.ctx.Err() == nil && !errors.Is(err, log.ErrClosed) {
			s.b.logger.Error("scrub failed", "topic", p.topic, "partition", p.index, "error", err)
		}
		return nil, false
	}
	for _, name := range r.Rebuilt {
		s.note(p, log.Damage{Path: name, Reason: errDerived}, s.b.c.NodeID, nil)
	}
	return r.Damage, true
}

// repair has what is damaged mended.
func (s *scrubber) repair(p *partition, damage []log.Damage) bool {
	if len(damage) == 0 {
		return true
	}
	for _, d := range damage {
		s.note(p, d, -1, nil)
	}
	return s.mend(p, p.replica.Log(), damage)
}

// compare holds rolled segments against those of the other replicas, once: what has changed before it was sealed, and shows in nothing else, is known by being different. Two that agree are believed.
func (s *scrubber) compare(p *partition, l *log.Log, c log.Scrubber) {
	nodes := s.sources(p)
	if len(nodes) < 2 {
		return
	}
	if p.compared == nil {
		p.compared = map[log.Range]bool{}
	}
	for _, r := range l.SealedRanges() {
		if p.compared[r] || s.b.ctx.Err() != nil {
			continue
		}
		p.compared[r] = s.compareRange(p, l, r, nodes, c)
	}
}

// hashBytes is how much is compared at a time: what another node can read in a fraction of the time for which it is waited for, and not so little that the requests cost more.
func (s *scrubber) hashBytes() int64 {
	const most = 4 << 20
	if rate := s.b.c.ScrubRate; rate >= 0 {
		return min(most, max(1, int64(float64(rate)*s.b.c.SessionTimeout.Seconds()/4)))
	}
	return most
}

// compareRange compares a segment part by part. It tells whether all of it was the same elsewhere.
func (s *scrubber) compareRange(p *partition, l *log.Log, r log.Range, nodes []int32, c log.Scrubber) bool {
	for from := r.From; from < r.To; {
		part, own, ok, err := l.HashPart(log.Range{From: from, To: r.To}, s.hashBytes(), c)
		if err != nil || !ok {
			return false
		}
		same, others := 0, map[uint64]int{}
		for _, node := range nodes {
			hash, ok := s.askHash(p, node, part)
			switch {
			case !ok:
			case hash == own:
				same++
			default:
				if others[hash]++; others[hash] == 2 && same == 0 {
					if err := l.Reject(r, errDiffers); err != nil {
						s.b.logger.Error("cannot reject a segment", "topic", p.topic, "partition", p.index, "error", err)
					}
				}
			}
		}
		if len(others) > 0 {
			s.b.logger.Error("replicas differ", "topic", p.topic, "partition", p.index, "from", part.From, "to", part.To, "same", same, "others", len(others))
		}
		if same == 0 || len(others) > 0 {
			return false
		}
		from = part.To
	}
	return true
}

var errDiffers = errors.New("the other replicas agree on something else")

// askHash asks for a hash, again while the other node works on another one's.
func (s *scrubber) askHash(p *partition, node int32, r log.Range) (uint64, bool) {
	until := time.Now().Add(hashPatience)
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		b, err := s.request(node, &RangeRequest{TopicID: p.id, Partition: p.index, Offset: r.From, End: r.To, Hash: true})
		switch {
		case errors.Is(err, kerr.ThrottlingQuotaExceeded) && time.Now().Before(until) && sleep(s.b.ctx, pause):
			continue
		case err != nil || len(b) != 8:
			return 0, false
		}
		return binary.BigEndian.Uint64(b), true
	}
}

var errDerived = errors.New("made anew from the log")

// mend asks the other replicas for the bytes, one after the other, the leader first.
func (s *scrubber) mend(p *partition, l *log.Log, damage []log.Damage) bool {
	nodes := s.sources(p)
	var last error
	for _, node := range nodes {
		err := l.Mend(func(offset, end int64, bytes int) ([]byte, error) { return s.ask(p, node, offset, end, bytes) })
		if err == nil {
			for _, d := range damage {
				s.note(p, d, node, nil)
			}
			return true
		}
		last = err
		s.b.logger.Warn("damage cannot be mended from a replica", "topic", p.topic, "partition", p.index, "from", node, "error", err)
	}
	for _, d := range damage {
		s.note(p, d, -1, cmp.Or(last, errNobody))
	}
	if e, ok := errors.AsType[*log.StorageError](last); ok && s.b.ctx.Err() == nil {
		// The others' bytes are good, but this disk takes or keeps nothing: whoever has another should lead.
		p.replica.Fail(e)
		return true
	}
	return len(nodes) == 0
}

var errNobody = errors.New("broker: no other replica")

// sources are the nodes that may have good bytes.
func (s *scrubber) sources(p *partition) (nodes []int32) {
	m := partitionOf(s.b.metadataImage(), p.topic, p.index)
	if m == nil {
		return nil
	}
	for _, list := range [][]int32{{m.Leader}, m.ISR, m.Replicas} {
		for _, id := range list {
			if id >= 0 && id != s.b.c.NodeID && !slices.Contains(nodes, id) {
				nodes = append(nodes, id)
			}
		}
	}
	return nodes
}

func (s *scrubber) ask(p *partition, node int32, offset, end int64, bytes int) ([]byte, error) {
	return s.request(node, &RangeRequest{TopicID: p.id, Partition: p.index, Offset: offset, End: end, Bytes: int32(bytes)})
}

func (s *scrubber) request(node int32, req *RangeRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.b.ctx, s.b.c.SessionTimeout)
	defer cancel()
	resp, err := s.b.peers.Request(ctx, node, req)
	if err != nil {
		return nil, err
	}
	r := resp.(*RangeResponse)
	if r.ErrorCode != 0 {
		return nil, kerr.ErrorForCode(r.ErrorCode)
	}
	return r.Batches, nil
}

// complain tells a leader that what it sent is damaged.
func (b *Broker) complain(leader int32, topic string, index int32, offset int64, err error) {
	b.space.met(time.Now(), err)
	p := b.replicas.get(topic, index)
	if p == nil || !is[*record.CorruptError](err) {
		return
	}
	b.logger.Warn("the leader sent damaged bytes", "topic", topic, "partition", index, "leader", leader, "offset", offset, "error", err)
	b.spawn(func() {
		ctx, cancel := context.WithTimeout(b.ctx, b.c.SessionTimeout)
		defer cancel()
		if _, err := b.peers.Request(ctx, leader, &RangeRequest{TopicID: p.id, Partition: index, Offset: offset, End: offset, Complaint: true}); err != nil {
			b.logger.Debug("complaint not delivered", "leader", leader, "error", err)
		}
	})
}

// note remembers damage, once, and what became of it, and tells of it.
func (s *scrubber) note(p *partition, d log.Damage, from int32, why error) {
	r := Repair{Topic: p.topic, Partition: p.index, Damage: d, Found: time.Now(), From: from, Err: why}
	s.mu.Lock()
	i := slices.IndexFunc(s.mu.repairs, func(o Repair) bool {
		return o.Mended.IsZero() && o.Topic == r.Topic && o.Partition == r.Partition && o.Damage.From == d.From && o.Damage.To == d.To && o.Damage.Path == d.Path
	})
	known := i >= 0
	if known {
		r.Found = s.mu.repairs[i].Found
		s.mu.repairs = slices.Delete(s.mu.repairs, i, i+1)
	}
	if from >= 0 {
		r.Mended = time.Now()
	}
	s.mu.repairs = append(s.mu.repairs, r)
	if n := len(s.mu.repairs) - keptRepairs; n > 0 {
		s.mu.repairs = slices.Delete(s.mu.repairs, 0, n)
	}
	s.mu.Unlock()
	if known && from < 0 && why == nil {
		return
	}
	s.b.logger.Warn("damage", "topic", p.topic, "partition", p.index, "damage", d, "mended_from", from, "error", why)
	if f := s.b.c.Events.Repair; f != nil {
		f(r)
	}
}
