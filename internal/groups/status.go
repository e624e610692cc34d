package groups

import "time"

// Status tells about the coordinator of one partition.
type Status struct {
	Partition   int32
	LeaderEpoch int32
	Phase       Phase
	Err         error // why it stopped, if that was not an orderly end
	Load        Load
	Waiting     int   // requests that are not answered yet, joins that wait for others included
	LogBytes    int64 // what a load would read, about
	Rewrites    int   // how often the state was written again
}

// Load is what loading took.
type Load struct {
	Entries  int64
	Bytes    int64
	Duration time.Duration
}

// Phase is how far a coordinator is.
type Phase int8

// The phases.
const (
	Loading Phase = iota
	Serving
	Stopped
)

// String is the phase in lower case.
func (p Phase) String() string {
	switch p {
	case Loading:
		return "loading"
	case Serving:
		return "serving"
	}
	return "stopped"
}

func (s *shard) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{
		Partition: s.partition, LeaderEpoch: s.epoch, Phase: s.mu.phase, Err: s.mu.err, Load: s.mu.load,
		Waiting: len(s.mu.calls) + len(s.mu.queue), LogBytes: s.mu.rewrite.logBytes, Rewrites: s.mu.rewrite.count,
	}
}
