package replication

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

// BenchmarkAppend appends to a leader without followers and waits for the answer of every batch: what the replica costs on top of its log.
func BenchmarkAppend(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		for _, acks := range []Acks{AcksLeader, AcksAll} {
			for _, records := range []int{1, 600} {
				for _, flush := range []string{"never", "always"} {
					b.Run(fmt.Sprintf("store=%s/acks=%d/records=%d/flush=%s", store, acks, records, flush), func(b *testing.B) {
						benchmarkAppend(b, benchConfig{store: store, acks: acks, records: records, flush: flush, nodes: 1, inFlight: 1})
					})
				}
			}
		}
	}
}

// BenchmarkReplicate appends with acks=all to a leader with two followers in the same process, each with its own log and fetcher.
func BenchmarkReplicate(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		for _, records := range []int{1, 600} {
			for _, flush := range []string{"never", "always"} {
				for _, inFlight := range []int{1, 64} {
					b.Run(fmt.Sprintf("store=%s/records=%d/flush=%s/inflight=%d", store, records, flush, inFlight), func(b *testing.B) {
						benchmarkAppend(b, benchConfig{store: store, acks: AcksAll, records: records, flush: flush, nodes: 3, inFlight: inFlight})
					})
				}
			}
		}
	}
}

type benchConfig struct {
	store, flush    string
	acks            Acks
	records         int // of 100 bytes, per batch
	nodes, inFlight int
}

func benchmarkAppend(b *testing.B, cfg benchConfig) {
	leader := newBenchCluster(b, cfg)
	batch := benchBatch(b, cfg.records)
	slots := make(chan struct{}, cfg.inFlight)
	done := func(res AppendResult) {
		if res.Err != nil {
			b.Error(res.Err)
		}
		<-slots
	}
	o := AppendOptions{Acks: cfg.acks, RequiredLeaderEpoch: -1}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		slots <- struct{}{}
		leader.Append(batch, o, done)
		n++
	}
	for range cfg.inFlight {
		slots <- struct{}{}
	}
	b.ReportMetric(float64(n*cfg.records)/b.Elapsed().Seconds(), "records/s")
}

func benchBatch(tb testing.TB, records int) record.Batch {
	tb.Helper()
	bb := record.NewBuilder(record.BuilderConfig{})
	value := bytes.Repeat([]byte("x"), 100)
	for range records {
		bb.Append(&record.Record{Value: value, Timestamp: time.Now()})
	}
	out, err := bb.Build(nil)
	require.NoError(tb, err)
	return out
}

// newBenchCluster returns the leader of nodes replicas that are all in sync.
func newBenchCluster(tb testing.TB, cfg benchConfig) *Replica {
	tb.Helper()
	s := Settings{MinInSyncReplicas: cfg.nodes/2 + 1, FlushMessages: math.MaxInt64}
	if cfg.flush == "always" {
		s.FlushMessages = 1
	}
	var ids []int32
	for i := range cfg.nodes {
		ids = append(ids, int32(i+1))
	}
	state := State{Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1, Replicas: ids, ISR: ids}
	var leader *Replica
	for _, id := range ids {
		fs, dir := vfs.FS(vfs.NewMem()), "data"
		if cfg.store == "disk" {
			fs, dir = vfs.OS(), tb.TempDir()
		}
		d, err := log.OpenDirectory(dir, log.DirectoryConfig{FS: fs, NodeID: id})
		require.NoError(tb, err)
		l, err := d.OpenLog(testTopic, 0, testTopicID, log.Config{FS: fs, SegmentBytes: 64 << 20})
		require.NoError(tb, err)
		engine := commit.New(commit.Config{})
		r, err := New(Config{
			NodeID: id, Topic: testTopic, TopicID: testTopicID, Log: l, Commit: engine, Settings: s,
			Eligible: func(int32, int64) bool { return true }, BrokerEpoch: func(int32) int64 { return 1 }, ProposeISR: func(ISRProposal, func(ISRResult)) {},
		})
		require.NoError(tb, err)
		_, err = r.Apply(state, time.Now())
		require.NoError(tb, err)
		var f *Fetcher
		if leader == nil {
			leader = r
		} else {
			f = NewFetcher(FetcherConfig{Source: newDirectSource(leader, id), Leader: 1})
			f.Add(r)
		}
		tb.Cleanup(func() {
			if f != nil {
				f.Close()
			}
			require.NoError(tb, r.Close())
			engine.Close()
			require.NoError(tb, d.Close(1))
		})
	}
	return leader
}

