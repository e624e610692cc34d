package log

import (
	"math"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/stretchr/testify/require"
)

// A replica led epoch 5 and appended nothing. The leader of epoch 6 has records of epoch 4 that this replica missed: it must be able to take them.
func TestRecordsOfAnEarlierEpochFollowAnEpochWithoutRecords(t *testing.T) {
	batch := func(epoch int32, base int64) record.Batch {
		b := record.NewBuilder(record.BuilderConfig{})
		b.Append(&record.Record{Value: []byte("v"), Timestamp: time.UnixMilli(1)})
		data, err := b.Build(nil)
		require.NoError(t, err)
		record.Batch(data).PutBaseOffset(base)
		record.Batch(data).PutLeaderEpoch(epoch)
		return data
	}
	disk := vfs.NewMem()
	l, err := Open("d", Config{FS: disk})
	require.NoError(t, err)
	_, err = l.AppendReplicated(batch(4, 0), math.MaxInt32)
	require.NoError(t, err)
	require.NoError(t, l.StartEpoch(5))

	_, err = l.AppendReplicated(batch(4, 1), 6)
	require.NoError(t, err)
	_, err = l.AppendReplicated(batch(6, 2), 6)
	require.NoError(t, err)
	check := func() {
		epoch, end, ok := l.EndOffsetForEpoch(5)
		require.True(t, ok)
		require.Equal(t, []int64{4, 2}, []int64{int64(epoch), end}, "epoch 5 has no records")
		epoch, ok = l.LatestEpoch()
		require.True(t, ok)
		require.Equal(t, int32(6), epoch)
	}
	check()
	_, err = l.Sync()
	require.NoError(t, err)
	l, err = Open("d", Config{FS: disk.Crash(vfs.DropAll, nil)})
	require.NoError(t, err)
	check()
	require.NoError(t, l.Close())
}
