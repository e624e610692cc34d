package log

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// While a truncation waits for the disk nothing else waits for the truncation: new settings come from the goroutine that applies metadata, which has other partitions to care for.
// A bubble hangs if they meet at a mutex.
func TestTruncationOnASlowDiskHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		l, err := Open("orders-0", Config{FS: disk})
		require.NoError(t, err)
		for range 3 {
			mustAppend(t, l, batchOf(t, "a"))
		}
		_, err = l.Sync()
		require.NoError(t, err)
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir {
				time.Sleep(time.Second)
			}
			return nil
		})
		done := make(chan error, 1)
		go func() { done <- l.TruncateTo(1) }()
		began := time.Now()
		for range 100 {
			l.SetConfig(Config{})
			l.Offsets()
			l.SetHighWatermark(1)
			time.Sleep(10 * time.Millisecond)
		}
		assert.Equal(t, time.Second, time.Since(began))
		require.NoError(t, <-done)
		disk.SetFault(nil)
		assert.Equal(t, []string{"0=a"}, values(t, l, 0))
		require.NoError(t, l.Close())
	})
}
