package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// These tests have the names of the rows of the table of faults in docs/guarantees.md, as far as a row is about one disk.

// crashInModes crashes named workloads of the explorer behind every operation, in the given ways only.
func crashInModes(t *testing.T, modes []vfs.CrashMode, names ...string) {
	t.Helper()
	runs := 0
	for _, wl := range fixedWorkloads {
		for _, name := range names {
			if name != wl.name {
				continue
			}
			w := newWorld(7)
			w.budget = 120
			look := func(op string) {
				for i, mode := range modes {
					runs++
					rng := rand.New(rand.NewPCG(uint64(runs), uint64(i)))
					r, err := w.m.recovered(w.disk.Clone().Crash(mode, rng), crashKind{lossless: mode == vfs.KeepAll}, 1)
					if r.d != nil {
						r.d.Abandon()
					}
					require.NoError(t, err, "%s: crash before %s, mode %d", name, op, mode)
				}
			}
			w.disk.SetFault(func(op vfs.Op) error {
				if op.Kind.Changes() {
					look(op.String())
				}
				return nil
			})
			require.NoError(t, wl.run(w))
			w.d.Abandon()
		}
	}
	require.Greater(t, runs, 100*len(names), "a workload of that name is gone")
}

// A killed process loses nothing that was written, and the next start needs nobody. TestKillLoop does it to a real one.
func TestFault_F01_Killed(t *testing.T) {
	crashInModes(t, []vfs.CrashMode{vfs.KeepAll}, "sync-interval", "transactions", "truncate-sealed", "clean-restarts")
}

func TestFault_F03_PowerLoss(t *testing.T) {
	crashInModes(t, []vfs.CrashMode{vfs.DropAll, vfs.KeepRandom, vfs.KeepNames}, "sync-always", "sync-interval", "sync-never", "two-logs")
}

// tornLog is a log with one batch that is synced and others that are not, and where in the file each begins.
func tornLog(t *testing.T) (disk *vfs.Mem, starts []int64, ends []int64) {
	disk = vfs.NewMem()
	d := openDir(t, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{WriteAhead: -1})
	require.NoError(t, err)
	for i := range 9 {
		starts = append(starts, l.SizeBytes())
		ends = append(ends, mustAppend(t, l, batchOf(t, strings.Repeat(string(rune('a'+i)), 1000+i*300))).EndOffset)
		if i == 0 {
			_, err := l.Sync()
			require.NoError(t, err)
		}
	}
	starts = append(starts, l.SizeBytes())
	left := disk.Crash(vfs.KeepAll, nil)
	d.Abandon()
	return left, starts, ends
}

// endAfter opens the log and tells where it ends; what it holds is read.
func endAfter(t *testing.T, disk *vfs.Mem) int64 {
	d := openDir(t, disk, "/d")
	defer d.Abandon()
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
	require.NoError(t, err)
	n, err := drain(l)
	require.NoError(t, err)
	require.Equal(t, l.Offsets().LogEndOffset, int64(n))
	return int64(n)
}

const tornFile = "/d/t-0/00000000000000000000.log"

// A write may end at any edge of a sector, the rest missing or zero: the log ends at the last whole batch.
func TestFault_F05_TornAtEverySector(t *testing.T) {
	disk, starts, ends := tornLog(t)
	size := starts[len(starts)-1]
	for edge := (starts[1] + 511) / 512 * 512; edge < size; edge += 512 {
		want := ends[0]
		for i, end := range ends {
			if starts[i+1] <= edge {
				want = end
			}
		}
		for _, zeros := range []bool{false, true} {
			left := disk.Clone()
			f, err := left.Open(tornFile, vfs.ReadWrite)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(edge))
			if zeros {
				require.NoError(t, f.Truncate(size))
			}
			require.NoError(t, f.Close())
			require.Equal(t, want, endAfter(t, left), "torn at %d", edge)
		}
	}
}

// A batch that is lost with sound ones behind it: the log ends there, whatever comes later.
func TestFault_F06_HoleThenValidData(t *testing.T) {
	disk, starts, ends := tornLog(t)
	for i := 1; i < len(ends); i++ {
		for _, n := range []int64{512, starts[i+1] - starts[i]} {
			left := disk.Clone()
			f, err := left.Open(tornFile, vfs.ReadWrite)
			require.NoError(t, err)
			_, err = f.WriteAt(make([]byte, n), starts[i])
			require.NoError(t, err)
			require.NoError(t, f.Close())
			require.Equal(t, ends[i-1], endAfter(t, left), "hole at batch %d", i)
			require.Equal(t, ends[i-1], endAfter(t, left), "nor later")
		}
	}
	crashInModes(t, []vfs.CrashMode{vfs.KeepHole}, "sync-interval", "sync-never", "roll-by-size", "follower")
}

