package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// group is the consumer group of a load. Members come, leave and die; the history has a group for each partition, whose generation counts the owners.
type group struct {
	*load
	done chan struct{} // members are of no use any more

	mu     sync.Mutex
	owners map[int32]int64
}

func (l *load) newGroup() *group {
	return &group{load: l, done: make(chan struct{}), owners: map[int32]int64{}}
}

func groupOf(part int32) string { return fmt.Sprintf("g.%d", part) }

func (g *group) over() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// claim is a partition in a member's hands.
type claim struct {
	generation int64
	begins     int   // operation: where the group's offset was
	from, read int64 // what was handed out: [from, read)
	epoch      int32 // of the last record of that
	marked     int64 // to be committed
}

// member is one life of a member.
type member struct {
	*group
	name string
	lag  int // how many records it has in its hands at most when it commits

	mu    sync.Mutex
	owned map[int32]*claim
}

// join runs one member after the other on a host, until the group is done.
func (g *group) join(host string, rng *rand.Rand) {
	w := g.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	for life := 0; !g.over(); life++ {
		m := &member{group: g, name: fmt.Sprintf("%s.%d", host, life), lag: rng.IntN(3) * 4, owned: map[int32]*claim{}}
		c, err := consumer.New(consumer.Config{
			Client: client, Topics: []string{g.topic.Name}, Group: "g", CommitInterval: time.Hour, SessionTimeout: 3 * time.Second, RebalanceTimeout: 10 * time.Second,
			OnAssigned: m.assigned, OnRevoked: m.revoked, OnLost: m.lost,
		})
		if err != nil {
			w.problem("member: %v", err)
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		if !w.Over() {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(float64(w.pace(10*time.Second))*(0.1+rng.ExpFloat64())))
		}
		go func() {
			select {
			case <-g.done:
				cancel()
			case <-ctx.Done():
			}
		}()
		m.run(ctx, c, rng)
		if rng.IntN(2) == 0 && !w.Over() {
			g.rec.Note(history.Op{Process: m.name, Kind: history.Crash})
			w.within("kill of "+m.name, 5*time.Second, func() { c.Kill() })
		} else {
			w.within("close of "+m.name, 10*time.Second, func() { c.Close() })
		}
		cancel()
		time.Sleep(g.w.pace(time.Duration(rng.ExpFloat64() * float64(300*time.Millisecond))))
	}
}

func (m *member) run(ctx context.Context, c *consumer.Consumer, rng *rand.Rand) {
	m.rec.Note(history.Op{Process: m.name, Kind: history.Subscribe, Group: "g"})
	left := 1 + rng.IntN(60)
	for r, err := range c.Records(ctx) {
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, consumer.ErrClosed) {
				m.w.problem("%s: %v", m.name, err)
			}
			return
		}
		m.handle(c, r)
		// The last record of what there is has to be committed, too.
		if left--; left <= 0 || m.w.Over() {
			left = 1 + rng.IntN(60)
			m.mark(c, rng)
			m.commit(ctx, c)
		}
	}
}

func (m *member) handle(c *consumer.Consumer, r *record.Record) {
	at := place(&m.topic, r.Partition)
	m.rec.Note(history.Op{Process: m.name, Kind: history.Poll, Items: []history.Item{history.ItemOf(at, r.Offset, nil, r.Value, nil)}})
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.owned[r.Partition]
	if o == nil { // lost while it was handed out
		_ = c.MarkProcessed(r)
		return
	}
	if o.begins >= 0 {
		op := history.Op{Process: m.name, Kind: history.Fetch, Place: at, Group: groupOf(r.Partition), Offset: r.Offset}
		if r.Offset == 0 {
			op.Offset = -1 // of no commit it begins there, too
		}
		m.rec.End(o.begins, op)
		o.begins, o.from = -1, r.Offset
	}
	if o.read, o.epoch = r.Offset+1, r.LeaderEpoch; m.lag == 0 && c.MarkProcessed(r) == nil {
		o.marked = o.read
	}
}

// mark marks what a member has processed by now that takes its time: not all that was handed out, as long as more comes.
func (m *member) mark(c *consumer.Consumer, rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for part := range int32(len(m.topic.Partitions)) {
		o := m.owned[part]
		if o == nil {
			continue
		}
		end := o.read
		if m.lag > 0 && !m.w.Over() {
			end -= int64(rng.IntN(m.lag))
		}
		if end > max(o.marked, o.from) && c.MarkProcessed(&record.Record{Topic: m.topic.Name, Partition: part, Offset: end - 1, LeaderEpoch: o.epoch}) == nil {
			o.marked = end
		}
	}
}

