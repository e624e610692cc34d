package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// storedDisk is a disk with a log of some segments, synced and, if clean, closed.
func storedDisk(t *testing.T, clean bool) (*vfs.Mem, *life) {
	f := newLife(t, 11)
	f.config.SegmentBytes, f.config.IndexIntervalBytes, f.config.SegmentIndexBytes = 3000, 150, 4096
	disk := vfs.NewMem()
	require.NoError(t, f.open(disk))
	for i := range 60 {
		require.NoError(t, f.append())
		if i%20 == 10 {
			f.epoch++
			require.NoError(t, f.l.StartEpoch(f.epoch))
		}
	}
	_, err := f.l.Sync()
	require.NoError(t, err)
	f.synced = f.end
	if clean {
		require.NoError(t, f.d.Close(3))
		return disk, f
	}
	require.NoError(t, f.d.Checkpoint(context.Background()))
	after := disk.Crash(vfs.KeepAll, nil)
	f.d.Abandon()
	return after, f
}

// files lists the files of the partition whose name has the suffix, with their sizes.
func files(t *testing.T, disk *vfs.Mem, dir, suffix string) map[string]int64 {
	list, err := disk.ReadDir(dir)
	require.NoError(t, err)
	m := map[string]int64{}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), suffix) && !e.IsDir() {
			info, err := e.Info()
			require.NoError(t, err)
			m[dir+"/"+e.Name()] = info.Size()
		}
	}
	return m
}

// TestDerivedFilesAreRebuilt damages, cuts or removes each file that can be made anew, at many places, after a clean stop and after a crash: the
// log opens as if nothing had happened.
func TestDerivedFilesAreRebuilt(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, f := storedDisk(t, clean)
		names := map[string]int64{}
		for _, suffix := range []string{".index", ".timeindex", ".txnindex", ".snapshot", ".producers", epochsFile} {
			for n, size := range files(t, disk, "/data/t-0", suffix) {
				names[n] = size
			}
		}
		for n, size := range files(t, disk, "/data", "-checkpoint") {
			names[n] = size
		}
		require.Greater(t, len(names), 10)
		rng := rand.New(rand.NewPCG(1, 1))
		for _, name := range slices.Sorted(maps.Keys(names)) {
			size := names[name]
			t.Run(fmt.Sprintf("clean=%v%s", clean, name), func(t *testing.T) {
				damages := map[string]func(d *vfs.Mem){"remove": func(d *vfs.Mem) { require.NoError(t, d.Remove(name)) }}
				for range few(8, 2) {
					if size == 0 {
						break
					}
					at, mask := rng.Int64N(size), byte(1+rng.IntN(255))
					damages[fmt.Sprintf("flip %d ^%d", at, mask)] = func(d *vfs.Mem) { require.NoError(t, d.Corrupt(name, at, mask)) }
					damages[fmt.Sprintf("cut %d", at)] = func(d *vfs.Mem) {
						h, err := d.Open(name, vfs.ReadWrite)
						require.NoError(t, err)
						require.NoError(t, h.Truncate(at))
						require.NoError(t, h.Close())
					}
				}
				for what, damage := range damages {
					t.Run(what, func(t *testing.T) {
						d := disk.Clone()
						damage(d)
						g := *f
						g.t = t
						g.sequence, g.inTxn = map[int64]int32{}, map[int64]bool{}
						require.NoError(t, g.open(d))
						defer g.d.Abandon()
						g.verifyDamaged(name)
					})
				}
			})
		}
	}
}

// verifyDamaged is verify as far as the damaged file may matter: all batches, found from everywhere, and what is derived from them.
func (f *life) verifyDamaged(name string) {
	f.relearn()
	require.Equal(f.t, f.end, f.l.Offsets().LogEndOffset)
	for _, b := range f.batches {
		sl, err := f.l.Read(b.LastOffset(), math.MaxInt64, 1, true)
		require.NoError(f.t, err)
		got, err := sl.Append(nil)
		sl.Release()
		require.NoError(f.t, err)
		require.Equal(f.t, []byte(b), got)
	}
	f.verifyTimes()
	for _, b := range f.batches {
		epoch, ok := f.l.EpochAt(b.BaseOffset())
		require.True(f.t, ok)
		require.Equal(f.t, b.LeaderEpoch(), epoch)
	}
}

// TestDamageBelowRecoveryPointIsReported flips bytes of synced batches: opening or reading says so, and the file stays as it is.
func TestDamageBelowRecoveryPointIsReported(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, f := storedDisk(t, clean)
		rng := rand.New(rand.NewPCG(2, 2))
		logs := files(t, disk, "/data/t-0", ".log")
		for _, name := range slices.Sorted(maps.Keys(logs)) {
			size := logs[name]
			if size == 0 {
				continue
			}
			for range 100 {
				at, mask := rng.Int64N(size), byte(1+rng.IntN(255))
				t.Run(fmt.Sprintf("clean=%v%s@%d^%d", clean, name, at, mask), func(t *testing.T) {
					d := disk.Clone()
					before := readAll(t, d, name)
					if at >= int64(len(before)) || !inBatches(before, at) {
						return
					}
					require.NoError(t, d.Corrupt(name, at, mask))
					damaged := readAll(t, d, name)
					g := *f
					g.t = t
					err := g.open(d)
					if err == nil {
						_, err = drain(g.l)
						g.d.Abandon()
					}
					require.Error(t, err)
					var corrupt *CorruptError
					require.True(t, errors.As(err, &corrupt), "%v", err)
					assert.Equal(t, damaged, readAll(t, d, name)[:len(damaged)], "the file was changed")
				})
			}
		}
	}
}

// inBatches tells whether position at is in a batch, and in a place that the CRC or the walk from batch to batch protects: all but the leader epoch and
// offsets that still rise.
func inBatches(b []byte, at int64) bool {
	pos := int64(0)
	for batch, err := range record.Batches(b) {
		if err != nil {
			return false
		}
		if at < pos+int64(len(batch)) {
			in := at - pos
			return in >= 16 || in >= 8 && in < 12
		}
		pos += int64(len(batch))
	}
	return false
}

// drain reads all records.
func drain(l *Log) (n int, err error) {
	for _, err := range l.Records(context.Background(), l.Offsets().LogStartOffset) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func readAll(t *testing.T, d vfs.FS, name string) []byte {
	b, err := readSmallFile(d, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return b
}
