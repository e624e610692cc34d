package replication

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

// scriptedSource answers as a test says, and notes what was asked.
type scriptedSource struct {
	mu     sync.Mutex
	calls  []scriptedCall
	answer func(ctx context.Context, call scriptedCall, resp *FetchResponse) error
	bounds [2]int64 // of Offsets
	absent error    // of Offsets
}

type scriptedCall struct {
	at      time.Duration // since the start of the test
	maxWait time.Duration
	parts   []FetchPartition
}

var scriptStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where a bubble's time begins

func (s *scriptedSource) Fetch(ctx context.Context, req *FetchRequest, resp *FetchResponse) error {
	call := scriptedCall{at: time.Since(scriptStart), maxWait: req.MaxWait, parts: slices.Clone(req.Partitions)}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx, call, resp)
}

func (s *scriptedSource) Offsets(context.Context, string, int32, int32) (start, end int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bounds[0], s.bounds[1], s.absent
}

// setBounds changes the answers of Offsets.
func (s *scriptedSource) setBounds(start, end int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds, s.absent = [2]int64{start, end}, err
}

// set changes the answers.
func (s *scriptedSource) set(answer func(ctx context.Context, call scriptedCall, resp *FetchResponse) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// take returns the calls so far and forgets them.
func (s *scriptedSource) take() []scriptedCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// poll is a leader without news: it waits as long as it may.
func poll(ctx context.Context, call scriptedCall, _ *FetchResponse) error {
	select {
	case <-time.After(call.maxWait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// following makes replicas of node 2 that follow node 1, and a fetcher for them.
type following struct {
	engine   *commit.Engine
	dir      *log.Directory
	disk     *vfs.Mem
	replicas []*Replica
	source   *scriptedSource
	fetcher  *Fetcher
}

func newFollowing(t *testing.T, partitions int) *following {
	f := &following{engine: commit.New(commit.Config{}), disk: vfs.NewMem(), source: &scriptedSource{answer: poll}}
	var err error
	f.dir, err = log.OpenDirectory("data", log.DirectoryConfig{FS: f.disk, NodeID: 2})
	require.NoError(t, err)
	for p := range partitions {
		l, err := f.dir.OpenLog(testTopic, int32(p), testTopicID, log.Config{FS: f.disk})
		require.NoError(t, err)
		r, err := New(Config{
			NodeID: 2, Topic: testTopic, Partition: int32(p), TopicID: testTopicID, Log: l, Commit: f.engine,
			Eligible: func(int32, int64) bool { return true }, BrokerEpoch: func(int32) int64 { return 1 }, ProposeISR: func(ISRProposal, func(ISRResult)) {},
		})
		require.NoError(t, err)
		f.replicas = append(f.replicas, r)
		f.follow(t, p, 1)
	}
	f.fetcher = NewFetcher(FetcherConfig{Source: f.source, Leader: 1})
	t.Cleanup(func() {
		f.fetcher.Close()
		for _, r := range f.replicas {
			r.Close()
		}
		f.engine.Close()
		f.dir.Close(1)
	})
	return f
}

// follow has a replica follow node 1 in an epoch.
func (f *following) follow(t *testing.T, p int, epoch int32) {
	role, err := f.replicas[p].Apply(State{Leader: 1, LeaderEpoch: epoch, PartitionEpoch: epoch, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}, time.Now())
	require.NoError(t, err)
	require.Equal(t, Follower, role)
}

// replicated is one record as a leader sends it.
func replicated(t *testing.T, offset int64, epoch int32, value string) []byte {
	b := batchOf(t, value)
	b.PutBaseOffset(offset)
	b.PutLeaderEpoch(epoch)
	return b
}

// TestFetchSyncsFirst: an offset is named in a fetch only when it is synced, all partitions sync at the same time, and what comes with an answer is taken over.
func TestFetchSyncsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 3)
		f.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		released := 0
		f.source.set(func(ctx context.Context, call scriptedCall, resp *FetchResponse) error {
			for _, p := range call.parts {
				if p.FetchOffset == 0 {
					resp.Partitions = append(resp.Partitions, FetchedPartition{TopicID: p.TopicID, Partition: p.Partition, HighWatermark: 5, Records: replicated(t, 0, 1, "a")})
				}
			}
			resp.Release = func() { released++ }
			if len(resp.Partitions) == 0 {
				return poll(ctx, call, resp)
			}
			return nil
		})
		for _, r := range f.replicas {
			f.fetcher.Add(r)
		}
		time.Sleep(400 * time.Millisecond)
		calls := f.source.take()
		last := calls[len(calls)-1]
		require.Len(t, last.parts, 3)
		for _, p := range last.parts {
			assert.Equal(t, int64(1), p.FetchOffset)
			assert.Equal(t, int32(1), p.LastFetchedEpoch)
		}
		for _, r := range f.replicas {
			o := r.Log().Offsets()
			assert.Equal(t, int64(1), o.SyncedEndOffset)
			assert.Equal(t, int64(1), o.HighWatermark, "the leader's, but not above the own end")
		}
		assert.Less(t, last.at, 290*time.Millisecond, "not one sync after the other; the first round may have begun without all three")
		assert.Positive(t, released)
	})
}

