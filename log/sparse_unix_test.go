//go:build unix

package log

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireSparse skips where a file's holes take space.
func requireSparse(t *testing.T, dir string, size int64) {
	name := filepath.Join(dir, "sparse")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer os.Remove(name)
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Skipf("NOT TESTED: no file of %d bytes here: %v", size, err)
	}
	info, err := f.Stat()
	require.NoError(t, err)
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Blocks*512 > size/100 {
		t.Skip("NOT TESTED: the file system has no sparse files")
	}
}
