// Package vfstest is the conformance suite of internal/vfs: what every implementation of vfs.FS must do, run against each of them.
//
//	func TestOS(t *testing.T) { vfstest.Test(t, func(*testing.T) vfs.FS { return vfs.OS() }, func(t *testing.T, _ vfs.FS) string { return t.TempDir() }) }
//
// It checks what a caller can see while nothing fails. What is left after a crash only vfs.Mem can show; its own tests do.
package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// disk is a file system under test and an empty directory on it.
type disk struct {
	vfs.FS
	dir string
}

func (d disk) path(name string) string { return path.Join(d.dir, name) }

// Test runs the suite. open returns a file system; dir an empty directory on it, which must exist.
func Test(t *testing.T, open func(t *testing.T) vfs.FS, dir func(t *testing.T, fsys vfs.FS) string) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, d disk)
	}{
		{"OpenModes", testOpenModes},
		{"OpenErrors", testOpenErrors},
		{"ReadWrite", testReadWrite},
		{"Writev", testWritev},
		{"Truncate", testTruncate},
		{"Preallocate", testPreallocate},
		{"Reserve", testReserve},
		{"Closed", testClosed},
		{"Rename", testRename},
		{"RenameDir", testRenameDir},
		{"Remove", testRemove},
		{"RemoveAll", testRemoveAll},
		{"Directories", testDirectories},
		{"Map", testMap},
		{"MapErrors", testMapErrors},
		{"Lock", testLock},
		{"Concurrent", testConcurrent},
		{"Space", testSpace},
		{"BootID", testBootID},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := open(t)
			c.run(t, disk{FS: fsys, dir: dir(t, fsys)})
		})
	}
}

func create(t *testing.T, d disk, name, content string) vfs.File {
	t.Helper()
	f, err := d.Open(d.path(name), vfs.Create)
	require.NoError(t, err)
	if content != "" {
		n, err := f.WriteAt([]byte(content), 0)
		require.NoError(t, err)
		require.Equal(t, len(content), n)
	}
	return f
}

func write(t *testing.T, d disk, name, content string) {
	t.Helper()
	f := create(t, d, name, content)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// content reads a file to its end, with its size as the witness.
func content(t *testing.T, f vfs.File) string {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size+10)
	n, err := f.ReadAt(b, 0)
	require.ErrorIs(t, err, io.EOF)
	require.EqualValues(t, size, n)
	return string(b[:n])
}

func read(t *testing.T, d disk, name string) string {
	t.Helper()
	f, err := d.Open(d.path(name), vfs.ReadOnly)
	require.NoError(t, err)
	defer f.Close()
	return content(t, f)
}

func testOpenModes(t *testing.T, d disk) {
	for _, mode := range []vfs.OpenMode{vfs.ReadOnly, vfs.ReadWrite} {
		_, err := d.Open(d.path("a"), mode)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "a")
	}
	f, err := d.Open(d.path("a"), vfs.CreateExcl)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("abc"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = d.Open(d.path("a"), vfs.CreateExcl)
	require.ErrorIs(t, err, fs.ErrExist)

	for _, mode := range []vfs.OpenMode{vfs.ReadWrite, vfs.Create} {
		f, err := d.Open(d.path("a"), mode)
		require.NoError(t, err)
		require.Equal(t, "abc", content(t, f), "open must not truncate")
		_, err = f.WriteAt([]byte("b"), 1)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}

	ro, err := d.Open(d.path("a"), vfs.ReadOnly)
	require.NoError(t, err)
	require.Equal(t, "abc", content(t, ro))
	_, err = ro.WriteAt([]byte("x"), 0)
	require.Error(t, err)
	_, err = ro.WritevAt([][]byte{{'x'}}, 0)
	require.Error(t, err)
	require.Error(t, ro.Truncate(0))
	require.Equal(t, "abc", content(t, ro))
	require.NoError(t, ro.Close())
}

