package replication

import (
	"context"
	"time"

	"github.com/insynclog/insync/log"
)

// Source is where a Fetcher fetches from: one node, over the wire. Implemented by internal/broker.
//
// The context of a call is cancelled when a partition was added to the fetcher (or has a new leader epoch) while a long poll is under way, and when the fetcher is closed. The call must return
// soon then; if the connection answers in order, that means to give it up. That is cheap compared with the leader change which is the reason.
type Source interface {
	// Fetch sends what all partitions of the fetcher want (a complete list each time: the source keeps the fetch session) and waits for the answer.
	// resp is reused from call to call; its records stay valid until resp.Release.
	Fetch(ctx context.Context, req *FetchRequest, resp *FetchResponse) error
	// Offsets asks the leader for log start and log end offset of a partition (ListOffsets as a replica).
	Offsets(ctx context.Context, topic string, partition, currentLeaderEpoch int32) (start, end int64, err error)
}

// FetchRequest is a fetch of one node from another.
type FetchRequest struct {
	MaxWait    time.Duration
	MinBytes   int
	MaxBytes   int
	Partitions []FetchPartition
}

// FetchPartition is one partition of a FetchRequest.
type FetchPartition struct {
	TopicID            log.TopicID
	Topic              string
	Partition          int32
	CurrentLeaderEpoch int32
	FetchOffset        int64
	LastFetchedEpoch   int32 // -1 for an empty log
	LogStartOffset     int64
	MaxBytes           int
}

// FetchResponse is the answer; partitions without news may be absent.
type FetchResponse struct {
	Partitions []FetchedPartition
	Release    func() // may be nil
}

// FetchedPartition is one partition of a FetchResponse. Topic may be empty where TopicID is set.
type FetchedPartition struct {
	TopicID        log.TopicID
	Topic          string
	Partition      int32
	Err            error // an error of this package, *log.OffsetOutOfRangeError, or anything else
	HighWatermark  int64
	LogStartOffset int64
	Diverging      bool
	DivergingEpoch int32
	DivergingEnd   int64
	Records        []byte
	Held           error // why this node has taken the records out: it has no space for them. The rest counts
}