// directSource fetches one partition from a replica in the same process and reuses its memory.
type directSource struct {
	leader *Replica
	id     int32
	wake   chanWatcher
	timer  *time.Timer
	buf    []byte
}

func newDirectSource(leader *Replica, id int32) *directSource {
	s := &directSource{leader: leader, id: id, wake: make(chanWatcher, 1), timer: time.NewTimer(time.Hour)}
	leader.Watch(&s.wake, ReadAsReplica)
	return s
}

func (s *directSource) Fetch(ctx context.Context, req *FetchRequest, resp *FetchResponse) error {
	p := &req.Partitions[0]
	s.timer.Reset(req.MaxWait)
	f := FollowerFetch{
		Follower: s.id, BrokerEpoch: 1, FetchOffset: p.FetchOffset, LogStartOffset: p.LogStartOffset, LastFetchedEpoch: p.LastFetchedEpoch,
		CurrentLeaderEpoch: p.CurrentLeaderEpoch, MaxBytes: p.MaxBytes, AtLeastOne: true, Now: time.Now(),
	}
	res := s.leader.ReadFollower(f)
	for res.Err == nil && !res.Diverging && res.Slice.Len() == 0 {
		select {
		case <-s.wake:
			res = s.leader.Reread(f)
			continue
		case <-s.timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		break
	}
	out := FetchedPartition{
		TopicID: p.TopicID, Topic: p.Topic, Err: res.Err, HighWatermark: res.Offsets.HighWatermark, LogStartOffset: res.Offsets.LogStartOffset,
		Diverging: res.Diverging, DivergingEpoch: res.DivergingEpoch, DivergingEnd: res.DivergingEnd,
	}
	if res.Slice.Len() > 0 {
		var err error
		s.buf, err = res.Slice.Append(s.buf[:0])
		res.Slice.Release()
		if err != nil {
			return err
		}
		out.Records = s.buf
	}
	resp.Partitions = append(resp.Partitions, out)
	return nil
}

func (s *directSource) Offsets(context.Context, string, int32, int32) (start, end int64, err error) {
	o := s.leader.Log().Offsets()
	return o.LogStartOffset, o.LogEndOffset, nil
}

// TestAllocations holds the ceilings of the hot paths, per batch, whatever the number of records in it.
func TestAllocations(t *testing.T) {
	batch := benchBatch(t, 10)
	t.Run("append acks=1", func(t *testing.T) {
		r := newBenchCluster(t, benchConfig{store: "memory", flush: "never", nodes: 1})
		noop := func(AppendResult) {}
		o := AppendOptions{Acks: AcksLeader, RequiredLeaderEpoch: -1, Now: time.Now()}
		measureAllocs(t, 0, func() { r.Append(batch, o, noop) })
	})
	t.Run("append acks=all that waits, and the fetches of two followers", func(t *testing.T) {
		r := newBenchCluster(t, benchConfig{store: "memory", flush: "never", nodes: 1})
		ids := []int32{1, 2, 3}
		_, err := r.Apply(State{Leader: 1, LeaderEpoch: 2, PartitionEpoch: 2, Replicas: ids, ISR: ids}, time.Now())
		require.NoError(t, err)
		done := 0
		answer := func(AppendResult) { done++ }
		o := AppendOptions{Acks: AcksAll, RequiredLeaderEpoch: -1, Now: time.Now()}
		f := FollowerFetch{BrokerEpoch: 1, LastFetchedEpoch: -1, CurrentLeaderEpoch: 2, MaxBytes: 1 << 20, Now: o.Now}
		measureAllocs(t, 1, func() { // the Pending
			r.Append(batch, o, answer)
			f.FetchOffset = r.Log().Offsets().LogEndOffset
			for f.Follower = 2; f.Follower <= 3; f.Follower++ {
				res := r.ReadFollower(f)
				if res.Err != nil {
					t.Error(res.Err)
				}
			}
			f.LastFetchedEpoch = 2
		})
		require.Positive(t, done)
	})
}

func measureAllocs(t *testing.T, ceiling float64, f func()) {
	t.Helper()
	for range 100 {
		f()
	}
	if got := testing.AllocsPerRun(1000, f); got > ceiling {
		t.Errorf("%v allocations, at most %v wanted", got, ceiling)
	}
}
