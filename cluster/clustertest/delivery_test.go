package clustertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/stretchr/testify/require"
)

// deliveries is one partition's worth of records, read by workers of which each ends in the worst place: with a record in its hands that it has not processed.
type deliveries struct {
	t         *testing.T
	c         *clustertest.Cluster
	rng       *rand.Rand
	config    consumer.Config
	processed map[int]int
	handed    map[int]int
	store     map[consumer.TopicPartition]int64 // External
	lives     int
}

const deliveryRecords = 150

func inDeliveries(t *testing.T, seed uint64, config consumer.Config, test func(d *deliveries)) {
	t.Run(fmt.Sprintf("%v/%d", config.Protocol, seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := clustertest.New(t, clustertest.Config{Nodes: 1, Seed: seed})
			c.CreateTopic("t", 2, 1)
			numbers(t, c, "t", 0, deliveryRecords)
			config.Client, config.Group, config.Topics = c.Client(), "g", []string{"t"}
			config.CommitInterval = 20 * time.Millisecond
			d := &deliveries{
				t: t, c: c, rng: rand.New(rand.NewPCG(seed, 3)), config: config,
				processed: map[int]int{}, handed: map[int]int{}, store: map[consumer.TopicPartition]int64{},
			}
			test(d)
		})
	})
}

// life runs one worker until it ends: after some records by a clean stop, by death, or when nothing has come for a while.
func (d *deliveries) life(work func(ctx context.Context, con *consumer.Consumer, dies func() bool)) {
	d.lives++
	con, err := consumer.New(d.config)
	require.NoError(d.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // longer than a dead member's session
	defer cancel()
	left := 1 + d.rng.IntN(30)
	work(ctx, con, func() bool { left--; return left < 0 })
	if d.rng.IntN(2) == 0 {
		require.NoError(d.t, con.Kill())
	} else {
		require.NoError(d.t, con.Close())
	}
}

func intOf(t *testing.T, b []byte) int {
	n, err := strconv.Atoi(string(b))
	require.NoError(t, err)
	return n
}

func counts(m map[int]int) (missing, repeated int) {
	for i := range deliveryRecords {
		switch n := m[i]; {
		case n == 0:
			missing++
		default:
			repeated += n - 1
		}
	}
	return missing, repeated
}

// At least once: whatever a worker has processed and not marked, or had in its hands, comes again; nothing is missed.
func TestAtLeastOnceMissesNothing(t *testing.T) {
	for seed := range few(6, 3) {
		inDeliveries(t, seed, consumer.Config{Protocol: consumer.Protocol(seed % 3)}, func(d *deliveries) {
			for missing := deliveryRecords; missing > 0; missing, _ = counts(d.processed) {
				require.Less(d.t, d.lives, 300)
				d.life(func(ctx context.Context, con *consumer.Consumer, dies func() bool) {
					if d.rng.IntN(2) == 0 {
						for r, err := range con.Records(ctx) {
							require.NoError(d.t, err)
							if dies() {
								return // with r in its hands
							}
							d.processed[intOf(d.t, r.Value)]++
							if d.rng.IntN(10) > 0 {
								require.NoError(d.t, con.MarkProcessed(r))
							} else if d.rng.IntN(4) == 0 {
								return // processed, and not marked
							}
							time.Sleep(time.Duration(d.rng.IntN(10)) * time.Millisecond)
						}
						return
					}
					for b, err := range con.Batches(ctx) {
						require.NoError(d.t, err)
						for i := range b.Records {
							if dies() {
								return
							}
							d.processed[intOf(d.t, b.Records[i].Value)]++
						}
						require.NoError(d.t, con.MarkBatch(b))
					}
				})
			}
		})
	}
}

// At most once: nothing comes twice, and what is missed was in the hands, or in the batch in the hands, of a worker that died.
func TestAtMostOnceRepeatsNothing(t *testing.T) {
	for seed := range few(6, 3) {
		inDeliveries(t, seed, consumer.Config{Protocol: consumer.Protocol(seed % 3), Commit: consumer.AtMostOnce}, func(d *deliveries) {
			for range 12 {
				d.life(func(ctx context.Context, con *consumer.Consumer, dies func() bool) {
					for r, err := range con.Records(ctx) {
						require.NoError(d.t, err)
						d.handed[intOf(d.t, r.Value)]++
						if dies() {
							return
						}
					}
				})
			}
			_, repeated := counts(d.handed)
			require.Zero(d.t, repeated)
		})
	}
}

// Exactly once, in the application's own store: results and offset change together, or not at all; workers die before, after and in between.
func TestExternalCountsOnce(t *testing.T) {
	for seed := range few(6, 3) {
		config := consumer.Config{Protocol: consumer.Protocol(seed % 3), Commit: consumer.External}
		var d *deliveries
		config.LoadOffsets = func(_ context.Context, claim consumer.Claim) (map[consumer.TopicPartition]int64, error) {
			m := map[consumer.TopicPartition]int64{}
			for _, tp := range claim.Partitions {
				if o, ok := d.store[tp]; ok {
					m[tp] = o
				}
			}
			return m, nil
		}
		inDeliveries(t, seed, config, func(these *deliveries) {
			d = these
			for missing := deliveryRecords; missing > 0; missing, _ = counts(d.processed) {
				require.Less(d.t, d.lives, 300)
				d.life(func(ctx context.Context, con *consumer.Consumer, dies func() bool) {
					stop, cancel := context.WithCancel(ctx)
					defer cancel()
					err := con.Process(stop, func(_ context.Context, b consumer.Batch) error {
						tp := consumer.TopicPartition{Topic: b.Topic, Partition: b.Partition}
						if dies() {
							cancel()
							if d.rng.IntN(2) == 0 {
								return context.Canceled // rolled back
							}
						}
						at, ok := d.store[tp]
						require.True(d.t, ok && at == b.Expected || !ok && b.Expected == -1, "expected %d, stored %d %v", b.Expected, at, ok)
						for i := range b.Records {
							d.processed[intOf(d.t, b.Records[i].Value)]++
						}
						d.store[tp] = b.Next
						if n := len(d.processed); n == deliveryRecords {
							cancel()
						}
						return nil
					})
					require.True(d.t, err == nil || slices.Contains([]error{context.Canceled}, err), "%v", err)
				})
			}
			_, repeated := counts(d.processed)
			require.Zero(d.t, repeated)
		})
	}
}
