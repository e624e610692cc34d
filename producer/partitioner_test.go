package producer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/log/record"
)

// The vectors are those of Kafka's own test of Utils.murmur2.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		assert.Equal(t, want, int32(murmur2([]byte(key))), "%q", key)
	}
}

func TestKeyPartition(t *testing.T) {
	// (murmur2 & 0x7fffffff) % n, by hand.
	assert.Equal(t, int32((-973932308&0x7fffffff)%7), KeyPartition([]byte("21"), 7))
	assert.Equal(t, int32(479470107%1000), KeyPartition([]byte("abc"), 1000))
	seen := make(map[int32]int)
	for i := range 1000 {
		seen[KeyPartition(fmt.Append(nil, "key", i), 8)]++
	}
	for p := range int32(8) {
		assert.InDelta(t, 125, seen[p], 60)
	}
}

func TestKeyed_EmptyKeyIsAKey(t *testing.T) {
	assert.Equal(t, -1, Keyed{}.Partition(&record.Record{}, 5))
	assert.Equal(t, int(KeyPartition([]byte{}, 5)), Keyed{}.Partition(&record.Record{Key: []byte{}}, 5))
}

func TestPartitioner_Keys(t *testing.T) {
	f := newFake(t, 1).topic("a", 5)
	p := f.producer(f.local(), Config{})
	for i := range 50 {
		key := fmt.Append(nil, i)
		md, err := p.Produce(t.Context(), &record.Record{Topic: "a", Key: key})
		require.NoError(t, err)
		assert.Equal(t, KeyPartition(key, 5), md.Partition)
	}
}

func TestPartitioner_OutOfRange(t *testing.T) {
	f := newFake(t, 1).topic("a", 2)
	for _, partition := range []int32{2, -1} {
		p := f.producer(f.local(), Config{Partitioner: Manual{}})
		_, err := p.Produce(t.Context(), rec("a", partition, "x"))
		require.ErrorContains(t, err, "of 2")
		assert.Equal(t, NotCommitted, OutcomeOf(err))
	}
}

func TestPartitioner_LeavesTheChoice(t *testing.T) {
	f := newFake(t, 1).topic("a", 3)
	p := f.producer(f.local(), Config{Partitioner: PartitionerFunc(func(r *record.Record, n int) int {
		if len(r.Value) == 0 {
			return -1
		}
		return n - 1
	})})
	md, err := p.Produce(t.Context(), rec("a", 0, "x"))
	require.NoError(t, err)
	assert.Equal(t, int32(2), md.Partition)
	_, err = p.Produce(t.Context(), rec("a", 0, ""))
	require.NoError(t, err)
}

// Without a key, records stay together until BatchBytes were produced, then move on (KIP-480, KIP-794).
func TestSticky(t *testing.T) {
	f := newFake(t, 1).topic("a", 6)
	p := f.producer(f.local(), Config{BatchBytes: 1000})
	var runs []int
	last := int32(-1)
	seen := make(map[int32]bool)
	for range 200 {
		md, err := p.Produce(t.Context(), &record.Record{Topic: "a", Value: make([]byte, 64)})
		require.NoError(t, err)
		if md.Partition != last {
			runs, last = append(runs, 0), md.Partition
		}
		runs[len(runs)-1]++
		seen[last] = true
	}
	for _, n := range runs[:len(runs)-1] {
		assert.Equal(t, 10, n, "100 bytes each fill 1000") // 64 and 36 for what surrounds them at most
	}
	assert.Greater(t, len(seen), 3)
}
