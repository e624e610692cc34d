package history

import (
	"cmp"
	"slices"
	"time"
)

// Place is a partition of one incarnation of a topic. ID is zero where topics are not deleted and made again.
type Place struct {
	Topic     string
	ID        [16]byte
	Partition int32
}

// Value names a record: no two sends of a history have the same.
type Value struct {
	Producer string // one per idempotent session
	Sequence int64  // in the order in which the producer was given it
	Place    Place  // where it was sent to
}

// Item is a value at an offset: of a send where it was acknowledged, of a poll where it was read.
type Item struct {
	Place   Place
	Offset  int64 // -1 is unknown
	Value   Value
	Damaged string // what was read instead of a value that passes its checksum
}

// Kind says what an operation does.
type Kind uint8

const (
	Send      Kind = iota // Items in the order sent; an offset if acknowledged
	Poll                  // Items in the order read; To, if set, is the reader's position in Place then
	Assign                // a consumer begins at Offset of Place, and no group decides
	Seek                  // the consumer's position changes with its knowledge: by seek, by reset, by an error or a truncation that it was told of. Offset -1 is anywhere
	Subscribe             // a consumer of Group begins
	Claim                 // a member of Group owns Place from the completion on
	Revoke                // and no longer from the invocation on; a member that was fenced or is declared dead is revoked, too
	Commit                // Offset of Place for Group under Generation
	Fetch                 // the committed Offset of Place for Group, -1 if there is none
	List                  // Offset of Place as listed; Bound says which
	Crash                 // the process forgets everything
	Lost                  // the library reported the loss of [Offset, To) of Place
	Deleted               // records of [Offset, To) of Place may be gone: retention, DeleteRecords, compaction
	kinds
)

// Outcome says what became of an operation. When in doubt it is Info.
type Outcome uint8

const (
	OK   Outcome = iota // it happened
	Fail                // it certainly did not happen
	Info                // nobody knows
	outcomes
)

// Bound is an offset that can be listed.
type Bound uint8

const (
	End   Bound = iota // high watermark
	LSO                // last stable offset
	Start              // log start
	bounds
)

// Unfinished is the Complete time of an operation without an end.
const Unfinished time.Duration = -1

// Op is an operation of a process. Times are since the beginning of the history; a Recorder gives no time twice, so that they are an order.
type Op struct {
	Process    string
	Kind       Kind
	Outcome    Outcome
	Invoke     time.Duration
	Complete   time.Duration // or Unfinished
	Items      []Item
	Place      Place
	Offset     int64
	To         int64
	Group      string
	Generation int64
	Bound      Bound
	Node       int32  // replica that a poll was answered by, 0 is not known
	Retried    bool   // a send was tried more than once
	Final      bool   // by a reader that begins at the start of the log after everything is over, and reads to its end
	Twice      bool   // it was completed twice, which is an error of its own
	Err        string // for those who read the history
}

// History is what processes did, in any order.
type History []Op

// Sort puts operations in the order of their invocation.
func (h History) Sort() {
	slices.SortStableFunc(h, func(a, b Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
}
