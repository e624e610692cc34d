package clustertest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
)

// fault is one kind of trouble. weight is how often it comes, beside others.
type fault struct {
	name   string
	weight int
	always bool // part of every run: what ends other faults
	inject func(*chaos)
}

// allFaults are within what acknowledged records must survive: any number of crashes, cuts and pauses of any nodes.
var allFaults = []fault{
	{"restart", 30, true, (*chaos).restart},
	{"heal", 10, true, func(x *chaos) { x.c.Heal() }},
	{"kill", 8, false, func(x *chaos) { x.crashOne(vfs.KeepAll) }},
	{"power loss", 8, false, func(x *chaos) { x.powerLoss(vfs.DropAll) }},
	{"torn power loss", 8, false, func(x *chaos) { x.powerLoss(vfs.KeepRandom) }},
	{"crash all", 3, false, (*chaos).crashAll},
	{"crash and restart", 6, false, (*chaos).bounce},
	{"stop", 6, false, func(x *chaos) { x.stop(true) }},
	{"close", 3, false, func(x *chaos) { x.stop(false) }},
	{"cut", 6, false, (*chaos).cut},
	{"cut one way", 6, false, (*chaos).cutOneWay},
	{"isolate", 5, false, (*chaos).isolate},
	{"latency", 5, false, (*chaos).slowLink},
	{"stall", 4, false, (*chaos).stall},
	{"reset", 8, false, (*chaos).reset},
	{"slow disk", 5, false, (*chaos).slowDisk},
	{"new topic", 3, false, (*chaos).newTopic},
	{"disk error", 3, false, (*chaos).diskError},
}

// step injects one fault.
func (x *chaos) step() {
	sum := 0
	for _, f := range x.plan.faults {
		sum += f.weight
	}
	n := x.rng.IntN(sum)
	for _, f := range x.plan.faults {
		if n -= f.weight; n < 0 {
			x.event("- %s", f.name)
			f.inject(x)
			return
		}
	}
}