// Names that were not synced are undone: new segments, renames, removals.
func TestFault_F07_LostNames(t *testing.T) {
	crashInModes(t, []vfs.CrashMode{vfs.KeepBytes, vfs.KeepRandom}, "roll-by-size", "delete-records", "truncate-sealed", "truncate-fully", "delete-and-recreate", "compaction", "checkpoints")
}

// faultyLog is a log on a disk of which operations of some kinds fail as fail says.
func faultyLog(t *testing.T, fail func(op vfs.Op) error) (*vfs.Mem, *Directory, *Log) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	require.NoError(t, d.SetBrokerEpoch(5))
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{WriteAhead: -1, IndexIntervalBytes: 1})
	require.NoError(t, err)
	for range 3 {
		mustAppend(t, l, batchOf(t, "a"))
	}
	_, err = l.Sync()
	require.NoError(t, err)
	disk.SetFault(fail)
	return disk, d, l
}

// refuses tells that a log has been given up.
func refuses(t *testing.T, l *Log, end int64) {
	t.Helper()
	_, err := l.Append(batchOf(t, "b"), AppendOptions{Now: testTime})
	_, ok := errors.AsType[*StorageError](err)
	require.True(t, ok, "%v", err)
	_, err = l.Sync()
	require.Error(t, err)
	require.Equal(t, end, l.Offsets().LogEndOffset)
}

// goesOn opens the directory again, and appends at the offset that was not used up.
func goesOn(t *testing.T, disk *vfs.Mem, d *Directory, want ...string) {
	t.Helper()
	d.Abandon()
	disk.SetFault(nil)
	disk.SetCapacity(0)
	d = openDir(t, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
	require.NoError(t, err)
	require.Equal(t, want, values(t, l, 0))
	require.Equal(t, int64(len(want)), mustAppend(t, l, batchOf(t, "next")).BaseOffset)
	require.NoError(t, d.Close(6))
}

func logWrites(err error) func(op vfs.Op) error {
	return func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") {
			return err
		}
		return nil
	}
}

func TestFault_F08_WriteFails(t *testing.T) {
	disk, d, l := faultyLog(t, logWrites(syscall.EIO))
	_, err := l.Append(batchOf(t, "b"), AppendOptions{Now: testTime})
	require.ErrorIs(t, err, syscall.EIO)
	disk.SetFault(nil) // a disk that works again changes nothing
	refuses(t, l, 3)
	require.Equal(t, []string{"0=a", "1=a", "2=a"}, values(t, l, 0), "what is there can be read")
	goesOn(t, disk, d, "0=a", "1=a", "2=a")
}

func TestFault_F09_SyncFailsOnce(t *testing.T) {
	failed := false
	disk, d, l := faultyLog(t, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") && !failed {
			failed = true
			return syscall.EIO
		}
		return nil
	})
	mustAppend(t, l, batchOf(t, "b"))
	synced, err := l.Sync()
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, int64(3), synced)
	refuses(t, l, 4)
	require.Equal(t, int64(3), l.Offsets().SyncedEndOffset, "a later sync does not confirm it")

	killed := openDir(t, disk.Clone(), "/d")
	kind, _ := killed.Restart()
	require.Equal(t, Lossy, kind, "what the page cache shows may not be on the disk")
	killed.Abandon()
	goesOn(t, disk.Crash(vfs.DropAll, nil), d, "0=a", "1=a", "2=a")
}

// What cannot be read is an error, never other data, and the log takes appends all the same.
func TestFault_F10_ReadFails(t *testing.T) {
	_, d, l := faultyLog(t, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead {
			return syscall.EIO
		}
		return nil
	})
	defer d.Abandon()
	_, err := drain(l)
	require.ErrorIs(t, err, syscall.EIO)
	sl, err := l.Read(1, math.MaxInt64, 1<<20, true)
	if err == nil {
		var b []byte
		b, err = sl.Append(nil)
		sl.Release()
		require.Empty(t, b)
	}
	require.ErrorIs(t, err, syscall.EIO)
	mustAppend(t, l, batchOf(t, "b"))
}

