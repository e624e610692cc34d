package segment

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testMillis = 0x18BCFE56800 // 2023-11-14T22:13:20Z

// batchAt builds a batch of n one-byte records at an offset, with one timestamp.
func batchAt(tb testing.TB, offset int64, n int, millis int64) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	for range n {
		b.Append(&record.Record{Value: []byte("v"), Timestamp: time.UnixMilli(millis)})
	}
	out, err := b.Build(nil)
	require.NoError(tb, err)
	record.Batch(out).PutBaseOffset(offset)
	record.Batch(out).PutLeaderEpoch(1)
	return out
}

func testConfig(fsys vfs.FS) Config {
	return Config{FS: fsys, Dir: "/d", IndexIntervalBytes: 100, MaxIndexBytes: 1 << 20}
}

func newDisk(tb testing.TB) *vfs.Mem {
	tb.Helper()
	m := vfs.NewMem()
	require.NoError(tb, m.MkdirAll("/d"))
	return m
}

func fileHex(tb testing.TB, fsys vfs.FS, name string) string {
	tb.Helper()
	b, err := readFile(fsys, "/d/"+name)
	require.NoError(tb, err)
	return hex.EncodeToString(b)
}

// TestGoldenFiles writes a segment and compares its index files with bytes written by hand from Kafka's rules: an entry for the batch that comes when more than
// the interval has been written since the last entry, the first batch never; the final time entry at the end.
func TestGoldenFiles(t *testing.T) {
	m := newDisk(t)
	s, err := Create(testConfig(m), 100)
	require.NoError(t, err)
	// A batch of n such records has 61+8n bytes.
	for _, b := range []record.Batch{
		batchAt(t, 100, 1, testMillis),   // [0, 69)
		batchAt(t, 101, 1, testMillis+5), // [69, 138)
		batchAt(t, 102, 3, testMillis+3), // [138, 223): 138 bytes since the start, so an entry
		batchAt(t, 105, 1, testMillis+9), // [223, 292)
		batchAt(t, 106, 1, testMillis+4), // [292, 361): 154 bytes since the entry
		batchAt(t, 107, 1, testMillis+9), // [361, 430): not above the largest so far
		batchAt(t, 108, 1, testMillis+12),
	} {
		require.NoError(t, s.Append(nil, b, Ahead{Synced: 1 << 16}))
	}
	require.NoError(t, s.AddAborted(AbortedTxn{ProducerID: 7, FirstOffset: 101, LastOffset: 106, LastStableOffset: 107}))
	require.NoError(t, s.Seal())
	require.NoError(t, s.Sync(true))
	assert.Equal(t, "00000004"+"0000008a"+ // offset 104 at 138
		"00000006"+"00000124"+ // offset 106 at 292
		"00000008"+"000001ae", // offset 108 at 430
		fileHex(t, m, "00000000000000000100.index"))
	assert.Equal(t, "0000018bcfe56805"+"00000001"+ // 101 has the largest timestamp up to 104
		"0000018bcfe56809"+"00000005"+ // 105 up to 106
		"0000018bcfe5680c"+"00000008",
		fileHex(t, m, "00000000000000000100.timeindex"))
	assert.Equal(t, "0000"+"0000000000000007"+"0000000000000065"+"000000000000006a"+"000000000000006b",
		fileHex(t, m, "00000000000000000100.txnindex"))
	log, err := readFile(m, "/d/00000000000000000100.log")
	require.NoError(t, err)
	assert.Len(t, log, 499, "without what was written ahead")
	require.NoError(t, s.Release())
}

func TestFileNames(t *testing.T) {
	assert.Equal(t, "00000000000000004711.log", FileName(4711, LogSuffix))
	for _, c := range []struct {
		name   string
		base   int64
		suffix string
		ok     bool
	}{
		{"00000000000000004711.log", 4711, ".log", true},
		{"09223372036854775807.timeindex", math.MaxInt64, ".timeindex", true},
		{"09223372036854775808.log", 0, "", false},
		{"4711.log", 0, "", false},
		{"0000000000000000471x.log", 0, "", false},
		{"00000000000000004711log", 0, "", false},
		{"00000000000000004711", 0, "", false},
		{"+0000000000000004711.log", 0, "", false},
	} {
		base, suffix, ok := ParseFileName(c.name)
		assert.Equal(t, c.ok, ok, c.name)
		assert.Equal(t, c.base, base, c.name)
		assert.Equal(t, c.suffix, suffix, c.name)
	}
}

