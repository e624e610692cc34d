package record

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Golden batches come from two sources, neither of them this package: testdata/golden/*.bin is what franz-go's producer sends
// (interop/fixtures makes them), testdata/handmade/*.hex is written field by field from the protocol's tables. Beside each is
// a text that says what is in it.

// goldenBatch is one of them.
type goldenBatch struct {
	name string
	Batch
	text string // what render must give
}

func goldens(t testing.TB, dirs ...string) []goldenBatch {
	t.Helper()
	var gs []goldenBatch
	for _, dir := range dirs {
		texts, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
		require.NoError(t, err)
		require.NotEmpty(t, texts)
		for _, path := range texts {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			base := strings.TrimSuffix(path, ".txt")
			gs = append(gs, goldenBatch{name: filepath.ToSlash(base), Batch: goldenBytes(t, base), text: uncomment(string(text))})
		}
	}
	return gs
}

func goldenBytes(t testing.TB, base string) Batch {
	t.Helper()
	b, err := os.ReadFile(base + ".bin")
	if err == nil {
		return b
	}
	text, err := os.ReadFile(base + ".hex")
	require.NoError(t, err)
	b, err = hex.DecodeString(strings.Join(strings.Fields(uncomment(string(text))), ""))
	require.NoError(t, err)
	return b
}

// uncomment removes what follows a # (no golden record holds one) and empty lines.
func uncomment(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// render writes a batch in the form of the texts.
func render(t testing.TB, b Batch) string {
	t.Helper()
	var s strings.Builder
	fmt.Fprintf(&s, "codec=%s transactional=%t control=%t log-append-time=%t\n", b.Codec(), b.Transactional(), b.Control(), b.LogAppendTime())
	fmt.Fprintf(&s, "base-offset=%d last-offset=%d base-timestamp=%d max-timestamp=%d\n", b.BaseOffset(), b.LastOffset(), b.BaseTimestamp(), b.MaxTimestamp())
	fmt.Fprintf(&s, "producer-id=%d producer-epoch=%d base-sequence=%d records=%d\n", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.RecordCount())
	for r, err := range b.All() {
		require.NoError(t, err)
		ts := "none"
		if !r.Timestamp.IsZero() {
			ts = fmt.Sprint(r.Timestamp.UnixMilli())
		}
		fmt.Fprintf(&s, "%d %s key=%s value=%s", r.Offset, ts, quote(r.Key), quote(r.Value))
		for _, h := range r.Headers {
			fmt.Fprintf(&s, " %q:%s", h.Key, quote(h.Value))
		}
		s.WriteByte('\n')
	}
	return s.String()
}

func quote(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 64:
		return fmt.Sprintf("%q...(%d bytes)", b[:48], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// equalLines reports the first line that differs.
func equalLines(t testing.TB, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		require.Equal(t, w[i], g[i], "line %d", i+1)
	}
	require.Len(t, g, len(w))
}

func TestGolden_Decode(t *testing.T) {
	for _, g := range goldens(t, "golden", "handmade") {
		t.Run(g.name, func(t *testing.T) {
			batch, rest, err := Split(g.Batch)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.NoError(t, batch.CheckCRC())
			equalLines(t, g.text, render(t, batch))
		})
	}
}

// The same records make the same bytes; where they are compressed, the same bytes before compression.
func TestGolden_Encode(t *testing.T) {
	for _, g := range goldens(t, "golden") {
		t.Run(g.name, func(t *testing.T) {
			b := NewBuilder(BuilderConfig{Codec: g.Codec(), Transactional: g.Transactional()})
			b.SetProducer(g.ProducerID(), g.ProducerEpoch(), g.BaseSequence())
			for r, err := range g.All() {
				require.NoError(t, err)
				size := b.Size()
				grows := b.AppendSize(r)
				b.Append(r)
				require.Equal(t, size+grows, b.Size())
			}
			out, err := b.Build([]byte("before"))
			require.NoError(t, err)
			require.Equal(t, "before", string(out[:6]))
			got := Batch(out[6:])
			require.NoError(t, got.CheckCRC())
			if g.Codec() == None {
				require.Equal(t, g.Batch.Clone(), got)
				require.Equal(t, b.Size(), len(got))
				return
			}
			var r1, r2 Reader
			want, err := r1.decompress(g.Batch, 0)
			require.NoError(t, err)
			have, err := r2.decompress(got, 0)
			require.NoError(t, err)
			assert.Equal(t, want, have)
			// The headers differ only in length and CRC.
			copy(got[lengthAt:leaderEpochAt], g.Batch[lengthAt:leaderEpochAt])
			copy(got[crcAt:attributesAt], g.Batch[crcAt:attributesAt])
			assert.Equal(t, []byte(g.Batch[:HeaderSize]), []byte(got[:HeaderSize]))
		})
	}
}

// What another client sends passes the leader's check.
func TestGolden_Validate(t *testing.T) {
	var r Reader
	for _, g := range goldens(t, "golden") {
		got, err := Validate(g.Batch, ValidateOptions{MaxBytes: 1 << 20}, &r)
		require.NoError(t, err, g.name)
		assert.Equal(t, g.MaxTimestamp(), got, g.name)
	}
}

func TestGolden_Control(t *testing.T) {
	for name, want := range map[string]ControlType{"commit": ControlCommit, "abort": ControlAbort} {
		b := goldenBytes(t, "testdata/handmade/"+name+"-marker")
		assert.Len(t, b, 78)
		got, ok := b.ControlType()
		assert.True(t, ok)
		assert.Equal(t, want, got)
		assert.Equal(t, name, got.String())
	}
	_, ok := goldenBytes(t, "testdata/handmade/smallest").ControlType()
	assert.False(t, ok)
}
