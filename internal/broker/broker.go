package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/dice"
	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config sets up a Broker.
type Config struct {
	NodeID    int32
	Addr      string           // advertised "host:port"; "" when the node does not listen (a single node used in process only)
	Rack      string           // broker.rack
	Voters    map[int32]string // addresses of those that found the metadata quorum, this node's included
	Join      []string         // addresses of nodes through which this one joins a cluster that runs; none = it founds one, or is a member already
	Directory *log.Directory
	Commit    *commit.Engine
	Network   transport.Network // to reach the other nodes

	Credentials transport.Credentials // by which this node logs in to the others; nil = it does not
	ACLs        *acl.Config           // what decides beside the access control lists; nil = there are none, and everybody may do everything

	Static     map[string]string // broker configs under Kafka's names, as the application set them
	AutoCreate bool              // auto.create.topics.enable

	HeartbeatInterval time.Duration // broker.heartbeat.interval.ms; 0 = 2 s
	// Stalled is for how long an operation of the disk has not returned, 0 without one. Beyond a session timeout the broker asks to be fenced, for as long as that lasts. Nil: nobody knows.
	Stalled func() time.Duration
	// Syncs counts the syncs of the disk. Where most take SlowSync for a while the broker asks not to be waited for: see diskPace. Nil: nobody knows.
	Syncs    func() Syncs
	SlowSync time.Duration // 0 = DefaultSlowSync, negative = never

	SessionTimeout time.Duration // broker.session.timeout.ms; 0 = 9 s: without a controller for that long the broker stops serving
	LagTime        time.Duration // replica.lag.time.max.ms; 0 = 30 s
	FetchMaxWait   time.Duration // replica.fetch.wait.max.ms; 0 = 500 ms

	ScrubInterval time.Duration // between two readings of everything that is stored; 0 = a day, negative = never
	ScrubRate     int64         // bytes a second of it; 0 = 16 MiB, negative = unlimited

	MaxBytes     int64 // of all logs together before clients' records are refused; 0 = no limit
	ReserveBytes int64 // of the disk that clients' records leave free; 0 = none

	// Wall is what this node's wall clock shows at a time; nil = that time. No duration is taken from it. It is for tests.
	Wall func(now time.Time) time.Time

	// Levels is what this node knows of the format of metadata; nil = this version. It is for tests.
	Levels *controller.Levels

	Events Events
	Logger *slog.Logger
}

// Events are called without locks and must not block. Any may be nil.
type Events struct {
	LeaderChanged func(topic string, partition, leader, epoch int32) // as this node applied it
	Replica       replication.Events
	Repair        func(Repair) // damage was found, or what became of it
	// CompactionFailed: a log is not compacted for a while; see Cleaning.
	CompactionFailed func(topic string, partition int32, err error)
	// Space: records are refused for lack of space, or are not any more. Calls come one after the other.
	Space func(full bool)
	// PossibleLoss: this node leads a partition from offset from on in an epoch, elected from replicas that may lack acknowledged records.
	PossibleLoss func(topic string, id log.TopicID, partition, epoch int32, from int64)
	SlowDisk     func(slow bool) // the disk became slow, or is as fast as before
	Fenced       func()          // the broker lost its controller and stopped serving, or the controller fenced it
	// Failed: a bug (a panic on one of the broker's goroutines) ended its service. The node should be closed, from another goroutine.
	Failed func(err error)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.HeartbeatInterval, 2*time.Second)
	def(&c.SessionTimeout, 9*time.Second)
	def(&c.LagTime, 30*time.Second)
	def(&c.FetchMaxWait, 500*time.Millisecond)
	if c.SlowSync == 0 {
		c.SlowSync = DefaultSlowSync
	}
	if c.ScrubInterval == 0 {
		c.ScrubInterval = defaultScrubInterval
	}
	if c.ScrubRate == 0 {
		c.ScrubRate = defaultScrubRate
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.NodeID < 0 {
		errs = append(errs, fmt.Errorf("broker: node id %d is negative", c.NodeID))
	}
	if c.Directory == nil {
		errs = append(errs, errors.New("broker: config without Directory"))
	}
	if c.Commit == nil {
		errs = append(errs, errors.New("broker: config without Commit"))
	}
	if c.HeartbeatInterval >= c.SessionTimeout {
		errs = append(errs, fmt.Errorf("broker: heartbeat interval %v is not below the session timeout %v", c.HeartbeatInterval, c.SessionTimeout))
	}
	return errors.Join(errs...)
}

