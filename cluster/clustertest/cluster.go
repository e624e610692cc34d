package clustertest

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// Config sets up a Cluster. The zero value is one node.
type Config struct {
	Nodes int      // 0 means 1
	Racks []string // rack of each node; missing ones have none
	Seed  uint64   // of everything random

	// Node, if set, changes a node's configuration before it starts: topic defaults, timeouts, events, a logger.
	Node func(*cluster.Config)

	// Timeout bounds every wait of the methods of Cluster. 0 means two minutes: a client gives a request to a node that is cut off 30 s, unless another node leads what it is about.
	Timeout time.Duration
}

// Cluster is a cluster under test. Nodes are numbered from 1; a node's host on the network is "node1" and so on, the test's own clients are "client". Its methods may be called from several goroutines, save that one node is
// stopped, crashed or restarted by one at a time.
type Cluster struct {
	tb      testing.TB
	config  Config
	ctx     context.Context
	network *transport.Mem

	mu      sync.Mutex // of what is below, and of each member's disk and node
	rng     *rand.Rand
	members []*member
	clients []*transport.Client
	shared  *transport.Client
	known   int // nodes when it was made
}

// member is one node with the disk that outlives it.
type member struct {
	config cluster.Config
	disk   *vfs.Mem
	node   *cluster.Node // nil while it is down
}

const port = "9092"

func host(id int32) string { return fmt.Sprintf("node%d", id) }

// New starts a cluster and returns when all nodes can take requests. Topics are created automatically unless Config.Node says otherwise.
func New(tb testing.TB, c Config) *Cluster {
	tb.Helper()
	c.Nodes = max(c.Nodes, 1)
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Minute
	}
	tc := &Cluster{tb: tb, config: c, ctx: context.Background(), rng: rand.New(rand.NewPCG(c.Seed, 0x696e73796e63)), network: transport.NewMem()}
	var voters []cluster.Voter
	for id := int32(1); id <= int32(c.Nodes); id++ {
		voters = append(voters, cluster.Voter{ID: id, Addr: host(id) + ":" + port})
	}
	for _, v := range voters {
		m := &member{disk: vfs.NewMem(), config: tc.nodeConfig(v.ID, v.Addr)}
		m.config.Voters = voters
		if c.Node != nil {
			c.Node(&m.config)
		}
		tc.members = append(tc.members, m)
	}
	tb.Cleanup(tc.close)
	var wg sync.WaitGroup
	errs := make([]error, len(tc.members))
	for i, m := range tc.members {
		wg.Go(func() { errs[i] = tc.start(m) })
	}
	wg.Wait()
	for _, err := range errs {
		tc.check(err)
	}
	return tc
}

// nodeConfig is called where nothing else uses the cluster's random source.
func (c *Cluster) nodeConfig(id int32, addr string) cluster.Config {
	config := cluster.Config{
		Limits: transport.Limits{ConnectionsPerHost: 4096}, // all clients of a test are one host
		NodeID: id, Dir: "data", Listen: addr, Network: c.network.Host(host(id)), AutoCreateTopics: true,
		Groups: cluster.GroupSettings{InitialRebalanceDelay: -1, OffsetsPartitions: 5}, // a test does not want to wait for members that it has not got
		Rand:   rand.New(rand.NewPCG(c.rng.Uint64(), uint64(id))),
	}
	if int(id) <= len(c.config.Racks) {
		config.Rack = c.config.Racks[id-1]
	}
	return config
}

func (c *Cluster) start(m *member) error {
	ctx, cancel := c.timeout()
	defer cancel()
	config := m.config
	_, config.FS = c.now(m)
	node, err := cluster.Start(ctx, config)
	c.mu.Lock()
	m.node = node
	c.mu.Unlock()
	return err
}

func (c *Cluster) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, c.config.Timeout)
}

func (c *Cluster) check(err error) {
	if err != nil {
		c.tb.Helper()
		c.tb.Fatalf("clustertest: %v", err)
	}
}

func (c *Cluster) close() {
	c.mu.Lock()
	clients := slices.Clone(c.clients)
	c.mu.Unlock()
	for _, cl := range clients {
		cl.Close()
	}
	var wg sync.WaitGroup
	for id, node := range c.up() {
		wg.Go(func() {
			if err := node.Close(); err != nil {
				c.tb.Errorf("clustertest: close node %d: %v", id, err)
			}
		})
	}
	wg.Wait()
}

func (c *Cluster) member(id int32) *member {
	c.mu.Lock()
	members := c.members
	c.mu.Unlock()
	if id < 1 || int(id) > len(members) {
		c.tb.Helper()
		c.tb.Fatalf("clustertest: no node %d", id)
	}
	return members[id-1]
}

// now is a member's node and disk as they are now.
func (c *Cluster) now(m *member) (*cluster.Node, *vfs.Mem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.node, m.disk
}

