package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// retryMin and retryMax bound the pause between attempts to reach the controller.
	retryMin = 20 * time.Millisecond
	retryMax = 500 * time.Millisecond
	// handOverInterval is how often a node that shuts down asks whether it may.
	handOverInterval = 50 * time.Millisecond
	// checkpointInterval is replica.high.watermark.checkpoint.interval.ms.
	checkpointInterval = 5 * time.Second
)

// lifecycle is the broker's life in the cluster.
//
//	register ──▶ fenced ──(caught up, heartbeat)──▶ serving ──(HandOver)──▶ leaving ──(leads nothing)──▶ gone
//	   ▲            ▲                                  │
//	   │            └───────── fenced by controller ◄──┤
//	   └── controller does not know the registration ──┘
//
// Its goroutine, run, is the only one of an idle node that wakes up: for heartbeats, and for the periodic work that is done beside them.
type lifecycle struct {
	b           *Broker
	epoch       atomic.Int64  // broker epoch, -1 before registration
	servedUntil atomic.Int64  // nanoseconds since b.began: the sending of the last heartbeat to which the controller said that the broker is not fenced, plus the session timeout
	heldBack    atomic.Bool   // the last answer said that the broker is fenced, whatever metadata says here
	slow        atomic.Bool   // the disk, see diskPace
	hung        atomic.Bool   // the disk has not answered for a session timeout
	recalled    atomic.Bool   // the controller wants this node, which shuts down, to serve nobody any more
	silent      atomic.Bool   // this node serves nobody: it has asked to be fenced, or that its disk be left, and others may lead what it leads
	renews      atomic.Int64  // all logs that ended are open again, and the broker is to be registered anew: Broker.failures by then + 1; 0: no
	kicked      chan struct{} // holds one: heartbeat now

	mu       sync.Mutex
	leaving  bool          // HandOver was called
	allowed  chan struct{} // closed when the controller lets the node go
	released bool
	fenced   bool        // as the last event said
	alarm    *time.Timer // at servedUntil

	// of Start and, after it, of run
	incarnation    [16]byte
	lossy          bool // what is registered next
	pace           diskPace
	reopening      reopening
	resigns        int // since the disk became slow
	lastCheckpoint time.Time
	nextRetention  time.Time
	nextClean      time.Time
	nextScrub      time.Time
	lastTick       time.Time
	background     atomic.Bool // a checkpoint or tick is under way
	asking         atomic.Bool // whether the node is still a member
}

func newLifecycle(b *Broker) *lifecycle {
	l := &lifecycle{b: b, kicked: make(chan struct{}, 1), allowed: make(chan struct{}), fenced: true} // a new broker is
	l.epoch.Store(-1)
	l.pace.bound, l.pace.every = b.c.SlowSync, b.c.HeartbeatInterval
	return l
}

// kick has a heartbeat sent at once.
func (l *lifecycle) kick() {
	select {
	case l.kicked <- struct{}{}:
	default:
	}
}

