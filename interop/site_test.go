package interop

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/twmb/franz-go/pkg/kgo"
)

// site is where a cluster runs that foreign clients are let loose on: real sockets and files, or a bubble.
type site interface {
	seeds() []string
	dial(ctx context.Context, addr string) (net.Conn, error)
	leader(topic string, partition int32) int32
	crash(id int32)
	restart(id int32)
	session() time.Duration // of members of groups
	pace() []kgo.Opt        // of franz-go's clients
}

// virtual is a site whose time stands still while anybody works.
type virtual interface{ virtual() }

// phone is the network as one member of a group has it, so that the member can vanish: nobody hangs up, and nobody can be called any more.
type phone struct {
	site   site
	ledger *ledger // of who listens, nil if nobody does
	seat   *seat   // of whose phone it is, nil if of nobody's

	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

var errDead = errors.New("this member was killed")

func (p *phone) call(ctx context.Context, addr string) (net.Conn, error) {
	p.mu.Lock()
	dead := p.dead
	p.mu.Unlock()
	if dead {
		return nil, errDead
	}
	c, err := p.site.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		c.Close()
		return nil, errDead
	}
	p.conns = append(p.conns, c)
	if p.ledger != nil {
		c = &wire{Conn: c, ledger: p.ledger, seat: p.seat, open: map[int32]*call{}}
	}
	return c, nil
}

// kill breaks what is connected.
func (p *phone) kill() {
	p.mu.Lock()
	conns := p.conns
	p.conns, p.dead = nil, true
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// Dial is how sarama calls.
func (p *phone) Dial(_, addr string) (net.Conn, error) { return p.call(context.Background(), addr) }

// dialNetwork is how franz-go and kafka-go call.
func (p *phone) dialNetwork(ctx context.Context, _, addr string) (net.Conn, error) {
	return p.call(ctx, addr)
}

// franz is a franz-go client that is not a member of anything.
func franz(t *testing.T, s site, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return franzOn(t, &phone{site: s}, opts...)
}

func franzOn(t *testing.T, p *phone, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(append(opts, kgo.SeedBrokers(p.site.seeds()...), kgo.Dialer(p.dialNetwork)), p.site.pace()...)...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// createTopic creates a topic with replicas on three nodes.
func createTopic(t *testing.T, c *kgo.Client, name string, partitions int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := retryCreate(ctx, c, name, partitions); err != nil {
		t.Fatal(err)
	}
}

// street is a cluster on loopback TCP and real files, whose nodes can be killed and started again.
type street struct {
	t        *testing.T
	sessions time.Duration
	config   []cluster.Config

	mu    sync.Mutex
	nodes []*cluster.Node // nil while it is down
}

// newStreet starts n nodes that notice failures soon, and let members of groups ask for the same: sessions are short, for tests wait for them to end in real time, and longer than two busy cores keep a client from
// its heartbeats.
func newStreet(t *testing.T, n int) *street { return newStreetOf(t, n, 3*time.Second) }

// newStreetOf is a street where sessions of members of groups are of that length.
func newStreetOf(t *testing.T, n int, sessions time.Duration) *street {
	t.Helper()
	s := &street{t: t, sessions: sessions, nodes: make([]*cluster.Node, n)}
	var voters []cluster.Voter
	var listeners []net.Listener
	for id := int32(1); id <= int32(n); id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		voters = append(voters, cluster.Voter{ID: id, Addr: l.Addr().String()})
	}
	for i, v := range voters {
		s.config = append(s.config, cluster.Config{
			NodeID: v.ID, Dir: t.TempDir(), Listener: listeners[i], Voters: voters,
			Groups: cluster.GroupSettings{
				InitialRebalanceDelay: 100 * time.Millisecond, MinSessionTimeout: time.Second, SessionTimeout: s.session(), HeartbeatInterval: s.session() / 10,
				OffsetsPartitions: 1, // one coordinator for all groups, so that its crash is everybody's
			},
			Logger:            slog.New(uses),
			HeartbeatInterval: 100 * time.Millisecond, SessionTimeout: 1500 * time.Millisecond, ElectionTimeout: 500 * time.Millisecond,
		})
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for i := range s.nodes {
			if n := s.nodes[i]; n != nil {
				wg.Go(func() { n.Close() })
			}
		}
		wg.Wait()
	})
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range s.nodes {
		wg.Go(func() { errs[i] = s.start(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *street) session() time.Duration { return s.sessions }

// pace has franz-go ask for news as often as sessions are short here: by itself it waits for up to 2.5 s between tries, and for 5 s before it asks again where things are. It gives up after as long as by itself.
func (s *street) pace() []kgo.Opt {
	return []kgo.Opt{kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }), kgo.MetadataMinAge(200 * time.Millisecond), kgo.RequestRetries(400)}
}

func (s *street) start(i int) error {
	n, err := cluster.Start(context.Background(), s.config[i])
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[i] = n
	return nil
}

func (s *street) seeds() (addrs []string) {
	for _, v := range s.config[0].Voters {
		addrs = append(addrs, v.Addr)
	}
	return addrs
}

func (s *street) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (s *street) leader(topic string, partition int32) (leader int32) {
	s.t.Helper()
	await(s.t, "a leader", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range s.nodes {
			if n == nil {
				continue
			}
			st := n.Status()
			if ts, ok := st.Topic(topic); ok && int(partition) < len(ts.Partitions) {
				if leader = ts.Partitions[partition].Leader; leader > 0 && s.nodes[leader-1] != nil {
					return true
				}
			}
		}
		return false
	})
	return leader
}

func (s *street) crash(id int32) {
	s.mu.Lock()
	n := s.nodes[id-1]
	s.nodes[id-1] = nil
	s.mu.Unlock()
	n.Kill()
}

func (s *street) restart(id int32) {
	s.t.Helper()
	await(s.t, "the node's port is free", func() bool { // a connection may have been given it as its own
		l, err := net.Listen("tcp", s.config[id-1].Voters[id-1].Addr)
		s.config[id-1].Listener = l
		return err == nil
	})
	if err := s.start(int(id - 1)); err != nil {
		s.t.Fatal(err)
	}
}

// await waits until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// bubble is a cluster in memory, where time is free: all is as Kafka and franz-go have it by default.
type bubble struct {
	*clustertest.Cluster
}

func (b bubble) seeds() []string { return b.Addrs() }
func (b bubble) dial(ctx context.Context, addr string) (net.Conn, error) {
	return b.Network().Host("foreign").Dial(ctx, addr)
}
func (b bubble) leader(topic string, partition int32) int32 { return b.Leader(topic, partition) }
func (b bubble) crash(id int32)                             { b.CrashTorn(id) }
func (b bubble) restart(id int32)                           { b.Restart(id) }
func (b bubble) session() time.Duration                     { return 45 * time.Second }
func (b bubble) pace() []kgo.Opt                            { return nil }
func (b bubble) virtual()                                   {}
