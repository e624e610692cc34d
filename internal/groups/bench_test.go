package groups

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/internal/vfs"
)

// BenchmarkCommit commits one offset of one partition at a time, each group from a goroutine of its own that waits for the answer.
func BenchmarkCommit(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		for _, inFlight := range []int{1, 1000} {
			b.Run(fmt.Sprintf("store=%s/groups=1000/inflight=%d", store, inFlight), func(b *testing.B) {
				c := storeConfig{}
				if store == "disk" {
					c.fs, c.dir = vfs.OS(), b.TempDir()
				}
				s := newStore(b, c)
				cs := newCoordinators(b)
				serve(b, cs, s)
				b.ReportAllocs()
				b.ResetTimer()
				var n atomic.Int64
				var wg sync.WaitGroup
				for w := range inFlight {
					wg.Go(func() {
						group := fmt.Sprint("group-", w)
						done := make(chan error, 1)
						answer := func(_ any, err error) { done <- err }
						for {
							i := n.Add(1)
							if i > int64(b.N) {
								return
							}
							if inFlight == 1 {
								group = fmt.Sprint("group-", i%1000)
							}
							cs.Submit(group, commitOf(group, "orders", i, ""), answer)
							if err := <-done; err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}

// BenchmarkLoad loads a partition with a million commits to a thousand keys that was never written again.
func BenchmarkLoad(b *testing.B) {
	s := newStore(b, storeConfig{flush: never})
	cs := newCoordinators(b)
	serve(b, cs, s)
	cs.mu.shards[0].mu.rewrite.live = 1 << 50 // is never written again
	fill(b, cs, 1_000_000, 1000)
	for b.Loop() {
		l := newLoader(newShard(cs, 0, s.epoch, s.replica, topics{}))
		require.NoError(b, l.run())
		require.Equal(b, int64(1_000_000), l.stats.Entries)
		b.ReportMetric(float64(l.stats.Bytes)/1e6, "MB")
	}
}

// BenchmarkLoadRewritten is the same with a log that is kept short.
func BenchmarkLoadRewritten(b *testing.B) {
	s := newStore(b, storeConfig{flush: never})
	cs := newCoordinators(b)
	serve(b, cs, s)
	fill(b, cs, 1_000_000, 1000)
	b.ResetTimer()
	for b.Loop() {
		s.apply(1, []int32{1}, []int32{1})
		again := newCoordinators(b)
		serve(b, again, s)
		st := again.Status()[0]
		b.ReportMetric(float64(st.Load.Duration.Microseconds())/1000, "ms/load")
		b.ReportMetric(float64(st.Load.Bytes)/1e6, "MB")
		b.ReportMetric(float64(cs.Status()[0].Rewrites), "rewrites")
		again.Resign(0)
	}
}

// fill commits so often, a hundred partitions at a time, to so many keys.
func fill(b *testing.B, cs *Coordinators, commits, keys int) {
	b.Helper()
	const at = 100
	for i := 0; i < commits; i += at {
		group := fmt.Sprint("group-", i%keys/at)
		c := &machine.Commit{Group: group, Epoch: -1}
		for p := range at {
			c.Offsets = append(c.Offsets, machine.CommitOffset{Topic: "orders", Partition: int32(p), Offset: int64(i), LeaderEpoch: 1})
		}
		done := make(chan error, 1)
		cs.Submit(group, c, func(_ any, err error) { done <- err })
		require.NoError(b, <-done)
	}
}
