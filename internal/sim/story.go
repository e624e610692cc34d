package sim

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
)

// This file is what a story may do. A story begins when all is well, lets the faults begin, does what its application does until they are over, waits until all is healed, and looks at what came of it.

// Begin lets the faults begin and returns. They end by themselves, and then everything is healed.
func (w *World) Begin() {
	w.beginOnce.Do(func() {
		go func() {
			defer close(w.healed)
			if w.failed() {
				return
			}
			for _, a := range w.plan.schedule {
				w.later(a.At, func() { w.inject(a) })
			}
			w.later(w.plan.length, func() {})
			w.runFaults()
			w.quiet.Store(true)
			w.heal()
		}()
	})
}

// Healed is closed when the faults are over and every node is up, with every replica in sync; or when that was awaited in vain, which fails the run.
func (w *World) Healed() <-chan struct{} { return w.healed }

// Over tells whether Healed is closed.
func (w *World) Over() bool {
	select {
	case <-w.healed:
		return true
	default:
		return false
	}
}

// calm tells whether no more faults come.
func (w *World) calm() bool { return w.quiet.Load() }

// Settle bounds what may take its time after the faults.
func (w *World) Settle() time.Duration { return w.settle() }

// Rand is a source for the story, which the seed decides.
func (w *World) Rand() *rand.Rand { return w.story }

// Addrs are the addresses of all nodes.
func (w *World) Addrs() (addrs []string) {
	for _, n := range w.nodes {
		addrs = append(addrs, n.addr())
	}
	return addrs
}

// Network is the network as host sees it. Links to hosts that were named before Begin fail, too.
func (w *World) Network(host string) transport.Network {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.mu.clients, host) {
		w.mu.clients = append(w.mu.clients, host)
	}
	return w.host(host)
}

// Client makes a client on host. It is closed at the end of the run, if the story has not done so.
func (w *World) Client(host string, c transport.ClientConfig) *transport.Client {
	c.Bootstrap, c.Network = w.Addrs(), w.Network(host)
	client, err := transport.NewClient(c)
	if err != nil {
		w.Errorf("client of %s: %v", host, err)
		w.FailNow()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.made = append(w.mu.made, client)
	return client
}

// closeClients closes what the story left open.
func (w *World) closeClients() {
	w.mu.Lock()
	made := w.mu.made
	w.mu.Unlock()
	for _, c := range made {
		w.within("close of a client", 5*time.Second, func() { c.Close() })
	}
}

// CreateTopic makes a topic and waits until every node knows it, while all is well.
func (w *World) CreateTopic(t cluster.TopicSpec) cluster.TopicStatus {
	ctx, cancel := context.WithTimeout(context.Background(), w.settle())
	defer cancel()
	client := w.Client("admin", transport.ClientConfig{})
	defer client.Close()
	if err := cluster.NewAdmin(client).CreateTopic(ctx, t); err != nil {
		w.Errorf("create topic %s: %v", t.Name, err)
		w.FailNow()
	}
	var status cluster.TopicStatus
	if !w.await("every node knows topic "+t.Name, w.settle(), func() bool {
		for _, n := range w.nodes {
			up := n.up.Load()
			if up == nil {
				return false
			}
			s, ok := up.Status(), false
			if status, ok = s.Topic(t.Name); !ok {
				return false
			}
		}
		return w.healthy()
	}) {
		w.FailNow()
	}
	return status
}

// Acknowledged tells what a producer was told with acks=all: no leader may be without it.
func (w *World) Acknowledged(t cluster.TopicStatus, n int32, offset int64) {
	p := partition{t.ID, n}
	w.god.acknowledged(p, offset, w.god.era(p))
}

// Logf notes what happens.
func (w *World) Logf(format string, args ...any) { w.event(format, args...) }

// Errorf fails the run, which goes on.
func (w *World) Errorf(format string, args ...any) { w.problem(format, args...) }

// FailNow ends the story's goroutine. The run has failed.
func (w *World) FailNow() {
	w.mu.Lock()
	if len(w.mu.problems) == 0 {
		w.mu.problems = append(w.mu.problems, "failed")
	}
	w.mu.Unlock()
	runtime.Goexit()
}
