package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A node with an empty directory may be a founder of a new cluster, or one that lost its disk. It must not vote before it knows: it may have forgotten a vote, and what it confirmed. It asks the others:
//
//	all founders are empty ──────────> it founds the cluster with them
//	one has started ─────────────────> it comes back: the vote of its id is taken away, it follows, and gets a vote when it has caught up
//	some cannot be reached ──────────> it asks again
//
// Who asks is empty, too: so everybody knows of everybody by the time that somebody founds. Nobody who took part in the founding is empty, for votes and entries are on stable storage before they are sent; so an empty node that finds all others empty has forgotten nothing that another one
// remembers.

// founding is what this node has heard of the other founders while its directory is empty.
type founding struct {
	mu    sync.Mutex
	empty map[int32]int16 // who said that it is, and up to which level it knows metadata
	wake  chan struct{}   // holds a token when somebody has
}

// heard notes that a node is empty, and what it said of levels.
func (f *founding) heard(id int32, level int16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.empty[id] = max(level, controller.LevelBase)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// unheard lists those of whom it is not known.
func (f *founding) unheard(ids []int32) []int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return f.empty[id] > 0 })
}

// level is the highest that all founders know.
func (f *founding) level(own int16) int16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, level := range f.empty {
		own = min(own, level)
	}
	return own
}

// metadataState is what this node answers to those who found a cluster.
func (b *Broker) metadataState() controller.NodeState {
	switch ctl := b.ctl.Load(); {
	case ctl == nil && b.founding.Load() != nil, ctl != nil && ctl.Status().Untouched:
		return controller.StateEmpty
	case ctl == nil:
		return controller.StateUnknown
	}
	return controller.StateStarted
}

// The pause between two rounds of questions.
const (
	askAgainMin = 2 * time.Millisecond
	askAgainMax = 250 * time.Millisecond
)

// Founds tells whether this node, whose directory is empty, founds the cluster with the other voters, and at which level of the metadata. False: it has come back to a cluster that exists, which has taken it in. It asks until it knows, or ctx
// ends. Errors: ErrRemoved, *controller.LevelError, *kerr.Error of a cluster that does not take it, ctx's with the names of those that did not answer.
func (b *Broker) Founds(ctx context.Context) (founds bool, level int16, err error) {
	f := &founding{empty: map[int32]int16{}, wake: make(chan struct{}, 1)}
	b.founding.Store(f)
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(b.c.Voters)), func(id int32) bool { return id == b.c.NodeID })
	var last error
	for begun, pause, warned := time.Now(), askAgainMin, false; ; pause = min(2*pause, askAgainMax) {
		unknown := f.unheard(others)
		states := b.askFounders(ctx, unknown)
		for id, resp := range states {
			if resp.State == controller.StateEmpty {
				f.heard(id, resp.Level)
			}
		}
		if unknown = f.unheard(unknown); len(unknown) == 0 {
			return true, f.level(b.c.Levels.Highest()), nil
		}
		for _, id := range unknown {
			if states[id].State != controller.StateStarted {
				continue
			}
			switch last = b.comeBack(ctx, id); {
			case last == nil:
				return false, 0, nil
			case errors.Is(last, ErrRemoved), errors.Is(last, kerr.InconsistentClusterID), errors.Is(last, kerr.InvalidRequest), is[*controller.LevelError](last):
				return false, 0, last
			}
		}
		if !warned && time.Since(begun) > doubtAfter {
			warned = true
			b.logger.Warn("an empty directory: waiting to hear from the other founders whether there is a cluster already", "node", b.c.NodeID, "missing", unknown, "last", last)
		}
		if !f.sleep(ctx, pause) {
			return false, 0, errors.Join(fmt.Errorf("an empty directory, and no word from nodes %v on whether there is a cluster already: %w", unknown, ctx.Err()), last)
		}
	}
}

// sleep waits for a while, or until somebody was heard of; false if ctx ended.
func (f *founding) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.wake:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// askFounders asks all at once.
func (b *Broker) askFounders(ctx context.Context, ids []int32) map[int32]controller.JoinResponse {
	var wg sync.WaitGroup
	states := make([]controller.JoinResponse, len(ids))
	for i, id := range ids {
		wg.Go(func() {
			if resp, err := b.askOne(ctx, id, b.joinRequest(controller.AskStarted)); err == nil {
				states[i] = *resp
			}
		})
	}
	wg.Wait()
	answers := make(map[int32]controller.JoinResponse, len(ids))
	for i, id := range ids {
		answers[id] = states[i]
	}
	return answers
}

// comeBack asks a node of a cluster that exists to have this one back.
func (b *Broker) comeBack(ctx context.Context, node int32) error {
	resp, err := b.askOne(ctx, node, b.joinRequest(controller.Return))
	if err != nil {
		return err
	}
	switch err := kerr.ErrorForCode(resp.ErrorCode); {
	case errors.Is(err, kerr.VoterNotFound):
		return ErrRemoved
	case errors.Is(err, kerr.UnsupportedVersion):
		return &controller.LevelError{Level: resp.Level, Known: b.c.Levels.Highest()}
	case err != nil:
		return fmt.Errorf("come back with an empty directory: %w", err)
	}
	b.logger.Warn("an empty directory: back in a cluster that exists, without what was on the disk", "node", b.c.NodeID)
	return nil
}
