package main

import (
	"context"
	"runtime"
	"sync"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

// segmentBytes is the size of a segment of every log that can be told, where nothing is to roll.
const segmentBytes = 1 << 30

// insyncStore is the log of a partition. With encode it is given records and not batches.
type insyncStore struct {
	*log.Log
	durable bool
	encode  *record.Builder
	buf     []byte
	reader  record.Reader
}

func openInsync(dir string, o options) (store, error) {
	l, err := log.Open(dir, log.Config{SegmentBytes: segmentBytes})
	if err != nil {
		return nil, err
	}
	return &insyncStore{Log: l, durable: o.durable}, nil
}

func reopenInsync(dir string) (store, error) { return openInsync(dir, options{durable: true}) }

func openInsyncEncoding(dir string, o options) (store, error) {
	s, err := openInsync(dir, o)
	if err == nil {
		s.(*insyncStore).encode = record.NewBuilder(record.BuilderConfig{})
	}
	return s, err
}

func (s *insyncStore) append(b *batch) error {
	if err := s.write(b); err != nil || !s.durable {
		return err
	}
	_, err := s.Sync()
	return err
}

func (s *insyncStore) write(b *batch) error {
	if s.encode != nil {
		if err := encode(s.encode, b); err != nil {
			return err
		}
		return s.writeBuilt(s.encode)
	}
	_, err := s.Append(b.encoded, log.AppendOptions{Now: stamp})
	return err
}

// encode makes a batch of the records.
func encode(builder *record.Builder, b *batch) error {
	builder.Reset()
	r := record.Record{Timestamp: stamp}
	for _, r.Value = range b.values {
		builder.Append(&r)
	}
	_, err := builder.Batch()
	return err
}

func (s *insyncStore) writeBuilt(builder *record.Builder) error {
	_, err := s.AppendBuilt(builder, log.AppendOptions{Now: stamp})
	return err
}

// shared appends one at a time, as a log wants it, and syncs outside of the lock: the log's own group commit. Encoding is done outside of it, too.
func (s *insyncStore) shared() func(b *batch) error {
	write := locked(s.write)
	if s.encode != nil {
		// As many as can encode at a time, and one whose batch is written: more of them would not fit into the processor's cache.
		builders := make(chan *record.Builder, runtime.GOMAXPROCS(0)+1)
		for range cap(builders) {
			builders <- record.NewBuilder(record.BuilderConfig{})
		}
		var mu sync.Mutex
		small := write // encoding takes less than one more wait would
		write = func(b *batch) error {
			if b.size <= 16<<10 {
				return small(b)
			}
			builder := <-builders
			defer func() { builders <- builder }()
			if err := encode(builder, b); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			return s.writeBuilt(builder)
		}
	}
	return func(b *batch) error {
		if err := write(b); err != nil || !s.durable {
			return err
		}
		_, err := s.Sync()
		return err
	}
}

// readBytes is how much of a log is read at once where that can be told.
const readBytes = 1 << 20

// scan takes whole batches and checks them, as a leader and a follower do. visit gets each batch, encoded.
func (s *insyncStore) scan(visit func(value []byte) bool) error {
	end := s.Offsets().LogEndOffset
	for offset := int64(0); offset < end; {
		sl, err := s.Read(offset, end, readBytes, true)
		if err != nil {
			return err
		}
		s.buf, err = sl.Append(s.buf[:0])
		sl.Release()
		if err != nil {
			return err
		}
		for rest := s.buf; len(rest) > 0; {
			b, next, err := record.Split(rest)
			if err == nil {
				err = b.CheckCRC()
			}
			if err != nil {
				return err
			}
			if !visit(b) {
				return nil
			}
			offset, rest = b.NextOffset(), next
		}
	}
	return nil
}

// find looks a batch up by an offset in it, reads and checks it. It returns the first record that has the offset.
func (s *insyncStore) find(number int) ([]byte, error) {
	sl, err := s.Read(int64(number), s.Offsets().LogEndOffset, 0, true)
	if err != nil {
		return nil, err
	}
	s.buf, err = sl.Append(s.buf[:0])
	sl.Release()
	if err != nil {
		return nil, err
	}
	b, _, err := record.Split(s.buf)
	if err == nil {
		err = b.CheckCRC()
	}
	if err == nil {
		err = s.reader.Reset(b, 0)
	}
	if err != nil {
		return nil, err
	}
	for s.reader.Next() {
		if r := s.reader.Record(); r.Offset == int64(number) {
			return r.Value, nil
		}
	}
	return nil, errWrong
}

func (s *insyncStore) close() error { return s.Close() }

// insyncRecords reads record by record.
type insyncRecords struct{ *insyncStore }

func openInsyncRecords(dir string, o options) (store, error) {
	s, err := openInsync(dir, o)
	if err != nil {
		return nil, err
	}
	return insyncRecords{s.(*insyncStore)}, nil
}

func (s insyncRecords) scan(visit func(value []byte) bool) error {
	for r, err := range s.Records(context.Background(), 0) {
		if err != nil {
			return err
		}
		if !visit(r.Value) {
			return nil
		}
	}
	return nil
}

// lookup makes find look up where a batch is, and no more. A fetch does that whose answer goes out by sendfile.
type lookup struct{ *log.Log }

func (l lookup) find(number int) ([]byte, error) {
	sl, err := l.Read(int64(number), l.Offsets().LogEndOffset, 0, true)
	sl.Release()
	return nil, err
}
