package transport

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// VersionRange is the inclusive range of versions that a server answers for one API key.
type VersionRange struct{ Min, Max int16 }

// ConnInfo describes the connection a request came in on. There is one per connection.
type ConnInfo struct {
	Local, Remote string // addresses; "direct" for calls within the process
	Direct        bool   // a call within the process: no encoding, records may alias the caller's memory until the reply
	SendFile      bool   // the connection can send file ranges: Reply.Files may be used

	// Identity is who the other side is; before a login, and within the process, Anonymous. It is set before the handler sees anything but ApiVersions, and then stays.
	Identity Identity

	ClientSoftwareName, ClientSoftwareVersion string // from ApiVersions v3+, set by the handler

	muted atomic.Int64 // until then no request is taken; UnixNano, 0 = it is
}

// Mute has no more requests taken from the connection for a time: whoever is told to slow down does. It holds for every request that has not begun to be read, and nothing but the connection's own buffer is held
// meanwhile; that the other side has gone is not noticed before. It does nothing for calls within the process. Safe for concurrent use.
func (c *ConnInfo) Mute(d time.Duration) {
	until := time.Now().Add(d).UnixNano()
	for {
		old := c.muted.Load()
		if old >= until || c.muted.CompareAndSwap(old, until) {
			return
		}
	}
}

// Request is one request as a handler sees it. Its bytes (not its strings) are the handler's until it both returned from Serve and called reply; then their memory is used again.
type Request struct {
	Message  kmsg.Request // its version is set
	ClientID string
	Conn     *ConnInfo
}

// FileRange is a run of bytes in a file.
type FileRange struct {
	File *os.File
	Pos  int64
	Len  int
}

// Reply is a handler's answer.
type Reply struct {
	// Message is the response; nil sends none (Produce with acks=0). Its version is set by the server.
	Message kmsg.Response
	// Files, for a *kmsg.FetchResponse on a connection with SendFile, holds for each partition of the response, in order of appearance, the file ranges that take the
	// place of its records; entries without ranges use the Records field. The files must hold those ranges until Release.
	Files [][]FileRange
	// Release, if set, is called once when the reply's memory and files are no longer needed: after the write, or by the caller of a direct request.
	Release func()
	// Close asks for the connection to be closed (a failed Produce with acks=0) after what came before was sent.
	Close bool
}

// Handler answers requests. It is implemented by internal/broker.
type Handler interface {
	// Versions returns the API keys and versions that it answers. The map must not change.
	Versions() map[int16]VersionRange
	// Serve handles one request. It is called in order, one at a time per connection, and returns when the next request of that connection may be handled: it may block
	// (a fetch that waits), or return early and call reply later from any goroutine (a produce that is appended but not yet committed). reply must be called exactly once; it does not
	// block, and calls after the first do nothing. ctx ends when the connection or the server closes.
	Serve(ctx context.Context, r *Request, reply func(Reply))
}

// ServerConfig sets up a Server. Zero values are the documented defaults.
type ServerConfig struct {
	Handler Handler
	Limits  Limits
	Login   Login // nil = every connection is Anonymous, and trusted as another node is
	Logger  *slog.Logger

	// NewRequest returns an empty request for a key of the handler's Versions, nil if it knows none; nil = kmsg.RequestForKey. Private keys (32000 and up) need it.
	NewRequest func(key int16) kmsg.Request
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NewRequest == nil {
		c.NewRequest = kmsg.RequestForKey
	}
	return c
}

func (c ServerConfig) validate() error {
	var errs []error
	if c.Handler == nil {
		errs = append(errs, errors.New("transport: Handler is missing"))
	}
	errs = append(errs, c.Limits.Validate())
	return errors.Join(errs...)
}

// Server speaks Kafka's protocol on listeners and hands requests to its Handler. Replies leave each connection in the order of the requests. It is safe for concurrent use.
//
// Goroutines: one per Serve, which is the caller's; per connection a reader, which runs the Handler, and a writer. All of them end with the first error of their connection, or at Close, which
// waits for them.
type Server struct {
	cfg        ServerConfig
	versions   map[int16]VersionRange
	frames     framePool
	memory     memory
	shaking    chan struct{} // room for TLS handshakes
	complaints complaints
	ctx        context.Context // ends at Close
	cancel     context.CancelFunc
	wg         sync.WaitGroup

	mu struct {
		sync.Mutex
		closed    bool
		listeners map[net.Listener]struct{}
		conns     map[*serverConn]struct{}
		hosts     map[string]int // connections by address without the port
		fresh     list.List      // of *serverConn: those that have not sent a request, the oldest first
	}
}

