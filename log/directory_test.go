package log

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

func openDir(tb testing.TB, fsys vfs.FS, dir string) *Directory {
	tb.Helper()
	d, err := OpenDirectory(dir, DirectoryConfig{FS: fsys, NodeID: 1})
	require.NoError(tb, err)
	return d
}

func TestDirectoryIdentity(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		dir += "/node"
		d := openDir(t, fsys, dir)
		id := d.ID()
		assert.NotZero(t, id)
		assert.Empty(t, d.ClusterID())
		clean, epoch := d.Clean()
		assert.False(t, clean)
		assert.Equal(t, int64(-1), epoch)

		_, err := OpenDirectory(dir, DirectoryConfig{FS: fsys, NodeID: 1})
		require.ErrorIs(t, err, ErrDirectoryLocked)
		require.NoError(t, d.SetClusterID("c1"))
		require.NoError(t, d.SetClusterID("c1"))
		err = d.SetClusterID("c2")
		identity, ok := errors.AsType[*IdentityError](err)
		require.True(t, ok)
		assert.Equal(t, "cluster.id", identity.Field)
		require.NoError(t, d.Close(42))
		require.NoError(t, d.Close(42))

		_, err = OpenDirectory(dir, DirectoryConfig{FS: fsys, NodeID: 2})
		_, ok = errors.AsType[*IdentityError](err)
		require.True(t, ok, "%v", err)

		d = openDir(t, fsys, dir)
		assert.Equal(t, id, d.ID())
		assert.Equal(t, "c1", d.ClusterID())
		d.Abandon()
		d = openDir(t, fsys, dir)
		clean, _ = d.Clean()
		assert.False(t, clean, "the marker is gone since the start before")
		require.NoError(t, d.Close(43))
		d = openDir(t, fsys, dir)
		clean, epoch = d.Clean()
		assert.True(t, clean)
		assert.Equal(t, int64(43), epoch)
		d.Abandon()
	})
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.MkdirAll("/home/me"))
	require.NoError(t, replaceSmallFile(fsys, "/home/me/thesis.tex", []byte("x")))
	_, err := OpenDirectory("/home/me", DirectoryConfig{FS: fsys, NodeID: 1})
	foreign, ok := errors.AsType[*ForeignDirectoryError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "thesis.tex", foreign.Found)
	_, err = Open("/home/me", Config{FS: fsys})
	_, ok = errors.AsType[*ForeignDirectoryError](err)
	require.True(t, ok, "%v", err)
	list, err := fsys.ReadDir("/home/me")
	require.NoError(t, err)
	for _, e := range list {
		assert.Contains(t, []string{"thesis.tex", ".lock"}, e.Name())
	}
}

func TestDirectoryLogs(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		dir += "/node"
		d := openDir(t, fsys, dir)
		a, b := TopicID{1}, TopicID{2}
		la, err := d.OpenLog("with-dash", 3, a, Config{})
		require.NoError(t, err)
		mustAppend(t, la, batchOf(t, "x"))
		_, err = d.OpenLog("with-dash", 3, a, Config{})
		require.Error(t, err, "it is open")
		lb, err := d.OpenLog("b", 0, b, Config{})
		require.NoError(t, err)
		list, err := d.Logs()
		require.NoError(t, err)
		assert.Equal(t, []LogEntry{{"b", 0, b}, {"with-dash", 3, a}}, list)

		require.NoError(t, d.DeleteLog(lb))
		_, err = lb.Append(batchOf(t, "x"), AppendOptions{})
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, la.Close())
		require.NoError(t, d.SetAside(LogEntry{Topic: "with-dash", Partition: 3}))
		list, err = d.Logs()
		require.NoError(t, err)
		assert.Empty(t, list)
		entries, err := fsys.ReadDir(dir)
		require.NoError(t, err)
		stray := 0
		for _, e := range entries {
			assert.False(t, strings.HasSuffix(e.Name(), "-delete"), e.Name())
			if strings.HasPrefix(e.Name(), "with-dash-3.") && strings.HasSuffix(e.Name(), "-stray") {
				stray++
			}
		}
		assert.Equal(t, 1, stray)

		l, err := d.OpenLog("b", 0, a, Config{})
		require.NoError(t, err)
		assert.Zero(t, l.Offsets().LogEndOffset, "a new incarnation knows nothing of the old one")
		require.NoError(t, l.Close())
		_, err = d.OpenLog("b", 0, b, Config{})
		wrong, ok := errors.AsType[*TopicIDError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, a, wrong.Stored)
		require.NoError(t, d.Close(1))
	})
}

