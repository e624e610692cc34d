package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

func mustOpen(t *testing.T, fsys vfs.FS, name string, mode vfs.OpenMode) vfs.File {
	t.Helper()
	f, err := fsys.Open(name, mode)
	require.NoError(t, err)
	return f
}

func mustWrite(t *testing.T, f vfs.File, off int64, s string) {
	t.Helper()
	_, err := f.WriteAt([]byte(s), off)
	require.NoError(t, err)
}

// everyOp calls each operation that a disk, an open file, a mapping and a lock of it have.
func everyOp(m *vfs.Mem, f vfs.File, mp vfs.Mapping, lock interface{ Close() error }) map[string]error {
	errs := map[string]error{}
	do := func(name string, err error) { errs[name] = err }
	for i, mode := range []vfs.OpenMode{vfs.ReadOnly, vfs.ReadWrite, vfs.Create, vfs.CreateExcl} {
		_, err := m.Open("f", mode)
		do(fmt.Sprint("open ", i), err)
	}
	do("mkdirall", m.MkdirAll("a/b"))
	_, err := m.ReadDir("/")
	do("readdir", err)
	_, err = m.Stat("f")
	do("stat", err)
	do("rename", m.Rename("f", "g"))
	do("remove", m.Remove("f"))
	do("removeall", m.RemoveAll("f"))
	do("syncdir", m.SyncDir("/"))
	_, err = m.Lock("l")
	do("lock", err)
	_, _, err = m.Space("/")
	do("free", err)
	_, err = f.ReadAt(make([]byte, 1), 0)
	do("read", err)
	_, err = f.WriteAt(make([]byte, 1), 0)
	do("write", err)
	_, err = f.WritevAt([][]byte{{1}}, 0)
	do("writev", err)
	_, err = f.Size()
	do("size", err)
	do("truncate", f.Truncate(5000))
	do("sync", f.Sync())
	do("preallocate", f.Preallocate(0, 1))
	_, err = f.Map(1)
	do("map", err)
	do("msync", mp.Sync())
	do("munmap", mp.Close())
	do("close", f.Close())
	do("unlock", lock.Close())
	do("corrupt", m.Corrupt("f", 0, 1))
	return errs
}

func TestCrashEndsTheOldDisk(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom, vfs.KeepHole, vfs.KeepNames, vfs.KeepBytes} {
		m := vfs.NewMem()
		f := mustOpen(t, m, "f", vfs.Create)
		mustWrite(t, f, 0, strings.Repeat("x", 5000))
		mp, err := f.Map(4096)
		require.NoError(t, err)
		lock, err := m.Lock("l")
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, m.SyncDir("/"))
		ops := m.Ops()

		next := m.Crash(mode, nil)
		for op, err := range everyOp(m, f, mp, lock) {
			require.ErrorIs(t, err, vfs.ErrCrashed, op)
		}
		require.Equal(t, ops, m.Ops(), "a dead disk counts nothing")
		require.Nil(t, m.Crash(mode, nil))
		require.Nil(t, m.Clone())

		require.Equal(t, strings.Repeat("x", 5000), string(slurp(t, next, "f")))
		require.Zero(t, next.Ops())
		lock, err = next.Lock("l")
		require.NoError(t, err, "locks end with the crash")
		require.NoError(t, lock.Close())
		f = mustOpen(t, next, "f", vfs.ReadWrite)
		require.NoError(t, f.Truncate(1), "mappings end with the crash")
		require.NoError(t, f.Close())
	}
}

func TestEveryOpCanFail(t *testing.T) {
	injected := errors.New("injected")
	m := vfs.NewMem()
	f := mustOpen(t, m, "f", vfs.Create)
	mustWrite(t, f, 0, strings.Repeat("x", 5000))
	mp, err := f.Map(4096)
	require.NoError(t, err)
	lock, err := m.Lock("l")
	require.NoError(t, err)
	before := tree(t, m)
	m.SetFault(func(vfs.Op) error { return injected })
	for op, err := range everyOp(m, f, mp, lock) {
		switch op {
		case "close", "munmap", "unlock", "corrupt": // not operations of the disk
			require.NoError(t, err, op)
		default:
			require.ErrorIs(t, err, injected, op)
		}
	}
	m.SetFault(nil)
	require.NoError(t, m.Corrupt("f", 0, 1))
	require.Equal(t, before, tree(t, m), "a failed operation changes nothing")
}