// up are the nodes that are up now, by id.
func (c *Cluster) up() iter.Seq2[int32, *cluster.Node] {
	return func(yield func(int32, *cluster.Node) bool) {
		for i := 0; ; i++ {
			c.mu.Lock()
			if i == len(c.members) {
				c.mu.Unlock()
				return
			}
			node := c.members[i].node
			c.mu.Unlock()
			if node != nil && !yield(int32(i+1), node) {
				return
			}
		}
	}
}

// Join starts one more node, which joins the cluster as an observer of its metadata quorum, and returns its id when it can take requests; cluster.Admin gives it a vote.
func (c *Cluster) Join() int32 {
	c.tb.Helper()
	id := c.Prospect()
	c.Restart(id)
	return id
}

// Prospect adds a node that is down; Restart has it join. Whenever it is restarted it asks to join again, as a process that is started with the same flags does.
func (c *Cluster) Prospect() (id int32) {
	join := c.Addrs()
	c.mu.Lock()
	defer c.mu.Unlock()
	id = int32(len(c.members) + 1)
	m := &member{disk: vfs.NewMem(), config: c.nodeConfig(id, host(id)+":"+port)}
	m.config.Join = join
	if c.config.Node != nil {
		c.config.Node(&m.config)
	}
	c.members = append(c.members, m)
	return id
}

// Node returns a node, nil while it is down.
func (c *Cluster) Node(id int32) *cluster.Node {
	c.tb.Helper()
	node, _ := c.now(c.member(id))
	return node
}

// Any returns a node that is up.
func (c *Cluster) Any() *cluster.Node {
	for _, node := range c.up() {
		return node
	}
	c.tb.Helper()
	c.tb.Fatal("clustertest: every node is down")
	return nil
}

// Network is the network between the nodes and their clients, for faults beyond Cut and Heal.
func (c *Cluster) Network() *transport.Mem { return c.network }

// Addrs are the addresses of all nodes: a bootstrap list.
func (c *Cluster) Addrs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var addrs []string
	for _, m := range c.members {
		addrs = append(addrs, host(m.config.NodeID)+":"+port)
	}
	return addrs
}

// Client returns a client that reaches the cluster over the network from the host "client". It is closed with the cluster.
func (c *Cluster) Client() *transport.Client {
	c.tb.Helper()
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: c.Addrs(), Network: c.network.Host("client")})
	c.check(err)
	c.mu.Lock()
	c.clients = append(c.clients, client)
	c.mu.Unlock()
	return client
}

// client is the one that the cluster's own methods share, another one when there are nodes that it may not know of.
func (c *Cluster) client() *transport.Client {
	c.mu.Lock()
	shared, current := c.shared, c.known == len(c.members)
	nodes := len(c.members)
	c.mu.Unlock()
	if current {
		return shared
	}
	shared = c.Client()
	c.mu.Lock()
	c.shared, c.known = shared, nodes
	c.mu.Unlock()
	return shared
}

// CreateTopic creates a topic and returns when every node that is up knows it.
func (c *Cluster) CreateTopic(name string, partitions int32, replicationFactor int16) {
	c.tb.Helper()
	ctx, cancel := c.timeout()
	defer cancel()
	c.check(cluster.NewAdmin(c.client()).CreateTopic(ctx, cluster.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: replicationFactor}))
	c.Await(fmt.Sprintf("every node knows topic %q", name), func() bool {
		for _, node := range c.up() {
			s := node.Status()
			if _, ok := s.Topic(name); !ok {
				return false
			}
		}
		return true
	})
}

// partition returns a partition as the node that is up and knows most knows it: one that is cut off, or has just come back, lags.
func (c *Cluster) partition(topic string, partition int32) (cluster.PartitionStatus, bool) {
	newest := c.Any().Status()
	for _, node := range c.up() {
		if s := node.Status(); s.Metadata > newest.Metadata {
			newest = s
		}
	}
	t, ok := newest.Topic(topic)
	if !ok || int(partition) >= len(t.Partitions) {
		return cluster.PartitionStatus{}, false
	}
	return t.Partitions[partition], true
}

// Leader returns the node that leads a partition, waiting until there is one that is up.
func (c *Cluster) Leader(topic string, partition int32) (leader int32) {
	c.tb.Helper()
	c.Await(fmt.Sprintf("%s-%d has a leader", topic, partition), func() bool {
		p, ok := c.partition(topic, partition)
		leader = p.Leader
		return ok && leader > 0 && c.Node(leader) != nil
	})
	return leader
}

// AwaitISR waits until n replicas of a partition are in sync.
func (c *Cluster) AwaitISR(topic string, partition int32, n int) {
	c.tb.Helper()
	c.Await(fmt.Sprintf("%s-%d has %d replicas in sync", topic, partition, n), func() bool {
		p, ok := c.partition(topic, partition)
		return ok && len(p.ISR) == n
	})
}

// Await waits until cond holds, looking every few milliseconds; it fails the test after Config.Timeout.
func (c *Cluster) Await(what string, cond func() bool) {
	c.tb.Helper()
	for deadline := time.Now().Add(c.config.Timeout); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, node := range c.up() {
				c.tb.Log(node.Status())
			}
			c.tb.Fatalf("clustertest: not within %v: %s", c.config.Timeout, what)
		}
	}
}

