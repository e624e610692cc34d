package format_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// The pages of this directory hold tables that a program can read; README.md says how. What is here reads them, and then reads files by them. It
// knows how numbers are encoded, and nothing of any file.

// table is one table of a page, of one of four kinds.
type table struct {
	page, name string
	fields     []field // kind binary
	lines      []line  // kind text
	keys       []key   // kind JSON
	bits       []bits  // kind bits
}

type field struct {
	offset int // -1 behind a field of variable size
	size   string
	typ    string
	name   string
}

type line struct {
	repeats bool
	text    string
}

type key struct{ name, typ string }

type bits struct {
	low, high int
	name      string
}

// tables are those of all pages, by name.
type tables map[string]*table

var (
	tableName  = regexp.MustCompile("^Table `([a-z0-9.-]+)`")
	rangeOfTwo = regexp.MustCompile(`^(\d+)(?:–(\d+))?$`)
)

// readTables reads the tables of all pages in a directory.
func readTables(dir string) (tables, error) {
	pages, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	all := tables{}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		name := ""
		lines := strings.Split(string(b), "\n")
		for i := 0; i < len(lines); i++ {
			if m := tableName.FindStringSubmatch(lines[i]); m != nil {
				name = m[1]
			}
			if name == "" || !strings.HasPrefix(lines[i], "|") {
				continue
			}
			end := i
			for end < len(lines) && strings.HasPrefix(lines[end], "|") {
				end++
			}
			t, err := parseTable(lines[i:end])
			if err != nil {
				return nil, fmt.Errorf("%s: table %s: %w", page, name, err)
			}
			if all[name] != nil {
				return nil, fmt.Errorf("%s: table %s: there are two", page, name)
			}
			t.page, t.name = filepath.Base(page), name
			all[name] = t
			i, name = end, ""
		}
	}
	return all, nil
}

func cells(row string) []string {
	var list []string
	for c := range strings.SplitSeq(strings.Trim(row, "|"), "|") {
		list = append(list, strings.TrimSpace(c))
	}
	return list
}

func parseTable(rows []string) (*table, error) {
	if len(rows) < 3 {
		return nil, fmt.Errorf("%d rows", len(rows))
	}
	head := strings.Join(cells(rows[0]), " ")
	t := &table{}
	for _, row := range rows[2:] {
		c := cells(row)
		if len(c) != len(cells(rows[0])) {
			return nil, fmt.Errorf("%d cells in %q", len(c), row)
		}
		plain := func(i int) string { return strings.ReplaceAll(c[i], "`", "") }
		switch head {
		case "offset size type field meaning":
			f := field{offset: -1, size: plain(1), typ: plain(2), name: plain(3)}
			if c[0] != "…" {
				n, err := strconv.Atoi(c[0])
				if err != nil {
					return nil, err
				}
				f.offset = n
			}
			t.fields = append(t.fields, f)
		case "line text meaning":
			t.lines = append(t.lines, line{strings.HasSuffix(c[0], "…"), plain(1)})
		case "key type meaning":
			t.keys = append(t.keys, key{plain(0), plain(1)})
		case "bits field meaning":
			m := rangeOfTwo.FindStringSubmatch(c[0])
			if m == nil {
				return nil, fmt.Errorf("bits %q", c[0])
			}
			low, _ := strconv.Atoi(m[1])
			high := low
			if m[2] != "" {
				high, _ = strconv.Atoi(m[2])
			}
			t.bits = append(t.bits, bits{low, high, plain(1)})
		default:
			return nil, fmt.Errorf("head %q", head)
		}
	}
	if t.fields != nil {
		return t, t.checkOffsets()
	}
	return t, nil
}

// fixedSizes of the types that have one.
var fixedSizes = map[string]int{"int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint32": 4, "uint64": 8, "float64": 8, "uuid": 16}

// checkOffsets holds offsets and sizes against each other and against the types.
func (t *table) checkOffsets() error {
	at := 0
	for _, f := range t.fields {
		if f.offset != at {
			return fmt.Errorf("field %s is at %d, the sizes in front of it say %d", f.name, f.offset, at)
		}
		want, fixed := fixedSizes[f.typ]
		switch base, _, _ := strings.Cut(f.typ, " "); {
		case base == "crc32c":
			want, fixed = 4, true
		case base == "xxhash64":
			want, fixed = 8, true
		case strings.HasSuffix(f.typ, " of the rest"):
			want, fixed = fixedSizes[base], fixedSizes[base] > 0
		}
		n, err := strconv.Atoi(f.size)
		if fixed && (err != nil || n != want) {
			return fmt.Errorf("field %s of type %s has size %s", f.name, f.typ, f.size)
		}
		if at >= 0 && err == nil {
			at += n
		} else {
			at = -1
		}
	}
	return nil
}

