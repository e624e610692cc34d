package log

import (
	"crypto/sha256"
	"encoding/binary"
)

// offsetMap finds the last offset of a key in memory that is given once: a table of 24 bytes a slot, open addressing, as in Kafka. It does not hold the keys but the first 16 bytes of their SHA-256. A key that
// hashes as another does would delete the other's record, so nobody may be able to make one: that rules out MD5, which Kafka takes, and fast hashes that are not meant to withstand an adversary. On processors with
// instructions for it SHA-256 is the faster of the two, too.
type offsetMap struct {
	slots  []byte
	count  int
	limit  int   // no more keys than that
	latest int64 // the last offset that the map knows of; -1 none
}

const (
	offsetSlotBytes = 24
	keyHashBytes    = 16
)

// reset empties the map and gives it room for keys, in at most so many bytes, filled to at most load.
func (m *offsetMap) reset(keys, bytes int64, load float64) {
	n := max(min(int64(float64(keys)/load)+2, bytes/offsetSlotBytes), 2)
	if size := n * offsetSlotBytes; int64(cap(m.slots)) < size {
		m.slots = make([]byte, size)
	} else {
		m.slots = m.slots[:size]
		clear(m.slots)
	}
	m.count, m.latest = 0, -1
	m.limit = int(min(max(int64(float64(n)*load), 1), n-1)) // a free slot ends every search
}

// find returns the slot of a key: its own, or the free one where it would be.
func (m *offsetMap) find(hash []byte) (slot []byte, own bool) {
	n := uint64(len(m.slots) / offsetSlotBytes)
	for i := binary.LittleEndian.Uint64(hash) % n; ; i = (i + 1) % n {
		s := m.slots[i*offsetSlotBytes : (i+1)*offsetSlotBytes]
		if binary.LittleEndian.Uint64(s[keyHashBytes:]) == 0 {
			return s, false
		}
		if string(s[:keyHashBytes]) == string(hash[:keyHashBytes]) {
			return s, true
		}
	}
}

// put takes note of a key's offset; offsets rise. It is false when there is no room.
func (m *offsetMap) put(key []byte, offset int64) bool {
	h := sha256.Sum256(key)
	s, own := m.find(h[:])
	if !own {
		if m.count >= m.limit {
			return false
		}
		m.count++
		copy(s, h[:keyHashBytes])
	}
	binary.LittleEndian.PutUint64(s[keyHashBytes:], uint64(offset)+1)
	return true
}

// get returns the last offset of a key, -1 if the map does not have it.
func (m *offsetMap) get(key []byte) int64 {
	h := sha256.Sum256(key)
	s, own := m.find(h[:])
	if !own {
		return -1
	}
	return int64(binary.LittleEndian.Uint64(s[keyHashBytes:])) - 1
}
