package transport

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Local is a node in this process that a client calls directly, without a socket and without encoding.
type Local struct {
	NodeID  int32
	Handler Handler
}

// ClientConfig sets up a Client.
type ClientConfig struct {
	Bootstrap []string // addresses of any nodes of the cluster; may be empty with Local
	Network   Network  // nil = TCP(nil)
	Local     *Local   // a node reached by function call; it also serves as bootstrap
	ClientID  string   // "" = "insync"

	DialTimeout    time.Duration // 0 = 10 s
	RequestTimeout time.Duration // request.timeout.ms; 0 = 30 s. Added to a request's own wait time (Fetch, Produce, …).
	MetadataMaxAge time.Duration // metadata.max.age.ms; 0 = 5 min
	BackoffMin     time.Duration // retry.backoff.ms; 0 = 100 ms
	BackoffMax     time.Duration // retry.backoff.max.ms; 0 = 1 s
	MaxFrameBytes  int           // of responses; 0 = 64 MiB
	Logger         *slog.Logger
}

// Client is a connection to a cluster: bootstrap addresses, metadata cache, routing, back-off. It is safe for concurrent use. Connections are made on demand; fetches and
// produces have connections of their own, so that one that waits holds up nobody else.
type Client struct{ _ int }

// NewClient returns a client without connecting. Errors: all problems of the config at once.
func NewClient(c ClientConfig) (*Client, error) { panic("stub") }

// Close closes the connections, fails what is under way with ErrClosed and waits for all goroutines.
func (c *Client) Close() error { panic("stub") }

// AnyNode as a node id stands for whichever node answers.
const AnyNode int32 = -1

// Request sends req to a node (or AnyNode) at the highest version both sides know, or at maxVersion, and waits for the answer. It is not retried, except that with AnyNode every known
// address is tried once until a request could be sent. Errors: ErrClosed, *UnknownNodeError, *ConnError, *UnsupportedVersionError, ctx's.
// The response's bytes may be shared with nobody else.
func (c *Client) Request(ctx context.Context, node int32, req kmsg.Request) (kmsg.Response, error) {
	panic("stub")
}

// Send is Request without waiting: requests to one node are pipelined in the order of the calls (per lane: produce, fetch, others) and done is called exactly once,
// in the order of responses, from the connection's goroutine or, for a Local node, from whichever goroutine replies, perhaps before Send returns. done must not block. With a nil error the Response's
// Release, if not nil, must be called when its bytes are no longer used. ctx ends the wait, not what was sent.
func (c *Client) Send(ctx context.Context, node int32, req kmsg.Request, done func(Response, error)) {
	panic("stub")
}

// Response is an answer with its memory.
type Response struct {
	Message kmsg.Response
	Release func() // may be nil
}

// Controller returns the node to which admin requests go (any live node forwards them).
func (c *Client) Controller(ctx context.Context) (int32, error) { panic("stub") }

// Node is one broker of the metadata cache.
type Node struct {
	ID   int32
	Addr string // "host:port"
	Rack string
}

// Topic is one topic of the metadata cache; immutable.
type Topic struct {
	Name       string
	ID         [16]byte
	Internal   bool
	Partitions []Partition // by partition number
	Err        error       // *kerr.Error of the topic, or nil
}

// Partition is one partition of the metadata cache.
type Partition struct {
	Leader      int32 // -1 without
	LeaderEpoch int32 // -1 unknown
	Replicas    []int32
	ISR         []int32
	Offline     []int32
	Err         error // *kerr.Error, or nil
}

// Topic returns a topic from the cache, asking the cluster if it is unknown or too old. An unknown topic is an error (kerr.UnknownTopicOrPartition) unless allowCreate made it.
func (c *Client) Topic(ctx context.Context, name string, allowCreate bool) (*Topic, error) {
	panic("stub")
}

// CachedTopic returns what is cached, or nil. It never blocks and allocates nothing.
func (c *Client) CachedTopic(name string) *Topic { panic("stub") }

// Refresh asks for new metadata of the topics soon (at most once per back-off) and returns a channel that is closed after the next answer arrived (or the client closed). Reasons to call it: NOT_LEADER_OR_FOLLOWER and the like.
func (c *Client) Refresh(topics ...string) <-chan struct{} { panic("stub") }

// LeaderHint takes the current leader that a Produce or Fetch response named (KIP-951); older epochs are ignored.
func (c *Client) LeaderHint(topic string, partition, leader, leaderEpoch int32, nodes []Node) {
	panic("stub")
}

// SetNode adds or replaces a node's address (nodes among themselves know their peers before any metadata).
func (c *Client) SetNode(n Node) { panic("stub") }

// Nodes lists the brokers of the cache.
func (c *Client) Nodes() []Node { panic("stub") }