// values is what a table reads: numbers are int64, uint64 or float64, bytes and strings are []byte (nil for null), lists are []any.
type values map[string]any

// decoder reads bytes by tables.
type decoder struct {
	t tables
	b []byte
}

// decode reads all of b by a table.
func (t tables) decode(name string, b []byte) (values, error) {
	d := &decoder{t: t, b: b}
	v, err := d.table(name)
	if err == nil && len(d.b) > 0 {
		err = fmt.Errorf("table %s: %d bytes are left over", name, len(d.b))
	}
	return v, err
}

// decodeAll reads b as one entry after the other; entries that are all zeros end it.
func (t tables) decodeAll(name string, b []byte) (list []values, err error) {
	d := &decoder{t: t, b: b}
	for len(bytes.TrimRight(d.b, "\x00")) > 0 {
		v, err := d.table(name)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(list), err)
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *decoder) table(name string) (values, error) {
	t := d.t[name]
	if t == nil || t.fields == nil {
		return nil, fmt.Errorf("no table of bytes is called %q", name)
	}
	v := values{}
	all := d.b
	after := []byte(nil) // what is behind the table, if a field says where that is
	bounded := false
	starts := map[string]int{}
	for _, f := range t.fields {
		starts[f.name] = len(all) - len(d.b) - len(after)
		x, err := d.field(f, v)
		if err == nil && strings.HasSuffix(f.typ, " of the rest") {
			var rest []byte
			if rest, err = d.take(x.(int64)); err == nil {
				after, d.b, bounded = d.b, rest, true
			}
		}
		if err != nil {
			return nil, fmt.Errorf("table %s at byte %d: field %s: %w", name, starts[f.name], f.name, err)
		}
		v[f.name] = x
	}
	if bounded && len(d.b) > 0 {
		return nil, fmt.Errorf("table %s: %d bytes are left over", name, len(d.b))
	}
	if bounded {
		d.b = after
	}
	used := all[:len(all)-len(d.b)]
	for _, f := range t.fields {
		kind, of, _ := strings.Cut(f.typ, " of ")
		switch kind {
		case "crc32c": // of `field`…: from there to the end of the table
			from, ok := starts[strings.TrimSuffix(of, "…")]
			if !ok {
				return nil, fmt.Errorf("table %s: field %s covers %q", name, f.name, of)
			}
			if got := crc32.Checksum(used[from:], crc32.MakeTable(crc32.Castagnoli)); int64(got) != v[f.name] {
				return nil, fmt.Errorf("table %s: field %s: %x is not the CRC-32C of what it covers", name, f.name, v[f.name])
			}
		case "xxhash64": // of what is before it
			if got := xxhash.Sum64(used[:starts[f.name]]); got != v[f.name] {
				return nil, fmt.Errorf("table %s: field %s: %x is not the xxhash64 of what it covers", name, f.name, v[f.name])
			}
		}
	}
	return v, nil
}

func (d *decoder) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(d.b)) {
		return nil, fmt.Errorf("%d bytes, there are %d", n, len(d.b))
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b, nil
}

func (d *decoder) uvarint(most int) (uint64, error) {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > most {
		return 0, fmt.Errorf("no varint of at most %d bytes: % x", most, d.b[:min(len(d.b), most)])
	}
	d.b = d.b[n:]
	return v, nil
}

// length reads the length in front of a string or bytes; -1 is null.
func (d *decoder) length(typ string) (int64, error) {
	switch {
	case strings.HasPrefix(typ, "compact "):
		n, err := d.uvarint(5)
		return int64(n) - 1, err
	case strings.HasPrefix(typ, "counted "):
		n, err := d.uvarint(10)
		return int64(n), err
	}
	size := int64(2)
	if strings.HasSuffix(typ, "bytes") {
		size = 4
	}
	b, err := d.take(size)
	if err != nil {
		return 0, err
	}
	return signed(b), nil
}

func signed(b []byte) int64 {
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	shift := 64 - 8*len(b)
	return int64(v<<shift) >> shift
}