// TestFetchIsInterrupted: a partition that is added does not wait for the long poll of the others, many at once interrupt it once.
func TestFetchIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 5)
		f.fetcher.Add(f.replicas[0])
		time.Sleep(100 * time.Millisecond)
		require.Len(t, f.source.take(), 1)
		for _, r := range f.replicas[1:] {
			f.fetcher.Add(r)
		}
		time.Sleep(5 * time.Millisecond)
		calls := f.source.take()
		require.Len(t, calls, 1)
		assert.Len(t, calls[0].parts, 5)
		assert.Equal(t, 102*time.Millisecond, calls[0].at)
		// The same for a new leader epoch.
		f.follow(t, 3, 2)
		f.fetcher.Add(f.replicas[3])
		time.Sleep(5 * time.Millisecond)
		calls = f.source.take()
		require.Len(t, calls, 1)
		assert.Equal(t, int32(2), calls[0].parts[3].CurrentLeaderEpoch)
		assert.Equal(t, 5, f.fetcher.Len())
		// Removed partitions are not asked for; without any the goroutine ends, and begins again.
		for _, r := range f.replicas {
			f.fetcher.Remove(r)
		}
		assert.Zero(t, f.fetcher.Len())
		time.Sleep(time.Second)
		require.Empty(t, f.source.take())
		f.fetcher.Add(f.replicas[1])
		time.Sleep(time.Second)
		assert.NotEmpty(t, f.source.take())
	})
}

// TestFetchErrors: a partition with an error pauses, at first shortly, and the others go on; one that is fenced waits for its new epoch.
func TestFetchErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 2)
		refused := func(err error) {
			f.source.set(func(ctx context.Context, call scriptedCall, resp *FetchResponse) error {
				for _, p := range call.parts {
					if p.Partition == 1 {
						resp.Partitions = append(resp.Partitions, FetchedPartition{TopicID: p.TopicID, Partition: 1, Err: err})
						return nil
					}
				}
				return poll(ctx, call, resp)
			})
		}
		refused(ErrUnknownEpoch)
		f.fetcher.Add(f.replicas[0])
		f.fetcher.Add(f.replicas[1])
		time.Sleep(3 * time.Second)
		var asked []time.Duration
		for _, c := range f.source.take() {
			assert.Equal(t, int32(0), c.parts[0].Partition, "asked for every time")
			if len(c.parts) == 2 {
				asked = append(asked, c.at)
			}
		}
		for i := len(asked) - 1; i >= 0; i-- { // since the first time: the first round may have begun without it
			asked[i] -= asked[0]
		}
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{0, 10 * ms, 30 * ms, 70 * ms, 150 * ms, 310 * ms, 630 * ms, 1270 * ms, 2270 * ms}, asked)
		// Fenced: the leader is ahead of us. Nothing more until Add tells of the new epoch.
		refused(ErrFencedEpoch)
		time.Sleep(time.Second)
		f.source.take()
		time.Sleep(10 * time.Second)
		for _, c := range f.source.take() {
			assert.Len(t, c.parts, 1)
		}
		f.source.set(poll)
		f.follow(t, 1, 2)
		f.fetcher.Add(f.replicas[1])
		time.Sleep(5 * time.Millisecond)
		calls := f.source.take()
		require.NotEmpty(t, calls)
		assert.Len(t, calls[len(calls)-1].parts, 2)
		// One that does not follow this leader any more is not asked for.
		f.replicas[0].Apply(State{Leader: 3, LeaderEpoch: 5, PartitionEpoch: 5, Replicas: []int32{2, 3}}, time.Now())
		time.Sleep(time.Second)
		f.source.take()
		time.Sleep(time.Second)
		for _, c := range f.source.take() {
			require.Len(t, c.parts, 1)
			assert.Equal(t, int32(1), c.parts[0].Partition)
		}
	})
}

