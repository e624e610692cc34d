//go:build !linux

package bench

import (
	"os"
	"time"
)

func fdatasync(f *os.File) error { return f.Sync() }

func cpuTime() time.Duration { return 0 }

func residentMemory(int) int64 { return 0 }

func beNice() {}
