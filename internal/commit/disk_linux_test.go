package commit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/insynclog/insync/internal/vfs"
)

// BenchmarkDirtyFiles compares ways to make many files durable at once: a round writes 1 KiB to each of so many files, whose blocks are written already, and syncs them. It is what chose the engine's
// strategy: a call for each file by so many workers, one call for the whole file system, or a journal that all share (one file of 1 KiB per log and one sync, not counting what it takes to write the logs later).
func BenchmarkDirtyFiles(b *testing.B) {
	for _, grow := range []bool{false, true} {
		for _, n := range []int{1, 10, 100, 500} {
			files := openFiles(b, n, grow)
			name := fmt.Sprintf("files=%d", n)
			if grow {
				name += "/growing"
			}
			p := make([]byte, 1<<10)
			round := 0
			write := func(b *testing.B) {
				for _, f := range files {
					_, err := f.WriteAt(p, int64(round*len(p)))
					require.NoError(b, err)
				}
				if round++; !grow {
					round %= fileSize / len(p)
				}
			}
			for _, workers := range []int{1, 4, 16, 64} {
				if workers > 4*n {
					continue
				}
				b.Run(fmt.Sprintf("%s/fdatasync/workers=%d", name, workers), func(b *testing.B) {
					for b.Loop() {
						write(b)
						syncBy(workers, files)
					}
				})
			}
			b.Run(name+"/syncfs", func(b *testing.B) {
				dir, err := os.Open(filepath.Dir(files[0].OS().Name()))
				require.NoError(b, err)
				defer dir.Close()
				for b.Loop() {
					write(b)
					require.NoError(b, unix.Syncfs(int(dir.Fd())))
				}
			})
			b.Run(name+"/journal", func(b *testing.B) {
				j := openFiles(b, 1, grow)[0]
				all := make([]byte, n<<10)
				at := int64(0)
				for b.Loop() {
					write(b)
					_, err := j.WriteAt(all, at)
					require.NoError(b, err)
					require.NoError(b, j.Sync())
					if at += int64(len(all)); !grow && at+int64(len(all)) > fileSize {
						at = 0
					}
				}
			})
		}
	}
}

const fileSize = 1 << 20

func openFiles(b *testing.B, n int, grow bool) []vfs.File {
	b.Helper()
	dir := b.TempDir()
	files := make([]vfs.File, n)
	for i := range files {
		f, err := vfs.OS().Open(filepath.Join(dir, fmt.Sprint(i)), vfs.Create)
		require.NoError(b, err)
		b.Cleanup(func() { f.Close() })
		if !grow {
			_, err = f.WriteAt(make([]byte, fileSize), 0)
			require.NoError(b, err)
		}
		require.NoError(b, f.Sync())
		files[i] = f
	}
	return files
}

func syncBy(workers int, files []vfs.File) {
	var wg sync.WaitGroup
	next := make(chan vfs.File, len(files))
	for _, f := range files {
		next <- f
	}
	close(next)
	for range workers {
		wg.Go(func() {
			for f := range next {
				if err := f.Sync(); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
}