// commit commits what is marked. An answer counts for what was not lost meanwhile.
func (m *member) commit(ctx context.Context, c *consumer.Consumer) {
	type begun struct {
		claim *claim
		op    history.Op
		id    int
	}
	var all []begun
	m.mu.Lock()
	for part := range int32(len(m.topic.Partitions)) {
		if o := m.owned[part]; o != nil && o.marked > 0 {
			op := m.committing(part, o)
			all = append(all, begun{o, op, m.rec.Begin(op)})
		}
	}
	m.mu.Unlock()
	if len(all) == 0 {
		return
	}
	err := c.CommitMarked(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range all {
		switch {
		case err != nil:
			b.op.Outcome, b.op.Err = history.Info, err.Error()
		case m.owned[b.op.Place.Partition] != b.claim:
			b.op.Outcome, b.op.Err = history.Info, "lost meanwhile"
		}
		m.rec.End(b.id, b.op)
	}
}

func (m *member) committing(part int32, o *claim) history.Op {
	return history.Op{Process: m.name, Kind: history.Commit, Place: place(&m.topic, part), Group: groupOf(part), Generation: o.generation, Offset: o.marked}
}

func (m *member) assigned(_ context.Context, parts []consumer.TopicPartition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts {
		m.group.mu.Lock()
		m.owners[p.Partition]++
		o := &claim{generation: m.owners[p.Partition]}
		m.rec.Note(history.Op{Process: m.name, Kind: history.Claim, Place: place(&m.topic, p.Partition), Group: groupOf(p.Partition), Generation: o.generation})
		m.group.mu.Unlock()
		o.begins = m.rec.Begin(history.Op{Process: m.name, Kind: history.Fetch, Place: place(&m.topic, p.Partition), Group: groupOf(p.Partition)})
		m.owned[p.Partition] = o
	}
}

// revoked ends claims in order: what is marked is committed when it returns, or not.
func (m *member) revoked(_ context.Context, parts []consumer.TopicPartition) { m.gone(parts, true) }

func (m *member) lost(_ context.Context, parts []consumer.TopicPartition) { m.gone(parts, false) }

func (m *member) gone(parts []consumer.TopicPartition, commits bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts {
		if o := m.owned[p.Partition]; o != nil && commits && o.marked > 0 {
			m.rec.Begin(m.committing(p.Partition, o))
		}
		delete(m.owned, p.Partition)
		m.rec.Note(history.Op{Process: m.name, Kind: history.Revoke, Place: place(&m.topic, p.Partition), Group: groupOf(p.Partition)})
	}
}

// watch asks for the committed offsets again and again.
func (g *group) watch(host string, rng *rand.Rand) {
	client := g.w.Client(host, limits(rng))
	defer client.Close()
	for !g.w.Over() {
		time.Sleep(g.w.pace(time.Duration(rng.ExpFloat64() * float64(500*time.Millisecond))))
		_, _ = g.committed(client, host)
	}
}

// committed asks for the committed offsets, and notes them.
func (g *group) committed(client *transport.Client, process string) (map[int32]int64, error) {
	ids := map[int32]int{}
	op := func(part int32) history.Op {
		return history.Op{Process: process, Kind: history.Fetch, Place: place(&g.topic, part), Group: groupOf(part)}
	}
	for i := range int32(len(g.topic.Partitions)) {
		ids[i] = g.rec.Begin(op(i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, err := cluster.NewAdmin(client).Group(ctx, "g")
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for _, p := range status.Partitions {
		if p.Topic == g.topic.Name {
			o := op(p.Partition)
			o.Offset = p.Committed
			g.rec.End(ids[p.Partition], o)
			offsets[p.Partition] = p.Committed
		}
	}
	return offsets, nil
}

// finish waits until the group has committed everything, and ends it.
func (g *group) finish(client *transport.Client, ends map[int32]int64, members *sync.WaitGroup) {
	g.w.await("the group has committed everything", g.w.settle(), func() bool {
		got, err := g.committed(client, "watcher-at-the-end")
		for part, end := range ends {
			if err != nil || got[part] < end {
				return false
			}
		}
		return true
	})
	close(g.done)
	members.Wait()
	if _, err := g.committed(client, "watcher-at-the-end"); err != nil {
		g.w.problem("offsets of the group at the end: %v", err)
	}
}
