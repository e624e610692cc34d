package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestOpenSegmentsBesideUse lets several logs of small segments share fewer open ones than each of them has, while they are appended to, truncated, synced, read and deleted from.
func TestOpenSegmentsBesideUse(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d, err := OpenDirectory(dir, DirectoryConfig{FS: fsys, NodeID: 1, MaxOpenSegments: 2})
		require.NoError(t, err)
		var stop atomic.Bool
		var wg, writers sync.WaitGroup
		for p := range int32(3) {
			l, err := d.OpenLog("t", p, TopicID{1}, Config{SegmentBytes: 2000, IndexIntervalBytes: 200})
			require.NoError(t, err)
			wg.Go(func() { readBelow(t, l, &stop) })
			wg.Go(func() {
				for !stop.Load() {
					_, _, err := l.OffsetForTime(testTime.UnixMilli(), l.Offsets().HighWatermark)
					assert.True(t, err == nil || errors.Is(err, ErrTruncated), "%v", err)
					assert.NoError(t, d.Checkpoint(context.Background()))
				}
			})
			writers.Go(func() {
				for i := range 400 {
					b := batchOf(t, fmt.Sprint("v", l.Offsets().LogEndOffset), "w")
					if _, err := l.Append(b, AppendOptions{Now: testTime}); !assert.NoError(t, err) {
						return
					}
					switch {
					case i%37 == 36:
						assert.NoError(t, l.TruncateTo(max(l.Offsets().HighWatermark, l.Offsets().LogEndOffset-40)))
					case i%5 == 4:
						l.SetHighWatermark(l.Offsets().LogEndOffset - 20)
					case i%11 == 10:
						_, err := l.Sync()
						assert.NoError(t, err)
					}
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		wg.Wait()
		require.NoError(t, d.Checkpoint(context.Background()))
		assert.LessOrEqual(t, d.OpenSegments(), 5, "the active ones, with what is not synced, and two")
		require.NoError(t, d.Close(1))
		assert.Zero(t, d.OpenSegments())
	})
}

// TestOpenSegmentsAfterCleanStop opens logs, which leaves none of their files open, and uses them.
func TestOpenSegmentsAfterCleanStop(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d := openDir(t, fsys, dir)
		c := Config{SegmentBytes: 1000, IndexIntervalBytes: 100}
		open := func() (logs []*Log) {
			for p := range int32(8) {
				l, err := d.OpenLog("t", p, TopicID{1}, c)
				require.NoError(t, err)
				logs = append(logs, l)
			}
			return logs
		}
		for p, l := range open() {
			for i := range 10 * p {
				mustAppend(t, l, batchOf(t, fmt.Sprint("v", 2*i), "w"))
			}
		}
		require.NoError(t, d.Close(1))

		d, err := OpenDirectory(dir, DirectoryConfig{FS: fsys, NodeID: 1, MaxOpenSegments: 3})
		require.NoError(t, err)
		logs := open()
		assert.LessOrEqual(t, d.OpenSegments(), 1, "one that is new, without a batch")
		for p, l := range logs {
			mustAppend(t, l, batchOf(t, fmt.Sprint("v", l.Offsets().LogEndOffset), "w"))
			_, err := l.Sync()
			require.NoError(t, err)
			l.SetHighWatermark(math.MaxInt64)
			n := 0
			for from := int64(0); from < l.Offsets().LogEndOffset; n++ {
				sl, err := l.Read(from, math.MaxInt64, 100, true)
				require.NoError(t, err)
				b, err := sl.Append(nil)
				require.NoError(t, err)
				require.True(t, checkRun(t, b, &from, math.MaxInt64))
				sl.Release()
			}
			assert.GreaterOrEqual(t, n, 10*p/2)
		}
		require.NoError(t, d.Checkpoint(context.Background()))
		sl, err := logs[0].Read(0, math.MaxInt64, 100, true)
		require.NoError(t, err)
		sl.Release()
		assert.LessOrEqual(t, d.OpenSegments(), 3)
		require.NoError(t, d.Close(2))
	})
}
