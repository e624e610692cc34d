package guard

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kind is one message of the protocol in one direction.
type kind struct {
	response bool
	key      int16
}

func (k kind) String() string {
	if m := find(k.table(), k.key); m != nil {
		return m.name
	}
	return "unknown"
}

func (k kind) table() []message {
	if k.response {
		return responses[:]
	}
	return requests[:]
}

// coder is what requests and responses have in common.
type coder interface {
	SetVersion(version int16)
	AppendTo(dst []byte) []byte
	ReadFrom(src []byte) error
}

func (k kind) empty(version int16) coder {
	m := k.message()
	if m != nil {
		m.SetVersion(version)
	}
	return m
}

func (k kind) message() coder {
	if k.response {
		if r := kmsg.ResponseForKey(k.key); r != nil {
			return r
		}
		return nil
	}
	if r := kmsg.RequestForKey(k.key); r != nil {
		return r
	}
	return nil
}

func (k kind) walk(version int16, body []byte, budget int64) (*walk, bool) {
	w := &walk{src: body, end: len(body), budget: budget}
	return w, w.message(find(k.table(), k.key), version) && (!k.response || w.whole())
}

func (k kind) check(version int16, body []byte, budget int) error {
	if k.response {
		return Response(k.key, version, body, budget)
	}
	return request(k.key, version, body, budget)
}

// each calls f for every version of every message that kmsg knows.
func each(t testing.TB, f func(k kind, version int16)) {
	n := 0
	for key := range kmsg.MaxKey + 1 {
		for _, response := range []bool{false, true} {
			k := kind{response, int16(key)}
			m := k.message()
			if m == nil {
				continue
			}
			var newest int16
			switch m := m.(type) {
			case kmsg.Request:
				newest = m.MaxVersion()
			case kmsg.Response:
				newest = m.MaxVersion()
			}
			for version := range newest + 1 {
				f(k, version)
				n++
			}
		}
	}
	if n < 500 {
		t.Fatalf("%d versions of messages: kmsg knows more", n)
	}
}

// filler fills structs with random values.
type filler struct {
	*rand.Rand
	most int // elements of an array
	tags int // one section in so many has unknown tags; 0: none
}

func (f filler) fill(m any) {
	f.value(reflect.ValueOf(m).Elem())
}

func (f filler) value(v reflect.Value) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		if f.tags > 0 && f.IntN(f.tags) == 0 {
			for range 1 + f.IntN(f.most+1) {
				tags.Set(1000+uint32(f.IntN(1<<20)), make([]byte, f.IntN(20)))
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.Uint64()) >> f.IntN(64))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.Uint64() >> f.IntN(64))
	case reflect.Float64:
		v.SetFloat(f.Float64())
	case reflect.String:
		v.SetString(string(f.text()))
	case reflect.Pointer:
		if v.SetZero(); f.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.value(v.Elem())
		}
	case reflect.Slice:
		switch n := f.IntN(f.most + 2); {
		case n == 0:
			v.SetZero()
		case v.Type().Elem().Kind() == reflect.Uint8:
			v.SetBytes(f.text())
		default:
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
			for i := range n - 1 {
				f.value(v.Index(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			f.value(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() && field.Name != "Version" {
				f.value(v.Field(i))
			}
		}
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// text has now and then a length that takes two bytes as a varint.
func (f filler) text() []byte {
	n := f.IntN(24)
	if f.IntN(16) == 0 {
		n = f.IntN(400)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + f.IntN(26))
	}
	return b
}

// encoded is a random body.
func (f filler) encoded(k kind, version int16) []byte {
	m := k.empty(version)
	f.fill(m)
	return m.AppendTo(nil)
}

// even fills structs with the same of everything, as large honest frames are.
type even struct {
	outer, inner int // elements of arrays, and of arrays in them; deeper ones have one
	letters      int // of each string
}

func (e even) encoded(k kind, version int16) []byte {
	m := k.empty(version)
	e.value(reflect.ValueOf(m).Elem(), e.outer, e.inner)
	return m.AppendTo(nil)
}

func (e even) value(v reflect.Value, elements, inner int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Repeat("x", e.letters))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		e.value(v.Elem(), elements, inner)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), elements, elements))
		for i := range elements {
			e.value(v.Index(i), inner, min(inner, 1))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() && field.Name != "Version" {
				e.value(v.Field(i), elements, inner)
			}
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64: // not the default, so that tagged ones are written
		v.SetInt(7)
	}
}