// TestOpsAreAnnounced is the list of what a fault function sees.
func TestOpsAreAnnounced(t *testing.T) {
	m := vfs.NewMem()
	var seen []string
	m.SetFault(func(op vfs.Op) error { seen = append(seen, op.String()); return nil })
	require.NoError(t, m.MkdirAll("a/b/"))
	f := mustOpen(t, m, "a/b/f", vfs.Create)
	mustWrite(t, f, 5, "xyz")
	_, err := f.WritevAt([][]byte{{1}, {2, 3}}, 8)
	require.NoError(t, err)
	_, err = f.ReadAt(make([]byte, 2), 1)
	require.NoError(t, err)
	require.NoError(t, f.Preallocate(0, 4096))
	mp, err := f.Map(100)
	require.NoError(t, err)
	require.NoError(t, mp.Sync())
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(4095))
	mustOpen(t, m, "a/b/f", vfs.Create)
	require.NoError(t, m.Rename("a/b/f", "/a/g"))
	require.NoError(t, m.SyncDir("a"))
	require.NoError(t, m.RemoveAll("a"))
	require.Equal(t, []string{
		"1 mkdir /a", "2 mkdir /a/b", "3 create /a/b/f", "4 write /a/b/f [5, 8)", "5 write /a/b/f [8, 11)", "0 read /a/b/f [1, 3)",
		"6 preallocate /a/b/f [0, 4096)", "0 map /a/b/f 100", "7 msync /a/b/f 100", "8 sync /a/b/f", "9 truncate /a/b/f 4095",
		"0 open /a/b/f", "10 rename /a/b/f /a/g", "11 syncdir /a", "12 remove /a/b", "13 remove /a/g", "14 remove /a",
	}, seen)
	require.EqualValues(t, 14, m.Ops())
	require.Equal(t, "OpKind(99)", vfs.OpKind(99).String())
}

func TestShortWrite(t *testing.T) {
	m := vfs.NewMem()
	f := mustOpen(t, m, "f", vfs.Create)
	mustWrite(t, f, 0, "0123456789")
	m.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			return vfs.ShortWrite{N: 4}
		}
		return nil
	})
	n, err := f.WritevAt([][]byte{[]byte("abc"), []byte("def")}, 8)
	require.Equal(t, 4, n)
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, "01234567abcd", string(slurp(t, m, "f")))
	n, err = f.WriteAt([]byte("xy"), 0)
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, syscall.EIO)
	m.SetFault(func(vfs.Op) error { return vfs.ShortWrite{Err: syscall.EDQUOT} })
	n, err = f.WriteAt([]byte("zz"), 0)
	require.Zero(t, n)
	require.ErrorIs(t, err, syscall.EDQUOT)
}

func TestCapacity(t *testing.T) {
	m := vfs.NewMem()
	free := func() int64 {
		total, n, err := m.Space("/")
		require.NoError(t, err)
		require.True(t, total == 10*4096 || total == math.MaxInt64 && n == total)
		return n
	}
	require.EqualValues(t, math.MaxInt64, free())
	m.SetCapacity(10 * 4096)
	f := mustOpen(t, m, "f", vfs.Create)
	require.NoError(t, f.Truncate(1<<30), "a hole takes no space")
	require.EqualValues(t, 10*4096, free())
	mustWrite(t, f, 4095, "xy")
	require.EqualValues(t, 8*4096, free())
	require.NoError(t, f.Preallocate(0, 4*4096))
	require.EqualValues(t, 6*4096, free())

	n, err := f.WriteAt(make([]byte, 20*4096), 3*4096+100)
	require.Equal(t, 7*4096-100, n, "what fits is written")
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.True(t, vfs.IsNoSpace(err))
	require.Zero(t, free())
	require.ErrorIs(t, f.Preallocate(1<<20, 1), vfs.ErrNoSpace)
	mustWrite(t, f, 0, "blocks that are there can be overwritten")

	g := mustOpen(t, m, "g", vfs.Create)
	_, err = g.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.NoError(t, f.Truncate(4096))
	require.EqualValues(t, 9*4096, free())
	require.NoError(t, m.SyncDir("/"))

	require.NoError(t, m.Remove("f"))
	require.EqualValues(t, 9*4096, free(), "an open file keeps its space")
	mustWrite(t, f, 4096, "x")
	require.NoError(t, f.Close())
	require.EqualValues(t, 10*4096, free())
	mustWrite(t, g, 0, "x")
	require.NoError(t, g.Close())
	h := mustOpen(t, m, "h", vfs.Create)
	mustWrite(t, h, 0, "h")
	require.NoError(t, h.Close())
	require.EqualValues(t, 8*4096, free())
	require.NoError(t, m.Rename("h", "g"))
	require.EqualValues(t, 9*4096, free(), "a replaced file gives its space back")

	m = m.Crash(vfs.KeepAll, nil)
	require.EqualValues(t, 9*4096, free())
	require.False(t, vfs.IsNoSpace(fs.ErrNotExist))
}

