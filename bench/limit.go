package bench

import (
	"hash/crc32"
	"os"
	"sync"
	"testing"

	"github.com/insynclog/insync/log/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// rawFile is the minimal log: write at the end, sync.
type rawFile struct {
	f   *os.File
	end int64
}

func newRawFile(tb testing.TB) *rawFile {
	f, err := os.CreateTemp(tb.TempDir(), "raw")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return &rawFile{f: f}
}

func (r *rawFile) write(tb testing.TB, b []byte) {
	if _, err := r.f.WriteAt(b, r.end); err != nil {
		tb.Fatal(err)
	}
	if r.end += int64(len(b)); r.end > 1<<30 { // as a log rolls
		r.end = 0
	}
}

func (r *rawFile) sync(tb testing.TB) {
	if err := fdatasync(r.f); err != nil {
		tb.Fatal(err)
	}
}

// batchOf encodes n records with values of size bytes.
func batchOf(tb testing.TB, n, size int) record.Batch {
	bld := record.NewBuilder(record.BuilderConfig{})
	value := make([]byte, size)
	for i := range n {
		for j := range value {
			value[j] = byte(i + j*7)
		}
		bld.Append(&record.Record{Value: value})
	}
	b, err := bld.Build(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// batchBytes encodes as many records of size bytes as fit into about total bytes.
func batchBytes(tb testing.TB, total, size int) record.Batch {
	return batchOf(tb, max(1, (total-record.HeaderSize)/(size+8)), size)
}

// replicatedLimit is replication without a broker: whoever produces hands each batch to three goroutines over channels; each takes what is there, up to 512 KiB, checks the CRC, writes and syncs it, and says so. A batch
// counts when all three have said so.
type replicatedLimit struct {
	in  [3]chan record.Batch
	out [3]chan int // batches done
	wg  sync.WaitGroup
}

func newReplicatedLimit(tb testing.TB, durable bool) *replicatedLimit {
	l := &replicatedLimit{}
	for i := range l.in {
		l.in[i], l.out[i] = make(chan record.Batch, 64), make(chan int, 64)
		f := newRawFile(tb)
		l.wg.Go(func() {
			defer close(l.out[i])
			for b := range l.in[i] {
				n, size := 0, 0
				for more := true; more; {
					crc32.Checksum(b[21:], castagnoli)
					f.write(tb, b)
					n, size = n+1, size+len(b)
					if more = size < 512<<10; more {
						select {
						case b, more = <-l.in[i]:
						default:
							more = false
						}
					}
				}
				if durable {
					f.sync(tb)
				}
				l.out[i] <- n
			}
		})
	}
	return l
}

// run sends n batches with at most window of them unconfirmed.
func (l *replicatedLimit) run(n, window int, b record.Batch) {
	var done [3]int
	for sent := 0; min(done[0], done[1], done[2]) < n; {
		for sent < n && sent-min(done[0], done[1], done[2]) < window {
			for i := range l.in {
				l.in[i] <- b
			}
			sent++
		}
		select {
		case k := <-l.out[0]:
			done[0] += k
		case k := <-l.out[1]:
			done[1] += k
		case k := <-l.out[2]:
			done[2] += k
		}
	}
}

func (l *replicatedLimit) close() {
	for i := range l.in {
		close(l.in[i])
	}
	for i := range l.out {
		for range l.out[i] {
		}
	}
	l.wg.Wait()
}
