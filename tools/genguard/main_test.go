package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTableIsCurrent: after an upgrade of kmsg, or a change here, the table is generated anew.
func TestTableIsCurrent(t *testing.T) {
	if err := run("../..", "../../internal/guard/schema_gen.go", true); err != nil {
		t.Fatal(err)
	}
}

const decoder = `package kmsg

type Tags struct{ keyvals map[uint32][]byte }

type PingRequest struct {
	Version int16
	Names   []string
	Inner   PingRequestInner
	UnknownTags Tags
}

type PingRequestInner struct{ A, B int32 }

func (*PingRequest) Key() int16 { return 3 }
func (*PingRequest) MaxVersion() int16 { return 1 }

func (v *PingRequest) readFrom(src []byte, unsafe bool) error {
	v.Default()
	b := kbin.Reader{Src: src}
	version := v.Version
	_ = version
	isFlexible := version >= 1
	_ = isFlexible
	s := v
	{
		v := s.Names
		a := v
		var l int32
		if isFlexible {
			l = b.CompactArrayLen()
		} else {
			l = b.ArrayLen()
		}
		if !b.Ok() {
			return b.Complete()
		}
		a = a[:0]
		if l > 0 {
			a = append(a, make([]string, l)...)
		}
		for i := int32(0); i < l; i++ {
			var v string
			v = b.String()
			a[i] = v
		}
		v = a
		s.Names = v
	}
	{
		v := &s.Inner
		v.Default()
		s := v
		if version >= 1 {
			v := b.Int32()
			s.A = v
		}
		{
			v := b.Int32()
			s.B = v
		}
	}
	if isFlexible {
		s.UnknownTags = internalReadTags(&b)
	}
	return b.Complete()
}
`

func generated(t *testing.T, text string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "generated.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := generate(dir)
	return string(out), err
}

func TestGenerate(t *testing.T) {
	out, err := generated(t, decoder)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`3: {"PingRequest", 0, 2, 48}, // versions 0 to 1`,
		"{opString, 0, 0, 0, 0}, {},",
		"{opArray, 1, 2, 16, 0}, {opFixed, 2, 4, 0, 0}, {},",
		"{opCompactArray, 1, 2, 16, 0}, {opFixed, 3, 8, 0, 0}, {opTags, 4, 0, 0, 0}, {},",
		`"", "Names", "Inner.B", "Inner.A", "tags",`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing: %s\n%s", want, out)
		}
	}
}

// TestGenerateRefuses whatever a decoder does that this program does not know.
func TestGenerateRefuses(t *testing.T) {
	for _, c := range []struct{ old, changed string }{
		{"v = b.String()", "v = b.Rope()"},
		{"v = b.String()", "v = f(b.String())"},
		{"a[i] = v", "a[i] = w"},
		{"if !b.Ok() {", "if b.Ok() {"},
		{"if version >= 1 {", "if version > 1 {"},
		{"if version >= 1 {", "if s.A >= 1 {"},
		{"i < l; i++", "i <= l; i++"},
		{"make([]string, l)", "make([]string, 2*l)"},
		{"make([]string, l)", "make([]other.Type, l)"},
		{"return b.Complete()\n}", "return nil\n}"},
		{"_ = isFlexible", "defer f()"},
		{"int16 { return 3 }", "int16 { return three }"},
		{"internalReadTags(&b)", "internalReadTags(&c)"},
	} {
		text := strings.Replace(decoder, c.old, c.changed, 1)
		if c.old == "return b.Complete()\n}" {
			text = strings.TrimSuffix(decoder, c.old+"\n") + c.changed
		}
		if text == decoder {
			t.Fatalf("%q is not there", c.old)
		}
		if _, err := generated(t, text); err == nil {
			t.Errorf("%q: generated", c.changed)
		}
	}
}