// TestMappingRules: what would be fatal on a real disk is refused.
func TestMappingRules(t *testing.T) {
	m := vfs.NewMem()
	f := mustOpen(t, m, "f", vfs.Create)
	require.NoError(t, f.Truncate(8192))
	_, err := f.Map(8192)
	require.ErrorContains(t, err, "Preallocate")
	require.NoError(t, f.Preallocate(0, 8192))
	mp, err := f.Map(8192)
	require.NoError(t, err)
	require.ErrorContains(t, f.Truncate(8191), "mapped")
	require.NoError(t, f.Truncate(10_000))
	require.NoError(t, f.Truncate(8192))
	require.NoError(t, mp.Close())
	require.ErrorIs(t, mp.Sync(), fs.ErrClosed)
	require.NoError(t, f.Truncate(0))
}

func TestMappingIsDurableAfterSync(t *testing.T) {
	m := vfs.NewMem()
	f := mustOpen(t, m, "f", vfs.Create)
	require.NoError(t, f.Preallocate(0, 70_000))
	require.NoError(t, m.SyncDir("/"))
	mp, err := f.Map(70_000)
	require.NoError(t, err)
	mp.Bytes()[0], mp.Bytes()[69_999] = 'a', 'z'
	require.NoError(t, mp.Sync())
	mp.Bytes()[1] = 'b'
	got := slurp(t, m.Clone().Crash(vfs.DropAll, nil), "f")
	require.Equal(t, "a(.*69998)z", runs(got))

	m.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSyncMap {
			return syscall.EIO
		}
		return nil
	})
	require.ErrorIs(t, mp.Sync(), syscall.EIO)
	m.SetFault(nil)
	require.NoError(t, mp.Sync())
	require.Equal(t, "ab(.*69997)z", runs(slurp(t, m, "f")))
	got = slurp(t, m.Clone().Crash(vfs.DropAll, nil), "f")
	require.Equal(t, "a(.*69998)z", runs(got), "the second sync found nothing to do")
}

func TestCorruptReachesTheDisk(t *testing.T) {
	m := vfs.NewMem()
	f := mustOpen(t, m, "d", vfs.Create)
	mustWrite(t, f, 0, "abc")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.Corrupt("/d", 1, 'b'^'X'))
	require.Equal(t, "aXc", string(slurp(t, m, "d")))
	require.Error(t, m.Corrupt("d", 3, 1))
	require.ErrorIs(t, m.Corrupt("none", 0, 1), fs.ErrNotExist)
	require.Error(t, m.Corrupt("/", 0, 1))
	require.Equal(t, "aXc", string(slurp(t, m.Crash(vfs.DropAll, nil), "d")))
}

