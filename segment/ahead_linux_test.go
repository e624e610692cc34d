package segment

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// wideBatch is a batch of size bytes.
func wideBatch(tb testing.TB, offset int64, size int) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	r := record.Record{Value: make([]byte, size)}
	for {
		b.Reset()
		if over := b.Size() + b.AppendSize(&r) - size; over == 0 {
			break
		} else {
			r.Value = r.Value[:len(r.Value)-over]
		}
	}
	for i := range r.Value {
		r.Value[i] = 0xff
	}
	b.Append(&r)
	batch, err := b.Batch()
	require.NoError(tb, err)
	require.Len(tb, batch, size)
	batch.PutBaseOffset(offset)
	return batch
}

// blocks is how many bytes of blocks a file has on its disk.
func blocks(t *testing.T, path string) int64 {
	fi, err := os.Stat(path)
	require.NoError(t, err)
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}

// reserves tells whether the file system of dir reserves blocks behind the end of a file.
func reserves(t *testing.T, dir string) bool {
	path := filepath.Join(dir, "probe")
	f, err := vfs.OS().Open(path, vfs.Create)
	require.NoError(t, err)
	f.Reserve(0, 1<<20)
	require.NoError(t, f.Close())
	if blocks(t, path) < 1<<20 {
		t.Log("NOT TESTED: this file system reserves no blocks")
		return false
	}
	return true
}

// TestAheadUnsynced appends batches of all lengths to a file that is made ready for them, and finds there what it would without, when it is read and after Seal.
func TestAheadUnsynced(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"files": vfs.OS(), "memory": newDisk(t)} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(fsys)
			if name == "files" {
				c.Dir = t.TempDir()
			}
			s, err := Create(c, 0)
			require.NoError(t, err)
			var want []byte
			for i, size := range []int{200, smallWrite - 1, 200, smallWrite, 3, smallPiece, mediumWrite - 1, 1, mediumWrite, 1 << 20, 100, 300_000, 5000, 200} {
				b := wideBatch(t, int64(i), max(size, 100))
				require.NoError(t, s.Append(nil, b, Ahead{Unsynced: 2 << 20}))
				want = append(want, b...)
			}
			sl, err := s.Read(0, s.EndOffset(), len(want), true)
			require.NoError(t, err)
			got, err := sl.Append(nil)
			require.NoError(t, err)
			sl.Release()
			require.Equal(t, want, got)

			path := filepath.Join(c.Dir, FileName(0, LogSuffix))
			if name == "memory" {
				data, err := readFile(fsys, path)
				require.NoError(t, err)
				require.Equal(t, want, data, "nothing is written ahead where there is no page cache")
			} else {
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Greater(t, len(data), len(want))
				require.Zero(t, len(data)%smallPiece)
				require.Equal(t, want, data[:len(want)])
				require.Equal(t, make([]byte, len(data)-len(want)), data[len(want):], "zeros")
				if reserves(t, c.Dir) {
					assert.Greater(t, blocks(t, path), int64(len(want)), "reserved")
				}
			}
			require.NoError(t, s.Seal())
			require.NoError(t, s.Sync(true))
			data, err := readFile(fsys, path)
			require.NoError(t, err)
			require.Equal(t, want, data)
			if name == "files" {
				assert.Less(t, blocks(t, path), int64(len(want))+64<<10, "given back")
			}
			require.NoError(t, s.Release())
		})
	}
}

// TestSealGivesBlocksBack seals a large segment for which a process that is no more has reserved blocks.
func TestSealGivesBlocksBack(t *testing.T) {
	c := testConfig(vfs.OS())
	c.Dir = t.TempDir()
	s, err := Create(c, 0)
	require.NoError(t, err)
	for i := range 6 {
		require.NoError(t, s.Append(nil, wideBatch(t, int64(i), 1<<20), Ahead{}))
	}
	path := filepath.Join(c.Dir, FileName(0, LogSuffix))
	f, err := c.FS.Open(path, vfs.ReadWrite)
	require.NoError(t, err)
	f.Reserve(6<<20, 4<<20)
	require.NoError(t, f.Close())
	require.NoError(t, s.Seal())
	require.NoError(t, s.Sync(true))
	assert.Less(t, blocks(t, path), int64(6<<20)+64<<10)
	require.NoError(t, s.Release())
}