// learnClusterID waits until metadata names the cluster, and notes or compares the name.
func (b *Broker) learnClusterID(ctx context.Context, ctl *controller.Controller) error {
	found := make(chan string, 1)
	cancel := ctl.Subscribe(func(d controller.Delta) {
		if id := d.New.ClusterID; id != "" {
			select {
			case found <- id:
			default:
			}
		}
	})
	defer cancel()
	select {
	case id := <-found:
		return b.c.Directory.SetClusterID(id)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// register registers with the active controller, until it succeeds, is refused for good, or ctx ends. A live registration of the same id (the session of this node's earlier life, perhaps) is waited for.
func (l *lifecycle) register(ctx context.Context) error {
	b := l.b
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		resp, err := b.ask(ctx, l.registration())
		if err == nil {
			r := resp.(*kmsg.BrokerRegistrationResponse)
			switch err = kerr.ErrorForCode(r.ErrorCode); {
			case err == nil:
				// Once the epoch is used its crash must be told from that of another life.
				if err := b.c.Directory.SetBrokerEpoch(r.BrokerEpoch); err != nil {
					return err
				}
				l.epoch.Store(r.BrokerEpoch)
				b.logger.Info("broker registered", "node", b.c.NodeID, "epoch", r.BrokerEpoch)
				return nil
			case errors.Is(err, kerr.BrokerIDNotRegistered):
				if !b.joining() {
					return ErrRemoved
				}
			case errors.Is(err, kerr.DuplicateBrokerRegistration):
				_, _ = rand.Read(l.incarnation[:]) // the controller may take this one for over: an earlier life's request came late, to a controller before it that could not know
			case errors.Is(err, kerr.UnsupportedVersion):
				return b.c.Levels.RefusedLevel(r)
			case kerr.IsRetriable(err):
			default:
				return err
			}
		}
		b.logger.Debug("registration is retried", "node", b.c.NodeID, "error", err)
		if !sleep(ctx, pause) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// registerLossy registers anew, as a life that lost records, before the first heartbeat of the present one.
func (l *lifecycle) registerLossy(ctx context.Context) error {
	l.b.logger.Warn("a log lacks records that may have been acknowledged; the broker leaves every ISR", "node", l.b.c.NodeID)
	_, _ = rand.Read(l.incarnation[:]) // never fails
	l.lossy = true
	err := l.register(ctx)
	l.lossy = false
	return err
}

func (l *lifecycle) registration() *kmsg.BrokerRegistrationRequest {
	c := &l.b.c
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.IncarnationID = c.NodeID, c.Directory.ClusterID(), l.incarnation
	req.Rack = optional(c.Rack)
	if c.Addr != "" {
		li := kmsg.NewBrokerRegistrationRequestListener()
		host, port := hostPort(c.Addr)
		li.Name, li.Host, li.Port = "PLAINTEXT", host, uint16(port)
		req.Listeners = append(req.Listeners, li)
	}
	id := c.Directory.ID()
	req.LogDirs = [][16]byte{id}
	c.Levels.SetKnown(req)
	req.PreviousBrokerEpoch = -1 // lossy
	switch kind, epoch := c.Directory.Restart(); {
	case l.lossy:
	case l.epoch.Load() >= 0:
		req.PreviousBrokerEpoch = l.epoch.Load() // registered before by this very process, which lost nothing
	case kind != log.Lossy:
		req.PreviousBrokerEpoch = epoch
		if kind == log.Rebooted {
			controller.SetRebooted(req)
		}
	}
	return req
}

// run sends heartbeats until the broker closes, and does what is periodic.
func (l *lifecycle) run() {
	b := l.b
	l.lastCheckpoint, l.lastTick = time.Now(), time.Now()
	l.nextRetention = time.Now().Add(retentionDelay)
	l.nextClean = time.Now().Add(l.b.cleaner.backoff())
	l.nextScrub = time.Now().Add(min(scrubDelay, l.b.c.ScrubInterval))
	timer := time.NewTimer(0)
	defer timer.Stop()
	next, pause := time.Now(), retryMin
	for {
		select {
		case <-timer.C:
		case <-l.kicked:
			next = time.Now()
		case <-b.ctx.Done():
			return
		}
		if now := time.Now(); !now.Before(next) {
			if err := l.heartbeat(); err != nil {
				if b.ctx.Err() != nil {
					return
				}
				b.logger.Debug("heartbeat failed", "node", b.c.NodeID, "error", err)
				l.doubt(err)
				next = time.Now().Add(pause)
				pause = min(2*pause, retryMax, b.c.HeartbeatInterval)
			} else {
				next, pause = now.Add(l.interval()), retryMin
			}
			l.watchFence()
		}
		due := l.periodic(time.Now())
		if next.Before(due) {
			due = next
		}
		timer.Reset(max(0, time.Until(due)))
	}
}

// interval is the time to the next heartbeat.
func (l *lifecycle) interval() time.Duration {
	l.mu.Lock()
	leaving := l.leaving && !l.released
	l.mu.Unlock()
	me, ok := alive(l.b.metadataImage(), l.b.c.NodeID)
	if l.hung.Load() && !leaving {
		return l.b.c.HeartbeatInterval
	}
	if leaving || !ok || l.heldBack.Load() || me.Epoch != l.epoch.Load() {
		return min(handOverInterval, l.b.c.HeartbeatInterval)
	}
	return l.b.c.HeartbeatInterval
}

// heartbeat tells the controller that the broker lives and what it wants.
func (l *lifecycle) heartbeat() error {
	b := l.b
	if err := l.renew(); err != nil {
		return err
	}
	l.b.applier.mu.Lock()
	offset := l.b.applier.applied.Offset
	l.b.applier.mu.Unlock()
	l.mu.Lock()
	leaving := l.leaving
	l.mu.Unlock()
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset, req.WantShutdown = b.c.NodeID, l.epoch.Load(), offset, leaving
	req.WantFence = l.stalled() || l.recalled.Load()
	offline := b.diskFailed.Load()
	if req.WantFence || offline {
		l.silent.Store(true) // before anybody can act on it
	}
	controller.SetSteppedDown(req, b.stepDowns.list())
	if l.slowDisk() && !leaving {
		controller.SetSlowDisk(req)
	}
	b.c.Levels.SetStillKnown(req)
	if ends := b.leaderless.ends(); len(ends) > 0 {
		controller.SetLogEnds(req, ends)
	}
	if offline {
		req.OfflineLogDirs = [][16]byte{b.c.Directory.ID()}
	}
	// One that is not answered in time is repeated: the connection may be dead without a word.
	ctx, cancel := context.WithTimeout(b.ctx, max(b.c.SessionTimeout/3, 10*time.Millisecond))
	defer cancel()
	sent := time.Now()
	resp, err := b.askOnce(ctx, req)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.BrokerHeartbeatResponse)
	switch err := kerr.ErrorForCode(r.ErrorCode); {
	case errors.Is(err, kerr.StaleBrokerEpoch), errors.Is(err, kerr.BrokerIDNotRegistered):
		b.logger.Warn("the controller does not know this registration", "node", b.c.NodeID, "epoch", req.BrokerEpoch, "error", err)
		return l.register(ctx)
	case err != nil:
		return err
	}
	l.heldBack.Store(r.IsFenced)
	if !r.IsFenced {
		l.extend(sent)
	}
	l.silent.Store(r.IsFenced && l.silent.Load() || req.WantFence || offline)
	from, all := controller.Recalled(r)
	b.stepDown(from)
	if all && leaving && !l.recalled.Swap(true) {
		b.logger.Warn("what this node leads could not be handed over in time; it serves nobody any more", "node", b.c.NodeID)
		l.kick()
	}
	if leaving && r.ShouldShutdown {
		l.release()
	}
	return nil
}

// stalled tells whether the disk has not answered for a session timeout: then the broker is as good as one that does not answer itself, but for its heartbeats.
func (l *lifecycle) stalled() bool {
	if l.b.c.Stalled == nil {
		return false
	}
	d := l.b.c.Stalled()
	hung := d >= l.b.c.SessionTimeout
	if l.hung.Swap(hung) != hung {
		if hung {
			l.b.logger.Error("the disk does not answer; the broker wants no leaderships", "node", l.b.c.NodeID, "for", d)
		} else {
			l.b.logger.Warn("the disk answers again", "node", l.b.c.NodeID)
		}
	}
	return hung
}

// extend notes that the controller counted on the broker when it answered what was sent at a time. An answer that says that the broker is fenced does not count: others may lead what the broker, whose
// metadata may be old, believes to lead.
func (l *lifecycle) extend(sent time.Time) {
	until := sent.Add(l.b.c.SessionTimeout)
	l.servedUntil.Store(int64(until.Sub(l.b.began)))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alarm == nil {
		l.alarm = time.AfterFunc(time.Until(until)+1, func() { l.b.spawn(l.watchFence) })
		return
	}
	l.alarm.Reset(time.Until(until) + 1)
}

// stop ends the alarm.
func (l *lifecycle) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alarm != nil {
		l.alarm.Stop()
	}
}

// selfFenced tells whether the broker serves nobody: it is cut off, or has said that it does not.
func (b *Broker) selfFenced(now time.Time) bool { return b.life.silent.Load() || b.cutOff(now) }

// silence is why a broker that is selfFenced does not answer for a partition.
func (b *Broker) silence() error {
	if b.diskFailed.Load() {
		return &log.StorageError{Path: b.c.Directory.ID().String(), Op: "use", Err: errDiskFailed}
	}
	return errFencedSelf
}

// cutOff tells whether the broker has been without a controller for a session timeout. It compares clocks instead of waiting for a timer, so that it also holds for a process that was
// stopped for a while and goes on. The only voter is the controller itself.
func (b *Broker) cutOff(now time.Time) bool {
	return !b.soleVoter.Load() && int64(now.Sub(b.began)) > b.life.servedUntil.Load() || b.ctx.Err() != nil
}

// servesUntil is when the broker will be without a controller for a session timeout, as far as it knows now; the zero time is never.
func (b *Broker) servesUntil() time.Time {
	if b.soleVoter.Load() {
		return time.Time{}
	}
	return b.began.Add(time.Duration(b.life.servedUntil.Load()))
}

// isFenced tells whether the broker is fenced, as far as it knows.
func (l *lifecycle) isFenced() bool {
	me := l.b.metadataImage().Brokers[l.b.c.NodeID]
	return l.b.selfFenced(time.Now()) || me != nil && me.Epoch == l.epoch.Load() && me.Fenced
}

// watchFence tells of being fenced, once each time.
func (l *lifecycle) watchFence() {
	fenced := l.isFenced()
	l.mu.Lock()
	was := l.fenced
	l.fenced = fenced
	leaving := l.leaving
	l.mu.Unlock()
	if leaving && l.b.cutOff(time.Now()) {
		l.release() // nothing is led here any more, and there is nobody to give it to: all nodes may be stopping
	}
	if fenced && !was && !leaving {
		l.b.logger.Warn("broker is fenced", "node", l.b.c.NodeID, "self", l.b.selfFenced(time.Now()))
		if f := l.b.c.Events.Fenced; f != nil {
			f()
		}
	}
}

func (l *lifecycle) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.released = true
		close(l.allowed)
	}
}

