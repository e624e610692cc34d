package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Controller is this node's member of the metadata quorum. Every member applies the metadata log to an image; the raft leader is the active controller and answers requests.
type Controller struct {
	c Config

	// d is the state of the driving goroutine; nobody else touches it after Start.
	d *driver

	image  atomic.Pointer[Image]        // stored by the driver after each applied batch of entries
	leader atomic.Pointer[leadership]   // stored by the driver on each change
	status atomic.Pointer[QuorumStatus] // stored by the driver after each round that changed it

	mu struct {
		sync.Mutex
		inbox      []inbound // from peers, bounded
		inboxBytes int
		calls      []*call // not yet taken by the driver
		joining    []*subscriber
		refused    []int32 // nodes at whose addresses nobody listened
		resign     bool
		watch      chan struct{} // closed and replaced when image or leader change, if somebody waits
		closed     bool
	}

	wake chan struct{} // holds a token when there is something new in mu
	stop chan struct{} // closed by Close
	done chan struct{} // closed by the driver when it fails
	gone chan struct{} // closed by the driver when it ends
	err  error         // set before done is closed

	closing sync.Once
	closeE  error
	wg      sync.WaitGroup
}

// inbound is a message of a peer, which lives on a disk.
type inbound struct {
	*pb.Message
	directory log.TopicID
}

type leadership struct {
	node int32 // -1 unknown
	term int64
}

// The bounds of what waits for the driver from peers. What is beyond is dropped; raft repeats it.
const (
	maxInbox      = 4096
	maxInboxBytes = 64 << 20
)

// Start opens the metadata log, recovers the image and joins the quorum. The only voter elects itself before Start returns.
// Errors: *log.CorruptError or *log.StorageError of the metadata log (the node must not run), *VotersError, *ClusterIDError, *ConfigError with all config problems at once.
func Start(config Config) (*Controller, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	c := &Controller{
		c: config, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), gone: make(chan struct{}),
	}
	store, img, err := openStorage(config)
	if err != nil {
		return nil, err
	}
	c.image.Store(img)
	c.leader.Store(&leadership{node: -1})
	c.status.Store(&QuorumStatus{Leader: -1})
	if c.d, err = newDriver(c, store); err == nil {
		err = c.d.first()
	}
	if err != nil {
		return nil, errors.Join(err, store.log.Close())
	}
	c.wg.Go(c.d.run)
	return c, nil
}

// Image returns the newest applied image. It never blocks.
func (c *Controller) Image() *Image { return c.image.Load() }

// subscriber is one registration of Subscribe.
type subscriber struct {
	fn   func(Delta)
	gone atomic.Bool
}

// Subscribe registers fn, called with each delta in order, one at a time, first with everything there is (Old is the empty image). fn runs on the controller's goroutine and must not block on it or call Handle.
// After cancel no new call begins; one under way may still be running.
func (c *Controller) Subscribe(fn func(Delta)) (cancel func()) {
	s := &subscriber{fn: fn}
	c.mu.Lock()
	c.mu.joining = append(c.mu.joining, s)
	c.mu.Unlock()
	c.signal()
	return func() { s.gone.Store(true) }
}

// Leader returns the active controller as far as this node knows; ok is false without one. term is the raft term.
func (c *Controller) Leader() (node int32, term int64, ok bool) {
	l := c.leader.Load()
	return l.node, l.term, l.node >= 0
}

// WaitLeader waits until an active controller is known. Errors: ctx's, ErrClosed, what Err returns.
func (c *Controller) WaitLeader(ctx context.Context) (int32, error) {
	err := c.await(ctx, func() bool { return c.leader.Load().node >= 0 })
	return c.leader.Load().node, err
}

// WaitOffset waits until the image has reached offset. Errors: ctx's, ErrClosed, what Err returns.
func (c *Controller) WaitOffset(ctx context.Context, offset int64) (*Image, error) {
	err := c.await(ctx, func() bool { return c.Image().Offset >= offset })
	if err != nil {
		return nil, err
	}
	return c.Image(), nil
}

// await waits until cond holds; it is asked again after each change of image or leader.
func (c *Controller) await(ctx context.Context, cond func() bool) error {
	for {
		c.mu.Lock()
		if c.mu.watch == nil {
			c.mu.watch = make(chan struct{})
		}
		watch := c.mu.watch
		c.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-watch:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.gone:
			if cond() {
				return nil
			}
			return c.endError()
		}
	}
}

// changed wakes those in await.
func (c *Controller) changed() {
	c.mu.Lock()
	watch := c.mu.watch
	c.mu.watch = nil
	c.mu.Unlock()
	if watch != nil {
		close(watch)
	}
}

