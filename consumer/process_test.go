package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// ledger is an application's store: results and offsets change together.
type ledger struct {
	mu      sync.Mutex
	next    map[TopicPartition]int64
	owner   map[TopicPartition]Fence
	results []string
	claims  []Claim
	fail    []error // what the next claims get
}

func newLedger() *ledger {
	return &ledger{next: map[TopicPartition]int64{}, owner: map[TopicPartition]Fence{}}
}

func (l *ledger) load(_ context.Context, c Claim) (map[TopicPartition]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims = append(l.claims, c)
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		return nil, err
	}
	for _, tp := range c.Partitions {
		if l.owner[tp].Generation > c.Generation && !c.Confirmed {
			return nil, fmt.Errorf("%v: %w", l.owner[tp], ErrFenced)
		}
		l.owner[tp] = c.Fence
	}
	return maps.Clone(l.next), nil
}

func (l *ledger) advance(b Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	tp := TopicPartition{b.Topic, b.Partition}
	next, ok := l.next[tp]
	if !ok {
		next = -1
	}
	if l.owner[tp] != b.Fence || next != b.Expected {
		return fmt.Errorf("%v at %d, not %v at %d: %w", l.owner[tp], next, b.Fence, b.Expected, ErrFenced)
	}
	l.next[tp] = b.Next
	for _, r := range b.Records {
		l.results = append(l.results, fmt.Sprintf("%d/%d", r.Partition, r.Offset))
	}
	return nil
}

// process runs Process in the background until stopped.
func process(c *Consumer, handle func(context.Context, Batch) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = c.Process(ctx, handle) })
	return func() error {
		cancel()
		wg.Wait()
		return err
	}
}

// With the offsets in the application's store each record counts once, although members crash, fall out, and transactions have an unknown outcome.
func TestExternalOffsetsCountOnce(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(2)
		fill(t, f, 20)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			l := newLedger()
			config := Config{Protocol: p, Commit: External, LoadOffsets: l.load}
			first, _ := memberOf(t, client, config)
			n := 0
			boom := errors.New("boom")
			err := first.Process(t.Context(), func(_ context.Context, b Batch) error {
				if n++; n == 5 {
					return boom // nothing was stored
				}
				require.NoError(t, l.advance(b))
				if n == 8 {
					return boom // it was, but the answer got lost
				}
				return nil
			})
			require.ErrorIs(t, err, boom)
			stop := process(first, func(_ context.Context, b Batch) error {
				if n++; n == 9 {
					return l.advance(b)
				}
				if n == 12 {
					f.coordinator.do(func() {
						f.coordinator.script[68] = []*kerr.Error{kerr.UnknownMemberID}
						f.coordinator.script[12] = []*kerr.Error{kerr.UnknownMemberID}
					})
					time.Sleep(10 * time.Second)
					err := l.advance(b)
					assert.ErrorIs(t, err, ErrFenced, "the member is in again, under a later generation, and has claimed it anew")
					return err
				}
				if n == 20 {
					time.Sleep(time.Hour) // and then the process is no more
				}
				return l.advance(b)
			})
			time.Sleep(time.Minute)
			require.NoError(t, first.Kill())
			time.Sleep(time.Minute)
			second, _ := memberOf(t, client, config)
			stop2 := process(second, func(_ context.Context, b Batch) error { return l.advance(b) })
			time.Sleep(2 * time.Minute)
			require.NoError(t, stop2())
			require.NoError(t, second.Close())
			require.NoError(t, stop())
			assert.Len(t, l.results, 40)
			seen := map[string]int{}
			for _, r := range l.results {
				seen[r]++
				assert.Equal(t, 1, seen[r], r)
			}
			assert.Empty(t, f.coordinator.offsets, "nothing is committed")
		})
	})
}

// A claim that the store refuses is made again when the coordinator has confirmed the assignment: the group of the higher generation is no more.
func TestClaimsAreConfirmed(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		fill(t, f, 1)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			l := newLedger()
			l.owner[TopicPartition{"t", 0}] = Fence{Group: "g", MemberID: "of old", Generation: 99}
			l.fail = []error{errors.New("no connection")}
			c, d := memberOf(t, client, Config{Protocol: p, Commit: External, LoadOffsets: l.load})
			stop := process(c, func(_ context.Context, b Batch) error { return l.advance(b) })
			time.Sleep(10 * time.Second)
			require.NoError(t, stop())
			require.NoError(t, c.Close())
			assert.Equal(t, "+0 -0", d.String())
			assert.Equal(t, []string{"0/0"}, l.results)
			for i, claim := range l.claims {
				assert.Equal(t, i == len(l.claims)-1, claim.Confirmed, i)
			}
			assert.Less(t, len(l.claims), 6)
		})
	})
}

// One that was fenced by mistake, by a late claim of somebody who is no member any more, claims again.
func TestProcessClaimsAgain(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 10)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		l := newLedger()
		c, _ := memberOf(t, client, Config{Commit: External, LoadOffsets: l.load})
		n := 0
		stop := process(c, func(_ context.Context, b Batch) error {
			if n++; n == 5 {
				l.mu.Lock()
				l.owner[TopicPartition{"t", 0}] = Fence{Group: "g", MemberID: "zombie", Generation: b.Generation}
				l.mu.Unlock()
			}
			return l.advance(b)
		})
		time.Sleep(10 * time.Second)
		require.NoError(t, stop())
		require.NoError(t, c.Close())
		assert.Len(t, l.results, 10)
		assert.Len(t, l.claims, 2)
	})
}

// The handler's context ends when its partition is lost; what it was given comes again.
func TestProcessHearsOfLoss(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 2)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		c, d := memberOf(t, client, Config{CommitInterval: time.Hour})
		var got []int64
		stop := process(c, func(ctx context.Context, b Batch) error {
			got = append(got, b.Records[0].Offset)
			if len(got) == 2 {
				f.coordinator.do(func() { f.coordinator.script[68] = []*kerr.Error{kerr.FencedMemberEpoch} })
				<-ctx.Done()
				var lost *LostError
				assert.ErrorAs(t, context.Cause(ctx), &lost)
				return context.Cause(ctx)
			}
			return nil
		})
		time.Sleep(20 * time.Second)
		assert.Equal(t, "+0 !0 +0", d.String())
		require.NoError(t, stop())
		require.NoError(t, c.Close())
		assert.Equal(t, []int64{0, 1, 0, 1}, got)
		assert.Equal(t, int64(2), f.coordinator.offset(0))
	})
}

func TestProcessWithoutAGroup(t *testing.T) {
	f := newFake(1)
	fill(t, f, 3)
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		boom := errors.New("boom")
		var got []int64
		handle := func(_ context.Context, b Batch) error {
			assert.Zero(t, b.Fence)
			got = append(got, b.Records[0].Offset)
			if len(got) == 2 {
				return boom
			}
			return nil
		}
		require.Equal(t, boom, c.Process(t.Context(), handle))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, c.Process(ctx, handle))
		assert.Equal(t, []int64{0, 1, 1, 2}, got, "the one that failed comes again")
		require.ErrorIs(t, c.MarkProcessed(&record.Record{}), ErrNotMarked)
		require.ErrorIs(t, c.CommitMarked(ctx), ErrNotMarked)
		assert.Zero(t, c.GroupStatus())
	})
}