// handOver is HandOver.
func (l *lifecycle) handOver(ctx context.Context) error {
	if l.epoch.Load() < 0 {
		return ErrNotStarted
	}
	l.mu.Lock()
	l.leaving = true
	l.mu.Unlock()
	l.kick()
	select {
	case <-l.allowed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.b.ctx.Done():
		return ErrClosed
	}
}

// handedOver tells whether this node shuts down, and after a delta does not lead any more what it led before.
func (l *lifecycle) handedOver(d *controller.Delta) bool {
	l.mu.Lock()
	leaving := l.leaving && !l.released
	l.mu.Unlock()
	return leaving && leads(d.Old, l.b.c.NodeID) && !leads(d.New, l.b.c.NodeID)
}

// periodic starts what is due besides heartbeats, and returns when something is due next. What touches disks is one piece of work, in the order in which it makes space: of several that are due none goes without its turn, not
// even while a full node looks for what to give up time and again.
func (l *lifecycle) periodic(now time.Time) time.Time {
	b := l.b
	ticks := !now.Before(l.lastTick.Add(b.c.LagTime / 2))
	retains := !now.Before(l.nextRetention) || b.space.isFull(now) && now.After(l.nextRetention.Add(fullInterval-retentionInterval))
	checkpoints := b.changed.Load() && !now.Before(l.lastCheckpoint.Add(checkpointInterval))
	believe := true
	if retains {
		if _, believe = b.clock.look(now); !believe {
			b.logger.Warn("the wall clock has jumped: nothing is deleted for its age for an hour", "node", b.c.NodeID)
		}
	}
	if (ticks || retains || checkpoints) && l.inBackground(func() {
		if ticks {
			b.tickLeaders(now)
		}
		if retains {
			b.space.restock()
			b.retain(now, believe)
		}
		if checkpoints {
			b.checkpoint()
		}
	}) {
		if ticks {
			l.lastTick = now
		}
		if retains {
			l.nextRetention = now.Add(retentionInterval)
		}
		if checkpoints {
			l.lastCheckpoint = now
		}
	}
	if !l.hung.Load() && l.reopening.due(now, l.b.diskFailed.Load()) {
		l.b.applier.reopen()
	}
	if !now.Before(l.nextClean) {
		if _, believe := l.b.clock.look(now); believe { // tombstones go by their age, too
			l.b.cleaner.start()
		}
		l.nextClean = now.Add(l.b.cleaner.backoff())
	}
	if l.b.c.ScrubInterval > 0 && !now.Before(l.nextScrub) {
		l.b.scrubber.all()
		l.nextScrub = now.Add(l.b.c.ScrubInterval)
	}
	next := after(now, l.lastTick, b.c.LagTime/2)
	for _, due := range []time.Time{l.nextRetention, l.nextClean, l.nextScrub} {
		if due.After(now) && due.Before(next) {
			next = due
		}
	}
	if due := after(now, l.lastCheckpoint, checkpointInterval); b.changed.Load() && due.Before(next) {
		next = due
	}
	return next
}

