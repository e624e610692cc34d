package record

import (
	"fmt"
	"math"
)

// ValidateOptions are the rules of a leader for a batch that a client sends (KIP-98, kafka: LogValidator).
type ValidateOptions struct {
	MaxBytes        int   // max.message.bytes; 0 is no limit
	MaxDecompressed int   // bound on the decompressed size in bytes; 0 means max(8 MiB, 10 x MaxBytes)
	RequireKeys     bool  // the topic is compacted
	CheckTimestamps bool  // CreateTime topics
	NowMillis       int64 // the leader's clock, milliseconds
	BeforeMaxMillis int64 // message.timestamp.before.max.ms
	AfterMaxMillis  int64 // message.timestamp.after.max.ms
	AllowControl    bool  // from a coordinator, not from a client
}

// minMaxDecompressed is the least that MaxDecompressed defaults to.
const minMaxDecompressed = 8 << 20

func (o *ValidateOptions) maxDecompressed() int {
	switch {
	case o.MaxDecompressed > 0:
		return o.MaxDecompressed
	case o.MaxBytes > math.MaxInt/10:
		return math.MaxInt
	}
	return max(minMaxDecompressed, 10*o.MaxBytes)
}

// Validate checks a batch from a client in full: header fields, CRC, every record's structure, keys and timestamps, through
// decompression. r is scratch that is reused from call to call; an iteration that it was in is over. It returns the largest record timestamp in milliseconds,
// -1 if no record has one. An uncompressed batch costs no allocation.
//
// Checks come in Kafka's order: base offset, size, CRC, the rest of the header, then the records. A record that is malformed
// ends the check at once; of the first record without a key and the first with a bad timestamp, the timestamp is reported.
//
// Differs from Kafka, which lets these pass: unknown attribute bits, a delete horizon, a transactional batch without producer
// id, a producer id below -1 or without epoch, more than MaxHeaders headers; and offset deltas other than 0, 1, 2, … are an error
// where Kafka rebuilds a compressed batch. No client is known to send any of it.
//
// Errors: *CorruptError, *InvalidError, *TimestampError, *TooLargeError, *UnsupportedCodecError.
func Validate(b Batch, o ValidateOptions, r *Reader) (maxTimestamp int64, err error) {
	if err := b.checkFrame(); err != nil {
		return 0, err
	}
	if b.BaseOffset() != 0 {
		return 0, &InvalidError{Index: -1, Reason: fmt.Sprintf("base offset %d, a client must send 0", b.BaseOffset())}
	}
	if o.MaxBytes > 0 && len(b) > o.MaxBytes {
		return 0, &TooLargeError{Size: len(b), Limit: o.MaxBytes}
	}
	if err := b.CheckCRC(); err != nil {
		return 0, err
	}
	if err := b.validateHeader(&o); err != nil {
		return 0, err
	}
	section, err := r.decompress(b, o.maxDecompressed())
	if err != nil {
		return 0, err
	}
	return b.validateRecords(section, &o)
}

// ValidateBuilt is Batch with what Validate says of it. What the builder has encoded itself is not looked at again: neither the CRC nor a record. The same errors, and those of Batch.
// The batch's header may be rewritten: the next call makes it anew.
func (b *Builder) ValidateBuilt(o ValidateOptions, r *Reader) (batch Batch, maxTimestamp int64, err error) {
	if batch, err = b.Batch(); err != nil {
		return nil, 0, err
	}
	b.built = nil
	if o.MaxBytes > 0 && len(batch) > o.MaxBytes {
		return nil, 0, &TooLargeError{Size: len(batch), Limit: o.MaxBytes}
	}
	first, last := o.timestampRange()
	if b.nullKey && o.RequireKeys || b.wraps || b.minTimestamp < first || b.maxTimestamp > last || b.Size()-HeaderSize > o.maxDecompressed() {
		// Which record it is, if it is one.
		maxTimestamp, err = Validate(batch, o, r)
		return batch, maxTimestamp, err
	}
	return batch, max(b.maxTimestamp, noTimestamp), batch.validateHeader(&o)
}

