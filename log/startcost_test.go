package log

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestStartOfManyLogs counts what the disk has to do for logs that are opened after a clean stop, begin to be led, and are stopped again without having been used: nothing is written, let alone synced.
func TestStartOfManyLogs(t *testing.T) {
	const n = 20
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	open := func() (logs []*Log) {
		for i := range int32(n) {
			l, err := d.OpenLog("t", i, TopicID{1}, Config{})
			require.NoError(t, err)
			logs = append(logs, l)
		}
		return logs
	}
	for _, l := range open() {
		require.NoError(t, l.StartEpoch(3))
		_, err := l.Append(batchOf(t, "v"), AppendOptions{LeaderEpoch: 3, Now: testTime})
		require.NoError(t, err)
	}
	require.NoError(t, d.Close(1))

	for epoch := range int32(3) {
		d = openDir(t, disk, "/d")
		var changes, reads, bytes atomic.Int64
		disk.SetFault(func(op vfs.Op) error {
			switch {
			case op.Kind.Changes():
				changes.Add(1)
				t.Log(op)
			case op.Kind == vfs.OpRead:
				reads.Add(1)
				bytes.Add(op.Len)
			}
			return nil
		})
		logs := open()
		for _, l := range logs {
			require.NoError(t, l.StartEpoch(5+epoch))
			latest, ok := l.LatestEpoch()
			require.True(t, ok)
			assert.Equal(t, 5+epoch, latest)
		}
		assert.Zero(t, changes.Load(), "of the logs")
		assert.LessOrEqual(t, reads.Load(), int64(5*n), "a few small ones for each log")
		assert.LessOrEqual(t, bytes.Load(), int64(20<<10*n))
		for _, l := range logs {
			require.NoError(t, l.Close())
		}
		assert.Zero(t, changes.Load(), "of the stop")
		disk.SetFault(nil)
		require.NoError(t, d.Close(1))
	}
}

// TestStartedEpochSurvives: the start of an epoch is not synced by itself, and yet it is known after a power loss wherever a record of it survived.
func TestStartedEpochSurvives(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		t.Run(fmt.Sprint("checkpoint=", checkpoint), func(t *testing.T) {
			disk := vfs.NewMem()
			d := openDir(t, disk, "/d")
			l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
			require.NoError(t, err)
			add := func(epoch int32) {
				require.NoError(t, l.StartEpoch(epoch))
				_, err := l.Append(batchOf(t, "v"), AppendOptions{LeaderEpoch: epoch, Now: testTime})
				require.NoError(t, err)
				_, err = l.Sync()
				require.NoError(t, err)
			}
			add(3)
			add(7)
			if checkpoint {
				require.NoError(t, d.Checkpoint(context.Background()))
			}
			require.NoError(t, l.StartEpoch(9)) // of which there is no record
			d.Abandon()

			d = openDir(t, disk.Crash(vfs.DropAll, nil), "/d")
			l, err = d.OpenLog("t", 0, TopicID{1}, Config{})
			require.NoError(t, err)
			assert.Equal(t, []epochEntry{{3, 0}, {7, 1}}, l.epochs.entries())
			d.Abandon()
		})
	}
}