func TestParseTxnIndex(t *testing.T) {
	entry := func(producer, first, last, lso int64) string {
		return string(AbortedTxn{producer, first, last, lso}.AppendTo(nil))
	}
	for _, c := range []struct {
		name, data string
		n          int
		ok         bool
	}{
		{"empty", "", 0, true},
		{"one", entry(1, 90, 105, 106), 1, true},
		{"two", entry(1, 90, 105, 106) + entry(2, 104, 110, 111), 2, true},
		{"torn", entry(1, 90, 105, 106)[:33], 0, false},
		{"falling", entry(1, 90, 105, 106) + entry(2, 91, 105, 106), 0, false},
		{"marker below the segment", entry(1, 90, 99, 106), 0, false},
		{"zeros", strings.Repeat("\x00", 34), 0, false},
		{"version", "\x00\x01" + entry(1, 90, 105, 106)[2:], 0, false},
	} {
		list, err := parseTxnIndex([]byte(c.data), 100, 200)
		assert.Equal(t, c.ok, err == nil, "%s: %v", c.name, err)
		assert.Len(t, list, c.n, c.name)
	}
	_, err := parseTxnIndex(make([]byte, 34), 0, 200)
	assert.Error(t, err, "zeros are no transaction, in the first segment either")
}

// TestReadEverywhere reads from every offset to every end with several limits, through the tail and through the index.
func TestReadEverywhere(t *testing.T) {
	var batches []record.Batch
	for offset, n := int64(100), 1; len(batches) < 30; n = n%3 + 1 {
		if len(batches)%7 == 3 {
			offset += 2 // a gap, as compaction leaves them
		}
		b := batchAt(t, offset, n, testMillis)
		batches = append(batches, b)
		offset = b.NextOffset()
	}
	readEverywhere(t, batches, testConfig(newDisk(t)))
}

// TestReadEverywhereLarge is TestReadEverywhere with some batches larger than all that is read of headers at once, and small ones in between.
func TestReadEverywhereLarge(t *testing.T) {
	var batches []record.Batch
	offset := int64(100)
	for i := range 30 {
		size := []int{1, 1, 1500, 1, 9000, 1, 1, 1, 5000, 40000}[i%10] + i
		b := record.NewBuilder(record.BuilderConfig{})
		b.Append(&record.Record{Value: make([]byte, size), Timestamp: time.UnixMilli(testMillis)})
		out, err := b.Build(nil)
		require.NoError(t, err)
		record.Batch(out).PutBaseOffset(offset)
		batches = append(batches, out)
		offset++
	}
	c := testConfig(newDisk(t))
	c.IndexIntervalBytes = 4096
	readEverywhere(t, batches, c)
}

// readEverywhere writes batches into a segment and reads it in all ways.
func readEverywhere(t *testing.T, batches []record.Batch, c Config) {
	first := batches[0].BaseOffset()
	s, err := Create(c, first)
	require.NoError(t, err)
	pos := []int64{0}
	for _, b := range batches {
		require.NoError(t, s.Append(nil, b, Ahead{}))
		pos = append(pos, pos[len(pos)-1]+int64(len(b)))
	}
	end := s.EndOffset()
	check := func(t *testing.T, s *Segment) {
		for from := first; from <= end; from++ {
			i := 0
			for i < len(batches) && batches[i].NextOffset() <= from {
				i++
			}
			limits := []int{0, 1, 80, 200, 1000, 1 << 20}
			if i < len(batches) {
				limits = append(limits, len(batches[i])-1, len(batches[i]), len(batches[i])+1)
			}
			for to := from; to <= end+1; to += 1 + to%3 {
				for _, limit := range limits {
					for _, one := range []bool{false, true} {
						j := i
						for j < len(batches) && batches[j].NextOffset() <= to && (pos[j+1]-pos[i] <= int64(limit) || one && j == i) {
							j++
						}
						sl, err := s.Read(from, to, limit, one)
						require.NoError(t, err)
						require.Equal(t, int(pos[j]-pos[i]), sl.Len(), "from %d to %d limit %d one %v", from, to, limit, one)
						if sl.Len() > 0 {
							_, at := sl.Location()
							require.Equal(t, pos[i], at)
							require.Equal(t, batches[i].BaseOffset(), sl.BaseOffset())
							sl.Release()
						}
					}
				}
			}
		}
	}
	t.Run("written", func(t *testing.T) { check(t, s) })
	require.NoError(t, s.Seal())
	size := s.SizeBytes()
	t.Run("sealed", func(t *testing.T) { check(t, OpenSealed(c, first, size, end)) })
	t.Run("activated", func(t *testing.T) {
		a := OpenSealed(c, first, size, math.MaxInt64)
		require.NoError(t, a.Activate(size))
		require.Equal(t, end, a.EndOffset())
		check(t, a)
	})
	t.Run("without index", func(t *testing.T) {
		require.NoError(t, c.FS.Remove("/d/"+FileName(first, OffsetIndexSuffix)))
		check(t, OpenSealed(c, first, size, end))
	})
}

