package embedded

import (
	"encoding/hex"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func text(rng *rand.Rand) string {
	b := make([]byte, rng.IntN(6))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

func partitions(rng *rand.Rand) (topics []TopicPartitions) {
	for range rng.IntN(4) {
		t := TopicPartitions{Topic: text(rng)}
		for range rng.IntN(4) {
			t.Partitions = append(t.Partitions, int32(rng.Uint32()))
		}
		topics = append(topics, t)
	}
	return topics
}

// data returns null, nothing or something.
func data(rng *rand.Rand) []byte {
	if rng.IntN(3) == 0 {
		return nil
	}
	return []byte(text(rng))
}

func subscription(rng *rand.Rand) Subscription {
	s := Subscription{UserData: data(rng), Owned: partitions(rng), Generation: int32(rng.IntN(3)) - 1, Rack: text(rng)}
	for range rng.IntN(4) {
		s.Topics = append(s.Topics, text(rng))
	}
	return s
}

// fit leaves out what a version has no room for.
func (s Subscription) fit(version int16) Subscription {
	if version < 1 {
		s.Owned = nil
	}
	if version < 2 {
		s.Generation = -1
	}
	if version < 3 {
		s.Rack = ""
	}
	return s
}

// franz-go writes and reads the same bytes, and what is appended is read back equal.
func TestSubscription_AgainstKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		s, version := subscription(rng), int16(i%4)
		b := s.Append([]byte("before"), version)
		require.Equal(t, "before", string(b[:6]))
		b = b[6:]

		m := kmsg.ConsumerMemberMetadata{Version: version, Topics: s.Topics, UserData: s.UserData, Generation: s.Generation}
		if s.Rack != "" {
			m.Rack = &s.Rack
		}
		for _, o := range s.Owned {
			m.OwnedPartitions = append(m.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: o.Topic, Partitions: o.Partitions})
		}
		require.Equal(t, m.AppendTo(nil), b)
		var read kmsg.ConsumerMemberMetadata
		require.NoError(t, read.ReadFrom(b))
		require.Equal(t, b, read.AppendTo(nil))

		got, err := ParseSubscription(b)
		require.NoError(t, err)
		clear(b)
		require.Equal(t, s.fit(version), got)
	}
}

func TestAssignment_AgainstKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 2000 {
		a, version := Assignment{Partitions: partitions(rng), UserData: data(rng)}, int16(i%4)
		b := a.Append([]byte("before"), version)
		require.Equal(t, "before", string(b[:6]))
		b = b[6:]

		m := kmsg.ConsumerMemberAssignment{Version: version, UserData: a.UserData}
		for _, p := range a.Partitions {
			m.Topics = append(m.Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: p.Topic, Partitions: p.Partitions})
		}
		require.Equal(t, m.AppendTo(nil), b)
		var read kmsg.ConsumerMemberAssignment
		require.NoError(t, read.ReadFrom(b))
		require.Equal(t, b, read.AppendTo(nil))

		got, err := ParseAssignment(b)
		require.NoError(t, err)
		clear(b)
		require.Equal(t, a, got)
	}
}

// Later versions only append fields; and there is nothing to write in them.
func TestLaterVersions(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		s := subscription(rng)
		b := s.Append(nil, 3)
		require.Equal(t, b, s.Append(nil, 4))
		require.Equal(t, s.Append(nil, 0), s.Append(nil, -1))
		b[1] = 9
		got, err := ParseSubscription(append(b, "later"...))
		require.NoError(t, err)
		require.Equal(t, s, got)

		a := Assignment{Partitions: partitions(rng), UserData: data(rng)}
		b = a.Append(nil, 3)
		require.Equal(t, b, a.Append(nil, 4))
		require.Equal(t, a.Append(nil, 0), a.Append(nil, -1))
		b[1] = 9
		gotA, err := ParseAssignment(append(b, "later"...))
		require.NoError(t, err)
		require.Equal(t, a, gotA)
	}
}

// What clients have been seen to send, or may as well.
func TestLenient(t *testing.T) {
	none := Subscription{Generation: -1}
	for name, s := range map[string]string{
		"null topics":               "0000 ffffffff ffffffff",
		"null owned partitions":     "0001 00000000 ffffffff ffffffff",
		"version 1 without its own": "0001 00000000 ffffffff",
		"version 3 without its own": "0003 00000000 ffffffff",
	} {
		got, err := ParseSubscription(unhex(t, s))
		require.NoError(t, err, name)
		assert.Equal(t, none, got, name)
	}
	for name, s := range map[string]string{"nothing": "", "null partitions": "0000 ffffffff ffffffff"} {
		got, err := ParseAssignment(unhex(t, s))
		require.NoError(t, err, name)
		assert.Equal(t, Assignment{}, got, name)
	}
	got, err := ParseAssignment(unhex(t, "0000 00000001 0001 74 ffffffff 00000000"))
	require.NoError(t, err)
	assert.Equal(t, Assignment{Partitions: []TopicPartitions{{Topic: "t"}}, UserData: []byte{}}, got)
}

