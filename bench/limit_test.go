package bench

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/insynclog/insync/log/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// rawRoll is the size at which a raw file begins anew and a log gets its next segment.
const rawRoll = 1 << 30

// crcFrom is where the bytes begin that a batch's CRC covers.
const crcFrom = 21

// rawFile is the minimal log: take the CRC, write at the end, sync.
type rawFile struct {
	dir  string
	f    *os.File
	size int64 // at which it rolls
	end  int64
	buf  []byte
}

func newRawFile(tb testing.TB) *rawFile {
	r := &rawFile{dir: tb.TempDir(), size: rawRoll}
	if err := r.roll(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.f.Close() })
	return r
}

// roll begins a new file, as a log begins a new segment, so that the file always grows.
func (r *rawFile) roll() error {
	if r.f != nil {
		if err := r.f.Close(); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(r.dir, "raw")
	r.f, r.end = f, 0
	return err
}

// write checks the batch as every replica must, and writes it.
func (r *rawFile) write(b record.Batch) error {
	if r.end+int64(len(b)) > r.size {
		if err := r.roll(); err != nil {
			return err
		}
	}
	if crc32.Checksum(b[crcFrom:], castagnoli) == 0 {
		return errors.New("an unlikely checksum")
	}
	_, err := r.f.WriteAt(b, r.end)
	r.end += int64(len(b))
	return err
}

func (r *rawFile) sync() error { return fdatasync(r.f) }

// scan reads the file from start to end and checks every batch; with records it decodes them, too.
func (r *rawFile) scan(records bool) error {
	if r.buf == nil {
		r.buf = make([]byte, 1<<20)
	}
	for pos := int64(0); pos < r.end; {
		n, err := r.f.ReadAt(r.buf, pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		whole := int64(0)
		for b, err := range record.Batches(r.buf[:n]) {
			if err != nil {
				return err
			}
			if crc32.Checksum(b[crcFrom:], castagnoli) != b.CRC() {
				return errors.New("wrong checksum")
			}
			whole += int64(len(b))
			if !records {
				continue
			}
			if err := walk(b); err != nil {
				return err
			}
		}
		pos += whole
	}
	return nil
}

// walk reads the fields of a batch's uncompressed records, and makes nothing of them.
func walk(b record.Batch) error {
	at := record.HeaderSize
	next := func() int64 {
		v, n := binary.Varint(b[at:])
		at += n
		return v
	}
	for range b.RecordCount() {
		end := next()
		end += int64(at)
		at++                      // attributes
		next()                    // timestamp delta
		next()                    // offset delta
		at += int(max(next(), 0)) // key
		at += int(max(next(), 0)) // value
		if next() != 0 || int64(at) != end {
			return errors.New("not as it was written")
		}
	}
	return nil
}

// payload is a value of so many bytes.
func payload(size int) []byte {
	v := make([]byte, size)
	for i := range v {
		v[i] = byte(i * 7)
	}
	return v
}

// encode encodes n records with values of size bytes.
func encode(n, size int) (record.Batch, error) {
	bld := record.NewBuilder(record.BuilderConfig{})
	value := payload(size)
	for range n {
		bld.Append(&record.Record{Value: value})
	}
	return bld.Build(nil)
}

// batchOf encodes n records with values of size bytes.
func batchOf(tb testing.TB, n, size int) record.Batch {
	b, err := encode(n, size)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// batchBytes encodes as many records of size bytes as fit into about total bytes.
func batchBytes(tb testing.TB, total, size int) record.Batch {
	return batchOf(tb, max(1, (total-record.HeaderSize)/(size+8)), size)
}

// batches is how many batches like b hold n records.
func batches(n int, b record.Batch) int {
	k := int(b.RecordCount())
	return (n + k - 1) / k
}

// limitWindow is how many batches of 64 KiB may be on their way. It is far more than a producer's five requests: the limit is not to wait for anything but the disk.
const limitWindow = 40

// limitRun is how many bytes a replica of the limit writes before it syncs.
const limitRun = 512 << 10

// replicatedLimit is replication without a broker: whoever produces hands each batch to one goroutine per replica over channels; each takes what is there, up to limitRun, checks the CRC, writes and syncs it, and says
// so. A batch counts when all replicas have said so.
type replicatedLimit struct {
	in  []chan record.Batch
	out chan replicaDone
	wg  sync.WaitGroup

	mu  sync.Mutex
	err error
}

// replicaDone says that a replica has finished so many batches.
type replicaDone struct{ replica, batches int }

func newReplicatedLimit(tb testing.TB, replicas int, durable bool) *replicatedLimit {
	l := &replicatedLimit{out: make(chan replicaDone, 64*replicas)}
	for i := range replicas {
		in := make(chan record.Batch, 64)
		l.in = append(l.in, in)
		f := newRawFile(tb)
		l.wg.Go(func() {
			for b := range in {
				n, size := 0, 0
				for more := true; more; {
					l.failed(f.write(b))
					n, size = n+1, size+len(b)
					if more = size < limitRun; more {
						select {
						case b, more = <-in:
						default:
							more = false
						}
					}
				}
				if durable {
					l.failed(f.sync())
				}
				l.out <- replicaDone{i, n}
			}
		})
	}
	return l
}

func (l *replicatedLimit) failed(err error) {
	if err != nil {
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
	}
}

// run sends n batches with at most window of them unconfirmed, and waits for the confirmations.
func (l *replicatedLimit) run(n, window int, b record.Batch) error {
	done := make([]int, len(l.in))
	least := 0
	for sent := 0; least < n; {
		for ; sent < n && sent-least < window; sent++ {
			for _, in := range l.in {
				in <- b
			}
		}
		d := <-l.out
		done[d.replica] += d.batches
		least = done[0]
		for _, k := range done {
			least = min(least, k)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *replicatedLimit) close() {
	for _, in := range l.in {
		close(in)
	}
	l.wg.Wait()
}
