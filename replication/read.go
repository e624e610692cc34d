package replication

import (
	"errors"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication/machine"
)

// Reader says on whose behalf a read is made.
type Reader int8

// The readers.
const (
	ReadUncommitted Reader = iota // below the high watermark
	ReadCommitted                 // below the last stable offset
	ReadAsReplica                 // up to the log end offset

	numReaders = int(ReadAsReplica) + 1
)

// ReadOptions go with Read.
type ReadOptions struct {
	Offset             int64
	MaxBytes           int
	AtLeastOne         bool // return the first batch even if it is larger than MaxBytes
	As                 Reader
	CurrentLeaderEpoch int32 // -1: not checked
	LeaderOnly         bool  // refuse when this replica is a follower
}

// ReadResult is what a read found. Slice must be released. With an error the slice is empty and the offsets are set as far as known.
type ReadResult struct {
	Slice   log.Slice
	Offsets log.Offsets
	Bound   int64 // exclusive upper bound of what this reader may see
	Err     error // ErrNotLeader, ErrHandedOver, ErrFencedEpoch, ErrUnknownEpoch, ErrClosed, *log.OffsetOutOfRangeError, *log.StorageError

	Leader      int32 // current leader and epoch, as far as known (KIP-951)
	LeaderEpoch int32

	Diverging      bool // the follower's log diverges: DivergingEpoch and DivergingEnd say where (KIP-595); Slice is empty
	DivergingEpoch int32
	DivergingEnd   int64
}

// Read reads on behalf of a consumer (or a debugging tool), which finds nothing while another replica may lead already (ErrHandedOver). It never waits; see Watch. An offset between the bound and the log end is an empty success.
func (r *Replica) Read(o ReadOptions) ReadResult {
	r.lock()
	res := r.resultLocked()
	if res.Err = r.epochErrorLocked(o.CurrentLeaderEpoch, o.LeaderOnly); res.Err == nil && r.mu.machine.HandedOver() {
		res.Err = ErrHandedOver
	}
	r.mu.Unlock()
	if res.Err == nil {
		r.read(&res, o.Offset, o.As, o.MaxBytes, o.AtLeastOne)
	}
	return res
}

func (r *Replica) resultLocked() ReadResult {
	s := r.mu.machine.State()
	return ReadResult{Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, Offsets: r.log.Offsets()}
}

// read looks the offset up, without the lock: the log allows reads beside appends.
func (r *Replica) read(res *ReadResult, offset int64, as Reader, maxBytes int, atLeastOne bool) {
	o := r.log.Offsets()
	res.Offsets, res.Bound = o, bound(o, as)
	switch {
	case offset < o.LogStartOffset || offset > o.LogEndOffset:
		res.Err = &log.OffsetOutOfRangeError{Offset: offset, LogStartOffset: o.LogStartOffset, LogEndOffset: o.LogEndOffset}
		return
	case offset >= res.Bound:
		return
	}
	res.Slice, res.Err = r.log.Read(offset, res.Bound, maxBytes, atLeastOne)
	switch {
	case res.Err == nil:
	case isDamage(res.Err):
		// Others have these bytes: the replica goes on with the rest.
		if _, known := errors.AsType[*log.DamagedError](res.Err); !known {
			res.Err = r.log.Suspect(offset, res.Err)
		}
		if f := r.config.Events.Damaged; f != nil {
			f(r.config.Topic, r.config.Partition, offset)
		}
	case isStorageError(res.Err):
		r.storageFailed(res.Err)
	case errors.Is(res.Err, log.ErrTruncated):
		res.Err = ErrNotLeader // the log is being cut again and again: a reader had better look for the leader
	}
}

// isDamage tells whether a read failed for stored bytes, not for all that is stored.
func isDamage(err error) bool {
	if _, ok := errors.AsType[*log.CorruptError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*log.DamagedError](err); ok {
		return true
	}
	e, ok := errors.AsType[*log.StorageError](err)
	return ok && e.Op == "read"
}

// FollowerFetch is one follower's fetch of this partition.
type FollowerFetch struct {
	Follower           int32
	BrokerEpoch        int64 // -1 unknown
	FetchOffset        int64 // its synced log end offset (or log end offset, see Settings.FlushMessages)
	LogStartOffset     int64
	LastFetchedEpoch   int32 // -1 unknown
	CurrentLeaderEpoch int32 // -1: not checked
	MaxBytes           int
	AtLeastOne         bool
	Now                time.Time
}