func testOpenErrors(t *testing.T, d disk) {
	for _, mode := range []vfs.OpenMode{-1, 4} {
		_, err := d.Open(d.path("a"), mode)
		require.Error(t, err)
	}
	_, err := d.Open(d.path("none/a"), vfs.Create)
	require.ErrorIs(t, err, fs.ErrNotExist)
	write(t, d, "file", "x")
	_, err = d.Open(d.path("file/a"), vfs.Create)
	require.Error(t, err)
	require.NoError(t, d.MkdirAll(d.path("dir")))
	for _, mode := range []vfs.OpenMode{vfs.ReadWrite, vfs.Create, vfs.CreateExcl} {
		_, err = d.Open(d.path("dir"), mode)
		require.Error(t, err)
	}
}

func testReadWrite(t *testing.T, d disk) {
	f := create(t, d, "a", "")
	defer f.Close()
	b := make([]byte, 4)
	n, err := f.ReadAt(b, 0)
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
	n, err = f.ReadAt(nil, 0)
	require.Zero(t, n)
	require.NoError(t, err)

	big := make([]byte, 200_000)
	for i := range big {
		big[i] = byte(i * 7)
	}
	n, err = f.WriteAt(big, 100_000) // a gap before it
	require.NoError(t, err)
	require.Equal(t, len(big), n)
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 300_000, size)
	got := make([]byte, 300_000)
	n, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, len(got), n)
	require.True(t, bytes.Equal(make([]byte, 100_000), got[:100_000]), "a gap reads as zero")
	require.True(t, bytes.Equal(big, got[100_000:]))

	n, err = f.ReadAt(b, 299_998)
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, io.EOF)
	n, err = f.ReadAt(b, 1<<40)
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
	_, err = f.ReadAt(b, -1)
	require.Error(t, err)
	_, err = f.WriteAt(b, -1)
	require.Error(t, err)
	n, err = f.WriteAt(nil, 1<<30)
	require.NoError(t, err)
	require.Zero(t, n)
	size, err = f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 300_000, size, "an empty write does not grow the file")
}

func testWritev(t *testing.T, d disk) {
	f := create(t, d, "a", "0123456789")
	defer f.Close()
	n, err := f.WritevAt([][]byte{[]byte("ab"), nil, []byte("c"), {}, []byte("defghijkl")}, 3)
	require.NoError(t, err)
	require.Equal(t, 12, n)
	require.Equal(t, "012abcdefghijkl", content(t, f))
	n, err = f.WritevAt(nil, 3)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = f.WritevAt([][]byte{{1}}, -1)
	require.Error(t, err)

	var many [][]byte // more than one system call takes
	var want []byte
	for i := range 3000 {
		b := bytes.Repeat([]byte{byte(i)}, i%5)
		many, want = append(many, b), append(want, b...)
	}
	n, err = f.WritevAt(many, 100)
	require.NoError(t, err)
	require.Equal(t, len(want), n)
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, 100)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func testTruncate(t *testing.T, d disk) {
	f := create(t, d, "a", "0123456789")
	defer f.Close()
	require.NoError(t, f.Truncate(4))
	require.Equal(t, "0123", content(t, f))
	require.NoError(t, f.Truncate(6))
	require.Equal(t, "0123\x00\x00", content(t, f), "what was cut off must not come back")
	require.NoError(t, f.Truncate(100_000))
	require.NoError(t, f.Truncate(3))
	_, err := f.WriteAt([]byte("x"), 5)
	require.NoError(t, err)
	require.Equal(t, "012\x00\x00x", content(t, f))
	require.Error(t, f.Truncate(-1))
	require.NoError(t, f.Truncate(0))
	require.Equal(t, "", content(t, f))
}