// TestUnopenedLogIsNotClean: a log that was not clean and is not opened in a life is not clean after it.
func TestUnopenedLogIsNotClean(t *testing.T) {
	fsys := vfs.NewMem()
	d := openDir(t, fsys, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
	require.NoError(t, err)
	mustAppend(t, l, batchOf(t, "x"))
	_, err = l.Sync()
	require.NoError(t, err)
	after := fsys.Crash(vfs.DropAll, nil)
	d.Abandon()
	require.NoError(t, openDir(t, after, "/d").Close(1))
	d = openDir(t, after, "/d")
	clean, _ := d.Clean()
	assert.False(t, clean)
	l, err = d.OpenLog("t", 0, TopicID{1}, Config{})
	require.NoError(t, err)
	assert.Equal(t, int64(1), l.Offsets().LogEndOffset)
	require.NoError(t, d.Close(1))
}

// TestCreateIsCheap counts the syncs that a new partition costs until its first record is durable.
func TestCreateIsCheap(t *testing.T) {
	fsys := vfs.NewMem()
	d := openDir(t, fsys, "/d")
	var ops []string
	fsys.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpSyncMap {
			ops = append(ops, fmt.Sprint(op.Kind, " ", op.Name))
		}
		return nil
	})
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
	require.NoError(t, err)
	mustAppend(t, l, batchOf(t, "x"))
	_, err = l.Sync()
	require.NoError(t, err)
	assert.Equal(t, []string{
		"syncdir /d", "sync /d/t-0/partition.metadata.tmp", "syncdir /d/t-0",
		"sync /d/t-0/00000000000000000000.log",
	}, ops)
	ops = nil
	mustAppend(t, l, batchOf(t, "x"))
	_, err = l.Sync()
	require.NoError(t, err)
	assert.Equal(t, []string{"sync /d/t-0/00000000000000000000.log"}, ops, "one sync in the steady state")
	require.NoError(t, d.Close(1))
}

// TestTruncateFullyAndStartAt restarts a log below, inside and above what it held, with a power loss after it.
func TestTruncateFullyAndStartAt(t *testing.T) {
	for _, at := range []int64{0, 7, 20, 1000} {
		fsys := vfs.NewMem()
		d := openDir(t, fsys, "/d")
		l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 400})
		require.NoError(t, err)
		for range 20 {
			mustAppend(t, l, batchOf(t, "x"))
		}
		l.SetHighWatermark(20)
		require.NoError(t, l.AdvanceLogStart(15))
		_, err = l.Sync()
		require.NoError(t, err)
		require.NoError(t, d.Checkpoint(context.Background()))
		require.NoError(t, l.TruncateFullyAndStartAt(at))
		want := Offsets{at, at, at, at, at}
		assert.Equal(t, want, l.Offsets())
		_, err = l.Read(at, at, 100, true)
		require.NoError(t, err)
		mustAppend(t, l, batchOf(t, "y"))
		_, err = l.Sync()
		require.NoError(t, err)
		after := fsys.Crash(vfs.DropAll, nil)
		d.Abandon()
		d = openDir(t, after, "/d")
		l, err = d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 400})
		require.NoError(t, err)
		assert.Equal(t, []string{fmt.Sprintf("%d=y", at)}, values(t, l, at))
		assert.Equal(t, at, l.Offsets().LogStartOffset)
		require.NoError(t, d.Close(1))
	}
}