// Stop stops a node in order: it hands its leaderships over.
func (c *Cluster) Stop(id int32) {
	c.tb.Helper()
	ctx, cancel := c.timeout()
	defer cancel()
	m := c.member(id)
	node, _ := c.now(m)
	c.check(node.Shutdown(ctx))
	c.down(m, nil)
}

// random returns a source of its own for something random.
func (c *Cluster) random() *rand.Rand {
	c.mu.Lock()
	defer c.mu.Unlock()
	return rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64()))
}

// down marks a node as down, with the disk it leaves behind if that is another one.
func (c *Cluster) down(m *member, disk *vfs.Mem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.node = nil
	if disk != nil {
		m.disk = disk
	}
}

// Kill stops a node as kill -9 does: everything written survives, also what was not synced.
func (c *Cluster) Kill(id int32) { c.crash(id, vfs.KeepAll) }

// Crash stops a node as a power loss does: what was not synced is gone.
func (c *Cluster) Crash(id int32) { c.crash(id, vfs.DropAll) }

// CrashTorn stops a node as a power loss does on a bad day: of what was not synced a random part survives, torn and out of order.
func (c *Cluster) CrashTorn(id int32) { c.crash(id, vfs.KeepRandom) }

func (c *Cluster) crash(id int32, mode vfs.CrashMode) {
	c.tb.Helper()
	m := c.member(id)
	node, disk := c.now(m)
	if node == nil {
		return
	}
	left := disk.Crash(mode, c.random()) // first, so that nothing more reaches the disk
	node.Kill()
	c.down(m, left)
}

// Restart starts a node that is down, with the disk it had, and returns when it can take requests.
func (c *Cluster) Restart(id int32) {
	c.tb.Helper()
	m := c.member(id)
	if node, _ := c.now(m); node != nil {
		c.tb.Fatalf("clustertest: node %d is up", id)
	}
	c.check(c.start(m))
}

// RestartAll starts all nodes that are down, side by side: after the loss of a majority no node is ready alone.
func (c *Cluster) RestartAll() {
	c.tb.Helper()
	var wg sync.WaitGroup
	c.mu.Lock()
	var down []*member
	for _, m := range c.members {
		if m.node == nil {
			down = append(down, m)
		}
	}
	c.mu.Unlock()
	errs := make([]error, len(down))
	for i, m := range down {
		wg.Go(func() { errs[i] = c.start(m) })
	}
	wg.Wait()
	for _, err := range errs {
		c.check(err)
	}
}

// Cut cuts the network between two nodes in both directions; connections stay open and silent, as when a cable is pulled.
func (c *Cluster) Cut(a, b int32) {
	c.CutOneWay(a, b)
	c.CutOneWay(b, a)
}

// CutOneWay loses what from sends to to.
func (c *Cluster) CutOneWay(from, to int32) {
	c.network.SetLink(host(from), host(to), transport.Link{Cut: true})
}

// Isolate cuts a node off from all others and from clients.
func (c *Cluster) Isolate(id int32) {
	c.network.SetLink(host(id), "*", transport.Link{Cut: true})
	c.network.SetLink("*", host(id), transport.Link{Cut: true})
}

// Heal mends the network.
func (c *Cluster) Heal() { c.network.Heal() }

// Produce writes values to a topic with acks=all and returns when all are acknowledged.
func (c *Cluster) Produce(topic string, values ...[]byte) {
	c.tb.Helper()
	ctx, cancel := c.timeout()
	defer cancel()
	p, err := producer.New(producer.Config{Client: c.client()})
	c.check(err)
	defer p.Close()
	for _, v := range values {
		_, err := p.Produce(ctx, &record.Record{Topic: topic, Value: v})
		c.check(err)
	}
}

// ReadAll reads everything that is committed in a topic at the moment, by partition and offset.
func (c *Cluster) ReadAll(topic string) []record.Record {
	c.tb.Helper()
	ctx, cancel := c.timeout()
	defer cancel()
	t, err := c.client().Topic(ctx, topic, false)
	c.check(err)
	ends := map[int32]int64{}
	for p := range t.Partitions {
		if end := c.end(ctx, topic, int32(p)); end > 0 {
			ends[int32(p)] = end
		}
	}
	if len(ends) == 0 {
		return nil
	}
	cons, err := consumer.New(consumer.Config{Client: c.client(), Topics: []string{topic}})
	c.check(err)
	defer cons.Close()
	var all []record.Record
	for b, err := range cons.Batches(ctx) {
		c.check(err)
		for i := range b.Records {
			all = append(all, b.Records[i].Clone())
		}
		for _, s := range cons.Status() {
			if end, ok := ends[s.Partition]; ok && s.Position >= end {
				delete(ends, s.Partition)
			}
		}
		if len(ends) == 0 {
			break
		}
	}
	if len(ends) > 0 {
		c.tb.Fatalf("clustertest: read of %q ended before the end of partitions %v: %v", topic, ends, ctx.Err())
	}
	slices.SortStableFunc(all, func(a, b record.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return all
}
