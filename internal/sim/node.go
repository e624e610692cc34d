package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/vfs"
)

// node is one node of a world, with the disk that outlives it. Its fields belong to the goroutine that injects faults.
type node struct {
	w      *World
	id     int32
	config cluster.Config
	disk   *vfs.Mem
	boots  int

	holds    int            // faults that keep it down
	idle     *time.Duration // since when it did not run for long enough to sync what it had written; nil: nothing that matters
	ready    time.Duration  // when it last came up
	starting chan started
	cancel   context.CancelFunc // of the start
	up       atomic.Pointer[cluster.Node]
	leaving  chan struct{} // not nil while it stops in order; closed at the end of it
	leaver   *cluster.Node // what stops

	slow     atomic.Int64 // what a sync takes at most beside the usual, in nanoseconds
	hung     atomic.Bool  // no sync ends
	ailing   atomic.Bool  // one did fail, so that closing the node tells of it
	clock    atomic.Pointer[wrongClock]
	voteless atomic.Int64 // faults that take its vote
	broken   atomic.Int64 // how many writes or syncs of partitions' logs until one fails; 0 none does
}

type started struct {
	node *cluster.Node
	err  error
}

func (n *node) host() string { return fmt.Sprintf("node%d", n.id) }

func (n *node) addr() string { return n.host() + ":9092" }

// prepare gives the disk its temper: what a sync takes is decided by the seed, the file, and how often it was synced.
func (n *node) prepare() {
	var mu sync.Mutex
	syncs := map[string]int64{}
	boot := int64(n.boots)
	n.disk.SetFault(func(op vfs.Op) error {
		n.w.trace.add(op.Kind.String(), op.Name, int64(n.id), op.Off, op.Len)
		isLog := strings.HasSuffix(op.Name, ".log") && !strings.Contains(op.Name, "__cluster_metadata")
		if isLog && (op.Kind == vfs.OpSync || op.Kind == vfs.OpWrite) && n.broken.Load() > 0 && n.broken.Add(-1) == 0 {
			n.ailing.Store(true)
			n.w.event("node %d: %v fails", n.id, op)
			return syscall.EIO
		}
		switch op.Kind {
		case vfs.OpSync, vfs.OpSyncDir, vfs.OpSyncMap:
		default:
			return nil
		}
		mu.Lock()
		syncs[op.Name]++
		h := newHash(n.w.seed).string(op.Name).uint(uint64(syncs[op.Name])).uint(uint64(n.id)<<32 | uint64(boot))
		mu.Unlock()
		wait := h.between(20*time.Microsecond, 500*time.Microsecond)
		if slow := n.slow.Load(); slow > 0 {
			wait += h.uint(1).between(0, time.Duration(slow))
		}
		time.Sleep(wait)
		for n.hung.Load() { // a crash ends it
			time.Sleep(h.uint(2).between(time.Millisecond, 2*time.Millisecond))
		}
		return nil
	})
}

// begin starts the node in a goroutine.
func (n *node) begin() {
	n.w.event("start node %d", n.id)
	n.boots++
	n.ailing.Store(false)
	n.prepare()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	ch := make(chan started, 1)
	n.cancel, n.starting = cancel, ch
	config := n.config
	config.FS = n.disk
	config.Rand = n.w.fork()
	go func() {
		time.Sleep(n.w.unique("start", int64(n.id), int64(n.boots)))
		if err := ctx.Err(); err != nil {
			ch <- started{nil, err}
			return
		}
		up, err := cluster.Start(ctx, config)
		if err == nil {
			n.up.Store(up)
		}
		ch <- started{up, err}
	}()
}

// poll takes note of a start that has come to its end, and of a node that stopped by itself.
func (n *node) poll() {
	if n.starting != nil {
		select {
		case s := <-n.starting:
			n.took(s)
		default:
		}
	}
	if up := n.up.Load(); up != nil && n.leaving == nil {
		select {
		case <-up.Done():
			n.w.problem("node %d stopped by itself: %v", n.id, up.Err())
			n.up.Store(nil)
			up.Kill()
		default:
		}
	}
}

func (n *node) took(s started) {
	n.cancel()
	n.starting = nil
	if s.err != nil {
		n.w.event("node %d did not start: %v", n.id, s.err)
		return
	}
	n.ready = time.Since(n.w.begun)
	n.w.event("node %d is up", n.id)
}

// crash stops the node as a crash of this mode does, whatever it is doing.
func (n *node) crash(mode vfs.CrashMode) {
	now := time.Since(n.w.begun)
	if n.idle == nil || n.up.Load() != nil && now-n.ready >= n.w.plan.interval+syncs {
		n.idle = &now
	}
	if mode != vfs.KeepAll {
		n.w.outages = append(n.w.outages, outage{*n.idle, now})
		n.idle = nil
	}
	n.disk = n.disk.Crash(mode, n.w.rng)
	n.slow.Store(0)
	n.hung.Store(false)
	n.broken.Store(0)
	n.ailing.Store(false)
	if n.starting != nil {
		n.cancel()
		<-n.starting
		n.starting = nil
	}
	if n.leaving != nil {
		n.ailing.Store(true) // it is told of the end that it meets on its way
		n.w.within(fmt.Sprintf("kill of node %d", n.id), 5*time.Second, n.leaver.Kill)
		<-n.leaving
		n.leaving, n.leaver = nil, nil
		n.ailing.Store(false)
	}
	if up := n.up.Swap(nil); up != nil {
		n.w.within(fmt.Sprintf("kill of node %d", n.id), 5*time.Second, up.Kill)
	}
}

// excused tells whether a node may end with an error.
func (n *node) excused(err error) bool { return errors.Is(err, vfs.ErrCrashed) || n.ailing.Load() }

// isDown tells whether nothing of the node runs.
func (n *node) isDown() bool { return n.up.Load() == nil && n.starting == nil && n.leaving == nil }

// stop ends the node in order, in a goroutine; with handOver it gives its leaderships to others first.
func (n *node) stop(handOver bool) {
	up := n.up.Swap(nil)
	if up == nil {
		return
	}
	gone := make(chan struct{})
	n.leaving, n.leaver = gone, up
	go func() {
		defer close(gone)
		if handOver {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			n.w.within(fmt.Sprintf("shutdown of node %d", n.id), 15*time.Second, func() {
				if err := up.Shutdown(ctx); err != nil && ctx.Err() == nil && !n.excused(err) {
					n.w.problem("shut node %d down: %v", n.id, err)
				}
			})
			return
		}
		n.w.within(fmt.Sprintf("close of node %d", n.id), 5*time.Second, func() {
			if err := up.Close(); err != nil && !n.excused(err) {
				n.w.problem("close node %d: %v", n.id, err)
			}
		})
	}()
}
