package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// progress draws a bar while work goes on: in place on a terminal, a line a second elsewhere.
type progress struct {
	out   io.Writer
	what  string
	total int
	n     atomic.Int64
	stop  chan struct{}
	wg    sync.WaitGroup
}

func newProgress(out io.Writer, what string, total int) *progress {
	p := &progress{out: out, what: what, total: total, stop: make(chan struct{})}
	every, end := time.Second, "\n"
	if f, ok := out.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
			every, end = 100*time.Millisecond, "\r"
		}
	}
	p.wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				p.draw(end)
			case <-p.stop:
				p.draw("\n")
				return
			}
		}
	})
	return p
}

func (p *progress) set(n int) { p.n.Store(int64(n)) }

// done draws the last bar.
func (p *progress) done() {
	close(p.stop)
	p.wg.Wait()
}

func (p *progress) draw(end string) {
	n := int(p.n.Load())
	const width = 40
	full := n * width / p.total
	fmt.Fprintf(p.out, "%s %s%s %3d%% %d/%d%s", p.what, strings.Repeat("█", min(full, width)), strings.Repeat("░", max(width-full, 0)), 100*n/p.total, n, p.total, end)
}
