package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

func TestGuardPassesResultsAndPanics(t *testing.T) {
	ran := false
	require.NoError(t, vfs.Guard(func() { ran = true }))
	require.True(t, ran)
	require.PanicsWithValue(t, "mine", func() { _ = vfs.Guard(func() { panic("mine") }) })

	var p *[4]byte
	func() {
		defer func() {
			err, ok := recover().(runtime.Error)
			require.True(t, ok, "a nil dereference is a bug, not a fault of the disk")
			require.ErrorContains(t, err, "nil pointer")
		}()
		_ = vfs.Guard(func() { p[1] = 1 })
	}()
	require.Panics(t, func() { _ = vfs.Guard(func() { _ = make([]byte, 1)[len(os.Args)+5] }) })

	require.False(t, debug.SetPanicOnFault(false), "Guard restores the goroutine's setting")
	debug.SetPanicOnFault(true)
	require.NoError(t, vfs.Guard(func() {}))
	require.True(t, debug.SetPanicOnFault(false))
}

func TestGuardAllocatesNothing(t *testing.T) {
	b := make([]byte, 10)
	n := testing.AllocsPerRun(100, func() {
		_ = vfs.Guard(func() { b[0]++ })
	})
	require.Zero(t, n)
}

// TestFault_F45_ShortenedFile: without Guard this test would not fail, it would end the test process.
func TestFault_F45_ShortenedFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mappings are buffers there
	}
	name := filepath.Join(t.TempDir(), "f")
	f := mustOpen(t, vfs.OS(), name, vfs.Create)
	require.NoError(t, f.Preallocate(0, 1<<16))
	m, err := f.Map(1 << 16)
	require.NoError(t, err)
	m.Bytes()[1<<15] = 7
	require.NoError(t, os.Truncate(name, 4096))

	touched := 0
	sum := byte(0)
	for _, touch := range []func(){
		func() { sum += m.Bytes()[1<<15] },
		func() { m.Bytes()[1<<15] = 1 },
		func() { copy(m.Bytes()[1<<15:], "xyz") },
		func() { copy(make([]byte, 1<<16), m.Bytes()) },
	} {
		err := vfs.Guard(func() {
			touched++
			touch()
			touched += 100
		})
		fault, ok := errors.AsType[*vfs.FaultError](err)
		require.True(t, ok, "%v", err)
		require.NotZero(t, fault.Addr)
		require.ErrorContains(t, err, "address 0x")
	}
	require.Equal(t, 4, touched)
	require.NoError(t, vfs.Guard(func() { sum += m.Bytes()[0] }), "what is left of the file still works")
	require.NoError(t, m.Close())
	require.NoError(t, f.Close())
	_ = sum
}

func BenchmarkGuard(b *testing.B) {
	p := make([]byte, 10)
	b.ReportAllocs()
	for b.Loop() {
		_ = vfs.Guard(func() { p[0]++ })
	}
}
