package log

import (
	"bytes"
	"compress/flate"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// occupy has somebody else take all that is free on a disk, to the last byte, until free is called.
func occupy(t *testing.T, disk *vfs.Mem) (free func()) {
	require.NoError(t, disk.MkdirAll("/foreign"))
	_, left, err := disk.Space("/foreign")
	require.NoError(t, err)
	f, err := disk.Open("/foreign/file", vfs.Create)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.NoError(t, f.Preallocate(size, left))
	_, left, err = disk.Space("/foreign")
	require.NoError(t, err)
	require.Zero(t, left)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, disk.Remove("/foreign/file")) }
}

func sizeOf(t *testing.T, disk *vfs.Mem, name string) int64 {
	info, err := disk.Stat(name)
	require.NoError(t, err)
	return info.Size()
}

// openFilled opens a directory with a log of 30 synced batches on a disk of 16 MiB, on which there is room for nothing else.
func openFilled(t *testing.T) (disk *vfs.Mem, d *Directory, l *Log, free func()) {
	disk = vfs.NewMem()
	disk.SetCapacity(16 << 20)
	d = openDir(t, disk, "/d")
	l = openSmall(t, d)
	appendAll(30)(t, l)
	require.NoError(t, syncLog(t, d, l))
	require.NoError(t, d.Restock())
	require.EqualValues(t, 256<<10, sizeOf(t, disk, "/d/.ballast"))
	require.False(t, d.Short())
	return disk, d, l, occupy(t, disk)
}

// On a disk that is full to the last byte batches are refused, and all that deletes goes on, at the ballast's expense, which is made up for when there is space.
func TestFault_F11_FullToTheLastByte(t *testing.T) {
	disk, d, l, free := openFilled(t)
	plain, err := d.OpenLog("plain", 0, TopicID{9}, Config{WriteAhead: -1, SegmentBytes: 1 << 20, IndexIntervalBytes: 1 << 20, TimestampAfterMax: 1 << 62})
	require.NoError(t, err)
	require.True(t, d.Short(), "by that")
	occupy(t, disk)
	left := sizeOf(t, disk, "/d/.ballast")
	for err = appendNext(t, plain); err == nil; err = appendNext(t, plain) { // in the block that the file has, at most
		require.Less(t, plain.SizeBytes(), int64(ballastBlock))
	}
	require.True(t, isFull(err), "%v", err)
	require.Equal(t, left, sizeOf(t, disk, "/d/.ballast"), "batches get nothing of it")
	end := l.Offsets().LogEndOffset
	raiseStart(t, l)
	n, err := l.DeleteOldSegments()
	require.NoError(t, err)
	require.NotZero(t, n)
	require.Less(t, sizeOf(t, disk, "/d/.ballast"), left)
	require.NoError(t, d.SetBrokerEpoch(7))
	require.NoError(t, checkpointAll(t, d, l))
	_, err = d.OpenLog("another", 0, TopicID{2}, Config{})
	require.NoError(t, err)
	other, err := d.OpenLog("another", 1, TopicID{2}, Config{})
	require.NoError(t, err)
	require.NoError(t, d.DeleteLog(other))
	require.NoError(t, other.Err())
	require.NoError(t, l.Err())
	require.Equal(t, end, l.Offsets().LogEndOffset)

	occupy(t, disk)
	require.NoError(t, d.Restock(), "there is no room for it, which is no error")
	require.True(t, d.Short())
	before := sizeOf(t, disk, "/d/.ballast")
	require.Less(t, before, int64(256<<10))
	crashed := openDir(t, disk.Clone().Crash(vfs.DropAll, nil), "/d")
	kind, epoch := crashed.Restart()
	require.NotEqual(t, Lossy, kind)
	require.EqualValues(t, 7, epoch)
	after := openSmall(t, crashed)
	require.Equal(t, values(t, l, 20), values(t, after, 20), "a start needs no more space than there is")
	crashed.Abandon()

	free()
	require.NoError(t, d.Restock())
	require.False(t, d.Short())
	require.EqualValues(t, 256<<10, sizeOf(t, disk, "/d/.ballast"))
	require.NoError(t, appendSome(30)(t, d, l))
	require.NoError(t, syncLog(t, d, l))
	require.NoError(t, d.Close(8))
}

