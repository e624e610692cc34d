package log

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// readCounter counts what is read of files, and mapped.
type readCounter struct {
	vfs.FS
	read, mapped atomic.Int64
}

func (c *readCounter) Open(name string, mode vfs.OpenMode) (vfs.File, error) {
	f, err := c.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return countedFile{f, c}, nil
}

type countedFile struct {
	vfs.File
	c *readCounter
}

func (f countedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.c.read.Add(int64(n))
	return n, err
}

func (f countedFile) Map(size int) (vfs.Mapping, error) {
	f.c.mapped.Add(int64(size))
	return f.File.Map(size)
}

// stretch moves the batches of a segment behind the first to the end of a file of that size, with a hole in front of them, and has the offset index point there.
func stretch(t *testing.T, dir string, s segmentFiles, size int64) {
	name := filepath.Join(dir, s.log)
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	rest := b[s.second:]
	by := size - int64(len(b))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(s.second))
	_, err = f.WriteAt(rest, s.second+by)
	require.NoError(t, err)

	index := filepath.Join(dir, s.index)
	b, err = os.ReadFile(index)
	require.NoError(t, err)
	require.Len(t, b, 3*8, "an entry for each of them")
	for pos := b[4:]; ; pos = pos[8:] {
		at := int64(binary.BigEndian.Uint32(pos))
		require.GreaterOrEqual(t, at, s.second)
		binary.BigEndian.PutUint32(pos, uint32(at+by))
		if len(pos) < 8 {
			break
		}
	}
	require.NoError(t, os.WriteFile(index, b, 0o644))
}

type segmentFiles struct {
	log, index string
	second     int64 // position of the second batch
}

// A log of 100 GiB is opened by looking at its ends: after a clean stop, and after a crash of a log that was synced. Its files are sparse: nobody could have read them in this time.
func TestHugeLogOpensWithoutBeingRead(t *testing.T) {
	const (
		segments = 100
		size     = 1 << 30
	)
	dir := t.TempDir()
	requireSparse(t, dir, size)
	disk := &readCounter{FS: vfs.OS()}
	config := Config{WriteAhead: -1, IndexIntervalBytes: 1, SegmentBytes: size, TimestampAfterMax: 1 << 62, ProducerIDExpiration: 1 << 62}
	batch := func(i int) record.Batch {
		b := record.NewBuilder(record.BuilderConfig{})
		b.SetProducer(7, 0, int32(i))
		b.Append(&record.Record{Value: fmt.Append(nil, i), Timestamp: testTime.Add(time.Duration(i) * time.Second)})
		out, err := b.Build(nil)
		require.NoError(t, err)
		return out
	}
	open := func() (*Directory, *Log) {
		t.Helper()
		d := openDir(t, disk, dir)
		l, err := d.OpenLog("t", 0, TopicID{1}, config)
		require.NoError(t, err)
		return d, l
	}
	d, l := open()
	var files []segmentFiles
	for i := range segments {
		base := l.Offsets().LogEndOffset
		mustAppend(t, l, batch(4*i))
		second := l.active().SizeBytes()
		for n := range 3 {
			mustAppend(t, l, batch(4*i+1+n))
		}
		files = append(files, segmentFiles{fmt.Sprintf("%020d.log", base), fmt.Sprintf("%020d.index", base), second})
		if i < segments-1 {
			require.NoError(t, l.Roll())
		}
	}
	l.SetHighWatermark(4 * segments)
	require.NoError(t, d.Close(1))
	for _, s := range files {
		stretch(t, filepath.Join(dir, "t-0"), s, size)
	}

	for _, clean := range []bool{true, false, true} {
		name := map[bool]string{true: "after a clean stop", false: "after a crash"}[clean]
		disk.read.Store(0)
		disk.mapped.Store(0)
		before := heapBytes()
		began := time.Now()
		d, l = open()
		t.Logf("%s: opened in %v, %d bytes read, %d mapped", name, time.Since(began).Round(time.Microsecond), disk.read.Load(), disk.mapped.Load())
		isClean, _ := d.Clean()
		require.Equal(t, clean, isClean)
		require.GreaterOrEqual(t, l.SizeBytes(), int64(segments*size))
		assert.Less(t, disk.read.Load()+disk.mapped.Load(), int64(256<<10), name)
		assert.Less(t, heapBytes()-before, int64(1<<20), name)
		o := l.Offsets()
		require.EqualValues(t, 0, o.LogStartOffset)
		require.Equal(t, o.SyncedEndOffset, o.LogEndOffset)

		// It is used like any other: by its ends, in the middle, and by who appends.
		require.True(t, mustAppend(t, l, batch(4*segments-1)).Duplicate)
		sl, err := l.Read(4*segments/2+2, o.LogEndOffset, 1, true)
		require.NoError(t, err)
		require.NotZero(t, sl.Len())
		sl.Release()
		mustAppend(t, l, batchOf(t, name))
		_, err = l.Sync()
		require.NoError(t, err)
		require.NoError(t, d.Checkpoint(t.Context()))
		assert.Less(t, disk.read.Load()+disk.mapped.Load(), int64(512<<10), "%s, and then some use", name)
		if clean { // what comes next is a crash
			d.Abandon()
		} else {
			require.NoError(t, d.Close(2))
		}
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
