package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// fewDescriptors is a disk for a process that may have so many open files.
type fewDescriptors struct {
	vfs.FS
	left atomic.Int64
}

func (d *fewDescriptors) Open(name string, mode vfs.OpenMode) (vfs.File, error) {
	if d.left.Add(-1) < 0 {
		d.left.Add(1)
		return nil, &vfsError{name}
	}
	f, err := d.FS.Open(name, mode)
	if err != nil {
		d.left.Add(1)
		return nil, err
	}
	return &descriptor{File: f, d: d}, nil
}

type vfsError struct{ name string }

func (e *vfsError) Error() string { return "open " + e.name + ": too many open files" }
func (e *vfsError) Unwrap() error { return syscall.EMFILE }

type descriptor struct {
	vfs.File
	d      *fewDescriptors
	closed atomic.Bool
}

func (f *descriptor) Close() error {
	if !f.closed.Swap(true) {
		f.d.left.Add(1)
	}
	return f.File.Close()
}

// TestFault_F43_DescriptorsRunOut uses more logs than there are descriptors, and then has none at all for a while: what is idle gives its own up, what cannot be opened is refused without harm, what is open goes on, and all
// is well as soon as there are some again.
func TestFault_F43_DescriptorsRunOut(t *testing.T) {
	disk := &fewDescriptors{FS: vfs.NewMem()}
	disk.left.Store(20)
	d, err := OpenDirectory("/data", DirectoryConfig{FS: disk, NodeID: 1, MaxOpenSegments: 1000})
	require.NoError(t, err)
	logs := make([]*Log, 60)
	for p := range logs {
		c := Config{SegmentBytes: 1000, IndexIntervalBytes: 100}
		if p == 0 {
			c = Config{} // it is the one that is open later: its appends need no other file
		}
		logs[p], err = d.OpenLog("t", int32(p), TopicID{1}, c)
		require.NoError(t, err)
	}
	write := func(l *Log) error {
		if _, err := l.Append(batchOf(t, fmt.Sprint("v", l.Offsets().LogEndOffset), "w"), AppendOptions{Now: testTime}); err != nil {
			return err
		}
		_, err := l.Sync()
		return err
	}
	read := func(l *Log) error {
		for from := int64(0); from < l.Offsets().LogEndOffset; {
			sl, err := l.Read(from, math.MaxInt64, 10_000, true)
			if err != nil {
				return err
			}
			b, err := sl.Append(nil)
			sl.Release()
			require.NoError(t, err)
			require.True(t, checkRun(t, b, &from, math.MaxInt64))
		}
		return nil
	}
	for range 12 {
		for _, l := range logs {
			require.NoError(t, write(l))
		}
	}
	require.NoError(t, d.Checkpoint(context.Background()))
	for _, l := range logs {
		require.NoError(t, read(l))
	}

	// Somebody else takes all that are left, while one log has its file open for a reader and another one is idle and closed.
	held, err := logs[0].Read(logs[0].Offsets().LogEndOffset-1, math.MaxInt64, 10_000, true)
	require.NoError(t, err)
	for d.home.open.Spare(1000) {
	}
	taken := disk.left.Swap(0)
	for range 3 {
		_, full := errors.AsType[*FullError](write(logs[1]))
		assert.True(t, full, "refused, not failed")
		_, full = errors.AsType[*FullError](read(logs[2]))
		assert.True(t, full, "refused, not failed")
	}
	b, err := held.Append(nil)
	require.NoError(t, err)
	assert.NotEmpty(t, b)
	_, err = logs[0].Append(batchOf(t, fmt.Sprint("v", logs[0].Offsets().LogEndOffset), "w"), AppendOptions{Now: testTime})
	require.NoError(t, err, "it is open")
	disk.left.Add(taken)
	held.Release()
	for _, l := range logs {
		require.NoError(t, write(l))
		require.NoError(t, read(l))
		require.NoError(t, l.Err())
	}
	disk.left.Add(100) // Close works on many logs at once
	require.NoError(t, d.Close(1))
	assert.Equal(t, int64(120), disk.left.Load(), "all are given back")
}