// ReadFollower records the follower's progress (which may move the high watermark, answer appends and propose an ISR) and reads for it: the high watermark in the result is the one after that.
// A fetch that is refused, out of range or diverging is not recorded.
func (r *Replica) ReadFollower(f FollowerFetch) ReadResult { return r.readFollower(f, true) }

// Reread reads again for the same fetch after a wait without recording it twice. Epoch and divergence are checked again.
func (r *Replica) Reread(f FollowerFetch) ReadResult { return r.readFollower(f, false) }

func (r *Replica) readFollower(f FollowerFetch, record bool) ReadResult {
	r.lock()
	res := r.resultLocked()
	if res.Err = r.followerErrorLocked(f); res.Err != nil {
		r.mu.Unlock()
		return res
	}
	o := res.Offsets
	var own machine.EpochEnd
	if f.LastFetchedEpoch >= 0 {
		own.Epoch, own.End, own.Known = r.log.EndOffsetForEpoch(f.LastFetchedEpoch)
	}
	switch machine.CheckFetch(f.FetchOffset, f.LastFetchedEpoch, own, o.LogStartOffset, o.LogEndOffset) {
	case machine.FetchOutOfRange:
		res.Err = &log.OffsetOutOfRangeError{Offset: f.FetchOffset, LogStartOffset: o.LogStartOffset, LogEndOffset: o.LogEndOffset}
	case machine.FetchDiverging:
		res.Diverging, res.DivergingEpoch, res.DivergingEnd = true, own.Epoch, own.End
	}
	if res.Err != nil || res.Diverging {
		r.mu.Unlock()
		return res
	}
	if record {
		if f.Now.IsZero() {
			f.Now = time.Now()
		}
		fx := r.beginLocked()
		known := r.mu.machine.FollowerFetched(machine.Fetched{
			Follower: f.Follower, BrokerEpoch: f.BrokerEpoch, Offset: f.FetchOffset, LogStartOffset: f.LogStartOffset, LogEnd: o.LogEndOffset,
		}, f.Now, &fx.Effects)
		fx.wake = append(fx.wake, r.mu.lows...)
		r.endLocked(fx)
		if !known {
			res.Err = ErrNotLeader
			return res
		}
	} else {
		r.mu.Unlock()
	}
	r.read(&res, f.FetchOffset, ReadAsReplica, f.MaxBytes, f.AtLeastOne)
	return res
}

// followerErrorLocked says why a follower's fetch is refused.
func (r *Replica) followerErrorLocked(f FollowerFetch) error {
	if err := r.epochErrorLocked(f.CurrentLeaderEpoch, true); err != nil {
		return err
	}
	if f.BrokerEpoch >= 0 && r.config.BrokerEpoch(f.Follower) > f.BrokerEpoch {
		return ErrNotLeader // from an earlier life of that broker (KIP-903)
	}
	if !r.mu.machine.IsReplica(f.Follower) {
		// Most likely a reassignment that one side has not heard of: the follower asks again.
		if f.CurrentLeaderEpoch >= 0 {
			return ErrUnknownEpoch
		}
		return ErrNotLeader
	}
	return nil
}

// LatestVisible is the offset ListOffsets "latest" answers for the reader; ErrOffsetNotAvailable while a new leader's high watermark is below the start of its epoch, and while a leader hands over; ErrNotLeader, epoch errors.
func (r *Replica) LatestVisible(as Reader, currentLeaderEpoch int32) (int64, error) {
	r.lock()
	defer r.mu.Unlock()
	if err := r.epochErrorLocked(currentLeaderEpoch, true); err != nil {
		return -1, err
	}
	if as != ReadAsReplica && !r.mu.machine.OffsetAvailable() {
		return -1, ErrOffsetNotAvailable
	}
	return bound(r.log.Offsets(), as), nil
}

// CheckLeader returns nil if this replica leads with the given epoch (-1: any), else ErrNotLeader, ErrFencedEpoch or ErrUnknownEpoch; ErrClosed; *log.StorageError when it is offline.
func (r *Replica) CheckLeader(currentLeaderEpoch int32) error {
	r.lock()
	defer r.mu.Unlock()
	return r.epochErrorLocked(currentLeaderEpoch, true)
}
