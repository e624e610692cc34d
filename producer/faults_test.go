package producer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// chaos is a script that draws faults from a seed.
type chaos struct {
	f       *fake
	mu      sync.Mutex
	rnd     *rand.Rand
	percent int // of batches that something happens to
	late    bool
}

var refusedCodes = []*kerr.Error{kerr.NotEnoughReplicas, kerr.CorruptMessage, kerr.UnknownTopicID}

var doubtfulCodes = []*kerr.Error{
	kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition,
}

func (c *chaos) next(*arrival) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	delay := time.Duration(c.rnd.IntN(20)) * time.Millisecond
	if c.rnd.IntN(100) >= c.percent {
		return fault{delay: delay}
	}
	switch c.rnd.IntN(6) {
	case 0:
		return fault{code: refusedCodes[c.rnd.IntN(len(refusedCodes))].Code, delay: delay}
	case 1:
		return fault{code: doubtfulCodes[c.rnd.IntN(len(doubtfulCodes))].Code, delay: delay}
	case 2:
		return fault{code: doubtfulCodes[c.rnd.IntN(len(doubtfulCodes))].Code, append: true, delay: delay}
	case 3:
		return fault{drop: true}
	case 4:
		return fault{drop: true, append: true, delay: delay}
	}
	if c.late {
		return fault{drop: true, late: time.Duration(c.rnd.IntN(3000)) * time.Millisecond}
	}
	return fault{delay: 5 * delay}
}

// ledger is what a test's callbacks were told.
type ledger struct {
	t  testing.TB
	mu sync.Mutex
	// by partition, in the order of Enqueue
	values   [][]string
	outcomes [][]Outcome
	offsets  [][]int64
	done     [][]int // indexes in the order of the callbacks
	errs     []error
}

func newLedger(t testing.TB, partitions int) *ledger {
	return &ledger{
		t: t, values: make([][]string, partitions), outcomes: make([][]Outcome, partitions), offsets: make([][]int64, partitions), done: make([][]int, partitions),
	}
}

// enqueue produces a unique value to a partition. Not for more than one goroutine per partition.
func (l *ledger) enqueue(ctx context.Context, p *Producer, topic string, partition int, pad int) {
	l.mu.Lock()
	i := len(l.values[partition])
	v := fmt.Sprintf("%d/%d/%s", partition, i, strings.Repeat("x", pad))
	l.values[partition] = append(l.values[partition], v)
	l.outcomes[partition] = append(l.outcomes[partition], -1)
	l.offsets[partition] = append(l.offsets[partition], -1)
	l.mu.Unlock()
	err := p.Enqueue(ctx, rec(topic, int32(partition), v), func(md Metadata, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.outcomes[partition][i] != -1 {
			l.t.Errorf("callback of %s called twice", v)
		}
		l.outcomes[partition][i], l.offsets[partition][i] = OutcomeOf(err), md.Offset
		l.done[partition] = append(l.done[partition], i)
		if err != nil {
			l.errs = append(l.errs, err)
		}
	})
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.outcomes[partition][i] = NotCommitted
		l.errs = append(l.errs, err)
	}
}

// check compares with the logs: what is committed is there once, what is not is not, and everything is in the order of Enqueue.
func (l *ledger) check(f *fake, topic string, exactlyOnce bool) (counts [3]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for part, want := range l.values {
		got := f.values(topic, part)
		require.Truef(l.t, slices.IsSorted(l.done[part]), "callbacks of partition %d out of order", part)
		at := make(map[string]int64)
		last := -1
		for off, v := range got {
			first, dup := at[v]
			if exactlyOnce {
				require.Falsef(l.t, dup, "%.20s is at offsets %d and %d", v, first, off)
				i := slices.Index(want, v)
				require.Greaterf(l.t, i, last, "%.20s out of order", v)
				last = i
			}
			if !dup {
				at[v] = int64(off)
			}
		}
		for i, v := range want {
			off, there := at[v]
			o := l.outcomes[part][i]
			switch o {
			case Committed:
				require.Truef(l.t, there, "%.20s was acknowledged and is lost", v)
				if exactlyOnce && l.offsets[part][i] >= 0 {
					require.Equal(l.t, off, l.offsets[part][i], "offset of %.20s", v)
				}
			case NotCommitted:
				require.Falsef(l.t, there, "%.20s was refused and is at %d", v, off)
			case Unknown:
			default:
				l.t.Fatalf("%.20s: no callback", v)
			}
			counts[o]++
		}
	}
	return counts
}

// TestFaults_ExactlyOnceInOrder lets everything go wrong that can be mended in time.
func TestFaults_ExactlyOnceInOrder(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				f := newFake(t, 3).topic("a", 4)
				f.hints, f.noIDs, f.reverse = seed%2 == 0, seed%3 == 0, seed%4 == 1
				f.maxBatch = []int{0, 3000}[seed/2%2]
				c := &chaos{f: f, rnd: rand.New(rand.NewPCG(seed, 2)), percent: 25, late: true}
				f.script = c.next
				p := f.producer(f.serve(), Config{
					Partitioner: Manual{}, BatchBytes: 4 << 10, BufferBytes: 1 << 20, DeliveryTimeout: 24 * time.Hour, RequestTimeout: 5 * time.Second,
					Linger: time.Duration(seed%3) * 3 * time.Millisecond, Codec: []record.Codec{record.None, record.Snappy}[seed%2],
				})
				l := newLedger(t, 4)
				for i := range 1500 {
					l.enqueue(context.Background(), p, "a", rnd.IntN(4), rnd.IntN(300))
					switch {
					case i%10 == 0:
						time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
					case i%97 == 0:
						f.lead("a", int32(rnd.IntN(4)), int32(1+rnd.IntN(3)))
					case i%211 == 0:
						f.mem.Reset("*", "*")
					}
				}
				require.NoError(t, p.Flush(context.Background()))
				counts := l.check(f, "a", true)
				require.Equal(t, 1500, counts[Committed], "%v", l.errs)
			})
		})
	}
}

