package machine

// EpochEnd is an answer of a leader epoch cache: the largest known epoch at or below the one asked for, and the offset where it ends (exclusive). Known is false when it is undefined.
type EpochEnd struct {
	Epoch int32
	End   int64
	Known bool
}

// FetchCheck is a leader's judgement of a follower's fetch before it is recorded.
type FetchCheck int8

// The judgements.
const (
	FetchOK         FetchCheck = iota
	FetchOutOfRange            // OFFSET_OUT_OF_RANGE
	FetchDiverging             // no records, but where the leader's log ends for that epoch (KIP-595)
)

// CheckFetch compares a follower's position with the leader's log: own is the leader's answer for lastFetchedEpoch (-1: the follower's log is empty, nothing to compare).
func CheckFetch(fetchOffset int64, lastFetchedEpoch int32, own EpochEnd, logStart, logEnd int64) FetchCheck {
	if lastFetchedEpoch >= 0 {
		switch {
		case !own.Known, fetchOffset < logStart:
			return FetchOutOfRange
		case own.Epoch < lastFetchedEpoch, own.End < fetchOffset:
			return FetchDiverging
		}
	}
	if fetchOffset < logStart || fetchOffset > logEnd {
		return FetchOutOfRange
	}
	return FetchOK
}

// Position is where a follower's log ends: offset and epoch of the last record determine everything before it (but for compaction).
type Position struct {
	LogEnd    int64
	LastEpoch int32 // -1 for an empty log
}

// AcceptsFetched tells whether the answer to a fetch may be used: still following, in the epoch the fetch was made under, and the log still is what it was then. The offset alone would not do:
// the second answer to a fetch that diverged must not truncate what was fetched after the first.
func (m *Machine) AcceptsFetched(leaderEpoch int32, asked, now Position) bool {
	return m.role == Follower && m.state.LeaderEpoch == leaderEpoch && asked == now
}

// TruncateTo is where a follower cuts its log when the leader says that its own log ends for epoch leader.Epoch at leader.End; own is the follower's answer for the same epoch.
//
// If the follower does not know that epoch, it cuts to the end of the largest one below it that it knows, and the next fetch asks again with that epoch: with several leader changes in a row
// the common prefix is found step by step, each step an epoch lower (KIP-279).
func TruncateTo(leader, own EpochEnd, logEnd int64) int64 {
	switch {
	case !own.Known:
		return min(leader.End, logEnd)
	case own.Epoch != leader.Epoch:
		return min(own.End, logEnd)
	}
	return min(own.End, leader.End, logEnd)
}

// RangeAction is what a follower does about an offset that the leader does not have.
type RangeAction int8

// The actions.
const (
	FetchAgain  RangeAction = iota // the offset is in the leader's range (again)
	TruncateLog                    // to the leader's log end: an unclean election took place
	RestartLog                     // drop everything, start at the leader's log start: retention was faster
)

// String is for transcripts.
func (a RangeAction) String() string {
	switch a {
	case FetchAgain:
		return "fetch-again"
	case TruncateLog:
		return "truncate"
	case RestartLog:
		return "restart"
	}
	return "unknown"
}

// OutOfRange decides after an out-of-range answer, from the leader's log start and log end as asked for separately: the answer alone is no reason to cut anything.
func OutOfRange(leaderStart, leaderEnd, logEnd int64) (RangeAction, int64) {
	switch {
	case leaderEnd < logEnd:
		return TruncateLog, leaderEnd
	case leaderStart > logEnd:
		return RestartLog, leaderStart
	}
	return FetchAgain, logEnd
}

// FollowerBounds are a follower's high watermark and log start offset after an answer of its leader: never above its own log, never lower than before.
func FollowerBounds(leaderHW, leaderStart, hw, logStart, logEnd int64) (newHW, newStart int64) {
	newHW = max(hw, min(leaderHW, logEnd))
	return newHW, max(logStart, min(leaderStart, newHW))
}
