package fuzztest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatalf(string, ...any) { r.failed = true }

var sink []byte

func TestBounded(t *testing.T) {
	for name, c := range map[string]struct {
		n    int
		f    func()
		fail bool
	}{
		"nothing":        {0, func() {}, false},
		"what is small":  {1, func() { sink = make([]byte, 10<<10) }, false},
		"in proportion":  {1 << 20, func() { sink = make([]byte, 15<<20) }, false},
		"too much":       {1 << 20, func() { sink = make([]byte, raceFactor*17<<20) }, true},
		"a bomb":         {20, func() { sink = make([]byte, 1<<20) }, true},
		"for too long":   {20, func() { time.Sleep(2 * slack * most) }, true},
		"long, but more": {1 << 20, func() { time.Sleep(2 * slack * most) }, false},
	} {
		r := &recorder{TB: t}
		Bounded(r, c.n, c.f)
		require.Equal(t, c.fail, r.failed, name)
	}
}