func testPreallocate(t *testing.T, d disk) {
	f := create(t, d, "a", "0123456789")
	defer f.Close()
	require.NoError(t, f.Preallocate(0, 5))
	require.Equal(t, "0123456789", content(t, f), "it neither shortens nor clears")
	require.NoError(t, f.Preallocate(8, 8))
	require.Equal(t, "0123456789\x00\x00\x00\x00\x00\x00", content(t, f))
	require.NoError(t, f.Preallocate(1<<20, 1<<20))
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, size)
	b := make([]byte, 1<<20)
	_, err = f.ReadAt(b, 1<<20)
	require.NoError(t, err)
	require.True(t, bytes.Equal(make([]byte, 1<<20), b), "bytes not yet written read as zero")
	require.NoError(t, f.Preallocate(0, 0))
	require.Error(t, f.Preallocate(-1, 2))
	require.Error(t, f.Preallocate(1, -1))
	require.NoError(t, f.Sync())
}

func testReserve(t *testing.T, d disk) {
	f := create(t, d, "a", "0123456789")
	f.Reserve(0, 5)
	f.Reserve(10, 1<<20)
	f.Reserve(-1, 2)
	f.Reserve(1, -1)
	require.Equal(t, "0123456789", content(t, f), "it shows nowhere")
	_, err := f.WriteAt([]byte("abc"), 10)
	require.NoError(t, err)
	require.Equal(t, "0123456789abc", content(t, f))
	require.NoError(t, f.Truncate(13))
	require.Equal(t, "0123456789abc", content(t, f))
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	f.Reserve(0, 1)
}

func testClosed(t *testing.T, d disk) {
	f := create(t, d, "a", "abc")
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), fs.ErrClosed)
	_, err := f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = f.WriteAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = f.WritevAt([][]byte{{1}, {2}}, 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = f.Size()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = f.Map(1)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, f.Truncate(1), fs.ErrClosed)
	require.ErrorIs(t, f.Sync(), fs.ErrClosed)
	require.ErrorIs(t, f.Preallocate(0, 1), fs.ErrClosed)
}

func testRename(t *testing.T, d disk) {
	write(t, d, "old", "new content")
	write(t, d, "target", "old content")
	target, err := d.Open(d.path("target"), vfs.ReadOnly)
	require.NoError(t, err)
	f, err := d.Open(d.path("old"), vfs.ReadWrite)
	require.NoError(t, err)
	require.NoError(t, d.Rename(d.path("old"), d.path("target")))
	require.NoError(t, d.SyncDir(d.dir))
	require.Equal(t, "new content", read(t, d, "target"))
	require.Equal(t, "old content", content(t, target), "an open file outlives its name")
	_, err = f.WriteAt([]byte("NEW"), 0)
	require.NoError(t, err)
	require.Equal(t, "NEW content", read(t, d, "target"), "an open file follows its name")
	require.NoError(t, f.Close())
	require.NoError(t, target.Close())
	_, err = d.Stat(d.path("old"))
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, d.Rename(d.path("target"), d.path("target")), "onto itself")
	require.Equal(t, "NEW content", read(t, d, "target"))
	require.ErrorIs(t, d.Rename(d.path("none"), d.path("x")), fs.ErrNotExist)
	require.ErrorIs(t, d.Rename(d.path("target"), d.path("none/x")), fs.ErrNotExist)
	require.NoError(t, d.MkdirAll(d.path("sub")))
	require.NoError(t, d.Rename(d.path("target"), d.path("sub/x")))
	require.Equal(t, "NEW content", read(t, d, "sub/x"))
	write(t, d, "file", "x")
	require.Error(t, d.Rename(d.path("file"), d.path("sub")), "a file does not replace a directory")
}

