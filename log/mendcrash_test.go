package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// TestCrashWhileSealingAndMending ends the life at every operation on the disk of a scrub that seals and of a mend, as a kill or as a power loss: whatever is left opens, nothing wrong is read, and another
// scrub and another copy bring everything back.
func TestCrashWhileSealingAndMending(t *testing.T) {
	disk, f := storedDisk(t, true)
	f.config.KeepDamaged = true
	for _, sealed := range []bool{false, true} {
		start := disk.Clone()
		if sealed {
			require.NoError(t, f.open(start))
			must(f.l.Scrub(Scrubber{}))
			require.NoError(t, f.d.Close(3))
		}
		logs := files(t, start, "/data/t-0", "0.log")
		for name, size := range logs {
			if size > 200 {
				require.NoError(t, start.Corrupt(name, 150, 4))
			}
		}
		rng := rand.New(rand.NewPCG(9, 9))
		crashes := 0
		for step := 1; ; step++ {
			for _, mode := range []vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom} {
				g := *f
				g.t = t
				d := start.Clone()
				require.NoError(t, g.open(d))
				var after *vfs.Mem
				n := 0
				d.SetFault(func(op vfs.Op) error {
					if op.Kind.Changes() || op.Kind == vfs.OpSync {
						if n++; n == step && after == nil {
							after = d.Crash(mode, rng)
						}
					}
					return nil
				})
				_, err := g.l.Scrub(Scrubber{})
				if err == nil {
					err = g.l.Mend(g.copyOf)
				}
				d.SetFault(nil)
				if after == nil {
					require.NoError(t, err)
					g.d.Abandon()
					require.Greater(t, crashes, 50)
					goto next
				}
				crashes++
				g.d.Abandon()
				require.NoError(t, g.open(after), "operation %d, mode %v", step, mode)
				_, err = g.l.Scrub(Scrubber{})
				require.NoError(t, err)
				wrong, _ := g.wrongReads()
				require.Zero(t, wrong)
				require.NoError(t, g.l.Mend(g.copyOf), "operation %d, mode %v", step, mode)
				wrong, refused := g.wrongReads()
				require.Zero(t, wrong+refused, "operation %d, mode %v", step, mode)
				r, err := g.l.Scrub(Scrubber{})
				require.NoError(t, err)
				require.Empty(t, r.Damage)
				require.Empty(t, r.Rebuilt)
				g.d.Abandon()
			}
		}
	next:
	}
}

// TestFault_F16_StaleAndMisplacedBlocksAreFound puts whole batches, good by their CRC, where they do not belong: another log's segment, and an older state of the same file.
func TestFault_F16_StaleAndMisplacedBlocksAreFound(t *testing.T) {
	disk, f := storedDisk(t, true)
	require.NoError(t, f.open(disk))
	must(f.l.Scrub(Scrubber{}))
	require.NoError(t, f.d.Close(3))

	write := func(d *vfs.Mem, name string, at int64, b []byte) {
		h, err := d.Open(name, vfs.ReadWrite)
		require.NoError(t, err)
		_, err = h.WriteAt(b, at)
		require.NoError(t, err)
		require.NoError(t, h.Sync())
		require.NoError(t, h.Close())
	}
	name := "/data/t-0/00000000000000000018.log"
	own := readAll(t, disk, name)
	for what, change := range map[string]func(d *vfs.Mem){
		"a batch with other records": func(d *vfs.Mem) {
			other := append([]byte(nil), own...)
			size := len(f.batchAt(18))
			b := other[:size]
			b[size-1] ^= 1
			fixCRC(b)
			write(d, name, 0, b)
		},
		"another segment's first block": func(d *vfs.Mem) {
			write(d, name, 0, readAll(t, d, "/data/t-0/00000000000000000034.log")[:512])
		},
		"its own first block, at the second's place": func(d *vfs.Mem) { write(d, name, 512, own[:512]) },
		"zeros": func(d *vfs.Mem) { write(d, name, 512, make([]byte, 512)) },
	} {
		t.Run(what, func(t *testing.T) {
			g := *f
			g.t = t
			d := disk.Clone()
			change(d)
			require.NoError(t, g.open(d))
			defer func() { g.d.Abandon() }()
			r := must(g.l.Scrub(Scrubber{}))
			require.NotEmpty(t, r.Damage)
			wrong, _ := g.wrongReads()
			require.Zero(t, wrong)
			require.NoError(t, g.l.Mend(g.copyOf))
			wrong, refused := g.wrongReads()
			require.Zero(t, wrong+refused)
			require.Equal(t, own, readAll(t, d, name))
		})
	}
}

func (f *life) batchAt(offset int64) []byte {
	for _, b := range f.batches {
		if b.BaseOffset() == offset {
			return b
		}
	}
	return nil
}

func fixCRC(b []byte) {
	sum := crc32.Checksum(b[crcFrom:], castagnoli)
	binary.BigEndian.PutUint32(b[crcAt:], sum)
}

// BenchmarkScrub reads a sealed log of 64 MiB; and without its seals, which it then writes.
func BenchmarkScrub(b *testing.B) {
	disk := vfs.NewMem()
	d, err := OpenDirectory("/data", DirectoryConfig{FS: disk, NodeID: 1})
	require.NoError(b, err)
	defer d.Abandon()
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 16 << 20})
	require.NoError(b, err)
	bb := record.NewBuilder(record.BuilderConfig{})
	bb.Append(&record.Record{Value: make([]byte, 16<<10), Timestamp: testTime})
	batch, err := bb.Build(nil)
	require.NoError(b, err)
	for range 4096 {
		_, err := l.Append(batch, AppendOptions{Now: testTime})
		require.NoError(b, err)
	}
	_, err = l.Sync()
	require.NoError(b, err)
	for _, sealed := range []bool{true, false} {
		b.Run(fmt.Sprintf("sealed=%v", sealed), func(b *testing.B) {
			b.SetBytes(l.SizeBytes())
			b.ReportAllocs()
			for b.Loop() {
				if !sealed {
					b.StopTimer()
					for _, s := range *l.segments.Load() {
						require.NoError(b, l.unseal(s))
					}
					b.StartTimer()
				}
				r, err := l.Scrub(Scrubber{})
				require.NoError(b, err)
				require.Empty(b, r.Damage)
			}
		})
	}
}
