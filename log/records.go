package log

import (
	"github.com/insynclog/insync/log/record"
)

// AppendRecords encodes records into one batch and appends it, for a log that is used on its own: leader epoch 0, no compression, no producer. Key, Value,
// Headers and Timestamp count; a zero Timestamp is now. It returns the first record's offset; the others follow. Sync makes them durable. The records' bytes are copied.
// Appending no records does nothing. Serialised like Append, and with its errors.
func (l *Log) AppendRecords(records ...record.Record) (base int64, err error) {
	if len(records) == 0 {
		return l.offsets.end.Load(), l.usable()
	}
	b, err := l.encode(records)
	if err != nil {
		return 0, err
	}
	a, err := l.Append(b, AppendOptions{})
	return a.BaseOffset, err
}

// encode builds the batch, in memory that the next call uses again.
func (l *Log) encode(records []record.Record) (record.Batch, error) {
	if l.builder == nil {
		l.builder = record.NewBuilder(record.BuilderConfig{})
	}
	l.builder.Reset()
	for i := range records {
		l.builder.Append(&records[i])
	}
	b, err := l.builder.Build(l.encoded[:0])
	l.encoded = b
	return b, err
}