// TestFetchFails: when the node cannot be reached the whole fetcher pauses; a node that hangs is given up after the time-out.
func TestFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 1)
		f.source.set(func(context.Context, scriptedCall, *FetchResponse) error { return errUnreachable })
		f.fetcher.Add(f.replicas[0])
		time.Sleep(100 * time.Millisecond)
		var at []time.Duration
		for _, c := range f.source.take() {
			at = append(at, c.at)
		}
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{0, 10 * ms, 30 * ms, 70 * ms}, at)
		f.source.set(func(ctx context.Context, _ scriptedCall, _ *FetchResponse) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(time.Second)
		f.source.take()
		time.Sleep(2 * time.Minute)
		assert.InDelta(t, 4, len(f.source.take()), 1, "30.5 s each")
		// Close does not wait for a node that hangs.
		began := time.Now()
		f.fetcher.Close()
		assert.Zero(t, time.Since(began))
		f.fetcher.Add(f.replicas[0])
		assert.Zero(t, f.fetcher.Len())
	})
}

// TestFetchedIsNotUsed: answers that came too late, answers to nobody's question, bytes that are no batches.
func TestFetchedIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 1)
		r := f.replicas[0]
		answer := func(p FetchedPartition) func(context.Context, scriptedCall, *FetchResponse) error {
			return func(ctx context.Context, call scriptedCall, resp *FetchResponse) error {
				time.Sleep(10 * time.Millisecond)
				p.TopicID = testTopicID
				resp.Partitions = append(resp.Partitions, p, FetchedPartition{TopicID: log.TopicID{1}, Records: replicated(t, 0, 1, "x")}, FetchedPartition{Topic: "other"}, p)
				return nil
			}
		}
		f.source.set(answer(FetchedPartition{HighWatermark: 1, Records: replicated(t, 0, 1, "a")}))
		f.fetcher.Add(r)
		time.Sleep(time.Millisecond)
		f.follow(t, 0, 2) // while the answer is on its way
		time.Sleep(10 * time.Millisecond)
		assert.Zero(t, r.Log().Offsets().LogEndOffset, "asked under epoch 1, answered under 2")
		time.Sleep(20 * time.Millisecond)
		assert.Equal(t, int64(1), r.Log().Offsets().LogEndOffset, "the repeated answer is taken once")
		assert.Equal(t, int64(1), r.Log().Offsets().HighWatermark)

		bad := replicated(t, 1, 2, "b")
		bad[len(bad)-1] ^= 1
		f.source.setBounds(0, 5, nil)
		for _, bad := range []struct {
			name   string
			answer FetchedPartition
		}{
			{"damaged", FetchedPartition{Records: bad}},
			{"of a later time", FetchedPartition{Records: replicated(t, 1, 3, "c")}},
			{"a partial batch", FetchedPartition{Records: replicated(t, 1, 2, "d")[:50]}},
			{"no divergence", FetchedPartition{Diverging: true, DivergingEpoch: 1, DivergingEnd: 7}},
			{"in range", FetchedPartition{Err: &log.OffsetOutOfRangeError{}}},
		} {
			name := bad.name
			f.source.set(answer(bad.answer))
			time.Sleep(time.Second)
			f.source.take()
			time.Sleep(10 * time.Second)
			assert.Equal(t, int64(1), r.Log().Offsets().LogEndOffset, name)
			assert.Equal(t, Follower, r.Status().Role, name)
			assert.InDelta(t, 10, len(f.source.take()), 1, "%s: asked once a second", name)
		}
		// The bounds cannot be had either.
		f.source.setBounds(0, 0, errUnreachable)
		time.Sleep(10 * time.Second)
		assert.Equal(t, int64(1), r.Log().Offsets().LogEndOffset)
		// And when they say that the leader is shorter: cut.
		f.source.setBounds(0, 0, nil)
		time.Sleep(10 * time.Second)
		assert.Equal(t, int64(0), r.Log().Offsets().LogEndOffset)
		assert.Equal(t, int64(0), r.Log().Offsets().HighWatermark)
	})
}

