package transport

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// Limits bound what connections may cost a Server, whoever is at the other end. Zero values are the documented defaults.
type Limits struct {
	// LoginFrame, Frame and PeerFrame are the largest frames, in bytes, of a connection that has to log in first, of one that has or need not, and of another node's. Larger ones close the
	// connection. 0 = 64 KiB, 16 MiB, 64 MiB.
	LoginFrame, Frame, PeerFrame int
	// Pipelined is how many requests of a connection may be without their reply, ConnectionMemory how many bytes they may have; then reading stops until a reply was sent. 0 = 64, 32 MiB.
	Pipelined, ConnectionMemory int
	// Memory is how many bytes the requests of all connections may have, those that arrive included; then reading stops until there is room, and whoever is slowest to send a frame that it
	// began loses its connection. 0 = 256 MiB.
	Memory int
	// Connections and ConnectionsPerHost bound the connections at once, in all and from one address. Above the first, a newcomer takes the place of the oldest that never sent a request, if
	// there is one. 0 = 4,096 and 256.
	Connections, ConnectionsPerHost int
	// Handshakes is how many TLS handshakes compute at once; more wait. 0 = 64.
	Handshakes int
	// LoginTimeout bounds the TLS handshake, and the login after it. 0 = 10 s.
	LoginTimeout time.Duration
	// FrameTimeout is how long the rest of a begun frame may take, plus a second for each 64 KiB. 0 = 30 s.
	FrameTimeout time.Duration
	// IdleTimeout is how long a connection may be silent, or take nothing of what it is sent (connections.max.idle.ms). 0 = 10 min.
	IdleTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	l.LoginFrame = cmp.Or(l.LoginFrame, 64<<10)
	l.Frame = cmp.Or(l.Frame, 16<<20)
	l.PeerFrame = cmp.Or(l.PeerFrame, 64<<20)
	l.Pipelined = cmp.Or(l.Pipelined, 64)
	l.ConnectionMemory = cmp.Or(l.ConnectionMemory, 32<<20)
	l.Memory = cmp.Or(l.Memory, 256<<20)
	l.Connections = cmp.Or(l.Connections, 4096)
	l.ConnectionsPerHost = cmp.Or(l.ConnectionsPerHost, 256)
	l.Handshakes = cmp.Or(l.Handshakes, 64)
	l.LoginTimeout = cmp.Or(l.LoginTimeout, 10*time.Second)
	l.FrameTimeout = cmp.Or(l.FrameTimeout, 30*time.Second)
	l.IdleTimeout = cmp.Or(l.IdleTimeout, 10*time.Minute)
	return l
}

// Validate reports all limits that cannot be, at once.
func (l Limits) Validate() error {
	l = l.withDefaults()
	var errs []error
	for _, n := range []struct {
		name     string
		n, least int
	}{
		{"LoginFrame", l.LoginFrame, requestHeaderBytes},
		{"Frame", l.Frame, requestHeaderBytes},
		{"PeerFrame", l.PeerFrame, requestHeaderBytes},
		{"Pipelined", l.Pipelined, 1},
		{"ConnectionMemory", l.ConnectionMemory, 1},
		{"Memory", l.Memory, 1},
		{"Connections", l.Connections, 1},
		{"ConnectionsPerHost", l.ConnectionsPerHost, 1},
		{"Handshakes", l.Handshakes, 1},
	} {
		if n.n < n.least || n.n > math.MaxInt32 {
			errs = append(errs, fmt.Errorf("transport: Limits.%s %d is outside [%d, %d]", n.name, n.n, n.least, math.MaxInt32))
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"LoginTimeout", l.LoginTimeout}, {"FrameTimeout", l.FrameTimeout}, {"IdleTimeout", l.IdleTimeout}} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("transport: Limits.%s %v is negative", d.name, d.d))
		}
	}
	return errors.Join(errs...)
}