// Broker is what one node answers: it owns the node's replicas, fetchers, fetch sessions and its life in the cluster. It implements transport.Handler and is safe for concurrent use.
//
// Goroutines, all awaited by Close: one that lives the broker's life (heartbeats and what is periodic); a fetcher per node that this one follows; up to two that
// go on with parked fetches (more under load); and on demand, while there
// is something to do, one each for applying metadata, ISR proposals, producer ids, auto-created topics and checkpoints, and those of the group coordinators.
type Broker struct {
	c              Config
	logger         *slog.Logger
	apis           map[int16]api
	authorizations map[int16]authorization
	rules          atomic.Pointer[acl.Rules] // nil: everybody may do everything
	versions       map[int16]transport.VersionRange
	apiKeys        []kmsg.ApiVersionsResponseApiKey // what clients are told
	peerKeys       []kmsg.ApiVersionsResponseApiKey // what nodes are told
	began          time.Time

	peers  *transport.Client
	ctl    atomic.Pointer[controller.Controller]
	image  atomic.Pointer[controller.Image] // published before replicas follow it
	joined chan struct{}                    // closed when Start has succeeded
	ctx    context.Context                  // ends at Close
	cancel context.CancelFunc

	replicas    registry
	leaderless  leaderless
	stepDowns   stepDowns
	applier     *applier
	isr         *isrProposer
	space       space
	life        *lifecycle
	clock       wallClock
	ids         producerIDs
	autoCreate  autoCreator
	groups      *groups.Coordinators
	cleaner     *cleaner
	scrubber    *scrubber
	hashes      hasher
	raftOut     raftSender
	callers     callers
	sessions    sessionCache
	parked      parkedFetches
	work        chan *fetchOp // without room: to a worker that is idle
	idleWorkers atomic.Int32
	buffers     buffers
	fetchOps    sync.Pool
	produceOps  sync.Pool

	quotas   atomic.Pointer[quotas] // nil: none
	used     quotaUse
	serving  throttle // of followers that catch up
	catching throttle // of this node's replicas that do

	changed    atomic.Bool              // since the last checkpoint
	founding   atomic.Pointer[founding] // not nil if the directory was empty
	soleVoter  atomic.Bool              // nobody else can lead the cluster
	failures   atomic.Int64             // of logs, for the disk's sake
	diskFailed atomic.Bool              // a disk error took a log down: the directory is one disk, and the controller moves everything elsewhere

	mu struct {
		sync.Mutex
		started, closed bool
		unsubscribe     func() // from the controller's deltas
	}
	wg sync.WaitGroup // grows only under mu and before closed
}

var _ transport.Handler = (*Broker)(nil)

