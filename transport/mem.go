package transport

import "time"

// Mem is a network in memory whose links can be slowed, stalled, reset and cut one way. It works inside a testing/synctest bubble.
// A host's name is the part of an address before the colon; each host dials under its own name (Host).
type Mem struct{ _ int }

// NewMem returns a network without hosts or faults.
func NewMem() *Mem { panic("stub") }

// Host returns the network as the host of that name sees it: what it dials counts as coming from name. Listen with an empty host listens on name; port 0 picks one.
func (m *Mem) Host(name string) Network { panic("stub") }

// Link is the state of one direction between two hosts. The zero value is a perfect link.
type Link struct {
	Latency time.Duration // added to every delivery; order is kept
	Cut     bool          // bytes are lost in silence; dialling hangs until its context ends
	Stall   bool          // bytes are kept until the stall ends
}

// SetLink sets the direction from → to, for connections that exist and those to come. "*" matches every host.
func (m *Mem) SetLink(from, to string, l Link) { panic("stub") }

// Reset breaks all connections between the two hosts, in both directions, as a TCP reset does. "*" matches every host.
func (m *Mem) Reset(a, b string) { panic("stub") }

// Heal removes all link states.
func (m *Mem) Heal() { panic("stub") }
