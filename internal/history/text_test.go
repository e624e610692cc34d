package history_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/insynclog/insync/internal/history"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTextRoundTrip(t *testing.T) {
	for seed := range uint64(50) {
		h, _ := modelHistory(seed, 100)
		h = append(h, history.Op{
			Process: "x", Kind: history.Send, Outcome: history.Info, Invoke: 5, Complete: history.Unfinished, Err: "a \"b\"\n err=c", Twice: true, Bound: history.LSO,
			Items: []history.Item{{Place: history.Place{Topic: "a-b"}, Offset: 7, Damaged: "\x00 /"}},
		})
		var b, again bytes.Buffer
		require.NoError(t, history.Write(&b, h))
		text := b.String()
		got, err := history.Read(&b)
		require.NoError(t, err)
		h.Sort()
		require.Equal(t, h, got)
		require.NoError(t, history.Write(&again, got))
		require.Equal(t, text, again.String())
	}
}

func TestWriteRefusesNames(t *testing.T) {
	for _, op := range []history.Op{{Process: "a b"}, {}, {Process: "a", Group: "g=h"}, {Process: "a", Items: []history.Item{{Place: history.Place{Topic: "t"}, Value: history.Value{Producer: "a/b"}}}}} {
		assert.Error(t, history.Write(&bytes.Buffer{}, history.History{op}))
	}
}

func TestReadNamesTheLine(t *testing.T) {
	for _, line := range []string{
		"1..2", "1..2 p send", "x..2 p send ok", "1..x p send ok", "1.0000000001..2 p send ok", "2..1 p send ok", "1..2 p sent ok", "1..2 p send maybe", "1..2 p send ok t-0@0", "1..2 p send ok t-0=p/1", "1..2 p send ok t@0=p/1",
		"1..2 p send ok t-0@0=p/1/t", "1..2 p send ok t-0@0=p/x", "1..2 p send ok t-0@0=!", "1..2 p send ok t-0@0=!x", "1..2 p send ok t:00-0@0=p/1", "1..2 p send ok offset=x", "1..2 p send ok bound=x", "1..2 p send ok node=3000000000", "1..2 p send ok err=x",
	} {
		_, err := history.Read(strings.NewReader("# a comment\n\n" + line))
		require.Error(t, err, line)
		assert.Contains(t, err.Error(), "line 3:", line)
	}
}

// What the parser accepts is written back, read to the same, and judged without a panic.
func FuzzRead(f *testing.F) {
	h, _ := modelHistory(1, 30)
	var b bytes.Buffer
	require.NoError(f, history.Write(&b, h))
	f.Add(b.String())
	f.Add("1..2 p send ok t-0@0=!ff err=\"x\" twice\n1.. p claim info place=t:000102030405060708090a0b0c0d0e0f-0 group=g gen=-1")
	f.Add("0..1 b lost ok place=t-0 offset=-9223372036854775808 to=9223372036854775807\n2..3 c poll ok t-0@9223372036854775807=p/1 final")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := history.Read(strings.NewReader(s))
		if err != nil {
			return
		}
		_ = history.Check(h, history.Options{}).String()
		_ = history.Check(h, history.Options{Dense: true, AllowLoss: true, Plain: []string{"p"}}).String()
		var b, again bytes.Buffer
		require.NoError(t, history.Write(&b, h))
		text := b.String()
		h, err = history.Read(&b)
		require.NoError(t, err)
		require.NoError(t, history.Write(&again, h))
		require.Equal(t, text, again.String())
	})
}

func TestEncode(t *testing.T) {
	v := history.Value{Producer: "p.1", Sequence: 7, Place: history.Place{Topic: "a-b", ID: [16]byte{1}, Partition: 3}}
	for _, padding := range []int{0, 1, 1000} {
		value, header := history.Encode(v, []byte("key"), padding)
		got, err := history.Decode([]byte("key"), value, header)
		require.NoError(t, err)
		assert.Equal(t, v, got)
		_, err = history.Decode([]byte("key"), value, nil)
		require.NoError(t, err)
		_, err = history.Decode([]byte("kez"), value, header)
		assert.ErrorIs(t, err, history.ErrDamaged)
		_, err = history.Decode([]byte("key"), value, []byte("00000000"))
		assert.ErrorIs(t, err, history.ErrDamaged)
		for i := range value {
			bad := bytes.Clone(value)
			bad[i] ^= 1
			_, err = history.Decode([]byte("key"), bad, nil)
			assert.ErrorIs(t, err, history.ErrDamaged, "byte %d", i)
			_, err = history.Decode([]byte("key"), value[:i], nil)
			assert.ErrorIs(t, err, history.ErrDamaged, "cut to %d", i)
		}
		item := history.ItemOf(v.Place, 3, []byte("other"), value, nil)
		assert.NotEmpty(t, item.Damaged)
	}
}

// Time stands still in a bubble, and what was recorded in order is in order all the same.
func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := history.NewRecorder()
		a := r.Begin(history.Op{Process: "a"})
		r.End(a, history.Op{Process: "a", Outcome: history.OK})
		b := r.Begin(history.Op{Process: "b"})
		r.End(b, history.Op{Process: "b", Outcome: history.OK})
		r.End(b, history.Op{Process: "b", Outcome: history.OK})
		r.Begin(history.Op{Process: "c"})
		h := r.History()
		assert.Less(t, h[0].Complete, h[1].Invoke)
		assert.Equal(t, []bool{false, true}, []bool{h[0].Twice, h[1].Twice})
		assert.Equal(t, history.Unfinished, h[2].Complete)
		assert.Equal(t, history.Info, h[2].Outcome)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 100 {
					r.End(r.Begin(history.Op{Process: "d"}), history.Op{Process: "d", Outcome: history.OK})
					r.Note(history.Op{Process: "e"})
				}
			})
		}
		wg.Wait()
		h = r.History()
		assert.Len(t, h, 803)
		times := map[any]bool{}
		for _, op := range h[3:] {
			assert.False(t, times[op.Invoke] || times[op.Complete])
			times[op.Invoke], times[op.Complete] = true, true
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, kind := range histories {
		for _, n := range []int{10_000, 100_000, 1_000_000} {
			h, o := kind.make(n)
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if r := history.Check(h, o); len(r.Anomalies) > 0 {
						b.Fatal(r)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(h)), "ns/operation")
			})
		}
	}
}