// New returns a broker that answers ApiVersions and what nodes ask among themselves, until Start. No goroutine runs yet. Errors: all problems of the config at once.
func New(c Config) (*Broker, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	b := &Broker{c: c, logger: c.Logger, began: time.Now(), work: make(chan *fetchOp), joined: make(chan struct{})}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	if err := b.takeRules(emptyImage); err != nil { // until there is metadata nobody but super users may do anything
		return nil, err
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.makeTable()
	b.sessions.cache = newFetchSessions(defaultFetchSessions, dice.Rand())
	b.applier = newApplier(b)
	b.isr = newISRProposer(b)
	b.space.init(b)
	b.life = newLifecycle(b)
	b.cleaner = newCleaner(b)
	b.scrubber = newScrubber(b)
	b.hashes.b, b.hashes.pace.rate = b, b.c.ScrubRate
	b.ids.b, b.autoCreate.b = b, b
	b.clock.show = c.Wall
	b.clock.started(b.began, c.Directory.LastWritten())
	var err error
	if b.groups, err = b.newGroups(); err != nil {
		b.cancel()
		return nil, err
	}
	b.peers, err = transport.NewClient(transport.ClientConfig{
		Network: c.Network, Local: &transport.Local{NodeID: c.NodeID, Handler: b}, ClientID: fmt.Sprintf("broker-%d", c.NodeID), Logger: c.Logger,
		Credentials: c.Credentials, Bootstrap: c.Join,
		// A connection that is dead without a word must be replaced in time for a heartbeat on the next one.
		RequestTimeout: c.SessionTimeout / 2, DialTimeout: c.SessionTimeout / 3,
	})
	if err != nil {
		b.cancel()
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(c.Voters)) {
		if id != c.NodeID {
			b.SetPeer(id, c.Voters[id])
		}
	}
	b.soleVoter.Store(len(c.Voters) <= 1 && len(c.Join) == 0)
	return b, nil
}

func (b *Broker) makeTable() {
	b.apis, b.authorizations = make(map[int16]api), rules()
	b.versions = make(map[int16]transport.VersionRange)
	for _, a := range apis() {
		b.apis[a.key] = a
		b.versions[a.key] = transport.VersionRange{Min: a.min, Max: a.max}
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
		b.peerKeys = append(b.peerKeys, k)
		if !a.internal && !a.silent() {
			b.apiKeys = append(b.apiKeys, k)
		}
	}
}

// Start joins the cluster: waits for an active controller, registers, opens the logs of the partitions assigned to this node (in parallel), unfences, and returns when requests are
// served. ctx bounds the start only. ctl is used until Close. Errors: *log.IdentityError when the directory belongs to another cluster; what the controller refuses the registration with (*kerr.Error), *controller.LevelError if the node is too old;
// ctx's; ErrClosed.
func (b *Broker) Start(ctx context.Context, ctl *controller.Controller) error {
	b.mu.Lock()
	if b.mu.closed || b.mu.started {
		b.mu.Unlock()
		return ErrClosed
	}
	b.mu.started = true
	b.mu.Unlock()
	b.ctl.Store(ctl)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	if err := b.join(ctx, ctl); err != nil {
		if b.ctx.Err() != nil {
			return ErrClosed
		}
		return err
	}
	close(b.joined) // once: see started
	return nil
}

// join is Start, step by step.
func (b *Broker) join(ctx context.Context, ctl *controller.Controller) (err error) {
	ctx, stop := b.enroll(ctx)
	defer stop(&err)
	if err := b.learnClusterID(ctx, ctl); err != nil {
		return err
	}
	if b.life.incarnation, err = b.c.Directory.Incarnation(); err != nil {
		return err
	}
	if err := b.life.register(ctx); err != nil {
		return err
	}
	// Up to here metadata may tell of this node's earlier life, in which it leads partitions that it must not lead in this one.
	img, err := ctl.WaitOffset(ctx, b.BrokerEpoch())
	if err != nil {
		return err
	}
	b.setStraysAside(img)
	if err := b.takeRules(img); err != nil {
		return err
	}
	b.setThrottles(img)
	b.quotas.Store(newQuotas(img, &b.used))
	b.publish(img)
	unsubscribe := ctl.Subscribe(func(d controller.Delta) {
		b.publish(d.New)
		b.applier.add(d)
	})
	b.mu.Lock()
	b.mu.unsubscribe = unsubscribe
	closed := b.mu.closed
	b.mu.Unlock()
	if closed {
		unsubscribe()
		return ErrClosed
	}
	if err := b.applier.wait(ctx, func(applied *controller.Image) bool { return applied.Offset >= img.Offset }); err != nil {
		return err
	}
	if kind, _ := b.c.Directory.Restart(); kind != log.Lossy && b.c.Directory.Lost() {
		// The registration vouched for the replicas, and the logs show that it was wrong. It is still fenced: nothing has come of it.
		if err := b.life.registerLossy(ctx); err != nil {
			return err
		}
	}
	b.ids.prefetch()
	b.spawn(b.life.run)
	return b.applier.wait(ctx, func(applied *controller.Image) bool {
		_, ok := alive(applied, b.c.NodeID)
		return ok && applied.Brokers[b.c.NodeID].Epoch == b.BrokerEpoch()
	})
}

// publish makes an image the one that requests see.
func (b *Broker) publish(img *controller.Image) {
	b.image.Store(img)
	if img.Quorum != nil {
		voters := img.Quorum.Voters()
		b.soleVoter.Store(len(voters) == 1 && voters[0] == b.c.NodeID)
	}
}

// spawn runs f on a goroutine that Close waits for; false after Close.
func (b *Broker) spawn(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return false
	}
	b.wg.Go(func() {
		defer b.survive()
		f()
	})
	return true
}

