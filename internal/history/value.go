package history

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// ErrDamaged is returned by Decode for bytes that Encode did not make.
var ErrDamaged = errors.New("history: not an encoded value, or damaged")

// Encode writes a value as the bytes of a record's value, with padding more bytes to make it large, and a checksum over these and the record's key. The same checksum is the content of
// a header, for those who want to see that headers come with their records.
func Encode(v Value, key []byte, padding int) (value, header []byte) {
	b := fmt.Appendf(nil, "%v/", v)
	b = append(b, bytes.Repeat([]byte{'x'}, padding)...)
	header = fmt.Appendf(nil, "%08x", sum(key, b))
	b = append(b, '/')
	return append(b, header...), header
}

// Decode reads what Encode wrote. A nil header is not looked at. The error is ErrDamaged.
func Decode(key, value, header []byte) (Value, error) {
	i := bytes.LastIndexByte(value, '/')
	if i < 0 || string(value[i+1:]) != fmt.Sprintf("%08x", sum(key, value[:i])) || header != nil && !bytes.Equal(header, value[i+1:]) {
		return Value{}, ErrDamaged
	}
	body, _, _ := cutLast(string(value[:i]), "/") // the padding
	v, err := parseValue(body)
	if err != nil {
		return Value{}, ErrDamaged
	}
	return v, nil
}

// ItemOf reads a record into an item, which is damaged if it is none of ours.
func ItemOf(p Place, offset int64, key, value, header []byte) Item {
	v, err := Decode(key, value, header)
	if err != nil {
		return Item{Place: p, Offset: offset, Damaged: fmt.Sprintf("%.80q", value)}
	}
	return Item{Place: p, Offset: offset, Value: v}
}

func sum(key, body []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(fmt.Appendf(nil, "%d/%s/", len(key), key)), crc32.IEEETable, body)
}

func (p Place) String() string {
	if p.ID == ([16]byte{}) {
		return p.Topic + "-" + strconv.Itoa(int(p.Partition))
	}
	return p.Topic + ":" + hex.EncodeToString(p.ID[:]) + "-" + strconv.Itoa(int(p.Partition))
}

func (v Value) String() string {
	return v.Producer + "/" + strconv.FormatInt(v.Sequence, 10) + "/" + v.Place.String()
}

func parsePlace(s string) (p Place, err error) {
	name, number, ok := cutLast(s, "-")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok || err != nil {
		return p, fmt.Errorf("place %q", s)
	}
	p.Partition = int32(n)
	name, id, ok := strings.Cut(name, ":")
	if ok {
		b, err := hex.DecodeString(id)
		if err != nil || len(b) != len(p.ID) {
			return p, fmt.Errorf("topic id %q", id)
		}
		copy(p.ID[:], b)
	}
	p.Topic = name
	return p, named(name)
}

func parseValue(s string) (v Value, err error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return v, fmt.Errorf("value %q", s)
	}
	v.Producer = parts[0]
	if v.Sequence, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return v, fmt.Errorf("sequence %q", parts[1])
	}
	if v.Place, err = parsePlace(parts[2]); err != nil {
		return v, err
	}
	return v, named(v.Producer)
}

// named says that a name can be written.
func named(s string) error {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("name %q", s)
		}
	}
	if s == "" {
		return errors.New("no name")
	}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