// NewServer returns a server; Serve runs it. Errors: all problems of the config at once.
func NewServer(c ServerConfig) (*Server, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: c, versions: c.Handler.Versions(), shaking: make(chan struct{}, c.Limits.Handshakes)}
	s.memory.max = int64(c.Limits.Memory)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.listeners = make(map[net.Listener]struct{})
	s.mu.conns = make(map[*serverConn]struct{})
	s.mu.hosts = make(map[string]int)
	return s, nil
}

// Serve accepts connections until the listener or the server closes, and closes the listener. It returns nil after Close, and when it comes after Close. It may be called for several listeners at once.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		_ = l.Close() // perhaps again
		return nil
	}
	s.mu.listeners[l] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer func() {
		_ = l.Close() // again after Close; its error says nothing new
		s.mu.Lock()
		delete(s.mu.listeners, l)
		s.mu.Unlock()
		s.wg.Done()
	}()
	var wait time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			wait = 0
			s.start(nc)
			continue
		}
		if s.ctx.Err() != nil {
			return nil
		}
		if !temporary(err) {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		// Out of descriptors or memory: the connections that exist go on, and one of them may end.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		s.cfg.Logger.Warn("cannot accept connections", "listener", l.Addr(), "retry", wait, "error", err)
		if !sleep(s.ctx, wait) {
			return nil
		}
	}
}

// temporary tells whether accepting may work again later.
func temporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary() && !errors.Is(err, net.ErrClosed)
}

// sleep waits and tells whether ctx is still alive.
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

// start runs a connection, or refuses it.
func (s *Server) start(nc net.Conn) {
	c := newServerConn(s, nc)
	outcast, refused := s.admit(c)
	if outcast != nil {
		outcast.fail(errOutcast)
	}
	if refused != "" {
		c.cancel()
		_ = nc.Close()
		if s.ctx.Err() == nil {
			s.complaints.log(s.cfg.Logger, slog.LevelWarn, "connection refused", "remote", c.info.Remote, "reason", refused)
		}
		return
	}
	go func() {
		defer s.wg.Done()
		c.run()
		s.mu.Lock()
		delete(s.mu.conns, c)
		s.knownLocked(c)
		if s.mu.hosts[c.host]--; s.mu.hosts[c.host] == 0 {
			delete(s.mu.hosts, c.host)
		}
		s.mu.Unlock()
	}()
}

// errOutcast is why a connection ends that never sent anything while others want in.
var errOutcast = errors.New("too many connections, and this one never sent a request")

// admit counts a connection in, or says why not. outcast has to make room for it.
func (s *Server) admit(c *serverConn) (outcast *serverConn, refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits := &s.cfg.Limits
	switch {
	case s.mu.closed:
		return nil, "the server is closed"
	case s.mu.hosts[c.host] >= limits.ConnectionsPerHost:
		return nil, fmt.Sprintf("there are %d from %s", s.mu.hosts[c.host], c.host)
	case len(s.mu.conns) >= limits.Connections:
		oldest := s.mu.fresh.Front()
		if oldest == nil || len(s.mu.conns) >= limits.Connections+limits.Connections/8+1 { // those that end count until they have
			return nil, fmt.Sprintf("there are %d", len(s.mu.conns))
		}
		outcast = s.mu.fresh.Remove(oldest).(*serverConn)
		outcast.fresh = nil
	}
	s.mu.conns[c] = struct{}{}
	s.mu.hosts[c.host]++
	c.fresh = s.mu.fresh.PushBack(c)
	s.wg.Add(1)
	return outcast, ""
}

// knownLocked notes that a connection sent a request, or is no more.
func (s *Server) knownLocked(c *serverConn) {
	if c.fresh != nil {
		s.mu.fresh.Remove(c.fresh)
		c.fresh = nil
	}
}

// Close closes listeners and connections and waits for their goroutines, and so for every Serve of the Handler to return. Replies that come later release their memory at once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	listeners, conns := maps.Clone(s.mu.listeners), maps.Clone(s.mu.conns)
	s.mu.Unlock()
	s.cancel()
	var err error
	for l := range listeners {
		if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	for c := range conns {
		c.fail(ErrClosed)
	}
	s.wg.Wait()
	return err
}