// survive turns a panic on one of the broker's goroutines into the end of its service: a bug takes the node down, not the process. It must be deferred directly.
func (b *Broker) survive() {
	v := recover()
	if v == nil {
		return
	}
	err := &transport.PanicError{Value: v, Stack: debug.Stack()}
	b.logger.Error("broker stops serving", "node", b.c.NodeID, "error", err, "stack", string(err.Stack))
	b.cancel() // heartbeats end, and with them this node's leaderships; every request is refused
	if f := b.c.Events.Failed; f != nil {
		f(err)
	}
}

// Versions implements transport.Handler.
func (b *Broker) Versions() map[int16]transport.VersionRange { return b.versions }

// Serve implements transport.Handler.
func (b *Broker) Serve(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	a, ok := b.apis[r.Message.Key()]
	direct := r.Conn != nil && r.Conn.Direct // has no connection that could be closed: the handlers find the right errors
	if v := r.Message.GetVersion(); !ok || v < a.min || v > a.max || !direct && (!a.early && !b.awaitJoined(ctx) || b.ctx.Err() != nil) {
		// Not ours, not yet, or no longer: Kafka has no answer for it but to hang up, upon which clients try another node.
		reply(transport.Reply{Close: true})
		return
	}
	if !trusted(r) && (a.internal || asPeer(r.Message)) {
		reply(transport.Reply{Close: true}) // no client has any business with it
		return
	}
	if g := b.guestOf(r); g != nil || asksOperations(r.Message) {
		b.serveGuest(a, g, r.Message, reply, func(reply func(transport.Reply)) { a.serve(b, ctx, r, reply) })
		return
	}
	a.serve(b, ctx, r, reply)
}

// joinPatience is how long a request waits for a node that is starting. Kafka's wait without limit; but a node that finds no quorum should rather send its clients elsewhere.
const joinPatience = 3 * time.Second

