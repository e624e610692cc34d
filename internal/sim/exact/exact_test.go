package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each change is made in the runtime of the Go in use, in a file that is written; the same files are found again.
func TestOverlay(t *testing.T) {
	if !strings.HasPrefix(runtime.Version(), "go1.26") {
		t.Skipf("%s: the changes are of %s", runtime.Version(), knows)
	}
	file, err := overlay()
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var list struct{ Replace map[string]string }
	require.NoError(t, json.Unmarshal(text, &list))
	root, err := goroot()
	require.NoError(t, err)
	for _, c := range changes {
		name := filepath.Join(root, "src", filepath.FromSlash(c.file))
		was, err := os.ReadFile(name)
		require.NoError(t, err)
		is, err := os.ReadFile(list.Replace[name])
		require.NoError(t, err)
		assert.Contains(t, string(is), c.to)
		assert.NotContains(t, string(was), c.to)
	}
	again, err := overlay()
	require.NoError(t, err)
	assert.Equal(t, file, again)
}

// A runtime that is not as expected is not changed in half.
func TestAnotherRuntime(t *testing.T) {
	root := t.TempDir()
	for _, c := range changes {
		file := filepath.Join(root, "src", filepath.FromSlash(c.file))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte("package p\n"), 0o644))
	}
	_, err := changed(root)
	require.ErrorContains(t, err, knows)
	_, err = changed(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}
