package record

// minEntrySize is the size in bytes of the smallest record: seven fields of one byte.
const minEntrySize = 7

// span is a field of bytes inside a section: [lo, hi), or null.
type span struct{ lo, hi int }

// null is the span of Kafka's null.
var null = span{-1, -1}

func (p span) isNull() bool { return p.lo < 0 }

// size returns the length in bytes, 0 for null.
func (p span) size() int { return p.hi - p.lo }

// of returns the bytes of p in s, capped at their end; nil for null.
func (p span) of(s []byte) []byte {
	if p.lo < 0 {
		return nil
	}
	return s[p.lo:p.hi:p.hi]
}

// entry is where the parts of one encoded record are. Reader and Validate share it: all knowledge of a record's layout is
// in parse and header here, and in Builder.Append.
type entry struct {
	attributes     int8
	timestampDelta int64
	offsetDelta    int32
	key, value     span
	headers        int // number of headers
	headersAt      int // where the first of them starts
	end            int // where the record ends and the next starts
}

// parse finds the parts of the record at s[i:], all but the headers, and checks that they fit into the record and the record
// into s. The reason it returns says what is wrong; "" is success. What it costs does not depend on what the lengths claim.
func (e *entry) parse(s []byte, i int) (reason string) {
	length, i := varint32(s, i)
	if i < 0 || length < minEntrySize-1 || int(length) > len(s)-i {
		return "length exceeds the batch, or no length"
	}
	e.end = i + int(length)
	s = s[:e.end]
	e.attributes = int8(s[i])
	e.timestampDelta, i = varint64(s, i+1)
	e.offsetDelta, i = varint32(s, i)
	if i < 0 {
		return "malformed timestamp or offset delta"
	}
	n, i := varint32(s, i)
	if e.key, i = take(s, n, i); i < 0 {
		return "key exceeds the record"
	}
	n, i = varint32(s, i)
	if e.value, i = take(s, n, i); i < 0 {
		return "value exceeds the record"
	}
	if i == e.end-1 && s[i] == 0 { // no headers, as with most records: nothing more to decode
		e.headers, e.headersAt = 0, e.end
		return ""
	}
	n, i = varint32(s, i)
	// The count is held against the bytes before anybody loops over it: a header takes two at least.
	if i < 0 || n < 0 || int(n) > (e.end-i)/2 {
		return "header count exceeds the record"
	}
	if n > MaxHeaders {
		return "more than 1024 headers"
	}
	if n == 0 && i != e.end {
		return "bytes after the last field"
	}
	e.headers, e.headersAt = int(n), i
	return ""
}

// take returns the span of n bytes at s[i:] and the index that follows; n = -1 is null. The index is -1 if they do not fit, or
// if i was negative already. Small enough to be inlined, unlike a function that decodes n as well.
func take(s []byte, n int32, i int) (span, int) {
	if i < 0 || n < -1 || int(n) > len(s)-i {
		return null, -1
	}
	if n < 0 {
		return null, i
	}
	return span{i, i + int(n)}, i + int(n)
}

// header finds the header at s[i:], where s ends with the record, and returns the index that follows, -1 if it is malformed.
func header(s []byte, i int) (key, value span, next int) {
	n, i := varint32(s, i)
	if key, i = take(s, n, i); i < 0 || key.isNull() {
		return key, value, -1
	}
	n, i = varint32(s, i)
	value, i = take(s, n, i)
	return key, value, i
}

// skipHeaders checks the headers' structure.
func (e *entry) skipHeaders(s []byte) (reason string) {
	i := e.headersAt
	for range e.headers {
		if _, _, i = header(s[:e.end], i); i < 0 {
			return "malformed header"
		}
	}
	if i != e.end {
		return "bytes after the last header"
	}
	return ""
}
