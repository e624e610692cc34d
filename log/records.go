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
	if l.builder == nil {
		l.builder = record.NewBuilder(record.BuilderConfig{})
	}
	l.builder.Reset()
	for i := range records {
		l.builder.Append(&records[i])
	}
	a, err := l.AppendBuilt(l.builder, AppendOptions{})
	return a.BaseOffset, err
}
