package guard

import (
	"encoding/binary"
	"strings"
)

// walk is one pass over a body. It lives on its caller's stack.
type walk struct {
	src      []byte
	pos, end int   // end: of the body, or of the tagged field
	cost     int64 // bytes that decoding what was passed allocates
	budget   int64
	steps    int // taken, for tests: a bound on them is a bound on time

	// Of the first failure.
	err   error
	at    int
	trace [maxDepth]uint16 // names, innermost first
	depth int
}

// maxDepth is how deep programs contain each other. The tables are finite and each program contains earlier ones only; a test counts.
const maxDepth = 8

func (w *walk) fail(s *step, at int, err error) bool {
	w.err, w.at, w.depth = err, at, 0
	return w.under(s)
}

// under adds a step to the path of the failure.
func (w *walk) under(s *step) bool {
	if w.depth < maxDepth {
		w.trace[w.depth] = s.name
		w.depth++
	}
	return false
}

func (w *walk) path() string {
	var parts []string
	for i := w.depth - 1; i >= 0; i-- {
		parts = append(parts, names[w.trace[i]])
	}
	return strings.Join(parts, ".")
}

// run walks a program.
func (w *walk) run(pc uint16) bool {
	for ; ; pc++ {
		s := &steps[pc]
		w.steps++
		at := w.pos
		switch s.op {
		case opEnd:
			return true
		case opFixed:
			if w.end-at < int(s.n) {
				return w.fail(s, at, ErrTruncated)
			}
			w.pos = at + int(s.n)
		case opCompactString:
			if at < w.end { // one byte of length, as nearly always
				if n := int(w.src[at]) - 1; uint(n) < 0x7f && n < w.end-at && w.charge(textCost(n)) {
					w.pos = at + 1 + n
					continue
				}
			}
			fallthrough
		case opString, opNullString, opStringPtr, opBytes, opCompactNullString, opCompactStringPtr, opCompactBytes:
			if err := w.text(s.op); err != nil {
				return w.fail(s, at, err)
			}
		case opArray, opFixedArray, opCompactArray, opCompactFixedArray:
			if !w.array(s) {
				return false
			}
		case opStruct:
			if at == w.end {
				return w.fail(s, at, ErrTruncated)
			}
			w.pos++
			switch present := int8(w.src[at]); {
			case present == -1:
				continue
			case present < 0:
				return w.fail(s, at, ErrLength)
			}
			if !w.charge(allocated(int64(s.size))) {
				return w.fail(s, at, ErrBudget)
			}
			if !w.run(s.body) {
				return w.under(s)
			}
		case opTags, opTagged:
			if at < w.end && w.src[at] == 0 { // none, as nearly always
				w.pos++
				continue
			}
			if !w.tags(s) {
				return false
			}
		}
	}
}

// text passes a string or bytes.
func (w *walk) text(o op) error {
	n, err := w.length(o)
	if err != nil {
		return err
	}
	var cost int64
	switch o {
	case opBytes, opCompactBytes:
	case opString, opCompactString:
		if n < 0 {
			return ErrLength
		}
		cost = textCost(n)
	case opStringPtr, opCompactStringPtr:
		if n < 0 {
			return ErrLength
		}
		cost = pointerCost + textCost(n)
	case opNullString, opCompactNullString:
		if n >= 0 {
			cost = pointerCost + textCost(n)
		}
	}
	n = max(n, 0)
	if n > w.end-w.pos {
		return ErrTruncated
	}
	w.pos += n
	if !w.charge(cost) {
		return ErrBudget
	}
	return nil
}

// length reads a length or count; -1 is null.
func (w *walk) length(o op) (n int, err error) {
	rest := w.src[w.pos:w.end]
	switch o {
	case opString, opNullString, opStringPtr:
		if len(rest) < 2 {
			return 0, ErrTruncated
		}
		n = int(int16(binary.BigEndian.Uint16(rest)))
		w.pos += 2
	case opBytes, opArray, opFixedArray:
		if len(rest) < 4 {
			return 0, ErrTruncated
		}
		n = int(int32(binary.BigEndian.Uint32(rest)))
		w.pos += 4
	default:
		v, err := w.uvarint()
		if err != nil {
			return 0, err
		}
		if v > 1<<31-1 {
			return 0, ErrTruncated // no frame is as long
		}
		return int(v) - 1, nil
	}
	if n < -1 {
		return 0, ErrLength
	}
	return n, nil
}

// uvarint reads at most 32 bits in at most five bytes. It may be padded with zeros within these, as Kafka allows.
func (w *walk) uvarint() (uint32, error) {
	if at := w.pos; at < w.end && w.src[at] < 0x80 {
		w.pos++
		return uint32(w.src[at]), nil
	}
	return w.longUvarint()
}

func (w *walk) longUvarint() (uint32, error) {
	var v uint32
	for i := range 5 {
		if w.pos == w.end {
			return 0, ErrTruncated
		}
		c := w.src[w.pos]
		w.pos++
		if i == 4 && c > 0x0f {
			return 0, ErrVarint
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			break
		}
	}
	return v, nil
}

func (w *walk) array(s *step) bool {
	at := w.pos
	n, err := w.length(s.op)
	if err != nil {
		return w.fail(s, at, err)
	}
	if n <= 0 {
		return true
	}
	if s.n == 0 || n > (w.end-w.pos)/int(s.n) {
		return w.fail(s, at, ErrCount)
	}
	if !w.charge(allocated(int64(n) * int64(s.size))) {
		return w.fail(s, at, ErrBudget)
	}
	if s.op == opFixedArray || s.op == opCompactFixedArray {
		w.pos += n * int(s.n)
		return true
	}
	for range n {
		if !w.run(s.body) {
			return w.under(s)
		}
	}
	return true
}

// tags passes tagged fields: known ones by their programs, to their last byte.
func (w *walk) tags(s *step) bool {
	at := w.pos
	n, err := w.uvarint()
	if err != nil {
		return w.fail(s, at, err)
	}
	if int64(n) > int64(w.end-w.pos)/2 {
		return w.fail(s, at, ErrCount)
	}
	unknown := 0
	for range n {
		w.steps++
		at := w.pos
		key, err := w.uvarint()
		if err != nil {
			return w.fail(s, at, err)
		}
		size, err := w.uvarint()
		if err != nil {
			return w.fail(s, at, err)
		}
		if int64(size) > int64(w.end-w.pos) {
			return w.fail(s, at, ErrTruncated)
		}
		if body, ok := known(s, key); ok {
			outer := w.end
			w.end = w.pos + int(size)
			if !w.run(body) {
				return w.under(s)
			}
			if w.pos != w.end {
				return w.fail(s, w.pos, ErrTrailing)
			}
			w.end = outer
			continue
		}
		w.pos += int(size)
		unknown++
		if !w.charge(tagCost(unknown)) {
			return w.fail(s, at, ErrBudget)
		}
	}
	return true
}

func known(s *step, key uint32) (body uint16, ok bool) {
	if s.op != opTagged {
		return 0, false
	}
	for _, t := range tags[s.body : s.body+s.n] {
		if t.key == key {
			return t.body, true
		}
	}
	return 0, false
}

func (w *walk) charge(n int64) bool {
	w.cost += n
	return w.cost <= w.budget
}