// endError says why the driver ended.
func (c *Controller) endError() error {
	if err := c.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// call is one request on its way through the driver.
type call struct {
	req   kmsg.Request
	state atomic.Int32 // callQueued, then callTaken by the driver or callDropped by the caller, whoever is first

	// Of the driver: the number of the question that members are to have answered before req is judged, and since when it waits for that; see inquiry.
	asked uint64
	since time.Time

	judged chan struct{} // closed by the driver when it needs req no more
	done   chan struct{} // closed by the driver when resp and err are set
	resp   kmsg.Response
	err    error
}

const (
	callQueued = iota
	callTaken
	callDropped
)

func (l *call) answer(resp kmsg.Response, err error) {
	l.resp, l.err = resp, err
	close(l.done)
}

// letGo closes judged if it is not closed yet. Only the driver does.
func (l *call) letGo() {
	select {
	case <-l.judged:
	default:
		close(l.judged)
	}
}

// Handle answers a controller request (CreateTopics, DeleteTopics, CreatePartitions, IncrementalAlterConfigs, AlterPartition, BrokerRegistration, BrokerHeartbeat, AllocateProducerIDs) after its effect is committed and applied here. On a node that is not the active controller the answer carries NOT_CONTROLLER and nothing happened.
// REQUEST_TIMED_OUT means that nothing is known: the request's own timeout ended, or this node lost its leadership before the effect was committed.
//
// Errors: ErrClosed, ctx's, what Err returns (the outcome is unknown then); machine.ErrUnknownRequest.
func (c *Controller) Handle(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if machine.Refuse(req, kerr.NotController) == nil {
		return nil, fmt.Errorf("api key %d: %w", req.Key(), machine.ErrUnknownRequest)
	}
	if c.leader.Load().node != c.c.NodeID {
		select {
		case <-c.gone:
			return nil, c.endError()
		default:
			return machine.Refuse(req, kerr.NotController), nil
		}
	}
	l := &call{req: req, judged: make(chan struct{}), done: make(chan struct{})}
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil, c.endError()
	}
	c.mu.calls = append(c.mu.calls, l)
	c.mu.Unlock()
	c.signal()

	var timeout <-chan time.Time
	if d := machine.Timeout(req); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-l.done:
		return l.resp, l.err
	case <-timeout:
		c.giveUp(l)
		return machine.Refuse(req, kerr.RequestTimedOut), nil
	case <-ctx.Done():
		c.giveUp(l)
		return nil, ctx.Err()
	}
}

// giveUp makes sure that the driver does not look at the request any more: the caller may change it.
func (c *Controller) giveUp(l *call) {
	if !l.state.CompareAndSwap(callQueued, callDropped) {
		<-l.judged
	}
}

// Step takes raft messages from a peer, whose data directory has that id (zero: it did not say). It never blocks; messages beyond a bound are dropped, and so is what cannot be decoded.
func (c *Controller) Step(directory log.TopicID, msgs [][]byte) {
	decoded := make([]inbound, 0, len(msgs))
	size := 0
	for _, b := range msgs {
		m := &pb.Message{}
		if err := proto.Unmarshal(b, m); err != nil {
			c.c.Logger.Debug("raft message dropped", "err", err)
			continue
		}
		decoded = append(decoded, inbound{m, directory})
		size += len(b)
	}
	c.mu.Lock()
	full := c.mu.closed || len(c.mu.inbox)+len(decoded) > maxInbox || c.mu.inboxBytes+size > maxInboxBytes
	if !full {
		c.mu.inbox = append(c.mu.inbox, decoded...)
		c.mu.inboxBytes += size
	}
	c.mu.Unlock()
	if !full {
		c.signal()
	}
}

// Refused says that nobody listens at the address of a node, and that the node has no connection to this one: its process has ended, it seems. It never blocks.
func (c *Controller) Refused(node int32) {
	c.mu.Lock()
	if leads := c.leader.Load().node == c.c.NodeID; leads && !c.mu.closed && len(c.mu.refused) < maxInbox {
		c.mu.refused = append(c.mu.refused, node)
	}
	c.mu.Unlock()
	c.signal()
}

func (c *Controller) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// QuorumStatus is what DescribeQuorum tells.
type QuorumStatus struct {
	Untouched     bool  // there is no entry yet, and no vote was cast
	Leader        int32 // -1 unknown
	Term          int64
	HighWatermark int64 // commit index as offset, exclusive
	Voters        []VoterStatus
	Observers     []VoterStatus // follow without a vote
}

// VoterStatus is one member of the quorum; what it says of others is known on the leader only.
type VoterStatus struct {
	ID           int32
	LogEndOffset int64     // -1 unknown
	LastFetch    time.Time // when the leader last had an answer from it in its term; zero: not, or it is the leader
	LastCaughtUp time.Time // when it last had all that the leader had; zero as above
}

// Status returns a snapshot.
func (c *Controller) Status() QuorumStatus { return *c.status.Load() }

// Done is closed when the controller stopped by itself because its log failed; Err says why.
func (c *Controller) Done() <-chan struct{} { return c.done }

// Err returns why the controller stopped by itself, or nil.
func (c *Controller) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Resign gives up leadership to another voter if this node leads, waiting at most until ctx ends.
func (c *Controller) Resign(ctx context.Context) {
	if c.leader.Load().node != c.c.NodeID || len(c.Status().Voters) == 1 {
		return
	}
	c.mu.Lock()
	c.mu.resign = true
	c.mu.Unlock()
	c.signal()
	// The outcome shows in Leader; whoever resigns goes on either way.
	_ = c.await(ctx, func() bool { return c.leader.Load().node != c.c.NodeID })
}

// Close leaves the quorum, closes the log and waits for the goroutines. abrupt skips every write that a crash would not make.
func (c *Controller) Close(abrupt bool) error {
	c.closing.Do(func() {
		c.mu.Lock()
		c.mu.closed = true
		c.mu.Unlock()
		close(c.stop)
		c.wg.Wait()
		if abrupt {
			c.d.store.log.Abandon()
			return
		}
		c.closeE = c.d.store.log.Close()
	})
	return c.closeE
}
