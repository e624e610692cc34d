package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each change is made in the runtime of the Go in use, in a file that is written; the same files are found again.
func TestOverlay(t *testing.T) {
	file, err := overlay()
	if errors.Is(err, errAnotherGo) && runtime.Version() != knows {
		t.Skip(err)
	}
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var list struct{ Replace map[string]string }
	require.NoError(t, json.Unmarshal(text, &list))
	assert.Len(t, list.Replace, len(sums))
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

// A runtime that is not the known one to the byte is not changed, nor in part: what is to be changed may be there and mean something else.
func TestAnotherRuntime(t *testing.T) {
	root, err := goroot()
	require.NoError(t, err)
	other := t.TempDir()
	_, err = changed(other)
	require.ErrorIs(t, err, errAnotherGo)
	for name := range sums {
		text, err := os.ReadFile(filepath.Join(root, "src", filepath.FromSlash(name)))
		require.NoError(t, err)
		file := filepath.Join(other, "src", filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, text, 0o644))
	}
	_, err = changed(other)
	if errors.Is(err, errAnotherGo) && runtime.Version() != knows {
		t.Skip(err)
	}
	require.NoError(t, err)
	for name := range sums {
		file := filepath.Join(other, "src", filepath.FromSlash(name))
		was, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(was, "// a line more\n"...), 0o644))
		_, err = changed(other)
		require.ErrorIs(t, err, errAnotherGo, name)
		require.ErrorContains(t, err, file)
		crlf := bytes.ReplaceAll(bytes.ReplaceAll(was, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")) // as git makes it on Windows
		require.NoError(t, os.WriteFile(file, crlf, 0o644))
		_, err = changed(other)
		require.NoError(t, err, name)
	}
}
