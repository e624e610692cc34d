package groups

import (
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/log/record"
)

// keptBytes is the size of a batch up to which its memory is kept for the next.
const keptBytes = 1 << 20

// round is what one turn of a shard wants done without its lock, and the memory for that.
type round struct {
	fx      machine.Effects
	answers []answer

	entries []entry.Entry // to be appended; mu.writing is set then
	decided bool          // some of them are the machine's: it waits for Written
	at      time.Time     // when
	wall    time.Time     // by the wall clock
	advance int64         // where the log may start now; 0 = no news
	refused error         // why the write before failed

	builder *record.Builder
	scratch []byte // a key and a value
}

// answer is a reply to be given.
type answer struct {
	done   func(result any, err error)
	result any
	err    error
}

func (cs *Coordinators) newRound() *round {
	if rd, ok := cs.rounds.Get().(*round); ok {
		return rd
	}
	return &round{builder: record.NewBuilder(record.BuilderConfig{})}
}

// free gives a round back that has nothing left to do.
func (cs *Coordinators) free(rd *round) {
	rd.reset()
	if rd.builder.Size() > keptBytes {
		rd.builder = record.NewBuilder(record.BuilderConfig{})
	}
	cs.rounds.Put(rd)
}

func (rd *round) reset() {
	rd.fx.Reset()
	clear(rd.answers)
	clear(rd.entries)
	rd.answers, rd.entries = rd.answers[:0], rd.entries[:0]
	rd.decided, rd.advance, rd.refused = false, 0, nil
}

// refuse answers calls with an error, in the order in which they came.
func (rd *round) refuse(calls []*call, err error) {
	slices.SortFunc(calls, byAge)
	for _, c := range calls {
		rd.answers = append(rd.answers, answer{done: c.done, err: err})
	}
}

// encode makes one batch of the entries, in the builder's memory.
func (rd *round) encode() (record.Batch, error) {
	rd.builder.Reset()
	for _, e := range rd.entries {
		rd.scratch = e.AppendKey(rd.scratch[:0])
		n := len(rd.scratch)
		r := record.Record{Timestamp: rd.wall, Key: rd.scratch[:n:n]}
		if all, ok := e.AppendValue(rd.scratch); ok {
			rd.scratch, r.Key, r.Value = all, all[:n:n], all[n:]
		}
		rd.builder.Append(&r)
	}
	return rd.builder.Batch()
}