// The disk is full at the nth write for every n, and then there is space again: nothing of the batch that did not fit can be seen, and the log goes on where it was.
func TestFault_F11_FullThenSpaceAgain(t *testing.T) {
	for room := int64(0); room <= 3; room++ {
		disk, d, l := faultyLog(t, nil)
		_, free, err := disk.Space("/d")
		require.NoError(t, err)
		disk.SetCapacity(math.MaxInt64 - free + 1) // as it is
		total, left, err := disk.Space("/d")
		require.NoError(t, err)
		disk.SetCapacity(total - left + room*4096)
		want := []string{"0=a", "1=a", "2=a"}
		v := strings.Repeat("v", 1500)
		for err == nil {
			if _, err = l.Append(batchOf(t, v), AppendOptions{Now: testTime}); err == nil {
				want = append(want, fmt.Sprint(len(want), "=", v))
			}
		}
		for range 3 {
			_, full := errors.AsType[*FullError](err)
			require.True(t, full, "%v", err)
			require.True(t, vfs.IsNoSpace(err), "%v", err)
			require.NoError(t, l.Err(), "the log is not given up")
			require.Equal(t, int64(len(want)), l.Offsets().LogEndOffset)
			require.Equal(t, want, values(t, l, 0))
			size := (*l.segments.Load())[0].SizeBytes()
			info, statErr := disk.Stat(l.active().Path())
			require.NoError(t, statErr)
			require.Equal(t, size, info.Size(), "no half batch is left in the file")
			_, err = l.Sync()
			require.NoError(t, err)
			_, err = l.Append(batchOf(t, v), AppendOptions{Now: testTime})
		}
		disk.SetCapacity(0)
		require.Equal(t, int64(len(want)), mustAppend(t, l, batchOf(t, "a")).BaseOffset)
		want = append(want, fmt.Sprint(len(want), "=a"))
		require.Equal(t, want, values(t, l, 0))
		_, err = l.Sync()
		require.NoError(t, err)
		goesOn(t, disk, d, want...)
	}
}

// A follower's run of batches meets the full disk, and segments and index entries that cannot be made do: nothing changes, and all goes on.
func TestFault_F11_FullInRunsRollsAndIndexes(t *testing.T) {
	var run []byte
	for i := range 40 {
		b := batchOf(t, strings.Repeat("v", 200))
		b.PutBaseOffset(int64(3 + i))
		b.PutLeaderEpoch(0)
		run = append(run, b...)
	}
	for at := 1; ; at++ {
		disk, d, l := faultyLog(t, nil)
		l.SetConfig(Config{SegmentBytes: 4000, IndexIntervalBytes: 300})
		n := 0
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite || op.Kind == vfs.OpPreallocate || op.Kind == vfs.OpCreate {
				if n++; n == at {
					return vfs.ErrNoSpace
				}
			}
			return nil
		})
		_, err := l.AppendReplicated(run, 0)
		if err == nil {
			require.Greater(t, at, 6)
			d.Abandon()
			return
		}
		_, full := errors.AsType[*FullError](err)
		require.True(t, full, "write %d: %v", at, err)
		require.NoError(t, l.Err())
		end := l.Offsets().LogEndOffset
		rest := run
		for o := int64(3); o < end; o++ {
			_, rest, err = record.Split(rest)
			require.NoError(t, err)
		}
		_, err = l.AppendReplicated(rest, 0)
		require.NoError(t, err, "write %d", at)
		require.Equal(t, int64(43), l.Offsets().LogEndOffset)
		require.Len(t, values(t, l, 0), 43)
		require.NoError(t, d.Close(5))
		d = openDir(t, disk, "/d")
		l, err = d.OpenLog("t", 0, TopicID{1}, Config{})
		require.NoError(t, err)
		require.Len(t, values(t, l, 0), 43)
		d.Abandon()
	}
}

func TestFault_F12_ShortWritesAndReads(t *testing.T) {
	b := batchOf(t, "b")
	for n := range int64(len(b)) {
		disk, d, l := faultyLog(t, logWrites(vfs.ShortWrite{N: n}))
		_, err := l.Append(b, AppendOptions{Now: testTime})
		require.ErrorIs(t, err, syscall.EIO)
		refuses(t, l, 3)
		goesOn(t, disk, d, "0=a", "1=a", "2=a")
	}
	for n := range int64(60) {
		_, d, l := faultyLog(t, func(op vfs.Op) error {
			if op.Kind == vfs.OpRead {
				return vfs.ShortRead{N: n}
			}
			return nil
		})
		_, err := drain(l)
		require.Error(t, err, "%d bytes are not the end of the log", n)
		d.Abandon()
	}
	// A recovery does not take a short read for a torn end.
	disk, d, _ := faultyLog(t, nil)
	disk = disk.Crash(vfs.KeepAll, nil)
	d.Abandon()
	for n := range int64(200) {
		left := disk.Clone()
		left.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") && n < op.Len {
				return vfs.ShortRead{N: n}
			}
			return nil
		})
		d := openDir(t, left, "/d")
		l, err := d.OpenLog("t", 0, TopicID{1}, Config{})
		if err == nil {
			require.Equal(t, int64(3), l.Offsets().LogEndOffset)
		}
		goesOn(t, left, d, "0=a", "1=a", "2=a")
	}
}