func (d *decoder) field(f field, v values) (any, error) {
	if typ, cond, ok := strings.Cut(f.typ, " if "); ok { // a bit of an earlier field: name.bit
		name, bit, _ := strings.Cut(cond, ".")
		n, err := strconv.Atoi(bit)
		flags, known := v[name].(int64)
		if err != nil || !known {
			return nil, fmt.Errorf("condition %q", cond)
		}
		if flags>>n&1 == 0 {
			return nil, nil
		}
		f.typ = typ
	}
	if element, count, ok := strings.Cut(f.typ, " × "); ok {
		return d.list(element, count, v)
	}
	switch base, _, _ := strings.Cut(f.typ, " of "); base {
	case "int8", "int16", "int32", "int64":
		b, err := d.take(int64(fixedSizes[base]))
		return signed(b), err
	case "uint32", "crc32c":
		b, err := d.take(4)
		return signed(append([]byte{0}, b...)), err
	case "uint64", "xxhash64":
		b, err := d.take(8)
		return uint64(signed(b)), err
	case "float64":
		b, err := d.take(8)
		return math.Float64frombits(uint64(signed(b))), err
	case "uuid":
		return d.take(16)
	case "varint", "varlong":
		u, err := d.uvarint(map[string]int{"varint": 5, "varlong": 10}[base])
		return int64(u>>1) ^ -int64(u&1), err
	case "uvarint":
		u, err := d.uvarint(10)
		return int64(u), err
	case "varlong list":
		n, err := d.uvarint(10)
		if err != nil || n > uint64(len(d.b)) {
			return nil, fmt.Errorf("%d numbers, %w", n, err)
		}
		list := []any{}
		for range n {
			x, err := d.field(field{typ: "varlong"}, v)
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		return list, nil
	case "compact count":
		u, err := d.uvarint(5)
		return int64(u) - 1, err
	case "string", "bytes32", "compact string", "compact bytes", "counted string", "counted bytes":
		n, err := d.length(strings.Replace(base, "bytes32", "bytes", 1))
		if err != nil || n == -1 {
			return []byte(nil), err
		}
		return d.take(n)
	case "bytes":
		return d.sized(f.size, v)
	case "tags":
		return d.tags()
	}
	return nil, fmt.Errorf("type %q", f.typ)
}

// sized reads bytes whose size is a number, what an earlier field says (-1: null) or the rest.
func (d *decoder) sized(size string, v values) ([]byte, error) {
	if size == "rest" {
		return d.take(int64(len(d.b)))
	}
	if n, err := strconv.ParseInt(size, 10, 32); err == nil {
		return d.take(n)
	}
	size, less, _ := strings.Cut(size, " − ")
	n, ok := v[size].(int64)
	if !ok {
		return nil, fmt.Errorf("size %q", size)
	}
	if less != "" {
		m, err := strconv.ParseInt(less, 10, 32)
		if err != nil {
			return nil, err
		}
		n -= m
	}
	if n == -1 {
		return nil, nil
	}
	return d.take(n)
}

// list reads elements of a table or a type: as many as an earlier field says, or the rest.
func (d *decoder) list(element, count string, v values) (any, error) {
	n := int64(-1)
	if count != "rest" {
		m, ok := v[count].(int64)
		if !ok || m < 0 || m > int64(len(d.b)) {
			return nil, fmt.Errorf("count %q is %v", count, v[count])
		}
		n = m
	}
	list := []any{}
	for int64(len(list)) != n && (n >= 0 || len(d.b) > 0) {
		before := len(d.b)
		var x any
		var err error
		if d.t[element] != nil {
			x, err = d.table(element)
		} else {
			x, err = d.field(field{typ: element}, v)
		}
		if err == nil && before == len(d.b) {
			err = fmt.Errorf("an element of no bytes")
		}
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(list), err)
		}
		list = append(list, x)
	}
	return list, nil
}