// TestFaults_Outcomes gives so little time that records fail: what callbacks say must be true all the same.
func TestFaults_Outcomes(t *testing.T) {
	var mu sync.Mutex
	var sum [3]int
	for seed := range uint64(16) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 3))
				f := newFake(t, 3).topic("a", 3)
				f.hints = seed%2 == 0
				c := &chaos{f: f, rnd: rand.New(rand.NewPCG(seed, 4)), percent: 60, late: true}
				f.script = c.next
				p := f.producer(f.serve(), Config{
					Partitioner: Manual{}, BatchBytes: 2 << 10, BufferBytes: 2 << 20, DeliveryTimeout: 2 * time.Second, RequestTimeout: time.Second,
				})
				l := newLedger(t, 3)
				for i := range 1500 {
					l.enqueue(context.Background(), p, "a", rnd.IntN(3), rnd.IntN(200))
					switch {
					case i%5 == 0:
						time.Sleep(time.Duration(rnd.IntN(60)) * time.Millisecond)
					case i%97 == 0:
						f.lead("a", int32(rnd.IntN(3)), int32(1+rnd.IntN(3)))
					}
				}
				if seed%4 == 0 {
					require.NoError(t, p.Close())
				} else {
					require.NoError(t, p.Flush(context.Background()))
				}
				time.Sleep(10 * time.Second) // for what travels slowly
				counts := l.check(f, "a", true)
				mu.Lock()
				defer mu.Unlock()
				for i := range sum {
					sum[i] += counts[i]
				}
			})
		})
	}
	t.Logf("committed %d, not committed %d, unknown %d", sum[0], sum[1], sum[2])
	for o, n := range sum {
		assert.Positive(t, n, "outcome %v never happened: the test tests nothing", Outcome(o))
	}
}

// TestFaults_WithoutIdempotence: nothing acknowledged is lost, nothing refused is there; repetitions are allowed.
func TestFaults_WithoutIdempotence(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 5))
				f := newFake(t, 2).topic("a", 3)
				c := &chaos{f: f, rnd: rand.New(rand.NewPCG(seed, 6)), percent: 30}
				f.script = c.next
				p := f.producer(f.serve(), Config{
					Partitioner: Manual{}, BatchBytes: 2 << 10, DisableIdempotence: true, Acks: Acks(seed % 2), MaxInFlight: 1 + int(seed),
					DeliveryTimeout: 5 * time.Second, RequestTimeout: time.Second,
				})
				l := newLedger(t, 3)
				for i := range 800 {
					l.enqueue(context.Background(), p, "a", rnd.IntN(3), rnd.IntN(200))
					if i%10 == 0 {
						time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
					}
				}
				require.NoError(t, p.Flush(context.Background()))
				l.check(f, "a", false)
			})
		})
	}
}

// TestFaults_ManyCallers closes the producer, or its client, in the middle of everything.
func TestFaults_ManyCallers(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 3).topic("a", 8)
				c := &chaos{f: f, rnd: rand.New(rand.NewPCG(seed, 7)), percent: 10}
				f.script = c.next
				client, err := transport.NewClient(f.serve())
				require.NoError(t, err)
				p, err := New(Config{Client: client, Partitioner: Manual{}, BatchBytes: 1 << 10, BufferBytes: 64 << 10, MaxRequestBytes: 8 << 10, DeliveryTimeout: time.Minute})
				require.NoError(t, err)
				l := newLedger(t, 8)
				var wg sync.WaitGroup
				for part := range 4 {
					wg.Go(func() {
						for range 500 {
							l.enqueue(context.Background(), p, "a", part, 100)
						}
					})
				}
				for part := 4; part < 8; part++ {
					wg.Go(func() {
						for i := 0; ; i++ {
							v := fmt.Sprintf("%d/%d/", part, i)
							md, err := p.Produce(context.Background(), rec("a", int32(part), v))
							if err != nil {
								assert.True(t, errors.Is(err, ErrClosed) || errors.Is(err, transport.ErrClosed), "%v", err)
								return
							}
							vs := f.values("a", part)
							assert.Equal(t, v, vs[md.Offset])
						}
					})
				}
				time.Sleep(time.Duration(50+20*seed) * time.Millisecond)
				if seed%2 == 0 {
					require.NoError(t, p.Close())
				} else {
					require.NoError(t, client.Close())
				}
				wg.Wait()
				require.NoError(t, p.Close())
				require.ErrorIs(t, p.Enqueue(context.Background(), rec("a", 0, ""), nil), ErrClosed)
				require.NoError(t, client.Close())
				l.values = l.values[:4]
				l.check(f, "a", true)
				assert.Equal(t, int64(64<<10), p.memory.free.Load(), "memory was not given back")
			})
		})
	}
}