// All that follows from the log goes at once, or any part of it. TestDerivedFilesAreRebuilt damages each file by itself.
func TestFault_F14_DerivedFilesGone(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, f := storedDisk(t, clean)
		rng := rand.New(rand.NewPCG(3, 3))
		for run := range 60 {
			left := disk.Clone()
			gone := 0
			for _, suffix := range []string{".index", ".timeindex", ".txnindex", ".snapshot", ".producers", epochsFile} {
				for name := range files(t, left, "/data/t-0", suffix) {
					if run == 0 || rng.IntN(2) == 0 {
						require.NoError(t, left.Remove(name))
						gone++
					}
				}
			}
			require.NotZero(t, gone)
			g := *f
			g.t = t
			g.sequence, g.inTxn = map[int64]int32{}, map[int64]bool{}
			require.NoError(t, g.open(left))
			g.verifyDamaged("")
			g.d.Abandon()
		}
	}
}

// A wiped directory is another one, which claims nothing.
func TestFault_F17_Wiped(t *testing.T) {
	disk, d, _ := faultyLog(t, nil)
	before := d.ID()
	d.Abandon()
	require.NoError(t, disk.RemoveAll("/d"))
	d = openDir(t, disk, "/d")
	defer d.Abandon()
	require.NotEqual(t, before, d.ID())
	kind, epoch := d.Restart()
	require.Equal(t, Lossy, kind)
	require.Equal(t, int64(-1), epoch)
	list, err := d.Logs()
	require.NoError(t, err)
	require.Empty(t, list)
}

// A directory of an earlier registration says so: by the epoch, with a crash or a clean stop before the copy was taken. One of the same epoch cannot be told from a crash by itself.
func TestFault_F18_RolledBack(t *testing.T) {
	for _, clean := range []bool{false, true} {
		disk, d, _ := faultyLog(t, nil)
		id := d.ID()
		if clean {
			require.NoError(t, d.Close(5))
		} else {
			d.Abandon()
		}
		old := disk.Clone()
		d = openDir(t, disk, "/d")
		require.NoError(t, d.SetBrokerEpoch(9))
		d.Abandon()

		now := openDir(t, disk, "/d")
		_, epoch := now.Restart()
		require.Equal(t, int64(9), epoch)
		now.Abandon()
		back := openDir(t, old, "/d")
		_, epoch = back.Restart()
		require.Equal(t, int64(5), epoch, "the controller knows a later life")
		require.Equal(t, id, back.ID())
		back.Abandon()
	}
}

// While syncs take half a minute, appends and reads take no time.
func TestFault_F19_SlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, d, l := faultyLog(t, func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				time.Sleep(30 * time.Second)
			}
			return nil
		})
		mustAppend(t, l, batchOf(t, "b"))
		done := make(chan error, 1)
		go func() {
			_, err := l.Sync()
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		mustAppend(t, l, batchOf(t, "c"))
		l.SetHighWatermark(3)
		require.Equal(t, []string{"3=b", "4=c"}, values(t, l, 3))
		require.Equal(t, int64(3), l.Offsets().SyncedEndOffset)
		require.Zero(t, time.Since(began))
		require.NoError(t, <-done)
		require.Equal(t, int64(4), l.Offsets().SyncedEndOffset)
		disk.SetFault(nil)
		require.NoError(t, d.Close(1))
	})
}

// A disk that never answers a sync holds up the sync alone: appends and reads go on, another log of the directory too, and nothing is called synced.
func TestFault_F20_HungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		disk, d, l := faultyLog(t, func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/d/t-0/") {
				<-hang
				return fs.ErrClosed
			}
			return nil
		})
		other, err := d.OpenLog("u", 0, TopicID{2}, Config{})
		require.NoError(t, err)
		mustAppend(t, l, batchOf(t, "b"))
		done := make(chan error, 1)
		go func() {
			_, err := l.Sync()
			done <- err
		}()
		synctest.Wait()
		mustAppend(t, l, batchOf(t, "c"))
		require.Equal(t, []string{"3=b", "4=c"}, values(t, l, 3))
		mustAppend(t, other, batchOf(t, "x"))
		_, err = other.Sync()
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Equal(t, int64(3), l.Offsets().SyncedEndOffset)
		require.Empty(t, done)
		close(hang)
		require.Error(t, <-done)
		refuses(t, l, 5)
		d.Abandon()
		_ = disk
	})
}