// TestTail compares the tail with a list, while it wraps around.
func TestTail(t *testing.T) {
	tl := newTail(8, boundary{10, 0})
	all := []boundary{{10, 0}}
	for i := range int64(40) {
		b := boundary{all[i].offset + 1 + i%3, all[i].pos + 10 + i}
		tl.push(b.offset-1, b.offset, b.pos)
		all = append(all, b)
		require.Equal(t, b, tl.latest())
		for offset := int64(9); offset <= b.offset+1; offset++ {
			want := -1
			for k := range all {
				if all[k].offset <= offset {
					want = k
				}
			}
			got, base, ok := tl.floor(offset)
			if known := len(all) - want; want < 0 || known > 7 {
				require.False(t, ok, "offset %d of %v", offset, all)
				continue
			}
			require.True(t, ok)
			require.Equal(t, all[want], got)
			if want+1 < len(all) {
				require.Equal(t, all[want+1].offset-1, base)
			}
			got, _, ok = tl.floorPosition(all[want].pos + 1)
			require.True(t, ok)
			require.Equal(t, all[want], got)
		}
	}
}

// TestRecoverCutsTornTail writes batches, damages the file at every position, and recovers with every synced point.
func TestRecoverCutsTornTail(t *testing.T) {
	whole := newDisk(t)
	s, err := Create(testConfig(whole), 0)
	require.NoError(t, err)
	var ends []boundary
	for offset := int64(0); offset < 12; offset += 2 {
		require.NoError(t, s.Append(nil, batchAt(t, offset, 2, testMillis+offset), Ahead{}))
		ends = append(ends, boundary{s.EndOffset(), s.SizeBytes()})
	}
	require.NoError(t, s.Sync(true))
	require.NoError(t, whole.SyncDir("/d"))
	require.NoError(t, whole.SyncDir("/"))
	original, err := readFile(whole, s.Path())
	require.NoError(t, err)
	for at := int64(0); at < s.SizeBytes(); at += 3 {
		for _, synced := range []int64{0, 2, 6, 12} {
			for _, kind := range []string{"cut", "zero", "flip"} {
				t.Run(fmt.Sprintf("%s at %d synced %d", kind, at, synced), func(t *testing.T) {
					m := whole.Clone()
					at := at
					for kind == "zero" && at < s.SizeBytes()-1 && original[at] == 0 {
						at++ // where zeros make a difference
					}
					damage(t, m, kind, at)
					// The last boundary at or below the damage is where the good batches end.
					good := boundary{}
					for _, b := range ends {
						if b.pos <= at {
							good = b
						}
					}
					in := at - good.pos
					free := kind == "flip" && (in < 8 || in >= 12 && in < 16) // base offset and leader epoch are not under the CRC
					r := OpenSealed(testConfig(m), 0, s.SizeBytes(), math.MaxInt64)
					defer r.Release()
					var seen []int64
					res, err := r.Recover(synced, func(b record.Batch) error { seen = append(seen, b.BaseOffset()); return nil })
					switch {
					case free:
						// An offset that still fits is believed; one that does not ends the log, or is damage.
					case good.offset < synced && err == nil:
						// Below the synced point only the walk from batch to batch looks, and nothing is cut.
						require.NotEqual(t, "cut", kind)
						require.GreaterOrEqual(t, r.EndOffset(), synced)
						require.Greater(t, fileSize(t, m), at)
					case good.offset < synced:
						_, ok := err.(*CorruptError)
						require.True(t, ok, "%v", err)
						require.Equal(t, damagedSize(kind, at, s), fileSize(t, m))
					default:
						require.NoError(t, err)
						require.Equal(t, good.offset, r.EndOffset())
						require.Equal(t, good.pos, fileSize(t, m))
						require.Equal(t, int((good.offset-synced)/2), len(seen))
						require.Equal(t, damagedSize(kind, at, s)-good.pos, res.CutBytes+res.ZeroBytes)
						require.Equal(t, res.CutBytes > 0, res.Reason != nil)
						if kind == "zero" && at == good.pos {
							require.Zero(t, res.CutBytes)
						}
					}
				})
			}
		}
	}
}

func damagedSize(kind string, at int64, s *Segment) int64 {
	if kind == "cut" {
		return at
	}
	return s.SizeBytes()
}

func damage(t *testing.T, m *vfs.Mem, kind string, at int64) {
	name := "/d/" + FileName(0, LogSuffix)
	f, err := m.Open(name, vfs.ReadWrite)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	switch kind {
	case "cut":
		require.NoError(t, f.Truncate(at))
	case "zero":
		_, err = f.WriteAt(make([]byte, size-at), at)
		require.NoError(t, err)
	case "flip":
		require.NoError(t, m.Corrupt(name, at, 0x10))
	}
}

func fileSize(t *testing.T, m *vfs.Mem) int64 {
	info, err := m.Stat("/d/" + FileName(0, LogSuffix))
	require.NoError(t, err)
	return info.Size()
}