// after is when it is time again for what was begun last at some time, or if it should be under way by now but has found others at work.
func after(now, last time.Time, every time.Duration) time.Time {
	if due := last.Add(every); due.After(now) {
		return due
	}
	return now.Add(every)
}

// inBackground runs what touches disks and replicas beside the heartbeats, one at a time: a disk that hangs must not look like a node that is dead, nor be waited for by many.
func (l *lifecycle) inBackground(f func()) bool {
	if !l.background.CompareAndSwap(false, true) {
		return false
	}
	return l.b.spawn(func() {
		defer l.background.Store(false)
		f()
	})
}

// tickLeaders lets the leaders look at the clock.
func (b *Broker) tickLeaders(now time.Time) {
	for _, p := range b.replicas.all() {
		if p.replica != nil {
			p.replica.Tick(now)
		}
	}
}

func (b *Broker) checkpoint() {
	b.changed.Store(false)
	err := b.c.Directory.Checkpoint(b.ctx)
	if b.ctx.Err() != nil {
		return // the directory is about to be closed, which says it all
	}
	b.space.met(time.Now(), err)
	if err != nil {
		b.changed.Store(true)
		b.logger.Error("cannot write checkpoints", "error", err)
	}
	for _, p := range b.replicas.all() {
		if b.ctx.Err() != nil {
			return
		}
		if p.replica == nil {
			continue
		}
		// What lies below a log's start goes, as in Kafka whatever the topic's policy is; without such segments this is one comparison.
		if _, err := p.replica.DeleteOldSegments(); err != nil && b.ctx.Err() == nil {
			b.logger.Error("cannot delete old segments", "topic", p.topic, "partition", p.index, "error", err)
		}
	}
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
