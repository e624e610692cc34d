package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

const (
	topic      = "lines"
	partitions = 6
)

// run is the whole story, told on o.out.
func run(ctx context.Context, o options) error {
	lines, err := readLines(o.in)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return errors.New("the input is empty")
	}
	if o.dir == "" && !o.memory {
		if o.dir, err = os.MkdirTemp("", "insync-quickstart-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	}

	began := time.Now()
	c, err := startNodes(ctx, o)
	if err != nil {
		return err
	}
	defer c.close()
	say := func(format string, args ...any) { fmt.Fprintf(o.out, format+"\n", args...) }
	say("%d nodes ready in %v: %s", o.nodes, time.Since(began).Round(time.Millisecond), c.addresses())

	rf := min(3, o.nodes)
	admin := cluster.NewAdmin(c.node(1).Client())
	if err := admin.CreateTopic(ctx, cluster.TopicSpec{Name: topic, Partitions: partitions, ReplicationFactor: int16(rf), Configs: map[string]string{
		"min.insync.replicas": strconv.Itoa(rf/2 + 1),
	}}); err != nil {
		return err
	}
	say("topic %q: %d partitions, replication factor %d, min.insync.replicas %d, acks=all, every record synced before it is acknowledged", topic, partitions, rf, rf/2+1)

	w := &writer{cluster: c, lines: lines, progress: newProgress(o.out, "produced", len(lines))}
	if err := w.run(ctx, o.nodes > 1); err != nil {
		return err
	}
	if w.killed != 0 {
		say("killed node %d, leader of %s-%d, after %d records; first acknowledgement by its next leader %v later", w.killed, topic, w.busiest, w.killedAt, w.failover.Round(time.Millisecond))
		if err := c.start(ctx, w.killed); err != nil {
			return err
		}
		took, err := c.awaitISR(ctx, rf)
		if err != nil {
			return err
		}
		say("started node %d again; all replicas in sync %v later", w.killed, took.Round(time.Millisecond))
	}
	v := &verifier{lines: lines, progress: newProgress(o.out, "consumed", len(lines))}
	if err := v.run(ctx, c); err != nil {
		return err
	}

	fmt.Fprintln(o.out)
	if err := c.printTable(ctx, o.out); err != nil {
		return err
	}
	fmt.Fprintln(o.out)
	say("produced %s, consumed %s", rate(len(lines), w.bytes, w.took), rate(v.read, v.bytes, v.took))
	if o.listen {
		say("the nodes stay at %s for any Kafka client; interrupt to end", c.addresses())
		<-ctx.Done()
	}
	missing := w.acked.Load() - int64(v.distinct)
	say("sent=%d acked=%d read=%d missing=%d duplicates=%d reordered=%d", len(lines), w.acked.Load(), v.read, missing, v.duplicates, v.reordered)
	if int(w.acked.Load()) != len(lines) || v.read != len(lines) || missing != 0 || v.duplicates != 0 || v.reordered != 0 || v.foreign != 0 {
		return errCount
	}
	return nil
}

func rate(n int, bytes int64, took time.Duration) string {
	s := took.Seconds()
	return fmt.Sprintf("%d records, %.1f MB in %v (%.0f records/s, %.1f MB/s)", n, float64(bytes)/1e6, took.Round(time.Millisecond), float64(n)/s, float64(bytes)/1e6/s)
}

// writer produces every line with acks=all, and kills a leader half way.
type writer struct {
	cluster  *nodes
	lines    [][]byte
	progress *progress

	acked atomic.Int64
	bytes int64
	took  time.Duration

	killed   int32 // node; 0 none
	busiest  int32 // partition
	killedAt int
	killTime time.Time
	dead     atomic.Bool // the node is gone: what is acknowledged on its partition from now on is its successor's
	failover time.Duration
	once     sync.Once

	mu       sync.Mutex
	firstBad error
}

func (w *writer) run(ctx context.Context, kill bool) error {
	defer w.progress.done()
	began := time.Now()
	// The producer uses the client of the last node, which is never the one that is killed here: an application would lose its own node with itself.
	survivor := w.cluster.last()
	p, err := producer.New(producer.Config{Client: w.cluster.node(survivor).Client(), Linger: time.Millisecond})
	if err != nil {
		return err
	}
	defer p.Close()
	counts := make([]atomic.Int64, partitions)
	done := func(m producer.Metadata, err error) {
		if err != nil {
			w.mu.Lock()
			if w.firstBad == nil {
				w.firstBad = err
			}
			w.mu.Unlock()
			return
		}
		counts[m.Partition].Add(1)
		w.progress.set(int(w.acked.Add(1)))
		if w.dead.Load() && m.Partition == w.busiest {
			w.once.Do(func() { w.failover = time.Since(w.killTime) })
		}
	}
	for i, line := range w.lines {
		if kill && i == len(w.lines)/2 {
			// Let the acknowledgements catch up but for the newest, so that the node dies with records under way.
			for int(w.acked.Load()) < i-min(500, i/2) && !w.failed() {
				time.Sleep(time.Millisecond)
			}
			if err := w.killLeader(ctx, counts, survivor); err != nil {
				return err
			}
		}
		// The key is the line's number: it decides the partition and tells the reader what to expect.
		r := &record.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i), 10), Value: line}
		w.bytes += int64(len(line))
		if err := p.Enqueue(ctx, r, done); err != nil {
			return err
		}
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	w.took = time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.firstBad
}

