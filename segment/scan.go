package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// The sizes in bytes of what a scan reads at once: for headers one interval of the index or two, for whole batches more.
const (
	headerScanBytes = 8 << 10
	batchScanBytes  = 256 << 10
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	headerScans = sync.Pool{New: func() any { return &scan{buf: make([]byte, headerScanBytes)} }}
)

// crcFrom is where the bytes under a batch's CRC begin.
const crcFrom = 21

// scan walks the batches of a file from one position to another, reading as little as it can.
type scan struct {
	f      vfs.File
	end    int64 // position where the batches end
	pos    int64 // of the next batch
	expect int64 // lowest offset that the next batch may have
	limit  int64 // highest offset that a batch may end with: an index could not tell of more

	buf    []byte
	step   int // how much to read at once, if it is less than buf; 0 is all of buf
	bufPos int64
	bufLen int
}

// reset starts a walk through the segment of that base at pos; the first batch must not start below the offset expect.
func (sc *scan) reset(f vfs.File, base, pos, end, expect int64) {
	sc.f, sc.pos, sc.end, sc.expect = f, pos, end, expect
	sc.limit = math.MaxInt64 - 1
	if base < sc.limit-math.MaxInt32 {
		sc.limit = base + math.MaxInt32
	}
	sc.bufLen, sc.step = 0, 0
}

// peek returns n bytes at pos, n <= len(buf). The bytes are valid until the next call.
func (sc *scan) peek(pos int64, n int) ([]byte, error) {
	if pos < sc.bufPos || pos+int64(n) > sc.bufPos+int64(sc.bufLen) {
		want := int(min(int64(len(sc.buf)), sc.end-pos))
		if sc.step > 0 {
			want = min(want, max(n, sc.step))
		}
		if want < n {
			return nil, io.ErrUnexpectedEOF
		}
		got, err := sc.f.ReadAt(sc.buf[:want], pos)
		sc.bufPos, sc.bufLen = pos, got
		if got < n {
			return nil, shortRead(got, n, err)
		}
	}
	at := int(pos - sc.bufPos)
	return sc.buf[at : at+n], nil
}

// errEnd says that a walk has come to its end, at a batch boundary.
var errEnd = errors.New("end of segment")

// badBatch says that what lies at the scan's position is no whole batch. It is not an error of the disk.
type badBatch struct{ reason string }

func (e *badBatch) Error() string { return e.reason }

// next returns the header of the batch at pos and its size, and moves behind it. The header is valid until the next call.
// errEnd at the end; *badBatch where no batch can be; else an error of the disk.
func (sc *scan) next() (record.Batch, int64, error) {
	if sc.pos >= sc.end {
		return nil, 0, errEnd
	}
	if sc.end-sc.pos < record.HeaderSize {
		return nil, 0, &badBatch{fmt.Sprintf("%d bytes left, less than a header", sc.end-sc.pos)}
	}
	b, err := sc.peek(sc.pos, record.HeaderSize)
	if err != nil {
		return nil, 0, err
	}
	h := record.Batch(b)
	size, err := record.PeekSize(b)
	switch {
	case err != nil:
		return nil, 0, &badBatch{err.Error()}
	case h.Magic() != 2:
		return nil, 0, &badBatch{fmt.Sprintf("magic %d", h.Magic())}
	case sc.pos+int64(size) > sc.end:
		return nil, 0, &badBatch{fmt.Sprintf("batch of %d bytes, %d left", size, sc.end-sc.pos)}
	case h.BaseOffset() < sc.expect:
		return nil, 0, &badBatch{fmt.Sprintf("base offset %d, expected %d or above", h.BaseOffset(), sc.expect)}
	case h.LastOffsetDelta() < 0 || h.BaseOffset() > sc.limit-int64(h.LastOffsetDelta()):
		return nil, 0, &badBatch{fmt.Sprintf("offsets [%d, +%d], the segment ends at %d at the latest", h.BaseOffset(), h.LastOffsetDelta(), sc.limit)}
	}
	sc.pos += int64(size)
	sc.expect = h.NextOffset()
	return h, int64(size), nil
}

// check compares the CRC of the batch that next just returned. It returns the batch, or only its header if it is larger than the scan's buffer.
func (sc *scan) check(size int64) (record.Batch, error) {
	start := sc.pos - size
	if size <= int64(len(sc.buf)) {
		b, err := sc.peek(start, int(size))
		if err != nil {
			return nil, err
		}
		if err := record.Batch(b).CheckCRC(); err != nil {
			return nil, &badBatch{err.Error()}
		}
		return b, nil
	}
	h, err := sc.peek(start, record.HeaderSize)
	if err != nil {
		return nil, err
	}
	header := record.Batch(append([]byte(nil), h...))
	var sum uint32
	for at := start + crcFrom; at < sc.pos; {
		n := int(min(int64(len(sc.buf)), sc.pos-at))
		b, err := sc.peek(at, n)
		if err != nil {
			return nil, err
		}
		sum = crc32.Update(sum, castagnoli, b)
		at += int64(n)
	}
	if sum != header.CRC() {
		return nil, &badBatch{fmt.Sprintf("crc 0x%08x, the header says 0x%08x", sum, header.CRC())}
	}
	return header, nil
}

// zeros tells whether [pos, end) holds only zeros.
func (sc *scan) zeros(pos, end int64) (bool, error) {
	sc.end = end
	for pos < end {
		n := int(min(int64(len(sc.buf)), end-pos))
		b, err := sc.peek(pos, n)
		if err != nil {
			return false, err
		}
		if !isZero(b) {
			return false, nil
		}
		pos += int64(n)
	}
	return true, nil
}

// header reads the header of the batch at pos.
func (s *Segment) header(pos, end int64) (record.Batch, error) {
	f, err := s.pin()
	if err != nil {
		return nil, err
	}
	defer f.unpin()
	sc := &scan{buf: make([]byte, record.HeaderSize)}
	sc.reset(f, s.base, pos, end, s.base)
	h, _, err := sc.next()
	return h, s.scanError(sc, err)
}

// scanError gives what stopped a scan of stored batches its coordinates. A nil error stays nil.
func (s *Segment) scanError(sc *scan, err error) error {
	if err == nil {
		return nil
	}
	if bad, ok := errors.AsType[*badBatch](err); ok {
		return s.corrupt(sc.pos, sc.expect, bad)
	}
	if errors.Is(err, errEnd) {
		return s.corrupt(sc.pos, sc.expect, io.ErrUnexpectedEOF)
	}
	return storage("read", s.path, err)
}
