package record

import "math"

// plainRun is what a walk over plain records has found. A record is plain if it has no headers and no attributes, and its fields have the lengths in bytes that they mostly have. Nearly all batches hold nothing
// else, and each of their records takes a third of the time that entry.parse and what is asked about its result take.
//
// The walk only ever says yes: whatever it does not know, a damaged record included, is for validateRecords to look at from the start.
type plainRun struct {
	least, most int64 // timestamp deltas
	nullKey     bool  // a record has no key
}

// scan tells whether s is count plain records with the offset deltas 0, 1, 2, … and nothing behind them.
func (p *plainRun) scan(s []byte, count int) bool {
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	nullKey := false
	pos := 0
	for index := range count {
		// The length, in up to three bytes.
		if pos+2 >= len(s) {
			return false
		}
		n := uint(s[pos])
		i := pos + 1
		if n >= 0x80 {
			n = n&0x7f | uint(s[i])<<7
			i++
			if n >= 0x80<<7 {
				n = n&0x3fff | uint(s[i])<<14
				i++
			}
		}
		if n >= 0x80<<14 || n&1 != 0 || n>>1 < minEntrySize-1 || n>>1 > uint(len(s)-i) {
			return false
		}
		pos = i + int(n>>1)
		r := s[i:pos]

		// Attributes and timestamp delta. A record has room for both.
		if r[0] != 0 {
			return false
		}
		var delta int64
		switch u := uint64(r[1]); {
		case u < 0x80:
			delta, i = int64(u>>1)^-int64(u&1), 2
		case r[2] < 0x80:
			u = u&0x7f | uint64(r[2])<<7
			delta, i = int64(u>>1)^-int64(u&1), 3
		default:
			if delta, i = varint64(r, 1); i < 0 {
				return false
			}
		}
		least, most = min(least, delta), max(most, delta)

		// The offset delta is known: it is compared as it is encoded.
		switch {
		case i+1 >= len(r):
			return false
		case index < 1<<6:
			if r[i] != byte(index<<1) {
				return false
			}
			i++
		case index < 1<<13:
			if r[i] != byte(index<<1)|0x80 || r[i+1] != byte(index>>6) {
				return false
			}
			i += 2
		default:
			var got int32
			if got, i = varint32(r, i); i < 0 || int(got) != index {
				return false
			}
		}

		// Key and value. A length of 1 is the encoded -1, null.
		if i >= len(r) {
			return false
		}
		if r[i] == 1 {
			nullKey = true
			i++
		} else if i = skipPlain(r, i); i >= len(r) {
			return false
		}
		if r[i] == 1 {
			i++
		} else {
			i = skipPlain(r, i)
		}

		// No headers.
		if i != len(r)-1 || r[i] != 0 {
			return false
		}
	}
	p.least, p.most, p.nullKey = least, most, nullKey
	return pos == len(s)
}

// skipPlain returns the index behind the bytes at r[i:] whose length precedes them; one beyond r if they do not fit, or if that is no length. i is an index in r.
func skipPlain(r []byte, i int) int {
	n := uint(r[i])
	i++
	if n >= 0x80 {
		if i >= len(r) {
			return len(r) + 1
		}
		n = n&0x7f | uint(r[i])<<7
		i++
		if n >= 0x80<<7 {
			if i >= len(r) {
				return len(r) + 1
			}
			n = n&0x3fff | uint(r[i])<<14
			i++
		}
	}
	if n >= 0x80<<14 || n&1 != 0 || n>>1 > uint(len(r)-i) {
		return len(r) + 1
	}
	return i + int(n>>1)
}

// validatePlain is validateRecords for a batch whose records are plain and in order; ok is false for any other.
func (b Batch) validatePlain(s []byte, o *ValidateOptions) (maxTimestamp int64, ok bool) {
	var p plainRun
	if count := int(b.RecordCount()); count <= 0 || !p.scan(s, count) || p.nullKey && o.RequireKeys {
		return 0, false
	}
	base := b.BaseTimestamp()
	oldest, newest := base+p.least, base+p.most
	if (oldest < base) != (p.least < 0) || (newest < base) != (p.most < 0) { // one of them overflows; no other does unless these do
		return 0, false
	}
	first, last := o.timestampRange()
	if oldest < first || newest > last {
		return 0, false // noTimestamp is allowed all the same
	}
	return max(newest, noTimestamp), true
}