func (w *writer) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.firstBad != nil
}

// killLeader kills the leader of the partition with the most records that the survivor does not lead.
func (w *writer) killLeader(ctx context.Context, counts []atomic.Int64, survivor int32) error {
	t, err := cluster.NewAdmin(w.cluster.node(survivor).Client()).Topic(ctx, topic)
	if err != nil {
		return err
	}
	best := int64(-1)
	for _, p := range t.Partitions {
		if n := counts[p.Partition].Load(); p.Leader != survivor && p.Leader > 0 && n > best {
			w.killed, w.busiest, best = p.Leader, p.Partition, n
		}
	}
	if w.killed == 0 {
		return nil // the survivor leads everything
	}
	w.killedAt = int(w.acked.Load())
	w.killTime = time.Now()
	w.cluster.kill(w.killed)
	w.dead.Store(true)
	return nil
}

// nodes are the nodes of the cluster, in this process, with real files and TCP between them.
type nodes struct {
	mu   sync.Mutex
	cfgs []cluster.Config
	up   []*cluster.Node // nil where killed
}

// startNodes binds all ports first, so that every node knows the others' addresses, and starts the nodes side by side.
func startNodes(ctx context.Context, o options) (*nodes, error) {
	c := &nodes{up: make([]*cluster.Node, o.nodes)}
	var voters []cluster.Voter
	var listeners []net.Listener
	for id := int32(1); id <= int32(o.nodes); id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		voters = append(voters, cluster.Voter{ID: id, Addr: l.Addr().String()})
	}
	for i, v := range voters {
		cfg := cluster.Config{
			NodeID: v.ID, Listener: listeners[i], Voters: voters,
			HeartbeatInterval: 100 * time.Millisecond, SessionTimeout: time.Second, ElectionTimeout: 500 * time.Millisecond, ReplicaLagTime: 10 * time.Second,
		}
		if !o.memory {
			cfg.Dir = filepath.Join(o.dir, fmt.Sprintf("node-%d", v.ID))
		}
		c.cfgs = append(c.cfgs, cfg)
	}
	errs := make([]error, o.nodes)
	var wg sync.WaitGroup
	for i := range c.cfgs {
		wg.Go(func() { errs[i] = c.start(ctx, int32(i+1)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// start starts a node, the first time on its bound port, later by listening on the same address again.
func (c *nodes) start(ctx context.Context, id int32) error {
	cfg := &c.cfgs[id-1]
	n, err := cluster.Start(ctx, *cfg)
	if cfg.Listener != nil {
		cfg.Listen, cfg.Listener = cfg.Listener.Addr().String(), nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.up[id-1] = n
	c.mu.Unlock()
	return nil
}

func (c *nodes) node(id int32) *cluster.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up[id-1]
}

func (c *nodes) last() int32 { return int32(len(c.cfgs)) }

// kill stops a node as kill -9 would.
func (c *nodes) kill(id int32) {
	n := c.node(id)
	c.mu.Lock()
	c.up[id-1] = nil
	c.mu.Unlock()
	n.Kill()
}

func (c *nodes) close() {
	var wg sync.WaitGroup
	for _, n := range c.up {
		if n != nil {
			wg.Go(func() { n.Close() })
		}
	}
	wg.Wait()
}

func (c *nodes) addresses() string {
	s := ""
	for i, n := range c.up {
		if n != nil {
			if i > 0 {
				s += " "
			}
			s += n.Addrs()[0]
		}
	}
	return s
}

// awaitISR waits until every partition has n replicas in sync.
func (c *nodes) awaitISR(ctx context.Context, n int) (time.Duration, error) {
	began := time.Now()
	for {
		t, ok := topicOf(c.node(c.last()))
		full := ok
		for _, p := range t.Partitions {
			full = full && len(p.ISR) == n
		}
		if full {
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func topicOf(n *cluster.Node) (cluster.TopicStatus, bool) {
	s := n.Status()
	return s.Topic(topic)
}
