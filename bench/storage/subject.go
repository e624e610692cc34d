package main

import (
	"errors"
	"sync"
)

// subject is a log that is measured.
type subject struct {
	name   string
	crc    bool // it takes a checksum
	open   func(dir string, o options) (store, error)
	reopen func(dir string) (store, error) // open what is there; nil if it is no log that can be gone on with
}

// options say how a log is opened.
type options struct {
	durable bool // an append is on the disk when it returns
	roll    bool // segments of the size that the log has by itself; else large ones, so that none begins while it is measured
	find    bool // records will be looked up
}

// store is an open log. Its methods are for one goroutine, but for those of shared.
type store interface {
	// append adds a batch. On return it is in the page cache, or if the store was opened durable on the disk.
	append(b *batch) error

	// shared makes append for many goroutines: with a group commit if the log has one. Else with one of ours, see combine.
	shared() func(b *batch) error

	close() error
}

// reader is a store that is read from start to end, or until visit has enough. It checks what there is to be checked, and gives visit records, or whole batches where it says so.
type reader interface {
	scan(visit func(value []byte) bool) error
}

// finder is a store that is read at random.
type finder interface {
	// find reads the record of that number, from 0. What it returns is valid until the next call.
	find(number int) ([]byte, error)
}

var errWrong = errors.New("it read back something else than was written")

// locked makes an append safe for many goroutines by a mutex.
func locked(f func(b *batch) error) func(b *batch) error {
	var mu sync.Mutex
	return func(b *batch) error {
		mu.Lock()
		defer mu.Unlock()
		return f(b)
	}
}

// combiner is a group commit for logs that have none of their own: whoever comes while a write is under way waits, and the next one to write takes what all of them have into one call. That is how
// hashicorp/raft and etcd use their logs.
type combiner struct {
	write func(all []*batch) error

	mu      sync.Mutex
	cond    sync.Cond
	busy    bool
	waiting []*batch
	round   uint64 // that waiting goes into
	done    uint64 // rounds that have been written
	err     error  // of the first that failed: nothing is written after it
}

func combine(write func(all []*batch) error) func(b *batch) error {
	c := &combiner{write: write, round: 1}
	c.cond.L = &c.mu
	return c.append
}

func (c *combiner) append(b *batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := c.round
	c.waiting = append(c.waiting, b)
	for c.done < mine && c.err == nil {
		if c.busy {
			c.cond.Wait()
			continue
		}
		all, round := c.waiting, c.round
		c.waiting, c.busy = nil, true
		c.round++
		c.mu.Unlock()
		err := c.write(all)
		c.mu.Lock()
		c.busy, c.done, c.err = false, round, err
		c.cond.Broadcast()
	}
	return c.err
}
