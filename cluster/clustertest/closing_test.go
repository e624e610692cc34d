package clustertest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

var closings = flag.Int("closing.seeds", int(few(12, 6)), "number of seeds that TestFault_F44 runs")

// embedding is an application that has nodes and clients in its process, and ends at any moment.
type embedding struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	net  *transport.Mem
	ctx  context.Context // of the application's calls

	wg      sync.WaitGroup // of what the application does
	mu      sync.Mutex
	dice    *rand.Rand // guarded by mu
	closers []closer
	did     map[string]int // how often what went well, over all seeds
}

// closer is something that can be closed, and what must not work any more then.
type closer struct {
	name  string
	close func(how int) error
	use   func() error
	want  error
	limit time.Duration
}

// later is a moment up to a second from now, most of them soon.
func (e *embedding) later() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Duration(float64(time.Second) * e.dice.Float64() * e.dice.Float64() * 2)
}

func (e *embedding) add(c closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closers = append(e.closers, c)
}

// ends tells whether an application's call has ended for good. It counts those that went well.
func (e *embedding) ends(what string, err error) bool {
	if err == nil {
		e.count(what)
	}
	for _, end := range []error{producer.ErrClosed, consumer.ErrClosed, transport.ErrClosed, context.Canceled} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (e *embedding) count(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.did[what]++
}

// node starts a node, with a context that may end meanwhile, and has the application use it.
func (e *embedding) node(id int32, voters []cluster.Voter) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch {
	case e.seed%4 == 0 && id == 1:
		cancel()
	case e.roll(2) == 0:
		defer time.AfterFunc(e.later()/8, cancel).Stop()
	}
	n, err := cluster.Start(ctx, cluster.Config{
		NodeID: id, Dir: "data", FS: vfs.NewMem(), Voters: voters, Listen: voters[id-1].Addr, Network: e.net.Host(fmt.Sprint("node", id)), AutoCreateTopics: true,
		HeartbeatInterval: 50 * time.Millisecond, SessionTimeout: 300 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
		Groups: cluster.GroupSettings{InitialRebalanceDelay: -1, OffsetsPartitions: 3},
		Rand:   rand.New(rand.NewPCG(e.seed, uint64(id))),
	})
	if err != nil { // the others have gone, or its time was over
		assert.ErrorIs(e.t, err, ctx.Err(), "seed %d: start of node %d", e.seed, id)
		assert.Error(e.t, ctx.Err(), "seed %d: node %d does not start: %v", e.seed, id, err)
		e.count("start given up")
		return
	}
	e.count("start")
	e.add(closer{fmt.Sprint("node ", id), func(how int) error {
		switch how % 3 {
		case 0:
			ctx, cancel := context.WithTimeout(context.Background(), e.later())
			defer cancel()
			if err := n.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return nil
		case 1:
			n.Kill()
			return nil
		}
		return n.Close()
	}, func() error {
		_ = n.Status()
		return cluster.NewAdmin(n.Client()).CreateTopic(context.Background(), cluster.TopicSpec{Name: "late"})
	}, transport.ErrClosed, 5 * time.Second})
	e.clients(n.Client())
	if e.roll(2) == 0 {
		client, err := transport.NewClient(transport.ClientConfig{Bootstrap: n.Addrs(), Network: e.net.Host("client")})
		assert.NoError(e.t, err)
		e.add(closer{"client", func(int) error { return client.Close() }, func() error {
			_, err := client.Topic(context.Background(), "t", false)
			return err
		}, transport.ErrClosed, 5 * time.Second})
		e.clients(client)
	}
}

func (e *embedding) roll(n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dice.IntN(n)
}