func TestErrors(t *testing.T) {
	for s, want := range map[string]string{
		"":                                       "embedded: subscription, byte 0: ends inside a field",
		"ffff 00000000 ffffffff":                 "embedded: subscription, byte 0: negative version",
		"0000 7fffffff 0001 74":                  "embedded: subscription, byte 2: number of elements exceeds the bytes",
		"0000 00000001 ffff":                     "embedded: subscription, byte 6: null",
		"0000 00000001 0002 74":                  "embedded: subscription, byte 8: ends inside a field",
		"0000 00000000 00000002 00":              "embedded: subscription, byte 10: ends inside a field",
		"0001 00000000 ffffffff 00000001":        "embedded: subscription, byte 10: number of elements exceeds the bytes",
		"0002 00000000 ffffffff 00000000":        "embedded: subscription, byte 14: ends inside a field",
		"0003 00000000 ffffffff 00000000 000000": "embedded: subscription, byte 14: ends inside a field",
	} {
		got, err := ParseSubscription(unhex(t, s))
		assert.EqualError(t, err, want)
		assert.Zero(t, got)
	}
	for s, want := range map[string]string{
		"ffff": "embedded: assignment, byte 0: negative version",
		"0000 00000001 0001 74 00000002 00000001": "embedded: assignment, byte 9: number of elements exceeds the bytes",
		"0000 00000000": "embedded: assignment, byte 6: ends inside a field",
	} {
		got, err := ParseAssignment(unhex(t, s))
		assert.EqualError(t, err, want)
		assert.Zero(t, got)
	}
}

// A name that does not fit is cut: one whose length wrapped would garble all that follows.
func TestAppend_LongNames(t *testing.T) {
	long := strings.Repeat("x", 1<<15)
	got, err := ParseSubscription(Subscription{Topics: []string{long}, Rack: long, UserData: []byte("u")}.Append(nil, 3))
	require.NoError(t, err)
	assert.Equal(t, Subscription{Topics: []string{long[1:]}, Rack: long[1:], UserData: []byte("u")}, got)
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func parseBoth(b []byte) {
	_, _ = ParseSubscription(b)
	_, _ = ParseAssignment(b)
}

// The costliest inputs: many tiny elements, and counts that claim more than there is.
func TestParse_Memory(t *testing.T) {
	const n = 1 << 16
	for name, b := range map[string][]byte{
		"topics":       slices.Concat(unhex(t, "0000 00010000"), make([]byte, 2*n)),
		"partitions":   slices.Concat(unhex(t, "0000 00010000"), make([]byte, 6*n)),
		"numbers":      slices.Concat(unhex(t, "0000 00000001 0000 00010000"), make([]byte, 4*n)),
		"one too many": slices.Concat(unhex(t, "0000 00010001"), make([]byte, 6*n)),
	} {
		used := allocated(func() { parseBoth(b) })
		assert.LessOrEqual(t, used, uint64(16*len(b)+64<<10), "%s: %d bytes for %d", name, used, len(b))
	}
}

func FuzzParse(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 40 {
		f.Add(subscription(rng).Append(nil, int16(i%4)))
		f.Add(Assignment{Partitions: partitions(rng), UserData: data(rng)}.Append(nil, int16(i%4)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		require.LessOrEqual(t, allocated(func() { parseBoth(b) }), uint64(32*len(b)+64<<10)) // two times over
		if s, err := ParseSubscription(b); err == nil {
			again, err := ParseSubscription(s.Append(nil, 3))
			require.NoError(t, err)
			require.Equal(t, s, again)
		} else {
			require.ErrorAs(t, err, new(*FormatError))
		}
		if a, err := ParseAssignment(b); err == nil {
			again, err := ParseAssignment(a.Append(nil, 0))
			require.NoError(t, err)
			require.Equal(t, a, again)
		} else {
			require.ErrorAs(t, err, new(*FormatError))
		}
	})
}

func BenchmarkSubscription(b *testing.B) {
	s := Subscription{Topics: []string{"orders", "payments"}, Owned: []TopicPartitions{{"orders", []int32{0, 1, 2, 3}}, {"payments", []int32{0, 1}}}, Generation: 5, Rack: "a"}
	data := s.Append(nil, 3)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := ParseSubscription(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			data = s.Append(data[:0], 3)
		}
	})
}