// With no ballast left a log can still be deleted: only a new one of its name has to wait, so that nothing is said of it that was said of the old one.
func TestFault_F11_DeletionNeedsNoSpace(t *testing.T) {
	disk, d, l, free := openFilled(t)
	require.NoError(t, checkpointAll(t, d, l))
	occupy(t, disk)
	for gave := true; gave; {
		var err error
		gave, err = d.ballast.give(0)
		require.NoError(t, err)
	}
	require.True(t, d.Low())
	occupy(t, disk)
	require.True(t, isFull(d.SetBrokerEpoch(9)), "nothing can be written")
	_, before, err := disk.Space("/d")
	require.NoError(t, err)
	err = d.DeleteLog(l)
	require.True(t, isFull(err), "%v", err)
	_, after, err := disk.Space("/d")
	require.NoError(t, err)
	require.Greater(t, after, before)
	occupy(t, disk)
	_, err = d.OpenLog("t", 0, TopicID{3}, Config{})
	require.True(t, isFull(err), "%v", err)
	crashed := disk.Clone().Crash(vfs.DropAll, nil)

	free()
	l = openAnew(t, d)
	require.NoError(t, d.Close(5))
	require.Zero(t, l.Offsets().LogEndOffset)

	crashed.SetCapacity(0)
	d = openDir(t, crashed, "/d")
	l = openAnew(t, d)
	require.Zero(t, l.Offsets().HighWatermark)
	require.NoError(t, checkpointAll(t, d, l))
	crashed = crashed.Crash(vfs.DropAll, nil)
	d = openDir(t, crashed, "/d")
	openAnew(t, d)
	require.False(t, d.Lost(), "it has not lost what the one before it had")
	d.Abandon()
}

func openAnew(t *testing.T, d *Directory) *Log {
	l, err := d.OpenLog("t", 0, TopicID{3}, Config{})
	require.NoError(t, err)
	return l
}

// Somebody who takes what becomes free does not have all of it.
func TestBallastAgainstAnother(t *testing.T) {
	disk, d, l, _ := openFilled(t)
	raiseStart(t, l)
	taken := 0
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpTruncate && strings.HasSuffix(op.Name, ballastFile) && taken < 2 {
			taken++
			disk.SetCapacity(16<<20 - int64(taken)*(16<<10)) // what this part is about to free
		}
		return nil
	})
	require.NoError(t, checkpointAll(t, d, l))
	require.Equal(t, 2, taken)
	d.Abandon()
}

// Only where it is known how large the disk is, and has room for it, is there a ballast, and its blocks are there whatever the file system does to save some.
func TestBallastIsMade(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	require.NoError(t, d.Restock())
	_, err := disk.Stat("/d/.ballast")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.False(t, d.Short())

	disk.SetCapacity(1 << 40)
	require.NoError(t, d.Restock())
	b, err := readSmallFile(disk, "/d/.ballast")
	require.NoError(t, err)
	require.Len(t, b, ballastBytes)
	var small bytes.Buffer
	w, err := flate.NewWriter(&small, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Greater(t, small.Len(), len(b)*99/100)
	ops := disk.Ops()
	require.NoError(t, d.Restock())
	require.Equal(t, ops, disk.Ops(), "it is there")
	require.NoError(t, d.Close(1))

	d = openDir(t, disk.Crash(vfs.DropAll, nil), "/d")
	require.False(t, d.Short(), "it is durable")
	require.NoError(t, d.Close(2))
	require.ErrorIs(t, d.Restock(), ErrClosed)

	disk = vfs.NewMem()
	disk.SetCapacity(16 << 20)
	d = openDir(t, disk, "/d")
	free := occupy(t, disk)
	require.NoError(t, d.Restock())
	require.True(t, d.Short(), "there was no room")
	free()
	require.NoError(t, d.Restock())
	require.False(t, d.Short())
	d.Abandon()
}
