package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// changed is a batch with a field of its header changed, and a CRC that fits.
func changed(b record.Batch, at int, v uint32) record.Batch {
	b = slices.Clone(b)
	binary.BigEndian.PutUint32(b[at:], v)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// A store's offset may lie behind the last record of a batch that compaction has thinned out: nothing of that batch is handed out, so that the next one follows on what the store has.
func TestExternalOffsetInAGap(t *testing.T) {
	f := newFakeGroup(1)
	p := f.parts[0]
	p.append(t, batchOptions{}, "0", "1", "2")
	p.batches[0] = changed(p.batches[0], 23, 9) // the last seven of ten are gone
	p.append(t, batchOptions{}, "10")
	require.Equal(t, int64(10), p.batches[1].BaseOffset())
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		l := newLedger()
		l.next[TopicPartition{"t", 0}] = 5
		c, _ := memberOf(t, client, Config{Commit: External, LoadOffsets: l.load})
		stop := process(c, func(_ context.Context, b Batch) error { return l.advance(b) })
		time.Sleep(10 * time.Second)
		require.NoError(t, stop())
		require.NoError(t, c.Close())
		assert.Equal(t, []string{"0/10"}, l.results)
		assert.Len(t, l.claims, 1)
	})
}

// A Seek past a batch that cannot be read follows on what the store has.
func TestExternalSeekPastDamage(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 3)
	f.parts[0].batches[1] = changed(f.parts[0].batches[1], 66, 0x7f7f7f7f) // the length of its value
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		l := newLedger()
		c, _ := memberOf(t, client, Config{Commit: External, LoadOffsets: l.load})
		handle := func(_ context.Context, b Batch) error { return l.advance(b) }
		err := c.Process(t.Context(), handle)
		var damaged *PartitionError
		require.ErrorAs(t, err, &damaged)
		require.NoError(t, c.Seek("t", 0, AtOffset(2)))
		stop := process(c, handle)
		time.Sleep(10 * time.Second)
		require.NoError(t, stop())
		require.NoError(t, c.Close())
		assert.Equal(t, []string{"0/0", "0/2"}, l.results)
	})
}

// Seek and Pause in the loop have an effect from the next record on, also in the middle of a batch.
func TestSeekAndPauseInTheMiddleOfABatch(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "0", "1", "2", "3", "4", "5")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		var got []int64
		var paused time.Time
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for r, err := range c.Records(ctx) {
			require.NoError(t, err)
			got = append(got, r.Offset)
			switch len(got) {
			case 2:
				require.NoError(t, c.Seek("t", 0, AtOffset(4)))
			case 3:
				require.NoError(t, c.Seek("t", 0, AtOffset(0)))
			case 5:
				require.NoError(t, c.Pause("t", 0))
				time.AfterFunc(time.Second, func() { assert.NoError(t, c.Resume("t", 0)) })
				paused = time.Now()
			case 6:
				assert.Equal(t, time.Second, time.Since(paused))
			}
		}
		assert.Equal(t, []int64{0, 1, 4, 0, 1, 2, 3, 4, 5}, got)
	})
}

// To tell of a pause nothing is committed of records that are not marked: not where a Seek went either.
func TestPauseAfterASeekCommitsNothingUnmarked(t *testing.T) {
	for _, hands := range []bool{false, true} {
		t.Run(fmt.Sprint(hands), func(t *testing.T) {
			f := newFakeGroup(1)
			fill(t, f, 8)
			inGroup(t, f, func(t *testing.T, client *transport.Client) {
				c, d := memberOf(t, client, Config{})
				stop := loop(c, d, func(*record.Record) {})
				time.Sleep(time.Second)
				require.NoError(t, c.Seek("t", 0, AtOffset(6)))
				if hands {
					time.Sleep(time.Second)
				}
				require.NoError(t, c.Pause("t", 0))
				time.Sleep(10 * time.Second)
				assert.Less(t, f.coordinator.offset(0), int64(1), "nothing is marked")
				require.NoError(t, stop())
				require.NoError(t, c.Close())
				assert.Less(t, f.coordinator.offset(0), int64(1), "nothing is marked")
			})
		})
	}
}

