package log

import (
	"bytes"
	"testing"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// FuzzOpen opens a log on arbitrary files, cleanly stopped or not, and reads, appends and closes if it opens: no panic, no endless loop, and a log that
// opened once opens again with the same end.
func FuzzOpen(f *testing.F) {
	b := batchOf(f, "a", "b")
	two := append(bytes.Clone(b), b.Clone()...)
	snapshot := encodeSnapshot([]*producerEntry{{id: 1, txnFirst: -1}})
	f.Add([]byte(two), []byte{}, []byte{}, []byte{}, snapshot, []byte("0\n1\n0 0\n"), []byte("0\n1\nt 0 1\n"), uint16(2), true)
	f.Add([]byte(b), []byte{0, 0, 0, 1, 0, 0, 0, 9}, make([]byte, 24), make([]byte, 34), []byte{}, []byte("0\n0\n"), []byte("0\n0\n"), uint16(0), false)
	f.Fuzz(func(t *testing.T, data, index, timeindex, txnindex, snapshot, epochs, points []byte, at uint16, clean bool) {
		fsys := vfs.NewMem()
		if err := fsys.MkdirAll("/t-0"); err != nil {
			t.Fatal(err)
		}
		put := func(name string, b []byte) {
			if err := writeSmallFile(fsys, "/t-0/"+name, b); err != nil {
				t.Fatal(err)
			}
		}
		put(segment.FileName(0, ".log"), data)
		put(segment.FileName(0, ".index"), index)
		put(segment.FileName(0, ".timeindex"), timeindex)
		put(segment.FileName(0, ".txnindex"), txnindex)
		put(segment.FileName(int64(at), snapshotSuffix), snapshot)
		put(epochsFile, epochs)
		put(recoveryPointFile, points)
		if clean {
			put(cleanFile, []byte(`{"version":0,"brokerEpoch":1}`))
		}
		l, err := Open("/t-0", Config{FS: fsys})
		if err != nil {
			return
		}
		drain(l)
		l.OffsetForTime(0, 1<<62)
		l.MaxTimestamp(1 << 62)
		l.AbortedTxns(nil, 0, 1<<62)
		if _, err := l.Append(batchOf(t, "x"), AppendOptions{Now: testTime, LeaderEpoch: 1 << 30}); err != nil {
			t.Fatal(err)
		}
		end := l.Offsets().LogEndOffset
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = Open("/t-0", Config{FS: fsys}); err != nil {
			t.Fatal(err)
		}
		if got := l.Offsets().LogEndOffset; got != end {
			t.Fatalf("end %d after %d", got, end)
		}
		l.Close()
	})
}
