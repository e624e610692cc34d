package transport

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// VersionRange is the inclusive range of versions that a server answers for one API key.
type VersionRange struct{ Min, Max int16 }

// ConnInfo describes the connection a request came in on.
type ConnInfo struct {
	Local, Remote string // addresses; "direct" for calls within the process
	Direct        bool   // a call within the process: no encoding, records may alias the caller's memory until the reply
	SendFile      bool   // the connection can send file ranges: Reply.Files may be used

	ClientSoftwareName, ClientSoftwareVersion string // from ApiVersions v3+, set by the handler
}

// Request is one request as a handler sees it.
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
	// Message is the response; nil sends none (Produce with acks=0).
	Message kmsg.Response
	// Files, for a *kmsg.FetchResponse on a connection with SendFile, holds for each partition of the response, in order of appearance, the file ranges that take the
	// place of its records; entries without ranges use the Records field.
	Files [][]FileRange
	// Release, if set, is called once when the reply's memory and files are no longer needed: after the write, or by the caller of a direct request.
	Release func()
	// Close asks for the connection to be closed (a failed Produce with acks=0).
	Close bool
}

// Handler answers requests. It is implemented by internal/broker.
type Handler interface {
	// Versions returns the API keys and versions that it answers. The map must not change.
	Versions() map[int16]VersionRange
	// Serve handles one request. It is called in order, one at a time per connection, and returns when the next request of that connection may be handled: it may block
	// (a fetch that waits), or return early and call reply later from any goroutine (a produce that is appended but not yet committed). reply must be called exactly once.
	// ctx ends when the connection or the server closes.
	Serve(ctx context.Context, r *Request, reply func(Reply))
}

// ServerConfig sets up a Server. Zero values are the documented defaults.
type ServerConfig struct {
	Handler        Handler
	MaxFrameBytes  int           // 0 = 16 MiB; larger frames close the connection
	IdleTimeout    time.Duration // connections.max.idle.ms; 0 = 10 min
	MaxPipelined   int           // replies outstanding per connection before reading stops; 0 = 64
	MaxConnections int           // 0 = 4096
	Logger         *slog.Logger
}

// Server speaks Kafka's protocol on listeners and hands requests to its Handler. Replies leave each connection in the order of the requests.
type Server struct{ _ int }

// NewServer returns a server; Serve runs it.
func NewServer(c ServerConfig) (*Server, error) { panic("stub") }

// Serve accepts connections until the listener or the server closes. It returns nil after Close.
func (s *Server) Serve(l net.Listener) error { panic("stub") }

// Close closes listeners and connections and waits for their goroutines.
func (s *Server) Close() error { panic("stub") }