// replace is a correct replacement of a small file; without one of its steps it is not.
func replace(fsys vfs.FS, content string, skip string) error {
	f, err := fsys.Open("d/f.tmp", vfs.Create)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	if skip != "sync" {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := fsys.Rename("d/f.tmp", "d/f"); err != nil {
		return err
	}
	if skip != "syncdir" {
		return fsys.SyncDir("d")
	}
	return nil
}

// explore crashes before each operation of two replacements and counts the outcomes that break the promise of replace.
func explore(t *testing.T, skip string) (broken int) {
	t.Helper()
	old, next := strings.Repeat("old", 300), strings.Repeat("new", 400)
	base := vfs.NewMem()
	require.NoError(t, base.MkdirAll("d"))
	require.NoError(t, base.SyncDir("/"))
	require.NoError(t, replace(base, old, ""))
	for at := int64(1); ; at++ {
		for seed := range uint64(20) {
			mode, rng := vfs.KeepRandom, rand.New(rand.NewPCG(seed, uint64(at)))
			if seed < 2 {
				mode = vfs.CrashMode(seed) // KeepAll, DropAll
			}
			m := base.Clone()
			var after *vfs.Mem
			m.SetFault(func(op vfs.Op) error {
				if op.Seq == at {
					after = m.Crash(mode, rng)
				}
				return nil
			})
			err := replace(m, next, skip)
			if after == nil {
				require.NoError(t, err)
				after = m.Crash(mode, rng)
			} else {
				require.ErrorIs(t, err, vfs.ErrCrashed)
			}
			got := string(slurp(t, after, "d/f"))
			if got != next && (got != old || err == nil) {
				broken++
			}
			require.NoError(t, replace(after, next, ""), "a second attempt finds whatever is there")
			if m.Ops() < at && seed == 19 {
				return broken
			}
		}
	}
}

func TestCrashExplorerFindsMissingSyncs(t *testing.T) {
	require.Zero(t, explore(t, ""))
	require.NotZero(t, explore(t, "sync"))
	require.NotZero(t, explore(t, "syncdir"))
}

// TestSlowDisk: a fault function may sleep, in virtual time, and nobody waits for it who does not sync.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		f := mustOpen(t, m, "f", vfs.Create)
		m.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				time.Sleep(30 * time.Second)
			}
			return nil
		})
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { require.NoError(t, f.Sync()) })
		}
		synctest.Wait()
		mustWrite(t, f, 0, "beside it")
		require.Zero(t, time.Since(start))
		wg.Wait()
		require.Equal(t, 30*time.Second, time.Since(start))
	})
}

// TestCrashBesideUse: whatever an operation that is under way does, the next disk is one moment of the old one. For the race detector.
func TestCrashBesideUse(t *testing.T) {
	for seed := range uint64(20) {
		m := vfs.NewMem()
		require.NoError(t, m.MkdirAll("d"))
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					if err := useOnce(m, fmt.Sprintf("d/%d-%d", w, i%3)); err != nil {
						require.ErrorIs(t, err, vfs.ErrCrashed)
						return
					}
					if i == 3 {
						started <- struct{}{}
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		clone := m.Clone()
		next := m.Crash(vfs.CrashMode(seed%3), rand.New(rand.NewPCG(seed, 9)))
		before := tree(t, next)
		require.NoError(t, useOnce(next, "g"))
		wg.Wait()
		require.Equal(t, before, tree(t, next), "the old disk's users do not reach the new one")
		require.NotNil(t, clone)
	}
}

func useOnce(m *vfs.Mem, name string) error {
	f, err := m.Open(name, vfs.Create)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("x"), 1000), 300); err != nil {
		return err
	}
	if err := f.Preallocate(0, 8192); err != nil {
		return err
	}
	mp, err := f.Map(8192)
	if err != nil {
		return err
	}
	mp.Bytes()[5] = 1
	if err := errors.Join(mp.Sync(), mp.Close(), f.Sync()); err != nil {
		return err
	}
	if err := m.Rename(name, name+"x"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := m.SyncDir("/"); err != nil {
		return err
	}
	return m.Remove(name + "x")
}

// TestMemMemory: appending without ever syncing does not make the journal grow with the number of writes.
func TestMemMemory(t *testing.T) {
	m := vfs.NewMem()
	f := mustOpen(t, m, "f", vfs.Create)
	b := make([]byte, 10)
	n := testing.AllocsPerRun(30_000, func() {
		size, _ := f.Size()
		_, _ = f.WriteAt(b, size)
	})
	require.Zero(t, n)
	require.NoError(t, m.SyncDir("/"))
	require.Empty(t, slurp(t, m.Clone().Crash(vfs.DropAll, nil), "f"))
	require.NoError(t, f.Sync())
	require.Len(t, slurp(t, m.Crash(vfs.DropAll, nil), "f"), 300_010)
}

func TestMemBootID(t *testing.T) {
	m := vfs.NewMem()
	first := m.BootID("/")
	require.NotEmpty(t, first)
	require.Equal(t, first, m.Clone().BootID("/"))
	m = m.Crash(vfs.KeepAll, nil)
	require.Equal(t, first, m.BootID("/"), "the process crashed, the system did not")
	seen := map[string]bool{first: true}
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepRandom} {
		m = m.Crash(mode, nil)
		require.False(t, seen[m.BootID("/")])
		seen[m.BootID("/")] = true
	}
}
