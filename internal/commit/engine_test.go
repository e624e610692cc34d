package commit

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a target whose syncs the test lets through one by one.
type gate struct {
	entered chan struct{} // one per sync that began
	leave   chan struct{} // one lets it end
	syncs   atomic.Int64
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 100), leave: make(chan struct{})} }

func (g *gate) Sync() {
	g.syncs.Add(1)
	g.entered <- struct{}{}
	<-g.leave
}

type targetFunc func()

func (f targetFunc) Sync() { f() }

func TestRequestsDuringSyncShareTheNextOne(t *testing.T) {
	e := New(Config{})
	g := newGate()
	h := e.Register(g)
	h.Request()
	<-g.entered
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(h.Request)
	}
	wg.Wait()
	g.leave <- struct{}{}
	<-g.entered
	g.leave <- struct{}{}
	e.Close()
	require.EqualValues(t, 2, g.syncs.Load())
	h.Request()
	require.EqualValues(t, 2, g.syncs.Load())
}