// TestFollowerDiskError: a follower whose disk fails goes offline and is not asked for any more; the fetcher lives for the others.
func TestFollowerDiskError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 2)
		broken := errors.New("broken")
		f.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && op.Name == "/data/t-0/00000000000000000000.log" {
				return broken
			}
			return nil
		})
		f.source.set(func(ctx context.Context, call scriptedCall, resp *FetchResponse) error {
			for _, p := range call.parts {
				if p.FetchOffset == 0 {
					resp.Partitions = append(resp.Partitions, FetchedPartition{TopicID: p.TopicID, Partition: p.Partition, Records: replicated(t, 0, 1, "a")})
				}
			}
			if len(resp.Partitions) > 0 {
				return nil
			}
			return poll(ctx, call, resp)
		})
		f.fetcher.Add(f.replicas[0])
		f.fetcher.Add(f.replicas[1])
		time.Sleep(3 * time.Second)
		assert.Equal(t, Offline, f.replicas[0].Status().Role)
		assert.ErrorIs(t, f.replicas[0].Status().Err, broken)
		assert.Equal(t, int64(1), f.replicas[1].Log().Offsets().SyncedEndOffset)
		calls := f.source.take()
		assert.Len(t, calls[len(calls)-1].parts, 1)
	})
}

// TestRemoveWaits: Remove returns when nothing is appended for the partition any more, also while its disk is slow, and Close does while a sync is under way.
func TestRemoveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 2)
		f.source.set(func(ctx context.Context, call scriptedCall, resp *FetchResponse) error {
			for _, p := range call.parts {
				resp.Partitions = append(resp.Partitions, FetchedPartition{TopicID: p.TopicID, Partition: p.Partition, Records: replicated(t, p.FetchOffset, 1, "a")})
			}
			return nil
		})
		var slow atomic.Bool
		f.disk.SetFault(func(op vfs.Op) error {
			if slow.Load() && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync) {
				time.Sleep(time.Second)
			}
			time.Sleep(time.Microsecond)
			return nil
		})
		f.fetcher.Add(f.replicas[0])
		f.fetcher.Add(f.replicas[1])
		time.Sleep(time.Millisecond)
		f.fetcher.Remove(f.replicas[0])
		end := f.replicas[0].Log().Offsets().LogEndOffset
		slow.Store(true)
		time.Sleep(time.Minute)
		assert.Equal(t, end, f.replicas[0].Log().Offsets().LogEndOffset)
		assert.Greater(t, f.replicas[1].Log().Offsets().LogEndOffset, end)
		f.fetcher.Close()
		slow.Store(false)
	})
}

// TestFetchPanics: a panic in the loop (here: of the source) ends the fetcher and is told, and nothing waits for it.
func TestFetchPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t, 1)
		var told []any
		f.fetcher = NewFetcher(FetcherConfig{Source: f.source, Leader: 1, OnPanic: func(v any, stack []byte) {
			assert.NotEmpty(t, stack)
			told = append(told, v)
		}})
		f.source.set(func(_ context.Context, _ scriptedCall, resp *FetchResponse) error {
			resp.Partitions = append(resp.Partitions, FetchedPartition{TopicID: testTopicID})
			resp.Release = func() { panic("released twice") }
			return nil
		})
		f.fetcher.Add(f.replicas[0])
		synctest.Wait()
		assert.Equal(t, []any{"released twice"}, told)
		f.fetcher.Remove(f.replicas[0])
		f.fetcher.Add(f.replicas[0])
		f.fetcher.Close()
		assert.Len(t, told, 1)
	})
}
