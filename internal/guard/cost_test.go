package guard

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// requireBounded checks the two promises about a frame of unknown contents: the walk's time, and what decoding costs if it passed.
func requireBounded(t testing.TB, k kind, version int16, body []byte, budget int) *walk {
	t.Helper()
	w, ok := k.walk(version, body, int64(budget))
	require.Equal(t, ok, w.err == nil)
	require.Equal(t, ok, k.check(version, body, budget) == nil)
	require.LessOrEqual(t, w.steps, mostSteps(body))
	if ok {
		require.LessOrEqual(t, w.cost, int64(budget))
		requireWithin(t, k, version, body, w.cost)
	}
	return w
}

// requireWithin checks that a body is decoded, and that this allocates no more than cost.
func requireWithin(t testing.TB, k kind, version int16, body []byte, cost int64) {
	t.Helper()
	var err error
	cost *= raceFactor
	got := allocatedBy(cost, func() { err = k.empty(version).ReadFrom(body) })
	require.NoError(t, err)
	require.LessOrEqual(t, got, cost, "%v version %d: %x", k, version, body)
}

// allocatedBy returns how many bytes f allocates. Whatever else runs in the process can only add to that, so what is too much is measured again.
func allocatedBy(most int64, f func()) (least int64) {
	for i := range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if n := int64(after.TotalAlloc - before.TotalAlloc); i == 0 || n < least {
			least = n
		}
		if least <= most {
			break
		}
	}
	return least
}

// TestAllocated holds the model of the allocator against the allocator, for memory without and with pointers.
func TestAllocated(t *testing.T) {
	var plain []byte
	var pointers []*byte
	for n := range 70_000 {
		if n > 2048 && n%97 != 0 && (n&(n-1)) != 0 && ((n-1)&(n-2)) != 0 {
			continue
		}
		got := allocatedBy(raceFactor*allocated(int64(n)), func() { plain = append([]byte(nil), make([]byte, n)...) })
		require.LessOrEqual(t, got, raceFactor*allocated(int64(n)), "%d bytes", n)
		if n%8 == 0 {
			got := allocatedBy(raceFactor*allocated(int64(n)), func() { pointers = append([]*byte(nil), make([]*byte, n/8)...) })
			require.LessOrEqual(t, got, raceFactor*allocated(int64(n)), "%d bytes of pointers", n)
		}
	}
	runtime.KeepAlive(plain)
	runtime.KeepAlive(pointers)
}

// TestTagCost: a map of any size costs at most what its entries are charged, even if it has just grown.
func TestTagCost(t *testing.T) {
	most := 0.0
	for n := 1; n < 40_000; n += 1 + n/15 {
		for _, n := range []int{n, n*7/8 + 1} {
			body := binary.AppendUvarint([]byte{1, 1}, uint64(n)) // ApiVersionsRequest: two empty strings
			for i := range n {
				body = append(binary.AppendUvarint(body, 1000+uint64(i)), 0)
			}
			k := kind{key: 18}
			w, ok := k.walk(3, body, plenty)
			require.True(t, ok)
			got := allocatedBy(w.cost, func() { _ = k.empty(3).ReadFrom(body) })
			require.LessOrEqual(t, got, w.cost, "%d tags", n)
			if n > 100 {
				most = max(most, float64(got)/float64(n))
			}
		}
	}
	require.Greater(t, most, moreTagCost/2.0, "the charge is far more than what it is for")
	t.Logf("at most %.0f bytes a tag", most)
}