// TestReplicatedRules is the table of what a follower takes from a leader.
func TestReplicatedRules(t *testing.T) {
	l, err := Open("/t-0", Config{FS: vfs.NewMem()})
	require.NoError(t, err)
	at := func(offset int64, epoch int32) []byte {
		b := batchOf(t, "a", "b")
		b.PutBaseOffset(offset)
		b.PutLeaderEpoch(epoch)
		return b
	}
	a, err := l.AppendReplicated(append(append(at(0, 1), at(2, 1)...), at(4, 2)[:30]...), 5)
	require.NoError(t, err)
	assert.Equal(t, Appended{BaseOffset: 0, EndOffset: 4, LogAppendTime: -1}, a)
	a, err = l.AppendReplicated(append(at(4, 2), at(6, 6)...), 5) // the second was written under an epoch we have not heard of
	require.NoError(t, err)
	assert.Equal(t, int64(6), a.EndOffset)
	a, err = l.AppendReplicated(at(8, 2), 5) // a gap, as compaction leaves them
	require.NoError(t, err)
	assert.Equal(t, Appended{BaseOffset: 8, EndOffset: 10, LogAppendTime: -1}, a)
	_, err = l.AppendReplicated(at(9, 2), 5)
	assert.Equal(t, &AppendOffsetError{BaseOffset: 9, LogEndOffset: 10}, err)
	_, err = l.AppendReplicated(at(10, 1), 5)
	assert.Equal(t, &AppendEpochError{BaseOffset: 10, Epoch: 1, Known: 2}, err)
	torn := at(10, 2)
	torn[len(torn)-1] ^= 1
	_, err = l.AppendReplicated(torn, 5)
	assert.Error(t, err)
	assert.NoError(t, l.Err(), "what a leader sends does not end the log")
	assert.Equal(t, int64(10), l.Offsets().LogEndOffset)
	found, end, ok := l.EndOffsetForEpoch(1)
	assert.Equal(t, []any{int32(1), int64(4), true}, []any{found, end, ok})
	require.NoError(t, l.Close())
}

func TestDirectorySpace(t *testing.T) {
	fsys := vfs.NewMem()
	d := openDir(t, fsys, "/d")
	fsys.SetCapacity(1 << 20)
	total, free, err := d.Space()
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, total)
	require.Positive(t, free)
	require.Less(t, free, total)
	d.Abandon()
	fsys.Crash(vfs.DropAll, nil)
	_, _, err = d.Space()
	_, ok := errors.AsType[*StorageError](err)
	require.True(t, ok, "%v", err)
}

// The directory of a log may be several levels of new ones, by this life or by one that a kill ended right after it had made them. All of their names survive together with what is acknowledged.
func TestNamesOfNewDirectoriesSurvive(t *testing.T) {
	for _, killed := range []bool{false, true} {
		disk := vfs.NewMem()
		if killed {
			require.NoError(t, disk.MkdirAll("/srv/me/data"))
		}
		d := openDir(t, disk, "/srv/me/data")
		l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
		require.NoError(t, err)
		mustAppend(t, l, batchOf(t, "a"))
		_, err = l.Sync()
		require.NoError(t, err)
		disk = disk.Crash(vfs.DropAll, nil)
		d.Abandon()
		l, err = openDir(t, disk, "/srv/me/data").OpenLog("t", 0, TopicID{1}, Config{})
		require.NoError(t, err)
		require.Equal(t, []string{"0=a"}, values(t, l, 0))
	}
}

// Directories above that cannot be synced (they may not be read, their file system takes no writes or syncs no directories) were made by somebody else; a sync that fails is another thing.
func TestAncestorsThatCannotBeSynced(t *testing.T) {
	for _, tc := range []struct {
		name  string
		err   error
		fails bool
	}{
		{"/", syscall.EACCES, false},
		{"/srv", syscall.EACCES, false},
		{"/srv/me", syscall.EACCES, true},
		{"/", syscall.EINVAL, false},
		{"/", syscall.EROFS, false},
		{"/", syscall.ENOSYS, false},
		{"/", syscall.EIO, true},
	} {
		disk := vfs.NewMem()
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSyncDir && op.Name == tc.name {
				return tc.err
			}
			return nil
		})
		d, err := OpenDirectory("/srv/me/data", DirectoryConfig{FS: disk, NodeID: 1})
		if tc.fails {
			require.ErrorIs(t, err, tc.err, tc.name)
			continue
		}
		require.NoError(t, err, tc.name)
		d.Abandon()
	}
}