// awaitJoined holds a connection's requests back while the node starts, which mostly takes milliseconds: clients take a connection that ends before its first answer for one that wanted a login, and give
// up. It returns false when the node is not part of the cluster.
func (b *Broker) awaitJoined(ctx context.Context) bool {
	select {
	case <-b.joined:
		return true
	default:
	}
	t := time.NewTimer(joinPatience)
	defer t.Stop()
	select {
	case <-b.joined:
		return true
	case <-t.C:
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
	return false
}

// HandOver leaves the cluster in order: a controlled shutdown that moves every leadership to another in-sync replica, until done or ctx ends.
// A broker that is without a controller for a session timeout leads nothing any more, and is done.
func (b *Broker) HandOver(ctx context.Context) error { return b.life.handOver(ctx) }

// BrokerEpoch is the epoch of the present registration, -1 before it.
func (b *Broker) BrokerEpoch() int64 { return b.life.epoch.Load() }

// Fenced tells whether the broker has been without a controller for a session timeout, or knows that the controller fenced it.
func (b *Broker) Fenced() bool { return b.life.isFenced() }

// Peers is the client that reaches the other nodes and, by function call, this one.
func (b *Broker) Peers() *transport.Client { return b.peers }

// Close stops fetchers, answers what waits, closes replicas (not the directory) and waits for all goroutines. It does not talk to other nodes. Idempotent.
func (b *Broker) Close() error {
	b.mu.Lock()
	first := !b.mu.closed
	b.mu.closed = true
	unsubscribe := b.mu.unsubscribe
	b.mu.Unlock()
	b.cancel()
	if !first {
		b.wg.Wait()
		return nil
	}
	if unsubscribe != nil {
		unsubscribe()
	}
	b.life.stop()
	b.parked.endAll()
	b.groups.Close()
	err := b.peers.Close()
	b.wg.Wait()
	for _, f := range b.applier.fetchers {
		f.Close()
	}
	b.closeSessions()
	for _, p := range b.replicas.all() {
		if p.replica != nil {
			err = errors.Join(err, p.replica.Close())
		}
	}
	return err
}

// noteChange notes that a checkpoint would say something new.
func (b *Broker) noteChange() {
	if !b.changed.Load() { // the line stays shared between cores
		b.changed.Store(true)
	}
}

// eligibleIn is replication.Config.Eligible of a partition. A broker whose disk is slow may join only where it is needed: the high watermark would wait for it.
func (b *Broker) eligibleIn(p *partition) func(id int32, epoch int64) bool {
	return func(id int32, epoch int64) bool {
		img := b.metadataImage()
		n := img.Brokers[id]
		if !n.Active() || epoch >= 0 && n.Epoch != epoch {
			return false
		}
		t := img.TopicIDs[p.id]
		if !n.SlowDisk || t == nil || int(p.index) >= len(t.Partitions) {
			return true
		}
		now := t.Partitions[p.index]
		return slices.Contains(now.ISR, id) || !img.Spares(t, now, id, b.c.Static)
	}
}

// brokerEpochOf is replication.Config.BrokerEpoch.
func (b *Broker) brokerEpochOf(id int32) int64 {
	if n := b.metadataImage().Brokers[id]; n != nil {
		return n.Epoch
	}
	return -1
}

// replicaEvents adds the broker's own interest to the application's events.
func (b *Broker) replicaEvents() replication.Events {
	ev := b.c.Events.Replica
	ev.Offline = b.offline
	ev.Damaged = func(topic string, partition int32, offset int64) {
		if p := b.replicas.get(topic, partition); p != nil {
			b.scrubber.suspect(p, offset)
		}
	}
	return ev
}

// mayHaveLost tells that this node was made leader of a partition though it may lack records that were acknowledged.
func (b *Broker) mayHaveLost(p *partition) {
	from := p.replica.Status().EpochStart
	b.logger.Warn("led from here on by a replica that may lack acknowledged records", "topic", p.topic, "partition", p.index, "epoch", p.epoch, "offset", from)
	if f := b.c.Events.PossibleLoss; f != nil {
		f(p.topic, p.id, p.index, p.epoch, from)
	}
}

// offline takes the news that a replica's disk failed.
func (b *Broker) offline(topic string, partition int32, err error) {
	if is[*log.StorageError](err) {
		b.failures.Add(1)
		b.diskFailed.Store(true)
	}
	b.logger.Error("partition is offline on this node", "topic", topic, "partition", partition, "error", err)
	b.life.kick()
	if f := b.c.Events.Replica.Offline; f != nil {
		f(topic, partition, err)
	}
}
