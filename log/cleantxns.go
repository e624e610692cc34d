package log

import (
	"cmp"
	"errors"
	"slices"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// cleanedTxns tells a pass, which goes through batches in order, what became of the transactions, and which of them still have batches.
type cleanedTxns struct {
	aborted map[int64][]segment.AbortedTxn // by producer, in order; those behind us are gone
	seen    map[int64]bool                 // producers with a batch since their last marker; true: one that the log's producer state counts
}

// load begins with the first batch of segs. Markers may lie behind them.
func (t *cleanedTxns) load(segs []*segment.Segment, l *Log) error {
	t.aborted, t.seen = map[int64][]segment.AbortedTxn{}, map[int64]bool{}
	end := segs[len(segs)-1].EndOffset()
	all, release, err := l.acquireAll()
	if err != nil {
		return err
	}
	defer release()
	for _, s := range all {
		list, err := s.Aborted()
		if err != nil {
			return err
		}
		for _, a := range list {
			if a.FirstOffset < end {
				t.aborted[a.ProducerID] = append(t.aborted[a.ProducerID], a)
			}
		}
	}
	for _, list := range t.aborted {
		slices.SortFunc(list, func(a, b segment.AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
	}
	return nil
}

// current returns the aborted transaction that a batch or marker at that offset may belong to.
func (t *cleanedTxns) current(id, offset int64) (segment.AbortedTxn, bool) {
	list := t.aborted[id]
	for len(list) > 0 && list[0].LastOffset < offset {
		list = list[1:]
	}
	if len(list) < len(t.aborted[id]) {
		t.aborted[id] = list
	}
	if len(list) == 0 || list[0].FirstOffset > offset {
		return segment.AbortedTxn{}, false
	}
	return list[0], true
}

// aborts takes note of a data batch and tells whether its transaction was aborted.
func (t *cleanedTxns) aborts(b record.Batch) bool {
	if !b.Transactional() {
		return false
	}
	t.seen[b.ProducerID()] = t.seen[b.ProducerID()] || b.BaseSequence() >= 0
	_, ok := t.current(b.ProducerID(), b.BaseOffset())
	return ok
}

// end takes note of a marker. empty: there was no batch of its transaction. entry is that of the transaction index, if it ends an aborted one. An abort that the index does not know of is an error: what it lacks, a missing file
// perhaps, would have records count that do not.
func (t *cleanedTxns) end(b record.Batch, kind record.ControlType) (empty bool, entry segment.AbortedTxn, aborted bool, err error) {
	id := b.ProducerID()
	counted, seen := t.seen[id]
	delete(t.seen, id)
	entry, aborted = t.current(id, b.BaseOffset())
	if kind == record.ControlAbort && counted && !aborted {
		err = errNoAbortEntry
	}
	return !seen, entry, aborted, err
}

var errNoAbortEntry = errors.New("the transaction index does not have the transaction that is aborted here")
