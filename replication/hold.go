package replication

import (
	"slices"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication/machine"
)

// maxHeld bounds the bytes of batches that one replica holds back. A pause of a round trip does not come near to it.
const maxHeld = 4 << 20

// held is what waits for the end of a hand-over, in the order of its coming. It is empty at all other times.
type held struct {
	appends []*Pending
	bytes   int
	refused bool // since something was, everything is: what comes later must not overtake
}

// heldAppend is an append that has not been made yet. The batch is a copy.
type heldAppend struct {
	batch   record.Batch
	options AppendOptions
}

// holdLocked puts an append aside; nil if there are too many.
func (r *Replica) holdLocked(b record.Batch, o AppendOptions, res AppendResult, done func(AppendResult)) *Pending {
	h := &r.mu.held
	if h.refused || len(h.appends) > 0 && h.bytes+len(b) > maxHeld {
		h.refused = true
		return nil
	}
	p := &Pending{replica: r, done: done, result: res, held: &heldAppend{slices.Clone(b), o}}
	h.appends, h.bytes = append(h.appends, p), h.bytes+len(b)
	return p
}

// cancel takes an append out; false if it is not held back.
func (h *held) cancel(p *Pending) bool {
	if p.held == nil {
		return false
	}
	h.appends = slices.DeleteFunc(h.appends, func(o *Pending) bool { return o == p })
	h.bytes -= len(p.held.batch)
	p.held = nil
	return true
}

// releaseLocked makes the appends that were held back, or refuses them, when the hand-over is over.
func (r *Replica) releaseLocked(fx *effects) {
	if r.mu.machine.HandsOver() || len(r.mu.held.appends) == 0 && !r.mu.held.refused {
		return
	}
	appends := r.mu.held.appends
	r.mu.held = held{}
	for _, p := range appends {
		b, o := p.held.batch, p.held.options
		p.held = nil
		o.Now = time.Now()
		err := r.appendableLocked(o)
		if err == nil && !o.Until.IsZero() && o.Now.After(o.Until) {
			err = ErrNotLeader
		}
		if err != nil {
			s := r.mu.machine.State()
			p.result.Leader, p.result.LeaderEpoch, p.result.Err = s.Leader, s.LeaderEpoch, err
			fx.answers = append(fx.answers, p)
			continue
		}
		outcome, end := r.appendNowLocked(b, o, &p.result, fx)
		if outcome == machine.Waiting {
			r.waitLocked(p, o, end)
		} else {
			fx.answers = append(fx.answers, p)
		}
	}
}
