package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/internal/vfs/vfstest"
)

func TestOS(t *testing.T) {
	vfstest.Test(t,
		func(*testing.T) vfs.FS { return vfs.OS() },
		func(t *testing.T, _ vfs.FS) string { return filepath.ToSlash(t.TempDir()) })
}

func TestMem(t *testing.T) {
	for _, dir := range []string{"/", "", "/data/node-1", "data"} {
		t.Run(dir, func(t *testing.T) {
			vfstest.Test(t,
				func(*testing.T) vfs.FS { return vfs.NewMem() },
				func(t *testing.T, fsys vfs.FS) string {
					require.NoError(t, fsys.MkdirAll(dir))
					return dir
				})
		})
	}
}
