package cluster

import (
	"errors"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/vfs"
)

const (
	// hungAfter is how long an operation of the disk may take before Close gives it up.
	hungAfter = 4 * time.Second
	// partGrace is what a part gets to end in although the disk hangs: most of them do not need it.
	partGrace = 100 * time.Millisecond
)

// teardown takes down whatever build has built, in the opposite order. A part that waits for a disk that hangs is left to itself. The directory comes last, when all others have ended: until then it
// is locked.
func (n *Node) teardown(mode closeMode) error {
	epoch := int64(-1)
	var parts []func() error
	if n.client != nil {
		parts = append(parts, n.client.Close)
	}
	if n.server != nil {
		parts = append(parts, n.server.Close)
	}
	if n.broker != nil {
		epoch = n.broker.BrokerEpoch()
		parts = append(parts, n.broker.Close)
	}
	if n.ctl != nil {
		parts = append(parts, func() error { return n.ctl.Close(mode == modeAbandon) })
	}
	if n.commit != nil {
		parts = append(parts, func() error { n.commit.Close(); return nil })
	}
	d := &dismantling{disk: n.disk}
	for _, part := range parts {
		d.part(part)
	}
	d.last(func() error {
		var err error
		if n.dir != nil && mode == modeClean {
			err = n.dir.Close(epoch)
		} else if n.dir != nil {
			n.dir.Abandon()
		}
		n.wg.Wait()
		return err
	})
	return errors.Join(d.errs...)
}

// dismantling ends parts one after the other.
type dismantling struct {
	disk    *vfs.Watch
	earlier sync.WaitGroup // all parts but the last, also those that were left to themselves
	errs    []error
	hung    bool
}

// part runs f, and returns when it has, or when it was given up.
func (d *dismantling) part(f func() error) {
	done := make(chan error, 1)
	d.earlier.Go(func() { done <- f() })
	d.await(done)
}

// last runs f when all parts have ended.
func (d *dismantling) last(f func() error) {
	done := make(chan error, 1)
	go func() { // awaited, or ends when the disk has answered
		d.earlier.Wait()
		done <- f()
	}()
	d.await(done)
}

func (d *dismantling) await(done <-chan error) {
	timer := time.NewTimer(d.patience())
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			d.errs = append(d.errs, err)
			return
		case <-timer.C:
		}
		if d.disk.Stalled() >= hungAfter {
			if !d.hung {
				d.hung = true
				d.errs = append(d.errs, ErrDiskHung)
			}
			return
		}
		timer.Reset(d.patience())
	}
}

// patience is the time until the operation that is the oldest now will have taken too long.
func (d *dismantling) patience() time.Duration { return max(hungAfter-d.disk.Stalled(), partGrace) }
