package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		exit(runChild(dir)) // the test's own executable is what the row of kill -9 starts
	}
	os.Exit(m.Run())
}

// TestStores appends to every log and reads back, so that no figure is of something that is not done.
func TestStores(t *testing.T) {
	for _, s := range append([]*subject{raw, insync, encoded, decoded}, peers...) {
		for _, durable := range []bool{false, true} {
			t.Run(s.name, func(t *testing.T) { testStore(t, s, options{durable: durable, find: true}) })
		}
	}
}

func testStore(t *testing.T, s *subject, o options) {
	dir := t.TempDir()
	st, err := s.open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.close(); err != nil {
			t.Error(err)
		}
	}()
	l := newLot(300, 3, 0)
	n := 0
	shared := st.shared()
	for i := range 2 * len(l) {
		add := st.append
		if i >= len(l) {
			add = shared
		}
		if err := add(l.at(i)); err != nil {
			t.Fatal(err)
		}
		n += len(l.at(i).values)
	}
	if f, ok := st.(finder); ok {
		for i := range n {
			got, err := f.find(i)
			if err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			if s == raw { // which gives the batch
				got = got[bytes.Index(got, l.value(i)):][:len(l.value(i))]
			}
			if !bytes.Equal(got, l.value(i)) {
				t.Fatalf("record %d is another", i)
			}
		}
	}
	if _, later := st.(*pebbleStore); later && o.durable {
		return // a log that is still written cannot be read
	}
	var want, got []byte
	for i := range 2 * len(l) {
		for _, v := range l.at(i).values {
			want = append(want, v...)
		}
	}
	err = st.(reader).scan(func(v []byte) bool {
		got = append(got, v...)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if s == raw || s == insync || s == encoded { // which give batches
		want = nil
		for i := range 2 * len(l) {
			want = append(want, l.at(i).encoded[crcFrom:]...)
		}
		if got = withoutHeaders(got, len(l.at(0).encoded)); s == encoded {
			return // it was checked by find, and its Builder is its own
		}
	}
	if !bytes.Equal(want, got) {
		t.Fatalf("read %d bytes that are not the %d written", len(got), len(want))
	}
}

// withoutHeaders leaves of batches of size bytes what a leader does not change.
func withoutHeaders(all []byte, size int) (out []byte) {
	for ; len(all) >= size; all = all[size:] {
		out = append(out, all[crcFrom:size]...)
	}
	return out
}

// TestRun does a third of the table.
func TestRun(t *testing.T) {
	c := brief
	c.dir, c.rows = t.TempDir(), "1 KiB"
	var out strings.Builder
	if err := run(c, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for _, s := range sections() {
		if !strings.Contains(out.String(), "## "+s.title+", "+s.unit) {
			t.Errorf("no section %q", s.title)
		}
	}
	if strings.Contains(out.String(), "NaN") {
		t.Error("a figure is no number")
	}
}