func (x *chaos) pick(ok func(*life) bool) *life {
	var fit []*life
	for _, l := range x.lives {
		if ok(l) {
			fit = append(fit, l)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[x.rng.IntN(len(fit))]
}

// victim is a node that is not down: often the controller, or the leader of a partition.
func (x *chaos) victim() *life {
	alive := func(l *life) bool { return !x.isDown(l) }
	important := int32(-1)
	if nodes := x.nodesUp(); len(nodes) > 0 {
		s := nodes[x.rng.IntN(len(nodes))].Status()
		switch t, ok := s.Topic("t"); {
		case x.rng.IntN(3) == 0:
			important = s.Controller
		case ok && x.rng.IntN(2) == 0:
			important = t.Partitions[x.rng.IntN(len(t.Partitions))].Leader
		}
	}
	if l := x.pick(func(l *life) bool { return l.id == important && alive(l) }); l != nil {
		return l
	}
	return x.pick(alive)
}

func (x *chaos) restart() {
	down := 0
	for _, l := range x.lives {
		if x.isDown(l) {
			down++
		}
	}
	for range 1 + x.rng.IntN(max(down, 1)) {
		if l := x.pick(x.isDown); l != nil {
			x.begin(l)
		}
	}
}

func (x *chaos) crashOne(mode vfs.CrashMode) {
	if l := x.victim(); l != nil {
		x.event("  node %d", l.id)
		x.down(l, mode)
	}
}

// powerLoss crashes a node. A node whose logs are not synced loses what it acknowledged; of those only one at a time may, while all others are in sync.
func (x *chaos) powerLoss(mode vfs.CrashMode) {
	if !x.plan.lazy {
		x.crashOne(mode)
		return
	}
	x.loseOne(func(l *life) { x.down(l, mode) })
}

// loseOne has one node lose what the others must make good, beginning and ending with all well.
func (x *chaos) loseOne(lose func(*life)) {
	x.heal()
	x.awaitHealth()
	l := x.victim()
	x.event("  node %d", l.id)
	lose(l)
	time.Sleep(time.Duration(x.rng.ExpFloat64() * float64(x.plan.gap)))
	x.startAll()
	x.awaitHealth()
}

// diskError has one write or sync of a partition's log fail. The replica is offline until its node starts again.
func (x *chaos) diskError() {
	x.loseOne(func(l *life) {
		kind := []vfs.OpKind{vfs.OpWrite, vfs.OpSync}[x.rng.IntN(2)]
		left := int64(1 + x.rng.IntN(10))
		var count atomic.Int64
		x.c.Disk(l.id).SetFault(func(op vfs.Op) error {
			if op.Kind == kind && strings.HasPrefix(op.Name, "/data/t") && strings.HasSuffix(op.Name, ".log") && count.Add(1) == left {
				x.event("  node %d: %v fails", l.id, op)
				return syscall.EIO
			}
			return nil
		})
		time.Sleep(time.Duration(x.rng.ExpFloat64() * float64(x.plan.gap) * 2))
		x.down(l, x.crashMode())
	})
}

// crashMode is what a crash may leave when any number of nodes may crash.
func (x *chaos) crashMode() vfs.CrashMode {
	if x.plan.lazy {
		return vfs.KeepAll
	}
	return []vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom}[x.rng.IntN(3)]
}

func (x *chaos) crashAll() {
	for _, i := range x.rng.Perm(len(x.lives)) {
		if l := x.lives[i]; !x.isDown(l) {
			x.down(l, x.crashMode())
		}
	}
	if x.rng.IntN(2) == 0 {
		for _, l := range x.lives {
			x.begin(l)
		}
	}
}

// bounce crashes a node again and again while it starts.
func (x *chaos) bounce() {
	l := x.victim()
	if l == nil {
		return
	}
	x.event("  node %d", l.id)
	for range 1 + x.rng.IntN(4) {
		x.down(l, x.crashMode())
		time.Sleep(time.Duration(x.rng.ExpFloat64() * float64(x.plan.gap) / 4))
		x.begin(l)
		time.Sleep(time.Duration(x.rng.ExpFloat64() * float64(x.plan.gap) / 4))
		x.poll()
	}
}

// stop closes a node, handing over first or not. Handing over needs a controller, which may not be there.
func (x *chaos) stop(handOver bool) {
	l := x.pick(func(l *life) bool { return l.node != nil })
	if l == nil {
		return
	}
	x.event("  node %d", l.id)
	n := l.node
	x.set(l, nil)
	const patience = 10 * time.Second
	x.within(fmt.Sprintf("stop node %d", l.id), patience+5*time.Second, func() {
		if handOver {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := n.Shutdown(ctx); err != nil && ctx.Err() == nil {
				x.problem("shut node %d down: %v", l.id, err)
			}
			return
		}
		x.within(fmt.Sprintf("close node %d", l.id), 5*time.Second, func() {
			if err := n.Close(); err != nil {
				x.problem("close node %d: %v", l.id, err)
			}
		})
	})
}

func (x *chaos) pair() (a, b int32) {
	p := x.rng.Perm(len(x.lives))
	return x.lives[p[0]].id, x.lives[p[1]].id
}

// host is a random end of a link: a node or the clients' host.
func (x *chaos) host() string {
	if n := x.rng.IntN(len(x.lives) + 1); n > 0 {
		return fmt.Sprintf("node%d", n)
	}
	return "client"
}

func (x *chaos) cut() {
	a, b := x.pair()
	x.event("  %d and %d", a, b)
	x.c.Cut(a, b)
}

func (x *chaos) cutOneWay() {
	a, b := x.host(), x.host()
	x.event("  %s to %s", a, b)
	x.c.Network().SetLink(a, b, transport.Link{Cut: true})
}

func (x *chaos) isolate() {
	if l := x.victim(); l != nil {
		x.event("  node %d", l.id)
		x.c.Isolate(l.id)
	}
}

func (x *chaos) slowLink() {
	a, b := x.host(), x.host()
	d := time.Duration(x.rng.ExpFloat64() * float64(20*time.Millisecond))
	if x.rng.IntN(4) == 0 {
		b = "*"
	}
	x.event("  %s to %s: %v", a, b, d)
	x.c.Network().SetLink(a, b, transport.Link{Latency: d})
}

func (x *chaos) stall() {
	a, b := x.host(), x.host()
	x.event("  %s to %s", a, b)
	x.c.Network().SetLink(a, b, transport.Link{Stall: true})
}

func (x *chaos) reset() {
	a, b := x.host(), x.host()
	if x.rng.IntN(3) == 0 {
		b = "*"
	}
	x.event("  %s and %s", a, b)
	x.c.Network().Reset(a, b)
}

// slowDisk makes the syncs of a node's logs slow, until its next crash or a later call.
func (x *chaos) slowDisk() {
	l := x.lives[x.rng.IntN(len(x.lives))]
	most := time.Duration(x.rng.ExpFloat64() * float64(50*time.Millisecond))
	if x.rng.IntN(3) == 0 {
		most = 0
	}
	x.event("  node %d: %v", l.id, most)
	disk := x.c.Disk(l.id)
	if most == 0 {
		disk.SetFault(nil)
		return
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") {
			time.Sleep(most * time.Duration(uint64(op.Seq)*2654435761%100) / 100)
		}
		return nil
	})
}

// newTopic creates one more topic to write to, in the middle of whatever is going on.
func (x *chaos) newTopic() {
	x.mu.Lock()
	n := len(x.mu.topics)
	x.mu.Unlock()
	nodes := x.nodesUp()
	if n > 3 || len(nodes) == 0 {
		return
	}
	name := fmt.Sprintf("t%d", n)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := cluster.NewAdmin(nodes[x.rng.IntN(len(nodes))].Client()).CreateTopic(ctx, cluster.TopicSpec{Name: name, Partitions: 2, ReplicationFactor: 3})
	x.event("  topic %s: %v", name, err)
	if err == nil {
		x.mu.Lock()
		x.mu.topics[name] = 2
		x.mu.Unlock()
	}
}

// describe names the faults of a run.
func (x *chaos) describe() string {
	var names []string
	for _, f := range x.plan.faults {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