// TestFloods: frames made to cost much are refused, however long they are. Of a frame that passes, 64 KiB cost no more than a budget of 16 bytes each.
func TestFloods(t *testing.T) {
	const n = 100_000
	repeated := func(head []byte, element, tail string) []byte {
		return append(append(head, strings.Repeat(element, n)...), tail...)
	}
	count := func(n int, head ...byte) []byte { return binary.AppendUvarint(head, uint64(n)) }
	for name, c := range map[string]struct {
		k       kind
		version int16
		body    []byte
		want    error
	}{
		"tags":                 {kind{false, 18}, 3, repeated(count(n, 1, 1), "\xe8\x07\x00", ""), ErrBudget},
		"a tag each":           {kind{false, 3}, 12, repeated(count(n+1), strings.Repeat("\x00", 17)+"\x01\xe8\x07\x00", "\x00\x00\x00"), ErrBudget},
		"tags that are not":    {kind{false, 18}, 3, []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, ErrCount},
		"elements, too":        {kind{false, 15}, 5, []byte{0xff, 0xff, 0xff, 0xff, 0x07, 1, 0, 0}, ErrCount},
		"a known tag, often":   {kind{true, 18}, 3, repeated(count(n, 0, 0, 1, 0, 0, 0, 0), "\x02\x01\x01", ""), nil},
		"empty names":          {kind{false, 15}, 5, repeated(count(n+1), "\x01", "\x00\x00"), nil},
		"arrays of one":        {kind{false, 9}, 6, repeated(count(n+1, 2, 'g'), "\x01\x02\x00\x00\x00\x00\x00", "\x00"), nil},
		"names of two letters": {kind{false, 15}, 5, repeated(count(n+1), "\x03ab", "\x00\x00"), nil},
	} {
		w, _ := c.k.walk(c.version, c.body, int64(Budget(len(c.body))))
		require.Equal(t, c.want, w.err, name)
		if w.err == nil {
			requireWithin(t, c.k, c.version, c.body, w.cost)
			t.Logf("%s: %.1f bytes a byte", name, float64(w.cost)/float64(len(c.body)))
		}
	}
}

// TestBudgetIsEnough for large honest frames of every message, by 16 bytes a byte alone but for the message's own struct.
func TestBudgetIsEnough(t *testing.T) {
	for _, c := range []struct {
		even
		most float64 // bytes a byte of frames that are not tiny
	}{
		{even{1000, 1, 10}, 8.5},
		{even{1000, 3, 10}, 8.5},
		{even{1000, 1, 4}, 14.5},
		{even{100, 100, 4}, 14},
		{even{1, 1, 10}, 11},
		{even{0, 0, 0}, 16},
	} {
		most, message := 0.0, ""
		each(t, func(k kind, version int16) {
			if c.outer*c.inner > 1000 && int(version) != int(find(k.table(), k.key).count)-1 {
				return
			}
			body := c.encoded(k, version)
			w, ok := k.walk(version, body, plenty)
			require.True(t, ok)
			require.LessOrEqual(t, w.cost, int64(64+16*len(body)), "%v version %d", k, version)
			if ratio := float64(w.cost) / float64(len(body)); len(body) >= 32 && ratio > most {
				most, message = ratio, fmt.Sprint(k, " version ", version)
			}
		})
		require.LessOrEqual(t, most, c.most, message)
		t.Logf("%+v: at most %.1f bytes a byte, %s", c.even, most, message)
	}
	require.Equal(t, 16<<10, Budget(-1))
	require.Equal(t, 17*16<<10, Budget(16<<10))
	require.Positive(t, int32(Budget(math.MaxInt)))
}

// TestTagsOfALaterTime: one unknown tagged field in each element passes in messages whose elements are not tiny.
func TestTagsOfALaterTime(t *testing.T) {
	fetch := kmsg.NewPtrFetchRequest()
	topic := kmsg.NewFetchRequestTopic()
	for range 5000 {
		p := kmsg.NewFetchRequestTopicPartition()
		p.UnknownTags.Set(90, make([]byte, 8))
		topic.Partitions = append(topic.Partitions, p)
	}
	fetch.Topics, fetch.Version = append(fetch.Topics, topic), 18
	body := fetch.AppendTo(nil)
	cost, err := Request(1, 18, body, Budget(len(body)))
	require.NoError(t, err)
	require.Greater(t, cost, 5000*352)
}
