package log

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

var everyByte = flag.Bool("log.everybyte", false, "damage every byte of every file, not a sample")

// copyOf is another replica: the model's batches.
func (f *life) copyOf(offset, end int64, bytes int) ([]byte, error) {
	var data []byte
	for _, b := range f.batches {
		if b.NextOffset() > offset && b.BaseOffset() < end && (len(data) == 0 || len(data)+len(b) <= bytes) {
			data = append(data, b...)
		}
	}
	return data, nil
}

// wrongReads reads every batch from its offset, as a server does, and counts those that come out otherwise than they were written.
func (f *life) wrongReads() (wrong, refused int) {
	for _, b := range f.batches {
		sl, err := f.l.Read(b.BaseOffset(), b.NextOffset(), 1<<20, true)
		if err == nil {
			var got []byte
			if got, err = sl.Append(nil); err == nil {
				err = sl.Check(got)
			}
			sl.Release()
			if err == nil && len(got) > 0 && string(got) != string(b) {
				wrong++
			}
		}
		if err != nil {
			refused++
		}
	}
	return wrong, refused
}

// TestFault_F13_AnyByteIsFoundAndMended damages one file of a partition at a time: a byte of it, its end, all of it; in a log that is open, or while it is down. The scrub finds it, nothing else than what
// was written is ever read, and with another copy everything is as before. It is the test of F14, too, as far as one replica can be: derived files are made anew.
func TestFault_F13_AnyByteIsFoundAndMended(t *testing.T) {
	disk, f := storedDisk(t, true)
	f.config.KeepDamaged = true
	sealed := disk.Clone()
	require.NoError(t, f.open(sealed))
	got, err := f.l.Scrub(Scrubber{})
	require.NoError(t, err)
	require.Empty(t, got.Damage)
	require.Empty(t, got.Rebuilt, "a sound log")
	require.Greater(t, got.Sealed, 3)
	require.Zero(t, must(f.l.Scrub(Scrubber{})).Sealed, "a second time there is nothing to do")
	require.NoError(t, f.d.Close(3))

	names := map[string]int64{}
	for n, size := range files(t, sealed, "/data/t-0", "") {
		if base := n[strings.LastIndexByte(n, '/')+1:]; base != ".lock" {
			names[n] = size
		}
	}
	for _, suffix := range []string{".log", ".index", ".timeindex", ".txnindex", ".snapshot", ".producers", ".seal", epochsFile, metadataFile} {
		require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(names)), func(n string) bool { return strings.HasSuffix(n, suffix) }), "no %s", suffix)
	}
	rng, runs := rand.New(rand.NewPCG(3, 3)), int64(0)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		size := names[name]
		damages := map[string]func(d *vfs.Mem){"removed": func(d *vfs.Mem) { require.NoError(t, d.Remove(name)) }}
		flip := func(at int64, mask byte) {
			damages[fmt.Sprintf("byte %d ^ %#x", at, mask)] = func(d *vfs.Mem) { require.NoError(t, d.Corrupt(name, at, mask)) }
		}
		if size > 0 {
			damages["cut"] = func(d *vfs.Mem) {
				h, err := d.Open(name, vfs.ReadWrite)
				require.NoError(t, err)
				require.NoError(t, h.Truncate(size/2))
				require.NoError(t, h.Close())
			}
			if strings.HasSuffix(name, "0.log") || strings.HasSuffix(name, metadataFile) {
				for at := range min(size, record.HeaderSize) {
					flip(at, 1<<rng.IntN(8))
				}
			}
			for range 6 {
				flip(rng.Int64N(size), byte(1+rng.IntN(255)))
			}
			if *everyByte {
				for at := range size {
					flip(at, byte(1+rng.IntN(255)))
				}
			}
		}
		for _, what := range slices.Sorted(maps.Keys(damages)) {
			for _, live := range []bool{true, false} {
				if runs++; !sampled(runs, 5) && !*everyByte {
					continue
				}
				if live && what == "cut" && strings.HasSuffix(name, "index") {
					continue // it is mapped: the test's disk does not shorten it, and a read beyond the end is a fault of its own
				}
				t.Run(fmt.Sprintf("%s %s live=%v", strings.TrimPrefix(name, "/data/t-0/"), what, live), func(t *testing.T) {
					g := *f
					g.t = t
					g.mendsAfter(sealed.Clone(), damages[what], live, name)
				})
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (f *life) mendsAfter(d *vfs.Mem, damage func(d *vfs.Mem), live bool, name string) {
	t := f.t
	before := readAll(t, d, name)
	if !live {
		damage(d)
	}
	require.NoError(t, f.open(d))
	defer func() { f.d.Abandon() }()
	if live {
		f.wrongReads() // files are open, indexes mapped
		damage(d)
	}
	wrong, _ := f.wrongReads()
	r, err := f.l.Scrub(Scrubber{})
	require.NoError(t, err)
	after, _ := f.wrongReads()
	require.Zero(t, after, "read, though it was found: %v", r)
	if wrong > 0 {
		t.Logf("%d batches were read wrong before the scrub", wrong)
	}
	if strings.HasSuffix(name, ".log") && len(before) > 0 && live {
		require.NotEmpty(t, len(r.Damage)+len(r.Rebuilt), "not found")
		for _, d := range r.Damage {
			require.Less(t, d.To-d.From, int64(60), "too much")
		}
	}
	require.NoError(t, f.l.Mend(f.copyOf))
	require.Empty(t, f.l.Damage())
	wrong, refused := f.wrongReads()
	require.Zero(t, wrong)
	require.Zero(t, refused)
	f.verifyDamaged(name)
	again, err := f.l.Scrub(Scrubber{})
	require.NoError(t, err)
	require.Empty(t, again.Damage)
	require.Empty(t, again.Rebuilt)
	require.NoError(t, f.d.Close(4))
	require.NoError(t, f.open(d))
	wrong, refused = f.wrongReads()
	require.Zero(t, wrong+refused)
	if now := readAll(t, d, name); !strings.Contains(name, "snapshot") && !strings.Contains(name, "producers") && !strings.HasSuffix(name, "index") {
		n := min(len(before), len(now)) // the last segment may have got a successor
		assert.Equal(t, string(before[:n]), string(now[:n]))
	}
}
