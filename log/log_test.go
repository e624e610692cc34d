package log

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTime is when tests append.
var testTime = time.UnixMilli(1_700_000_000_000)

// batchOf builds a batch of records with the given values, one millisecond apart from testTime on.
func batchOf(tb testing.TB, values ...string) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	for i, v := range values {
		b.Append(&record.Record{Key: []byte("k"), Value: []byte(v), Timestamp: testTime.Add(time.Duration(i) * time.Millisecond)})
	}
	out, err := b.Build(nil)
	require.NoError(tb, err)
	return out
}

// producerBatchOf builds a batch of n records of an idempotent producer.
func producerBatchOf(tb testing.TB, id int64, epoch int16, sequence int32, n int, transactional bool) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.BuilderConfig{Transactional: transactional})
	b.SetProducer(id, epoch, sequence)
	for i := range n {
		b.Append(&record.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "p%d.%d+%d", id, sequence, i), Timestamp: testTime})
	}
	out, err := b.Build(nil)
	require.NoError(tb, err)
	return out
}

func mustAppend(tb testing.TB, l *Log, b record.Batch) Appended {
	tb.Helper()
	a, err := l.Append(b, AppendOptions{Now: testTime})
	require.NoError(tb, err)
	return a
}

// values reads all records from offset on as "offset=value".
func values(tb testing.TB, l *Log, from int64) []string {
	tb.Helper()
	var out []string
	for r, err := range l.Records(context.Background(), from) {
		require.NoError(tb, err)
		out = append(out, fmt.Sprintf("%d=%s", r.Offset, r.Value))
	}
	return out
}

// raw reads all bytes from offset on.
func raw(tb testing.TB, l *Log, from int64) []byte {
	tb.Helper()
	var out []byte
	for end := l.Offsets().LogEndOffset; from < end; {
		sl, err := l.Read(from, end, 1<<20, true)
		require.NoError(tb, err)
		require.NotZero(tb, sl.Len(), "nothing at %d, the log ends at %d", from, end)
		at := len(out)
		out, err = sl.Append(out)
		require.NoError(tb, err)
		sl.Release()
		for b, err := range record.Batches(out[at:]) {
			require.NoError(tb, err)
			require.NoError(tb, b.CheckCRC())
			from = b.NextOffset()
		}
	}
	return out
}

// disks runs a test on the memory disk and on a real one.
func disks(t *testing.T, fn func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("mem", func(t *testing.T) { fn(t, vfs.NewMem(), "/data") })
	t.Run("os", func(t *testing.T) { fn(t, vfs.OS(), t.TempDir()) })
}

func TestOpenAppendReadReopen(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		c := Config{FS: fsys, SegmentBytes: 600, IndexIntervalBytes: 100}
		l, err := Open(dir+"/orders-0", c)
		require.NoError(t, err)
		var want []string
		for i := range 50 {
			b := batchOf(t, fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i))
			keep := bytes.Clone(b)
			a := mustAppend(t, l, b)
			assert.Equal(t, keep, []byte(b), "the caller's memory")
			assert.Equal(t, Appended{BaseOffset: int64(2 * i), EndOffset: int64(2*i + 2), LogAppendTime: -1}, a)
			want = append(want, fmt.Sprintf("%d=a%d", 2*i, i), fmt.Sprintf("%d=b%d", 2*i+1, i))
			if i%7 == 0 {
				synced, err := l.Sync()
				require.NoError(t, err)
				assert.Equal(t, a.EndOffset, synced)
			}
		}
		assert.Greater(t, len(*l.segments.Load()), 5)
		assert.Equal(t, want, values(t, l, 0))
		for from := range int64(100) {
			assert.Equal(t, want[from:], values(t, l, from))
		}
		bytesBefore := raw(t, l, 0)
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		_, err = l.Append(batchOf(t, "x"), AppendOptions{Now: testTime})
		require.ErrorIs(t, err, ErrClosed)

		l, err = Open(dir+"/orders-0", c)
		require.NoError(t, err)
		assert.True(t, l.home.clean)
		assert.Equal(t, want, values(t, l, 0))
		assert.Equal(t, bytesBefore, raw(t, l, 0))
		mustAppend(t, l, batchOf(t, "more"))
		assert.Equal(t, append(want, "100=more"), values(t, l, 0))
		require.NoError(t, l.Close())
	})
}

func TestTruncateTo(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		for cut := int64(0); cut <= 40; cut++ {
			c := Config{FS: fsys, SegmentBytes: 600, IndexIntervalBytes: 100}
			name := fmt.Sprintf("%s/t-%d", dir, cut)
			l, err := Open(name, c)
			require.NoError(t, err)
			var want []string
			for i := range 20 {
				mustAppend(t, l, batchOf(t, "a", "b"))
				want = append(want, fmt.Sprintf("%d=a", 2*i), fmt.Sprintf("%d=b", 2*i+1))
			}
			require.NoError(t, l.TruncateTo(cut))
			end := cut &^ 1
			assert.Equal(t, end, l.Offsets().LogEndOffset)
			want = want[:end]
			if len(want) == 0 {
				want = nil
			}
			assert.Equal(t, want, values(t, l, 0))
			mustAppend(t, l, batchOf(t, "new"))
			want = append(want, fmt.Sprintf("%d=new", end))
			assert.Equal(t, want, values(t, l, 0))
			require.NoError(t, l.Close())
			l, err = Open(name, c)
			require.NoError(t, err)
			assert.Equal(t, want, values(t, l, 0))
			require.NoError(t, l.Close())
		}
	})
}
