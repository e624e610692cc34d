package log

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A failed sync leaves in the page cache what the system takes for written. The life after it, which finds all batches sound, must not be content with a sync of its own:
// after a power loss they would be gone from below what it called synced.
func TestWhatAFailedSyncLeftIsSyncedAfterTheRestart(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepRandom} {
		for n := range 8 { // batches behind the last good sync
			disk := vfs.NewMem()
			open := func() (*Directory, *Log) {
				d, err := OpenDirectory("/data", DirectoryConfig{FS: disk, NodeID: 1})
				require.NoError(t, err)
				l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 4000})
				require.NoError(t, err)
				return d, l
			}
			crash := func(d *Directory, mode vfs.CrashMode) {
				disk = disk.Crash(mode, rand.New(rand.NewPCG(uint64(n), 1)))
				d.Abandon()
			}
			d, l := open()
			mustAppend(t, l, batchOf(t, "first"))
			_, err := l.Sync()
			require.NoError(t, err)
			for range n + 1 {
				mustAppend(t, l, batchOf(t, strings.Repeat("x", 700)))
			}
			disk.SetFault(func(op vfs.Op) error {
				if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") {
					return errors.New("input/output error")
				}
				return nil
			})
			_, err = l.Sync()
			require.Error(t, err)
			crash(d, vfs.KeepAll)

			d, l = open()
			synced := l.Offsets().SyncedEndOffset
			want := raw(t, l, 0)
			crash(d, mode)

			d, l = open()
			require.Equal(t, synced, l.Offsets().LogEndOffset)
			assert.Equal(t, want, raw(t, l, 0))
			d.Abandon()
		}
	}
}