// clients are those that an application has on a connection.
func (e *embedding) clients(client *transport.Client) {
	p, err := producer.New(producer.Config{Client: client, AllowAutoCreate: true, Linger: time.Duration(e.roll(3)) * time.Millisecond})
	if !assert.NoError(e.t, err) {
		return
	}
	e.add(closer{"producer", func(int) error { return p.Close() }, func() error {
		_, err := p.Produce(context.Background(), &record.Record{Topic: "t", Value: []byte("late")})
		return err
	}, producer.ErrClosed, 5 * time.Second})
	e.wg.Go(func() {
		for {
			_, err := p.Produce(e.ctx, &record.Record{Topic: "t", Value: []byte("v")})
			if _, typed := errors.AsType[*producer.Error](err); err != nil && !typed {
				e.t.Errorf("seed %d: produce: %v", e.seed, err)
			}
			if e.ends("produce", err) {
				return
			}
			time.Sleep(e.later() / 50)
		}
	})
	e.wg.Go(func() {
		for {
			calls, ended := 0, 0
			for range 3 {
				if err := p.Enqueue(e.ctx, &record.Record{Topic: "t", Value: []byte("v")}, func(producer.Metadata, error) { ended++ }); err == nil {
					calls++
				}
			}
			if err := p.Flush(e.ctx); e.ends("flush", err) {
				_ = p.Close() // the third time, perhaps; waits for the callbacks
				if calls != ended {
					e.t.Errorf("seed %d: %d calls of Enqueue, %d of done", e.seed, calls, ended)
				}
				return
			}
			time.Sleep(e.later() / 50)
		}
	})
	for _, group := range []string{"", "g"} {
		c, err := consumer.New(consumer.Config{Client: client, Topics: []string{"t"}, Group: group})
		if !assert.NoError(e.t, err) {
			return
		}
		e.add(closer{"consumer of " + group, func(how int) error {
			if how%2 == 0 {
				return c.Kill()
			}
			return c.Close()
		}, func() error {
			for _, err := range c.Records(context.Background()) {
				return err
			}
			return nil
		}, consumer.ErrClosed, 6 * time.Second}) // of which the coordinator has 5 s
		e.wg.Go(func() {
			for {
				n := 0
				for r, err := range c.Records(e.ctx) {
					if e.ends("records "+group, err) {
						return
					}
					if n++; err != nil || n == 100 {
						break
					}
					if group != "" {
						_ = c.MarkProcessed(r) // which is another's by now, perhaps
					}
				}
				if group != "" {
					if err := c.CommitMarked(e.ctx); e.ends("commit", err) {
						return
					}
				}
				time.Sleep(e.later() / 50)
			}
		})
	}
	e.wg.Go(func() {
		admin := cluster.NewAdmin(client)
		for {
			var err error
			switch e.roll(4) {
			case 0:
				err = admin.CreateTopic(e.ctx, cluster.TopicSpec{Name: fmt.Sprint("t", e.roll(5)), Partitions: 2})
			case 1:
				err = admin.DeleteTopic(e.ctx, fmt.Sprint("t", e.roll(5)))
			case 2:
				_, err = admin.Topics(e.ctx)
			default:
				_, err = admin.Group(e.ctx, "g")
			}
			if e.ends("admin", err) {
				return
			}
			time.Sleep(e.later() / 20)
		}
	})
}

// An application closes its nodes and clients at any moment, several times and from several goroutines, and ends the contexts of its calls: each closing returns in time with nothing to complain of, every call
// ends, what is used afterwards says that it is closed, and no goroutine is left.
func TestFault_F44_ClosedAtAnyMoment(t *testing.T) {
	did := map[string]int{}
	for seed := uint64(1); seed <= uint64(*closings); seed++ {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			e := &embedding{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 44)), dice: rand.New(rand.NewPCG(seed, 45)), net: transport.NewMem(), ctx: ctx, did: did}
			voters := make([]cluster.Voter, 1+2*e.rng.IntN(2))
			for i := range voters {
				voters[i] = cluster.Voter{ID: int32(i + 1), Addr: fmt.Sprintf("node%d:9092", i+1)}
			}
			var starts sync.WaitGroup
			for i := range voters {
				starts.Go(func() { e.node(int32(i+1), voters) })
			}
			if e.rng.IntN(2) == 0 {
				starts.Wait()
			}
			life := time.Duration(1+3*e.rng.IntN(2)) * e.later() // half of them are at work by then
			if e.rng.IntN(2) == 0 {
				time.AfterFunc(life*3/4+e.later()/4, cancel)
			}
			time.Sleep(life)
			e.closeAll() // what there is by now
			starts.Wait()
			e.closeAll()
			cancel()
			began := time.Now()
			e.wg.Wait()
			assert.LessOrEqual(t, time.Since(began), 5*time.Second, "seed %d: calls end", seed)
			for _, c := range e.closers {
				began := time.Now()
				assert.ErrorIs(t, c.use(), c.want, "seed %d: use of %s", seed, c.name)
				assert.LessOrEqual(t, time.Since(began), time.Second, "seed %d: use of %s", seed, c.name)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Log(did)
	for _, what := range []string{"start", "start given up", "produce", "flush", "records ", "records g", "commit", "admin"} {
		assert.Positive(t, did[what], "%s went well", what)
	}
}

// closeAll closes everything, each thing one to three times, at moments of their own.
func (e *embedding) closeAll() {
	e.mu.Lock()
	all := e.closers
	e.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range all {
		for range 1 + e.rng.IntN(3) {
			wait, how := e.later(), e.rng.IntN(6)
			wg.Go(func() {
				time.Sleep(wait)
				began := time.Now()
				assert.NoError(e.t, c.close(how), "seed %d: close of %s", e.seed, c.name)
				assert.LessOrEqual(e.t, time.Since(began), c.limit, "seed %d: close of %s", e.seed, c.name)
			})
		}
	}
	wg.Wait()
}
