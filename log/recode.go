package log

import "github.com/insynclog/insync/log/record"

// recoder builds batches anew with the topic's codec (compression.type other than "producer").
type recoder struct {
	plain, transactional *record.Builder
	reader               record.Reader
	buf                  []byte
}

func newRecoder(c Compression) *recoder {
	return &recoder{
		plain:         record.NewBuilder(record.BuilderConfig{Codec: c.Codec, Level: c.Level}),
		transactional: record.NewBuilder(record.BuilderConfig{Codec: c.Codec, Level: c.Level, Transactional: true}),
	}
}

// recodeLocked returns b, which has been validated, with the topic's codec, in memory that is used again by the next call. Offsets, timestamps
// and the producer's fields stay.
func (l *Log) recodeLocked(b record.Batch) (record.Batch, error) {
	if l.mu.recoder == nil {
		l.mu.recoder = newRecoder(l.mu.config.Compression)
	}
	rc := l.mu.recoder
	builder := rc.plain
	if b.Transactional() {
		builder = rc.transactional
	}
	builder.Reset()
	builder.SetProducer(b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	if err := rc.reader.Reset(b, 0); err != nil {
		return nil, err
	}
	for rc.reader.Next() {
		builder.Append(rc.reader.Record())
	}
	if err := rc.reader.Err(); err != nil {
		return nil, err
	}
	out, err := builder.Build(rc.buf[:0])
	if err != nil {
		return nil, err
	}
	rc.buf = out
	if m := l.mu.config.MaxBatchBytes; len(out) > m {
		return nil, &record.TooLargeError{Size: len(out), Limit: m}
	}
	return record.Batch(out), nil
}
