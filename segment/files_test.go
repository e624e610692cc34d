package segment

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// fill makes a segment of the base with n batches of one record each.
func fill(tb testing.TB, c Config, base int64, n int) *Segment {
	tb.Helper()
	s, err := Create(c, base)
	require.NoError(tb, err)
	for i := range n {
		require.NoError(tb, s.Append(nil, batchAt(tb, base+int64(i), 1, testMillis+int64(i)), Ahead{}))
	}
	return s
}

// TestFilesBound opens more segments than the bound allows, and uses all of them.
func TestFilesBound(t *testing.T) {
	m := newDisk(t)
	c := testConfig(m)
	c.Files = NewFiles(3)
	var segs []*Segment
	for i := range 10 {
		s := fill(t, c, int64(100*i), 8)
		segs = append(segs, s)
		assert.NotNil(t, s.file.Load())
	}
	assert.Equal(t, 10, c.Files.Open(), "nothing was synced")
	for _, s := range segs[:8] {
		require.NoError(t, s.Seal())
		require.NoError(t, s.Sync(true))
	}
	for range 3 {
		for _, s := range segs[:8] {
			sl, err := s.Read(s.BaseOffset()+4, s.BaseOffset()+8, 1, true)
			require.NoError(t, err)
			b, err := sl.Append(nil)
			require.NoError(t, err)
			assert.Equal(t, s.BaseOffset()+4, record.Batch(b).BaseOffset())
			sl.Release()
		}
	}
	assert.LessOrEqual(t, c.Files.Open(), 3)
	assert.NotNil(t, segs[8].file.Load(), "unsynced")
	assert.NotNil(t, segs[9].file.Load(), "unsynced")
	require.NoError(t, segs[8].Sync(true))
	segs[8].Shut()
	assert.Nil(t, segs[8].file.Load())
	require.NoError(t, segs[8].Append(nil, batchAt(t, 808, 1, testMillis+8), Ahead{}))
	require.NoError(t, segs[8].Append(nil, batchAt(t, 809, 1, testMillis+9), Ahead{}))
	n, err := segs[8].offsets.len()
	require.NoError(t, err)
	assert.Equal(t, 4, n, "the index goes on where it was")
	for _, s := range segs {
		require.NoError(t, s.Release())
	}
	assert.Zero(t, c.Files.Open())
}

// TestSliceKeepsFilesOpen holds a slice while its segment would have to be closed, and while its name goes.
func TestSliceKeepsFilesOpen(t *testing.T) {
	m := newDisk(t)
	c := testConfig(m)
	c.Files = NewFiles(1)
	s := fill(t, c, 0, 8)
	require.NoError(t, s.Sync(true))
	sl, err := s.Read(2, 8, 1000, true)
	require.NoError(t, err)
	s.Shut()
	assert.NotNil(t, s.file.Load())
	require.NoError(t, s.Remove())
	b, err := sl.Append(nil)
	require.NoError(t, err)
	assert.Equal(t, int64(2), record.Batch(b).BaseOffset())
	sl.Release()
	s.Shut()
	assert.NotNil(t, s.file.Load(), "its name is gone")
	require.NoError(t, s.Release())
	_, err = s.pin()
	assert.ErrorIs(t, err, ErrDeleted)
}

// TestRemovedIsNotOpenedAgain looks into a segment whose files were closed, after another got its name.
func TestRemovedIsNotOpenedAgain(t *testing.T) {
	m := newDisk(t)
	c := testConfig(m)
	c.Files = NewFiles(1)
	s := fill(t, c, 0, 300)
	require.NoError(t, s.Seal())
	require.NoError(t, s.Sync(true))
	s.Shut()
	require.Nil(t, s.file.Load())
	require.NoError(t, s.Remove())
	other := fill(t, c, 0, 1)
	_, err := s.Read(2, 8, 1000, true)
	require.ErrorIs(t, err, ErrDeleted)
	require.NoError(t, s.Release())
	require.NoError(t, other.Release())
}

// TestFailedSyncKeepsFilesOpen lets a sync fail: the descriptor is the only one that is sure to be told of it.
func TestFailedSyncKeepsFilesOpen(t *testing.T) {
	m := newDisk(t)
	c := testConfig(m)
	c.Files = NewFiles(1)
	s := fill(t, c, 0, 3)
	m.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.OpSync {
			return errors.New("bad sector")
		}
		return nil
	})
	require.Error(t, s.Sync(true))
	m.SetFault(nil)
	s.Shut()
	assert.NotNil(t, s.file.Load())
	require.NoError(t, s.Sync(true))
	s.Shut()
	assert.Nil(t, s.file.Load())
	require.NoError(t, s.Release())
}

// TestFilesBesideUse lets files be closed all the time, while one goroutine appends and syncs and others read.
func TestFilesBesideUse(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"mem": newDisk(t), "os": vfs.OS()} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(fsys)
			if name == "os" {
				c.Dir = t.TempDir()
			}
			c.Files = NewFiles(1)
			s := fill(t, c, 0, 1)
			rest := fill(t, c, 1000, 60)
			require.NoError(t, rest.Seal())
			require.NoError(t, rest.Sync(true))
			var stop atomic.Bool
			var wg sync.WaitGroup
			for r := range 3 {
				wg.Go(func() {
					for i := int64(r); !stop.Load(); i += 7 {
						for _, x := range []*Segment{s, rest} {
							from := x.BaseOffset() + i%(x.EndOffset()-x.BaseOffset())
							sl, err := x.Read(from, x.EndOffset(), 300, true)
							if !assert.NoError(t, err) {
								return
							}
							b, err := sl.Append(nil)
							if !assert.NoError(t, err) || !assert.Equal(t, from, record.Batch(b).BaseOffset()) {
								return
							}
							sl.Release()
							if _, _, _, err = x.LargestTimestamp(x.BaseOffset(), x.BaseOffset()); !assert.NoError(t, err) {
								return
							}
						}
					}
				})
			}
			wg.Go(func() {
				for !stop.Load() {
					s.Shut()
					rest.Shut()
				}
			})
			for i := range 600 {
				require.NoError(t, s.Append(nil, batchAt(t, int64(1+i), 1, testMillis+int64(i)), Ahead{}))
				if i%3 == 0 {
					require.NoError(t, s.Sync(true))
				}
			}
			stop.Store(true)
			wg.Wait()
			n, err := s.offsets.len()
			require.NoError(t, err)
			assert.Greater(t, n, 250)
			good, err := s.offsets.sound(s.SizeBytes())
			require.NoError(t, err)
			assert.Equal(t, n, good)
			require.NoError(t, s.Release())
			require.NoError(t, rest.Release())
		})
	}
}
