package vfs_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestOSLockAcrossProcesses runs this test binary again as the other owner, and kills it.
func TestOSLockAcrossProcesses(t *testing.T) {
	const env = "VFS_TEST_LOCK"
	if name := os.Getenv(env); name != "" {
		if _, err := vfs.OS().Lock(name); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed
		return
	}
	name := filepath.ToSlash(filepath.Join(t.TempDir(), ".lock"))
	cmd := exec.Command(os.Args[0], "-test.run=^TestOSLockAcrossProcesses$")
	cmd.Env = append(os.Environ(), env+"="+name)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked", strings.TrimSpace(line))
	_, err = vfs.OS().Lock(name)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	l, err := vfs.OS().Lock(name)
	require.NoError(t, err, "the lock ends with its process")
	require.NoError(t, l.Close())
}

func TestOSFileForSendfile(t *testing.T) {
	f := mustOpen(t, vfs.OS(), filepath.Join(t.TempDir(), "f"), vfs.Create)
	mustWrite(t, f, 0, "abc")
	b := make([]byte, 3)
	_, err := f.OS().ReadAt(b, 0)
	require.NoError(t, err)
	require.Equal(t, "abc", string(b))
	require.NoError(t, f.Close())
	require.Nil(t, mustOpen(t, vfs.NewMem(), "f", vfs.Create).OS())
}

// TestOSCloseBesideUse: a descriptor that is closed under an operation is not used by it, as its number may belong to another file by then.
func TestOSCloseBesideUse(t *testing.T) {
	dir := t.TempDir()
	for range 20 {
		f := mustOpen(t, vfs.OS(), filepath.Join(dir, "f"), vfs.Create)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 2)
		for range 2 {
			wg.Go(func() {
				for i := 0; ; i++ {
					if i == 1 {
						begun <- struct{}{}
					}
					if _, err := f.WritevAt([][]byte{{1}, {2}}, 0); err != nil {
						require.ErrorIs(t, err, os.ErrClosed)
						return
					}
					if err := f.Sync(); err != nil {
						require.ErrorIs(t, err, os.ErrClosed)
						return
					}
				}
			})
		}
		<-begun
		<-begun
		require.NoError(t, f.Close())
		other := mustOpen(t, vfs.OS(), filepath.Join(dir, "other"), vfs.Create)
		wg.Wait()
		size, err := other.Size()
		require.NoError(t, err)
		require.Zero(t, size)
		require.NoError(t, other.Close())
		require.NoError(t, os.Remove(filepath.Join(dir, "other")))
	}
}

func TestWritevAllocations(t *testing.T) {
	f := mustOpen(t, vfs.OS(), filepath.Join(t.TempDir(), "f"), vfs.Create)
	defer f.Close()
	bufs := [][]byte{make([]byte, 61), make([]byte, 1000)}
	n := testing.AllocsPerRun(100, func() {
		if _, err := f.WritevAt(bufs, 0); err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, n, 1.0)
}

func BenchmarkWritev(b *testing.B) {
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS(), "mem": vfs.NewMem()} {
		b.Run(name, func(b *testing.B) {
			dir := "/"
			if name == "os" {
				dir = b.TempDir()
			}
			f, err := fsys.Open(filepath.Join(dir, "f"), vfs.Create)
			require.NoError(b, err)
			defer f.Close()
			bufs := [][]byte{make([]byte, 61), make([]byte, 64<<10-61)}
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := f.WritevAt(bufs, off); err != nil {
					b.Fatal(err)
				}
				if off += 64 << 10; off >= 256<<20 {
					off = 0
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkSyncInto appends 16 KiB and syncs, into a file that grows, into blocks that Preallocate reserved, and into blocks that hold zeros already.
func BenchmarkSyncInto(b *testing.B) {
	const size = 64 << 20
	p := make([]byte, 16<<10)
	for _, c := range []struct {
		name    string
		prepare func(f vfs.File) error
	}{
		{"growing", func(vfs.File) error { return nil }},
		{"preallocated", func(f vfs.File) error { return f.Preallocate(0, size) }},
		{"written", func(f vfs.File) error {
			_, err := f.WriteAt(make([]byte, size), 0)
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, err := vfs.OS().Open(filepath.Join(b.TempDir(), "f"), vfs.Create)
			require.NoError(b, err)
			defer f.Close()
			require.NoError(b, c.prepare(f))
			require.NoError(b, f.Sync())
			b.SetBytes(int64(len(p)))
			off := int64(0)
			for b.Loop() {
				if off == size {
					b.StopTimer()
					off = 0
					require.NoError(b, f.Truncate(0))
					require.NoError(b, c.prepare(f))
					require.NoError(b, f.Sync())
					b.StartTimer()
				}
				if _, err := f.WriteAt(p, off); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				off += int64(len(p))
			}
		})
	}
}
