package sim

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// trace is what happened in a run, as a number: the sum of the hashes of all events with their times. Events of one instant may come in any order, as goroutines do.
type trace struct {
	begun time.Time
	out   io.Writer // nil, or a line per event

	mu     sync.Mutex
	digest uint64
	events int64
}

func (t *trace) add(kind string, where string, a, b, c int64) {
	at := time.Since(t.begun)
	h := newHash(uint64(at)).string(kind).string(where).uint(uint64(a)).uint(uint64(b)).uint(uint64(c))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.digest += h.sum()
	t.events++
	if t.out != nil {
		fmt.Fprintf(t.out, "%d %s %s %d %d %d\n", int64(at), kind, where, a, b, c)
	}
}

// hash mixes what names an event into a number that looks random: SplitMix64's finalizer after each word.
type hash uint64

func newHash(seed uint64) hash { return hash(seed).uint(0x9e3779b97f4a7c15) }

func (h hash) uint(x uint64) hash {
	z := uint64(h) ^ x
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return hash(z ^ z>>31)
}

func (h hash) string(s string) hash {
	for len(s) >= 8 {
		h = h.uint(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56)
		s = s[8:]
	}
	last := uint64(len(s))
	for i := range len(s) {
		last = last<<8 | uint64(s[i])
	}
	return h.uint(last)
}

func (h hash) bool(b bool) hash {
	if b {
		return h.uint(1)
	}
	return h.uint(0)
}

// ids mixes a list in.
func (h hash) ids(list []int32) hash {
	h = h.uint(uint64(len(list)))
	for _, id := range list {
		h = h.uint(uint64(id))
	}
	return h
}

func (h hash) sum() uint64 { return uint64(h) }

// between is a duration in [low, high) that the hash decides.
func (h hash) between(low, high time.Duration) time.Duration {
	return low + time.Duration(uint64(h)%uint64(high-low))
}
