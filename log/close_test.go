package log

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// A node with thousands of logs pays for each operation of a close as often: nothing is synced that is synced already, and nothing twice.
func TestCloseSyncsNothingTwice(t *testing.T) {
	tests := map[string]struct {
		config Config
		synced bool // before the close
		big    bool // there are index entries
		want   map[string]int
	}{
		"all is synced":     {config: Config{WriteAhead: -1}, synced: true},
		"nothing is synced": {config: Config{WriteAhead: -1}, want: map[string]int{".log": 1}},
		"written ahead":     {config: Config{WriteAhead: 64 << 10}, synced: true, want: map[string]int{".log": 1}},
		"indexes":           {config: Config{WriteAhead: -1, IndexIntervalBytes: 1}, synced: true, big: true, want: map[string]int{".index": 1, ".timeindex": 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			d := openDir(t, disk, "/d")
			l, err := d.OpenLog("t", 0, TopicID{1}, test.config)
			require.NoError(t, err)
			mustAppend(t, l, producerBatchOf(t, 7, 0, 0, 2, false))
			if test.big {
				mustAppend(t, l, producerBatchOf(t, 7, 0, 2, 2, false))
			}
			for i := range int32(8) { // small syncs in a row have blocks written ahead
				if test.synced {
					_, err := l.Sync()
					require.NoError(t, err)
				}
				if test.config.WriteAhead > 0 {
					mustAppend(t, l, producerBatchOf(t, 8, 0, 2*i, 2, false))
				}
			}
			if test.synced {
				_, err := l.Sync()
				require.NoError(t, err)
			}
			got := map[string]int{}
			disk.SetFault(func(op vfs.Op) error {
				if (op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir) && strings.HasPrefix(op.Name, "/d/t-0") {
					got[path.Ext(strings.TrimSuffix(op.Name, tmpSuffix))]++
				}
				return nil
			})
			require.NoError(t, d.Close(1))
			// The side file and the epochs come before the snapshot, which is what a recovery goes by: a sync of the directory each.
			want := map[string]int{".producers": 1, ".snapshot": 1, "": 3}
			for suffix, n := range test.want {
				want[suffix] = n
			}
			assert.Equal(t, want, got)

			disk.SetFault(nil)
			d = openDir(t, disk.Crash(vfs.DropAll, nil), "/d")
			l, err = d.OpenLog("t", 0, TopicID{1}, test.config)
			require.NoError(t, err)
			require.Equal(t, l.Offsets().SyncedEndOffset, l.Offsets().LogEndOffset)
			require.True(t, mustAppend(t, l, producerBatchOf(t, 7, 0, 0, 2, false)).Duplicate)
			d.Abandon()
		})
	}
}

// An index that cannot be written when a log is closed does not cost what was appended: that is synced all the same, and there is no clean stop.
func TestCloseSyncsThoughTheSealFails(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{WriteAhead: -1, IndexIntervalBytes: 1})
	require.NoError(t, err)
	for range 3 {
		mustAppend(t, l, batchOf(t, "a"))
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpTruncate && strings.HasSuffix(op.Name, "index") {
			return vfs.ErrNoSpace
		}
		return nil
	})
	require.Error(t, d.Close(1))
	d = openDir(t, disk.Crash(vfs.DropAll, nil), "/d")
	clean, _ := d.Clean()
	require.False(t, clean)
	l, err = d.OpenLog("t", 0, TopicID{1}, Config{})
	require.NoError(t, err)
	require.Equal(t, []string{"0=a", "1=a", "2=a"}, values(t, l, 0))
	d.Abandon()
}

// A round over thousands of logs does not hold up the close, which does the same.
func TestCheckpointEndsWithItsContext(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	var logs []*Log
	for p := range int32(10) {
		l, err := d.OpenLog("t", p, TopicID{1}, Config{})
		require.NoError(t, err)
		mustAppend(t, l, batchOf(t, "a"))
		_, err = l.Sync()
		require.NoError(t, err)
		logs = append(logs, l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := map[string]bool{}
	var mu sync.Mutex // logs are closed side by side
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind.Changes() {
			_, of, _ := strings.Cut(op.Name, "/d/")
			of, _, _ = strings.Cut(of, "/")
			mu.Lock()
			seen[of] = true
			mu.Unlock()
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, d.Checkpoint(ctx), context.Canceled)
	require.Len(t, seen, 1, "one log, and nothing of the directory's own")
	require.NoError(t, d.Close(1))
	for p := range logs {
		require.True(t, seen[fmt.Sprint("t-", p)])
	}
	d = openDir(t, disk, "/d")
	clean, _ := d.Clean()
	require.True(t, clean)
	d.Abandon()
}