// A log that is opened by a clock that is days ahead knows its producers still: what they send again is not appended twice. One that has not been heard of for longer than others is forgotten.
func TestFault_F27_ProducersAreNotForgottenForAJump(t *testing.T) {
	var ahead time.Duration
	c := Config{FS: vfs.NewMem(), TimestampAfterMax: 1e6 * time.Hour, Wall: func(time.Time) time.Time { return testTime.Add(ahead) }}
	l, err := Open("/t-0", c)
	require.NoError(t, err)
	batch := producerBatchOf(t, 7, 0, 0, 2, false)
	first := mustAppend(t, l, batch)
	require.NoError(t, l.Close())
	ahead = 50 * time.Hour
	l, err = Open("/t-0", c)
	require.NoError(t, err)
	again := mustAppend(t, l, batch)
	assert.True(t, again.Duplicate)
	assert.Equal(t, first.BaseOffset, again.BaseOffset)
	later := record.NewBuilder(record.BuilderConfig{})
	later.SetProducer(8, 0, 0)
	later.Append(&record.Record{Value: []byte("x"), Timestamp: testTime.Add(49 * time.Hour)})
	b, err := later.Build(nil)
	require.NoError(t, err)
	mustAppend(t, l, b)
	require.NoError(t, l.Close())
	l, err = Open("/t-0", c)
	require.NoError(t, err)
	producers := l.Producers()
	require.Len(t, producers, 1)
	assert.EqualValues(t, 8, producers[0].ProducerID)
	require.NoError(t, l.Close())
}

// Recovery may be interrupted as often as it likes, at each of its operations.
func TestFault_F35_RecoveryInterrupted(t *testing.T) {
	w := newWorld(3)
	require.NoError(t, fixedWorkloads[1].run(w))
	disk := w.disk.Crash(vfs.KeepRandom, w.rng)
	w.d.Abandon()
	for i := int64(1); ; i++ {
		left := disk
		for range 4 { // each life ends at its ith operation
			left = left.Clone()
			now, after := left, (*vfs.Mem)(nil)
			left.SetFault(func(op vfs.Op) error {
				if op.Seq == i {
					after = now.Crash(vfs.KeepRandom, w.rng)
				}
				return nil
			})
			r, err := w.m.recovered(left, crashKind{again: true}, 1)
			if r.d != nil {
				r.d.Abandon()
			}
			if after == nil {
				require.NoError(t, err)
				require.Greater(t, i, int64(5))
				return
			}
			left = after
		}
		r, err := w.m.recovered(left, crashKind{again: true}, 1)
		require.NoError(t, err)
		r.d.Abandon()
	}
}

// A file that is cut under its mapping: the log that meets it gives an error; its neighbour, and the process, go on.
func TestFault_F45_IndexCutUnderItsMapping(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mappings are buffers there
	}
	dir := t.TempDir()
	d := openDir(t, vfs.OS(), dir)
	var logs [2]*Log
	for i := range logs {
		l, err := d.OpenLog("t", int32(i), TopicID{byte(1 + i)}, Config{IndexIntervalBytes: 1})
		require.NoError(t, err)
		for range 5 {
			mustAppend(t, l, batchOf(t, "a"))
		}
		_, err = l.Sync()
		require.NoError(t, err)
		logs[i] = l
	}
	for _, suffix := range []string{".index", ".timeindex"} {
		require.NoError(t, os.Truncate(filepath.Join(dir, "t-0", "00000000000000000000"+suffix), 0))
	}
	_, _, err := logs[0].OffsetForTime(testTime.UnixMilli(), math.MaxInt64)
	_, fault := errors.AsType[*vfs.FaultError](err)
	require.True(t, fault, "%v", err)
	_, err = logs[0].Append(batchOf(t, "b"), AppendOptions{Now: testTime})
	_, storage := errors.AsType[*StorageError](err)
	require.True(t, storage, "%v", err)
	refuses(t, logs[0], 5)
	mustAppend(t, logs[1], batchOf(t, "b"))
	_, err = logs[1].Sync()
	require.NoError(t, err)
	d.Abandon()

	d = openDir(t, vfs.OS(), dir)
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{IndexIntervalBytes: 1})
	require.NoError(t, err, "it is made anew")
	to, ok, err := l.OffsetForTime(testTime.UnixMilli(), math.MaxInt64)
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Zero(t, to.Offset)
	mustAppend(t, l, batchOf(t, "c"))
	require.NoError(t, d.Close(1))
}