// validateHeader checks what the header alone shows.
func (b Batch) validateHeader(o *ValidateOptions) error {
	invalid := func(format string, args ...any) error {
		return &InvalidError{Index: -1, Reason: fmt.Sprintf(format, args...)}
	}
	if c := b.Codec(); c > Zstd {
		return &UnsupportedCodecError{Codec: c}
	}
	count, delta := b.RecordCount(), b.LastOffsetDelta()
	if count <= 0 || int64(delta)+1 != int64(count) {
		return invalid("%d records with last offset delta %d", count, delta)
	}
	if a := b.Attributes(); a&unknownAttributes != 0 {
		return invalid("unknown attributes 0x%04x", uint16(a))
	}
	if b.HasDeleteHorizon() {
		return invalid("a delete horizon, which only log cleaning sets")
	}
	if b.Control() && !o.AllowControl {
		return invalid("a control batch from a client")
	}
	if b.LogAppendTime() && !o.AllowControl {
		return &TimestampError{Index: -1, Timestamp: b.MaxTimestamp(), Reason: "only a leader may set log append time"}
	}
	return b.validateProducer(invalid)
}

func (b Batch) validateProducer(invalid func(string, ...any) error) error {
	id, epoch, sequence := b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()
	switch {
	case id < -1:
		return invalid("producer id %d", id)
	case id == -1 && b.Transactional():
		return invalid("transactional without a producer id")
	case id >= 0 && epoch < 0:
		return invalid("producer id %d with epoch %d", id, epoch)
	case id >= 0 && sequence < 0 && !b.Control(): // markers have no sequence
		return invalid("producer id %d with base sequence %d", id, sequence)
	}
	return nil
}

// validateRecords checks the records, decompressed, and returns their largest timestamp.
func (b Batch) validateRecords(s []byte, o *ValidateOptions) (maxTimestamp int64, err error) {
	if largest, ok := b.validatePlain(s, o); ok {
		return largest, nil
	}
	return b.validateEach(s, o)
}

// validateEach is validateRecords without a short cut.
func (b Batch) validateEach(s []byte, o *ValidateOptions) (maxTimestamp int64, err error) {
	count := int(b.RecordCount())
	if count > len(s)/minEntrySize {
		return 0, &InvalidError{Index: -1, Reason: fmt.Sprintf("%d records in %d bytes", count, len(s))}
	}
	var (
		e           entry
		pos         int
		base        = b.BaseTimestamp()
		first, last = o.timestampRange()
		noKey       = -1 // index of the first record that lacks a key
		badTime     = -1 // index of the first record out of range
		badMillis   int64
	)
	maxTimestamp = noTimestamp
	for i := range count {
		reason := e.parse(s, pos)
		if reason == "" && e.headers > 0 {
			reason = e.skipHeaders(s)
		}
		ts := base + e.timestampDelta
		switch {
		case reason != "":
		case e.attributes != 0:
			reason = "unknown attributes"
		case int(e.offsetDelta) != i:
			reason = "offset deltas are not 0, 1, 2, …"
		case (ts < base) != (e.timestampDelta < 0):
			reason = "timestamp delta overflows"
		}
		if reason != "" {
			return 0, &InvalidError{Index: i, Reason: reason}
		}
		pos = e.end
		maxTimestamp = max(maxTimestamp, ts)
		if o.RequireKeys && e.key.isNull() {
			if noKey < 0 {
				noKey = i
			}
		} else if (ts < first || ts > last) && ts != noTimestamp && badTime < 0 {
			badTime, badMillis = i, ts
		}
	}
	switch {
	case pos != len(s):
		return 0, &InvalidError{Index: -1, Reason: fmt.Sprintf("%d bytes after the last record", len(s)-pos)}
	case badTime >= 0:
		return 0, &TimestampError{Index: badTime, Timestamp: badMillis, Reason: fmt.Sprintf("outside of [%d, %d]", first, last)}
	case noKey >= 0:
		return 0, &InvalidError{Index: noKey, Reason: "no key, in a compacted topic"}
	}
	return maxTimestamp, nil
}

// timestampRange returns the first and the last timestamp that o allows: [now-before, now+after], both inclusive, without overflow.
func (o *ValidateOptions) timestampRange() (first, last int64) {
	if !o.CheckTimestamps {
		return math.MinInt64, math.MaxInt64
	}
	first, last = o.NowMillis-o.BeforeMaxMillis, o.NowMillis+o.AfterMaxMillis
	if o.BeforeMaxMillis >= 0 && first > o.NowMillis {
		first = math.MinInt64
	}
	if o.AfterMaxMillis >= 0 && last < o.NowMillis {
		last = math.MaxInt64
	}
	return first, last
}
