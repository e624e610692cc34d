package history

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	kindNames    = [kinds]string{"send", "poll", "assign", "seek", "subscribe", "claim", "revoke", "commit", "fetch", "list", "crash", "lost", "deleted"}
	outcomeNames = [outcomes]string{"ok", "fail", "info"}
	boundNames   = [bounds]string{"end", "lso", "start"}
)

func (k Kind) String() string    { return kindNames[k] }
func (o Outcome) String() string { return outcomeNames[o] }
func (b Bound) String() string   { return boundNames[b] }

// String is the line of Write, without its end.
func (op Op) String() string {
	b := appendTime(nil, op.Invoke)
	b = append(b, ".."...)
	if op.Complete != Unfinished {
		b = appendTime(b, op.Complete)
	}
	b = fmt.Appendf(b, " %s %v %v", op.Process, op.Kind, op.Outcome)
	for _, i := range op.Items {
		b = append(b, ' ')
		b = append(b, i.String()...)
	}
	if op.Place.Topic != "" {
		b = fmt.Appendf(b, " place=%v", op.Place)
	}
	for _, n := range []struct {
		name  string
		value int64
	}{{"offset", op.Offset}, {"to", op.To}, {"gen", op.Generation}, {"node", int64(op.Node)}} {
		if n.value != 0 {
			b = fmt.Appendf(b, " %s=%d", n.name, n.value)
		}
	}
	if op.Group != "" {
		b = append(append(b, " group="...), op.Group...)
	}
	if op.Bound != End {
		b = fmt.Appendf(b, " bound=%v", op.Bound)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"retried", op.Retried}, {"final", op.Final}, {"twice", op.Twice}} {
		if f.set {
			b = append(append(b, ' '), f.name...)
		}
	}
	if op.Err != "" {
		b = append(b, " err="...)
		b = strconv.AppendQuote(b, op.Err)
	}
	return string(b)
}

// String is place@offset=producer/sequence, with the value's own place if that is another.
func (i Item) String() string {
	s := i.Place.String() + "@" + strconv.FormatInt(i.Offset, 10) + "="
	switch {
	case i.Damaged != "":
		return s + "!" + fmt.Sprintf("%x", i.Damaged)
	case i.Place == i.Value.Place:
		return s + i.Value.Producer + "/" + strconv.FormatInt(i.Value.Sequence, 10)
	}
	return s + i.Value.String()
}

// appendTime writes seconds with no more digits than are needed.
func appendTime(b []byte, d time.Duration) []byte {
	s := fmt.Sprintf("%d.%09d", d/time.Second, d%time.Second)
	return append(b, strings.TrimRight(strings.TrimRight(s, "0"), ".")...)
}

// Write writes a history, one line per operation in the order of their invocation. A name that is not of letters, digits, '.', '_' and '-' is an error.
func Write(w io.Writer, h History) error {
	h = slices.Clone(h)
	h.Sort()
	out := bufio.NewWriter(w)
	for _, op := range h {
		line := op.String()
		if _, err := parseOp(line); err != nil {
			return fmt.Errorf("history: %q: %w", line, err)
		}
		if _, err := out.WriteString(line + "\n"); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Read reads what Write wrote. Empty lines and lines that begin with # are left out. The error names the line.
func Read(r io.Reader) (h History, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		op, err := parseOp(line)
		if err != nil {
			return nil, fmt.Errorf("history: line %d: %w", n, err)
		}
		h = append(h, op)
	}
	return h, in.Err()
}

func parseOp(line string) (op Op, err error) {
	if before, quoted, ok := strings.Cut(line, " err="); ok {
		if op.Err, err = strconv.Unquote(quoted); err != nil {
			return op, fmt.Errorf("error text %s", quoted)
		}
		line = before
	}
	f := strings.Fields(line)
	if len(f) < 4 {
		return op, fmt.Errorf("%d fields", len(f))
	}
	invoke, complete, _ := strings.Cut(f[0], "..")
	if op.Invoke, err = parseTime(invoke); err != nil {
		return op, err
	}
	op.Complete = Unfinished
	if complete != "" {
		if op.Complete, err = parseTime(complete); err != nil {
			return op, err
		}
		if op.Complete < op.Invoke {
			return op, fmt.Errorf("%s: ends before it begins", f[0])
		}
	}
	op.Process = f[1]
	kind, outcome := slices.Index(kindNames[:], f[2]), slices.Index(outcomeNames[:], f[3])
	if err := named(op.Process); err != nil || kind < 0 || outcome < 0 {
		return op, fmt.Errorf("process, kind, outcome %q", f[1:4])
	}
	op.Kind, op.Outcome = Kind(kind), Outcome(outcome)
	for _, s := range f[4:] {
		if err := op.parseField(s); err != nil {
			return op, err
		}
	}
	return op, nil
}

func (op *Op) parseField(s string) (err error) {
	name, value, _ := strings.Cut(s, "=")
	switch name {
	case "place":
		op.Place, err = parsePlace(value)
	case "offset":
		op.Offset, err = strconv.ParseInt(value, 10, 64)
	case "to":
		op.To, err = strconv.ParseInt(value, 10, 64)
	case "gen":
		op.Generation, err = strconv.ParseInt(value, 10, 64)
	case "node":
		var n int64
		n, err = strconv.ParseInt(value, 10, 32)
		op.Node = int32(n)
	case "group":
		op.Group, err = value, named(value)
	case "bound":
		i := slices.Index(boundNames[:], value)
		if i < 0 {
			return fmt.Errorf("bound %q", value)
		}
		op.Bound = Bound(i)
	case "retried":
		op.Retried = true
	case "final":
		op.Final = true
	case "twice":
		op.Twice = true
	default:
		var i Item
		i, err = parseItem(name, value)
		op.Items = append(op.Items, i)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	return nil
}

func parseItem(at, value string) (i Item, err error) {
	place, offset, _ := strings.Cut(at, "@")
	if i.Place, err = parsePlace(place); err != nil {
		return i, err
	}
	if i.Offset, err = strconv.ParseInt(offset, 10, 64); err != nil {
		return i, err
	}
	if damaged, ok := strings.CutPrefix(value, "!"); ok {
		var b []byte
		_, err = fmt.Sscanf(damaged, "%x", &b)
		if i.Damaged = string(b); err == nil && i.Damaged == "" {
			err = fmt.Errorf("nothing damaged")
		}
		return i, err
	}
	if strings.Count(value, "/") == 1 {
		value += "/" + i.Place.String()
	}
	i.Value, err = parseValue(value)
	return i, err
}

func parseTime(s string) (time.Duration, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole, 10, 32)
	if err != nil || len(fraction) > 9 {
		return 0, fmt.Errorf("time %q", s)
	}
	part, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("time %q", s)
	}
	return time.Duration(n)*time.Second + time.Duration(part), nil
}