func testRenameDir(t *testing.T, d disk) {
	require.NoError(t, d.MkdirAll(d.path("a/b")))
	write(t, d, "a/b/f", "x")
	require.NoError(t, d.Rename(d.path("a"), d.path("c")))
	require.Equal(t, "x", read(t, d, "c/b/f"))
	_, err := d.Stat(d.path("a"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Error(t, d.Rename(d.path("c"), d.path("c/b/c")), "into itself")
	require.NoError(t, d.MkdirAll(d.path("full/x")))
	require.Error(t, d.Rename(d.path("c"), d.path("full")), "onto a directory with content")
	require.Equal(t, "x", read(t, d, "c/b/f"))
}

func testRemove(t *testing.T, d disk) {
	f := create(t, d, "a", "abc")
	require.NoError(t, d.Remove(d.path("a")))
	require.NoError(t, d.SyncDir(d.dir))
	_, err := d.Stat(d.path("a"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, "abc", content(t, f))
	write(t, d, "a", "another")
	_, err = f.WriteAt([]byte("x"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.Equal(t, "another", read(t, d, "a"))

	require.ErrorIs(t, d.Remove(d.path("none")), fs.ErrNotExist)
	require.NoError(t, d.MkdirAll(d.path("dir/sub")))
	require.Error(t, d.Remove(d.path("dir")), "a directory with content")
	require.NoError(t, d.Remove(d.path("dir/sub")))
	require.NoError(t, d.Remove(d.path("dir")))
}

func testRemoveAll(t *testing.T, d disk) {
	require.NoError(t, d.RemoveAll(d.path("none")))
	require.NoError(t, d.MkdirAll(d.path("a/b/c")))
	write(t, d, "a/b/f", "x")
	write(t, d, "ab", "x")
	require.NoError(t, d.RemoveAll(d.path("a")))
	_, err := d.Stat(d.path("a"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, d.RemoveAll(d.path("ab")))
	list, err := d.ReadDir(d.dir)
	require.NoError(t, err)
	require.Empty(t, list)
}

func testDirectories(t *testing.T, d disk) {
	require.NoError(t, d.MkdirAll(d.path("a/b")))
	require.NoError(t, d.MkdirAll(d.path("a/b")))
	write(t, d, "file", "12345")
	require.Error(t, d.MkdirAll(d.path("file")))
	require.Error(t, d.MkdirAll(d.path("file/x")))
	for i := range 20 {
		write(t, d, fmt.Sprintf("a/%02d", (i*7)%20), "")
	}
	list, err := d.ReadDir(d.path("a"))
	require.NoError(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
		require.Equal(t, e.Name() == "b", e.IsDir())
	}
	require.Len(t, names, 21)
	require.IsIncreasing(t, names)

	fi, err := d.Stat(d.path("file"))
	require.NoError(t, err)
	require.Equal(t, "file", fi.Name())
	require.EqualValues(t, 5, fi.Size())
	require.False(t, fi.IsDir())
	require.True(t, fi.Mode().IsRegular())
	require.False(t, fi.ModTime().IsZero())
	fi, err = d.Stat(d.path("a"))
	require.NoError(t, err)
	require.True(t, fi.IsDir())

	_, err = d.ReadDir(d.path("none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = d.ReadDir(d.path("file"))
	require.Error(t, err)
	require.NoError(t, d.SyncDir(d.path("a")))
	require.ErrorIs(t, d.SyncDir(d.path("none")), fs.ErrNotExist)
}

func testMap(t *testing.T, d disk) {
	f := create(t, d, "a", "0123456789")
	require.NoError(t, f.Preallocate(0, 100_000))
	m, err := f.Map(90_000)
	require.NoError(t, err)
	require.Len(t, m.Bytes(), 90_000)
	require.Equal(t, 90_000, cap(m.Bytes()))
	require.Equal(t, "0123456789", string(m.Bytes()[:10]))
	copy(m.Bytes()[5:], "abc")
	copy(m.Bytes()[89_998:], "yz")
	require.NoError(t, m.Sync())
	require.Equal(t, "01234abc89\x00", content(t, f)[:11], "read sees what was synced")
	require.Equal(t, "\x00yz\x00", content(t, f)[89_997:90_001])
	require.NoError(t, f.Close())

	copy(m.Bytes()[4096:], "later")
	require.NoError(t, vfs.Guard(func() { copy(m.Bytes(), "AB") }), "the mapping outlives the file")
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	got := read(t, d, "a")
	require.Equal(t, "AB234abc89\x00", got[:11])
	require.Equal(t, "later", got[4096:4101])
	require.Len(t, got, 100_000)
}

func testMapErrors(t *testing.T, d disk) {
	f := create(t, d, "a", "0123456789")
	defer f.Close()
	for _, size := range []int{-1, 0, 11} {
		_, err := f.Map(size)
		require.Error(t, err, size)
	}
	ro, err := d.Open(d.path("a"), vfs.ReadOnly)
	require.NoError(t, err)
	defer ro.Close()
	_, err = ro.Map(5)
	require.Error(t, err)
}

func testLock(t *testing.T, d disk) {
	name := d.path(".lock")
	l, err := d.Lock(name)
	require.NoError(t, err)
	_, err = d.Lock(name)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.ErrorContains(t, err, ".lock")
	other, err := d.Lock(d.path("other"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Error(t, l.Close())
	l, err = d.Lock(name)
	require.NoError(t, err, "the lock ends with Close")
	_, err = d.Lock(name)
	require.ErrorIs(t, err, vfs.ErrLocked, "a second Close of the first lock must not free the second")
	require.NoError(t, l.Close())
	require.NoError(t, other.Close())
	_, err = d.Stat(name)
	require.NoError(t, err, "the file stays")
	_, err = d.Lock(d.path("none/.lock"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// testConcurrent has writers and readers of one file, and makers of names, beside each other; under the race detector mostly.
func testConcurrent(t *testing.T, d disk) {
	f := create(t, d, "a", "")
	const writers, blocks, block = 4, 50, 700
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	report := func(err error) {
		if err != nil {
			errs <- err
		}
	}
	for w := range writers {
		wg.Go(func() {
			b := bytes.Repeat([]byte{byte(w + 1)}, block)
			for i := range blocks {
				_, err := f.WriteAt(b, int64((i*writers+w)*block))
				report(err)
			}
			report(f.Sync())
		})
		wg.Go(func() {
			b := make([]byte, block)
			for i := range blocks {
				at := (i*writers + w) * block
				if n, err := f.ReadAt(b, int64(at)); err != nil && !errors.Is(err, io.EOF) {
					report(err)
				} else if n > 0 && b[0] != 0 && b[0] != byte(w+1) {
					report(fmt.Errorf("byte %d is %d, want %d or 0", at, b[0], w+1))
				}
				_, err := f.Size()
				report(err)
			}
		})
		wg.Go(func() {
			for i := range 10 {
				name := d.path(fmt.Sprintf("dir%d/%d", w, i))
				report(d.MkdirAll(path.Dir(name)))
				g, err := d.Open(name, vfs.CreateExcl)
				if err != nil {
					report(err)
					return
				}
				report(g.Close())
				report(d.Rename(name, d.path(fmt.Sprintf("%d-%d", w, i))))
				report(d.SyncDir(d.dir))
				_, err = d.ReadDir(d.dir)
				report(err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	got := content(t, f)
	require.Len(t, got, writers*blocks*block)
	for i := range writers * blocks {
		want := string(bytes.Repeat([]byte{byte(i%writers + 1)}, block))
		require.Equal(t, want, got[i*block:(i+1)*block])
	}
	require.NoError(t, f.Close())
}

func testSpace(t *testing.T, d disk) {
	total, free, err := d.Space(d.dir)
	require.NoError(t, err)
	require.Positive(t, free)
	require.GreaterOrEqual(t, total, free)
	_, _, err = d.Space(d.path("none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func testBootID(t *testing.T, d disk) {
	id := d.BootID(d.dir)
	require.NoError(t, d.MkdirAll(d.path("sub")))
	require.Equal(t, id, d.BootID(d.path("sub")), "one mount, one run")
}
