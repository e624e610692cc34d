package vfs_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// unsyncedDisk has a synced file "a" of "old" in each of 8 sectors, all of them written anew with "new" and four more behind; a new file "b"; and a file "c" that was removed.
func unsyncedDisk(t *testing.T) *vfs.Mem {
	m := vfs.NewMem()
	a := mustOpen(t, m, "a", vfs.Create)
	c := mustOpen(t, m, "c", vfs.Create)
	write := func(f vfs.File, s string, sectors int) {
		for i := range sectors {
			_, err := f.WriteAt([]byte(s+strings.Repeat(".", 512-len(s))), int64(i)*512)
			require.NoError(t, err)
		}
	}
	write(a, "old", 8)
	write(c, "c", 1)
	require.NoError(t, a.Sync())
	require.NoError(t, c.Sync())
	require.NoError(t, m.SyncDir("/"))
	write(a, "new", 12)
	write(mustOpen(t, m, "b", vfs.Create), "b", 2)
	require.NoError(t, m.Remove("c"))
	return m
}

// sectorsOf shows the first letters of each sector.
func sectorsOf(t *testing.T, m *vfs.Mem, name string) string {
	f, err := m.Open(name, vfs.ReadOnly)
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return "gone"
	}
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	var out []string
	for len(b) > 0 {
		out = append(out, strings.Trim(string(bytes.TrimRight(b[:min(512, len(b))], "\x00")), "."))
		b = b[min(512, len(b)):]
	}
	return strings.Join(out, " ")
}

func TestCrashKeepsNamesOrBytes(t *testing.T) {
	names := unsyncedDisk(t).Crash(vfs.KeepNames, nil)
	assert.Equal(t, strings.Repeat("old ", 8)+"   ", sectorsOf(t, names, "a"), "the file has grown, and its end is zero")
	assert.Equal(t, " ", sectorsOf(t, names, "b"))
	assert.Equal(t, "gone", sectorsOf(t, names, "c"))

	kept := unsyncedDisk(t).Crash(vfs.KeepBytes, nil)
	assert.Equal(t, strings.TrimSpace(strings.Repeat("new ", 12)), sectorsOf(t, kept, "a"))
	assert.Equal(t, "gone", sectorsOf(t, kept, "b"))
	assert.Equal(t, "c", sectorsOf(t, kept, "c"), "a removal is undone")
	// What a power loss leaves is durable.
	assert.Equal(t, "c", sectorsOf(t, kept.Crash(vfs.DropAll, nil), "c"))
}

func TestCrashLeavesAHole(t *testing.T) {
	inside := 0
	for seed := range uint64(100) {
		m := unsyncedDisk(t).Crash(vfs.KeepHole, rand.New(rand.NewPCG(seed, 1)))
		got := strings.Split(sectorsOf(t, m, "a"), " ")
		require.Len(t, got, 12, "the size survives")
		holes, runs := 0, 0
		for i, s := range got {
			lost := s != "new"
			if lost {
				require.Equal(t, map[bool]string{true: "old", false: ""}[i < 8], s)
				holes++
				if i == 0 || got[i-1] == "new" {
					runs++
				}
			}
		}
		require.NotZero(t, holes)
		require.Equal(t, 1, runs, "one hole: %v", got)
		if got[11] == "new" {
			inside++
		}
		require.NotEqual(t, "gone", sectorsOf(t, m, "b"))
	}
	require.Greater(t, inside, 20, "mostly there is valid data behind it")
}

// What a failed sync left in the page cache alone does not survive a power loss of any kind.
func TestCrashAfterAFailedSync(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepNames, vfs.KeepBytes, vfs.KeepHole} {
		m := unsyncedDisk(t)
		m.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return io.ErrShortWrite
			}
			return nil
		})
		f := mustOpen(t, m, "a", vfs.ReadWrite)
		require.Error(t, f.Sync())
		m.SetFault(nil)
		require.NoError(t, f.Sync(), "it proves nothing")
		got := sectorsOf(t, m.Crash(mode, rand.New(rand.NewPCG(1, 1))), "a")
		assert.True(t, strings.HasPrefix(got, strings.TrimSpace(strings.Repeat("old ", 8))), "mode %d: %s", mode, got)
		assert.NotContains(t, got, "new")
	}
}

// A clone shares pages with its original until one of them changes.
func TestClonesDoNotSeeEachOther(t *testing.T) {
	m := vfs.NewMem()
	f := mustOpen(t, m, "a", vfs.Create)
	_, err := f.WriteAt(bytes.Repeat([]byte("a"), 100<<10), 0)
	require.NoError(t, err)
	read := func(m *vfs.Mem) string {
		f := mustOpen(t, m, "a", vfs.ReadOnly)
		size, err := f.Size()
		require.NoError(t, err)
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		return string(b)
	}
	before := read(m)
	changes := map[string]func(m *vfs.Mem, f vfs.File) error{
		"write":    func(_ *vfs.Mem, f vfs.File) error { _, err := f.WriteAt([]byte("x"), 70<<10); return err },
		"truncate": func(_ *vfs.Mem, f vfs.File) error { return f.Truncate(3000) },
		"grow":     func(_ *vfs.Mem, f vfs.File) error { _, err := f.WriteAt([]byte("x"), 200<<10); return err },
		"corrupt":  func(m *vfs.Mem, _ vfs.File) error { return m.Corrupt("a", 5, 1) },
		"map": func(_ *vfs.Mem, f vfs.File) error {
			p, err := f.Map(10)
			if err == nil {
				p.Bytes()[3] = 'z'
				err = p.Sync()
			}
			return err
		},
		"crash": func(m *vfs.Mem, _ vfs.File) error { m.Crash(vfs.DropAll, nil); return nil },
	}
	for name, change := range changes {
		for i := range 2 {
			original := m.Clone()
			clone := original.Clone()
			changed, other := original, clone
			if i == 1 {
				changed, other = clone, original
			}
			require.NoError(t, change(changed, mustOpen(t, changed, "a", vfs.ReadWrite)))
			require.Equal(t, before, read(other), fmt.Sprint(name, i))
		}
	}
	require.Equal(t, before, read(m))
}

func TestShortRead(t *testing.T) {
	m := unsyncedDisk(t)
	f := mustOpen(t, m, "a", vfs.ReadOnly)
	m.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpRead {
			return vfs.ShortRead{N: 2}
		}
		return nil
	})
	b := make([]byte, 10)
	n, err := f.ReadAt(b, 0)
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, "ne", string(b[:n]))
}
