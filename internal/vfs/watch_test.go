package vfs_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A watch tells of every operation that does not return, and of none that has.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		w := vfs.NewWatch(disk, 0)
		f, err := w.Open("a", vfs.Create)
		require.NoError(t, err)
		require.NoError(t, f.Preallocate(0, 4096))
		m, err := f.Map(4096)
		require.NoError(t, err)
		other, err := w.Open("b", vfs.Create)
		require.NoError(t, err)
		for name, op := range map[string]func() error{
			"open":        func() error { _, err := w.Open("c", vfs.Create); return err },
			"mkdir":       func() error { return w.MkdirAll("d") },
			"rename":      func() error { return w.Rename("b", "e") },
			"remove":      func() error { return w.Remove("c") },
			"syncdir":     func() error { return w.SyncDir("/") },
			"write":       func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
			"writev":      func() error { _, err := f.WritevAt([][]byte{[]byte("x")}, 0); return err },
			"truncate":    func() error { return f.Truncate(4096) },
			"preallocate": func() error { return f.Preallocate(0, 4096) },
			"sync":        f.Sync,
			"msync":       m.Sync,
		} {
			assert.Zero(t, w.Stalled())
			var slow atomic.Bool
			disk.SetFault(func(vfs.Op) error {
				if !slow.Swap(true) {
					time.Sleep(time.Minute)
				}
				return nil
			})
			done := make(chan struct{})
			go func() { defer close(done); _ = op() }() // whether it succeeds depends on the order
			time.Sleep(30 * time.Second)
			assert.Equal(t, 30*time.Second, w.Stalled(), name)
			_ = other.Sync() // another one that comes and goes
			assert.Equal(t, 30*time.Second, w.Stalled(), name)
			<-done
			assert.Zero(t, w.Stalled(), name)
		}
		require.NoError(t, m.Close())
		require.NoError(t, other.Close())
		require.NoError(t, f.Close())
	})
}

// It counts the syncs that have returned, by how long they took, and nothing else.
func TestWatchSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		w := vfs.NewWatch(disk, time.Second)
		f, err := w.Open("a", vfs.Create)
		require.NoError(t, err)
		require.NoError(t, f.Preallocate(0, 4096))
		m, err := f.Map(4096)
		require.NoError(t, err)
		for _, sync := range []func() error{f.Sync, m.Sync, func() error { return w.SyncDir("/") }} {
			for _, took := range []time.Duration{0, time.Second/2 - 1, time.Second / 2, time.Second - 1, time.Second, time.Minute} {
				disk.SetFault(func(vfs.Op) error { time.Sleep(took); return nil })
				before := w.Syncs()
				_, err := f.WriteAt([]byte("x"), 0)
				require.NoError(t, err)
				require.Equal(t, before, w.Syncs(), "a write is no sync")
				require.NoError(t, sync())
				want := vfs.Syncs{All: before.All + 1, Half: before.Half, Slow: before.Slow}
				if took >= time.Second/2 {
					want.Half++
				}
				if took >= time.Second {
					want.Slow++
				}
				assert.Equal(t, want, w.Syncs(), "%v", took)
			}
		}
		require.NoError(t, m.Close())
		require.NoError(t, f.Close())
	})
}