// tags reads a section of tagged fields (KIP-482): their bytes by tag.
func (d *decoder) tags() (any, error) {
	n, err := d.uvarint(5)
	if err != nil || n > uint64(len(d.b)) {
		return nil, fmt.Errorf("number of tagged fields: %d, %w", n, err)
	}
	m := map[int64][]byte{}
	for range n {
		tag, err := d.uvarint(5)
		if err != nil {
			return nil, err
		}
		size, err := d.uvarint(5)
		if err != nil {
			return nil, err
		}
		if m[int64(tag)], err = d.take(int64(size)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// decodeBits splits a number by a table of bits. Bits that no row names must be 0.
func (t tables) decodeBits(name string, v int64) (values, error) {
	tab := t[name]
	if tab == nil || tab.bits == nil {
		return nil, fmt.Errorf("no table of bits is called %q", name)
	}
	out := values{}
	rest := v
	for _, b := range tab.bits {
		mask := int64(1)<<(b.high-b.low+1) - 1
		out[b.name] = v >> b.low & mask
		rest &^= mask << b.low
	}
	if rest != 0 {
		return nil, fmt.Errorf("table %s: no row for the bits %b", name, rest)
	}
	return out, nil
}

var placeholder = regexp.MustCompile(`\\\{([a-zA-Z.]+)\\\}`)

// decodeText reads a file of lines; the result has one values for each line, with what stands in place of the {names}.
func (t tables) decodeText(name string, b []byte) ([]values, error) {
	tab := t[name]
	if tab == nil || tab.lines == nil {
		return nil, fmt.Errorf("no table of lines is called %q", name)
	}
	if !bytes.HasSuffix(b, []byte("\n")) {
		return nil, fmt.Errorf("table %s: the last line does not end", name)
	}
	rows := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	var out []values
	for i := 0; i < len(tab.lines); i++ {
		l := tab.lines[i]
		if len(rows) == 0 {
			if l.repeats {
				continue
			}
			return nil, fmt.Errorf("table %s: no line %q", name, l.text)
		}
		var names []string
		pattern := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(l.text), func(s string) string {
			names = append(names, placeholder.FindStringSubmatch(s)[1])
			if names[len(names)-1] == "sum" {
				return `([ \t]{16})`
			}
			if s == regexp.QuoteMeta(l.text) {
				return "(.*)"
			}
			return `(\S*)`
		})
		m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(rows[0])
		if m == nil {
			return nil, fmt.Errorf("table %s: line %q is not %q", name, rows[0], l.text)
		}
		v := values{}
		for j, n := range names {
			if v[n] = m[j+1]; n == "sum" {
				if want := blankSum(strings.TrimSuffix(rows[0], m[j+1])); want != m[j+1] {
					return nil, fmt.Errorf("table %s: line %q should end in %q", name, rows[0], want)
				}
			}
		}
		out, rows = append(out, v), rows[1:]
		if l.repeats && len(rows) > 0 {
			i-- // repeated lines are the last of their table
		}
	}
	if len(rows) > 0 {
		return nil, fmt.Errorf("table %s: no row for line %q", name, rows[0])
	}
	return out, nil
}

// blankSum is the CRC-16/CCITT (polynomial 0x1021, from 0xffff) of a line in blanks and tabs, as README.md says.
func blankSum(line string) string {
	sum := 0xffff
	for _, bit := range []byte(line) {
		for mask := 0x80; mask > 0; mask >>= 1 {
			top := sum>>15&1 == 1
			if int(bit)&mask != 0 {
				top = !top
			}
			sum = sum << 1 & 0xffff
			if top {
				sum ^= 0x1021
			}
		}
	}
	return strings.NewReplacer("0", " ", "1", "\t").Replace(fmt.Sprintf("%016b", sum))
}

// decodeJSON reads an object: the keys of the table in its order, and no others.
func (t tables) decodeJSON(name string, b []byte) (values, error) {
	tab := t[name]
	if tab == nil || tab.keys == nil {
		return nil, fmt.Errorf("no table of keys is called %q", name)
	}
	var names []string
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v := values{}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		var x any
		if err := d.Decode(&x); err != nil {
			return nil, err
		}
		names = append(names, fmt.Sprint(k))
		v[fmt.Sprint(k)] = x
	}
	var want []string
	for _, k := range tab.keys {
		want = append(want, k.name)
		typ := map[string]string{"string": "string", "json.Number": "number", "bool": "bool", "[]interface {}": "list"}[fmt.Sprintf("%T", v[k.name])]
		if typ != k.typ {
			return nil, fmt.Errorf("table %s: key %s is a %s, not a %s", name, k.name, typ, k.typ)
		}
		if n, ok := v[k.name].(json.Number); ok {
			i, err := n.Int64()
			if err != nil {
				return nil, err
			}
			v[k.name] = i
		}
	}
	if !slices.Equal(names, want) {
		return nil, fmt.Errorf("table %s: keys %v, not %v", name, names, want)
	}
	return v, nil
}