// A batch that failed does not come again in a later assignment: that begins where the group is.
func TestFailedBatchOfAnEarlierAssignment(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 8)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		c, _ := memberOf(t, client, Config{CommitInterval: time.Hour})
		boom := errors.New("boom")
		var got []int64
		err := c.Process(t.Context(), func(_ context.Context, b Batch) error {
			got = append(got, b.Records[0].Offset)
			if len(got) == 2 {
				f.coordinator.do(func() {
					f.coordinator.script[68] = []*kerr.Error{kerr.UnknownMemberID}
					f.coordinator.offsets[0] = fakeOffset{6, -1} // another member's work
				})
				time.Sleep(20 * time.Second)
				return boom
			}
			return nil
		})
		require.ErrorIs(t, err, boom)
		stop := process(c, func(_ context.Context, b Batch) error {
			got = append(got, b.Records[0].Offset)
			return nil
		})
		time.Sleep(10 * time.Second)
		require.NoError(t, stop())
		require.NoError(t, c.Close())
		assert.Equal(t, []int64{0, 1, 6, 7}, got)
	})
}

// A Seek while the group's offset is being asked for counts. With AtMostOnce it is committed before anything is handed out.
func TestAtMostOnceSeekWhileLoading(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 8)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		f.coordinator.offsets[0] = fakeOffset{6, -1}
		f.coordinator.script[9] = []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress}
		c, d := memberOf(t, client, Config{Commit: AtMostOnce})
		stop := loop(c, d, func(r *record.Record) {
			if r.Offset < 8 {
				assert.Equal(t, r.Offset+1, f.coordinator.offset(0))
			}
			if r.Offset == 2 {
				assert.NoError(t, c.Pause("t", 0))
			}
		})
		synctest.Wait()
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, c.Seek("t", 0, Earliest()))
		time.Sleep(5 * time.Second)
		require.NoError(t, c.Kill())
		require.NoError(t, stop())
		assert.Equal(t, "0:[0 1 2]", d.all())
	})
}

// The same with a Seek while a commit is under way.
func TestAtMostOnceSeekWhileCommitting(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 8)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		f.coordinator.offsets[0] = fakeOffset{6, -1}
		c, d := memberOf(t, client, Config{Commit: AtMostOnce})
		f.coordinator.script[8] = []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress}
		stop := loop(c, d, func(r *record.Record) {
			assert.Equal(t, r.Offset+1, f.coordinator.offset(0))
			if r.Offset == 2 {
				assert.NoError(t, c.Pause("t", 0))
			}
		})
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, c.Seek("t", 0, Earliest()))
		time.Sleep(20 * time.Second)
		require.NoError(t, c.Kill())
		require.NoError(t, stop())
		assert.Equal(t, "0:[0 1 2]", d.all())
	})
}

// A mark of before a Seek, or of an earlier assignment, does not count for records that have not come again, although they are in the batch that is being handed out.
func TestMarksReachNoFurtherThanWhatWasHandedOut(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			f := newFakeGroup(1)
			f.parts[0].append(t, batchOptions{}, "0", "1", "2", "3", "4", "5", "6", "7")
			inGroup(t, f, func(t *testing.T, client *transport.Client) {
				c, d := memberOf(t, client, Config{CommitInterval: 100 * time.Millisecond})
				n := 0
				stop := loop(c, d, func(r *record.Record) {
					switch n++; n {
					case 6:
						if lost {
							f.coordinator.do(func() { f.coordinator.script[68] = []*kerr.Error{kerr.UnknownMemberID} })
						} else {
							assert.NoError(t, c.Seek("t", 0, AtOffset(0)))
						}
						time.Sleep(20 * time.Second)
					case 8:
						assert.Equal(t, int64(1), r.Offset)
						assert.NoError(t, c.MarkProcessed(&record.Record{Topic: "t", Offset: 5}), "of before")
						time.Sleep(time.Second)
						assert.Equal(t, int64(-1), f.coordinator.offset(0))
						assert.NoError(t, c.MarkProcessed(r))
						time.Sleep(time.Second)
						assert.Equal(t, int64(2), f.coordinator.offset(0))
					}
				})
				time.Sleep(time.Minute)
				require.NoError(t, stop())
				require.NoError(t, c.Close())
				assert.Equal(t, "0:[0 1 2 3 4 5 0 1 2 3 4 5 6 7]", d.all())
			})
		})
	}
}
