package entry

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

	"github.com/insynclog/insync/internal/groups/partition"
)

var id = partition.TopicID{0xf0, 15: 0x0f}

const idHex = "f000000000000000000000000000000f"

// The entries of KIP-848, worked out by hand from Kafka's message definitions.
var golden = []struct {
	name       string
	entry      Entry
	key, value string
}{
	{
		"group", &Group{Group: "g", Epoch: 5},
		"0003 0001 67", "0000 00000005 00",
	},
	{
		"group with hash", &Group{Group: "g", Epoch: 5, MetadataHash: -2},
		"0003 0001 67", "0000 00000005 01 00 08 fffffffffffffffe",
	},
	{
		"member", &Member{Group: "g", MemberID: "m", Rack: "r", ClientID: "c", ClientHost: "/h", Topics: []string{"a", "b"}, RebalanceTimeoutMillis: 300_000, Assignor: "range"},
		"0005 0001 67 0001 6d", "0000 00 02 72 02 63 03 2f68 03 02 61 02 62 00 000493e0 06 72616e6765 00",
	},
	{
		"classic member", &Member{
			Group: "g", MemberID: "m", InstanceID: "i", ClientID: "c", ClientHost: "/h", Regex: "a.*", RebalanceTimeoutMillis: -1,
			Classic: &ClassicMetadata{SessionTimeoutMillis: 45_000, Protocols: []ClassicProtocol{{"range", []byte{0, 1, 0xff}}}},
		},
		"0005 0001 67 0001 6d", "0000 02 69 00 02 63 03 2f68 01 04 612e2a ffffffff 00 01 00 12 01 0000afc8 02 06 72616e6765 04 0001ff 00 00",
	},
	{
		"target", &Target{Group: "g", Epoch: 7},
		"0006 0001 67", "0000 00000007 00",
	},
	{
		"target of a member", &TargetMember{Group: "g", MemberID: "m", Partitions: partition.Of(partition.Partition{Topic: id, Number: 2}, partition.Partition{Topic: id})},
		"0007 0001 67 0001 6d", "0000 02 " + idHex + " 03 00000000 00000002 00 00",
	},
	{
		"current", &Current{Group: "g", MemberID: "m", Epoch: 7, PreviousEpoch: 6, State: Unrevoked, Assigned: partition.Of(partition.Partition{Topic: id, Number: 1})},
		"0008 0001 67 0001 6d", "0000 00000007 00000006 01 02 " + idHex + " 02 00000001 00 01 00",
	},
	{
		"regex", &Regex{Group: "g", Regex: "a.*", Topics: []string{"ab"}, Version: 9, ResolvedAt: 256},
		"0010 0001 67 0003 612e2a", "0000 02 03 6162 0000000000000009 0000000000000100 00",
	},
	{
		"offset", &Offset{Group: "g", Topic: "t", Partition: 3, Offset: 4, LeaderEpoch: 5, Metadata: "m", CommittedAt: 6, ExpiresAt: -1},
		"0001 0001 67 0001 74 00000003", "0003 0000000000000004 00000005 0001 6d 0000000000000006",
	},
	{
		"offset with topic id", &Offset{Group: "g", Topic: "t", Partition: 3, Offset: 4, LeaderEpoch: 5, Metadata: "m", CommittedAt: 6, ExpiresAt: -1, TopicID: id},
		"0001 0001 67 0001 74 00000003", "0004 0000000000000004 00000005 02 6d 0000000000000006 01 00 10 " + idHex,
	},
	{
		"offset that expires", &Offset{Group: "g", Topic: "t", Partition: 3, Offset: 4, LeaderEpoch: -1, Metadata: "m", CommittedAt: 6, ExpiresAt: 7},
		"0001 0001 67 0001 74 00000003", "0001 0000000000000004 0001 6d 0000000000000006 0000000000000007",
	},
	{
		"classic", &Classic{Group: "g", ProtocolType: "consumer", Generation: 1, StateAt: -1, Members: []ClassicMember{{ID: "m", ClientID: "c", RebalanceTimeoutMillis: 1, SessionTimeoutMillis: 2, Assignment: []byte{9}}}},
		"0002 0001 67", "0003 0008 636f6e73756d6572 00000001 ffff ffff ffffffffffffffff 00000001 0001 6d ffff 0001 63 0000 00000001 00000002 00000000 00000001 09",
	},
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func appended(t testing.TB, e Entry) (key, value []byte) {
	t.Helper()
	key = e.AppendKey([]byte("before"))
	require.Equal(t, "before", string(key[:6]))
	value, ok := e.AppendValue([]byte("before"))
	require.Equal(t, "before", string(value[:6]))
	if !ok {
		require.Len(t, value, 6)
		return key[6:], nil
	}
	return key[6:], value[6:]
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		key, value := appended(t, g.entry)
		assert.Equal(t, hex.EncodeToString(unhex(t, g.key)), hex.EncodeToString(key), g.name)
		assert.Equal(t, hex.EncodeToString(unhex(t, g.value)), hex.EncodeToString(value), g.name)
		got, err := Parse(key, value)
		require.NoError(t, err, g.name)
		assert.Equal(t, g.entry, got, g.name)
	}
}

// Every value cut short is refused, and so is every key: nothing after what is needed is.
func TestParse_Cut(t *testing.T) {
	for _, g := range golden {
		key, value := unhex(t, g.key), unhex(t, g.value)
		for i := range value {
			_, err := Parse(key, value[:i])
			var fe *FormatError
			require.ErrorAs(t, err, &fe, "%s %d", g.name, i)
			require.Equal(t, "value", fe.Part)
			require.LessOrEqual(t, fe.Byte, i)
		}
		for i := range key {
			_, err := Parse(key[:i], value)
			var fe *FormatError
			require.ErrorAs(t, err, &fe, "%s %d", g.name, i)
			require.Equal(t, "key", fe.Part)
		}
		got, err := Parse(append(key, 1), append(value, 1))
		require.NoError(t, err)
		require.Equal(t, g.entry, got)
	}
}

// Tagged fields of later versions are skipped wherever they may stand.
func TestParse_UnknownTags(t *testing.T) {
	for name, value := range map[string]string{
		"member":             "0000 00 02 72 02 63 03 2f68 03 02 61 02 62 00 000493e0 06 72616e6765 02 05 01 ff 8001 00",
		"classic member":     "0000 02 69 00 02 63 03 2f68 01 04 612e2a ffffffff 00 02 00 18 01 0000afc8 02 06 72616e6765 04 0001ff 01 07 01 00 01 08 01 00 09 00",
		"target of a member": "0000 02 " + idHex + " 03 00000000 00000002 01 00 03 020304 01 00 01 01",
		"current":            "0000 00000007 00000006 01 02 " + idHex + " 02 00000001 00 01 01 00 00",
		"offset with topic id": "0004 0000000000000004 00000005 02 6d 0000000000000006 02 00 10 " + idHex +
			" 01 00",
	} {
		for _, g := range golden {
			if g.name == name {
				got, err := Parse(unhex(t, g.key), unhex(t, value))
				require.NoError(t, err, name)
				assert.Equal(t, g.entry, got, name)
			}
		}
	}
	// A classic member that is null is none.
	got, err := Parse(unhex(t, "0005 0001 67 0001 6d"), unhex(t, "0000 00 00 01 01 01 00 00000000 00 01 00 01 ff"))
	require.NoError(t, err)
	assert.Equal(t, &Member{Group: "g", MemberID: "m"}, got)
}

func TestParse_Errors(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"", "", "entry: key of type -1, byte 0: no type"},
		{"ffff", "", "entry: key of type -1, byte 0: negative type"},
		{"0003 ffff", "0000", "entry: key of type 3, byte 2: null"},
		{"0003 0002 67", "0000", "entry: key of type 3, byte 2: length exceeds the record"},
		{"0003 0001 67", "0001 00000005 00", "entry: value of type 3, byte 0: unknown version"},
		{"0001 0001 67 0001 74 00000003", "0005", "entry: value of type 1, byte 0: unknown version"},
		{"0001 0001 67 0001 74 00000003", "ffff", "entry: value of type 1, byte 0: unknown version"},
		{"0002 0001 67", "0003 0000 00000001 ffff ffff ffffffffffffffff 7fffffff", "entry: value of type 2, byte 20: number of elements exceeds the record, or null"},
		{"0002 0001 67", "0003 0000 00000001 ffff ffff ffffffffffffffff ffffffff", "entry: value of type 2, byte 20: number of elements exceeds the record, or null"},
		{"0003 0001 67", "0000 00000005 01 00 07 00000000000000", "entry: value of type 3, byte 9: ends inside a field"},
		{"0003 0001 67", "0000 00000005 01 00 09 000000000000000000", "entry: value of type 3, byte 17: bytes after a tagged field"},
		{"0003 0001 67", "0000 00000005 01 00 09 00", "entry: value of type 3, byte 9: tagged field exceeds the record"},
		{"0003 0001 67", "0000 00000005 ffffffffff01", "entry: value of type 3, byte 6: number has more than 32 bits"},
		{"0003 0001 67", "0000 00000005 ff", "entry: value of type 3, byte 6: ends inside a field"},
		{"0007 0001 67 0001 6d", "0000 00", "entry: value of type 7, byte 2: number of elements exceeds the record, or null"},
		{"0002 0001 67", "0000 0000 00000001 ffff ffff 00000001 0001 6d 0001 63 0000 00000002 ffffffff 00000001 09", "entry: value of type 2, byte 28: null"},
	} {
		_, err := Parse(unhex(t, c.key), unhex(t, c.value))
		assert.EqualError(t, err, c.want)
	}
}

// What belongs to others is no error, whatever it says.
func TestParse_Foreign(t *testing.T) {
	for _, typ := range []byte{4, 9, 10, 11, 12, 13, 14, 15, 17, 18, 200} {
		for _, value := range [][]byte{nil, {}, {0, 9, 9}} {
			e, err := Parse([]byte{0, typ, 0, 1, 'g'}, value)
			require.NoError(t, err)
			require.Nil(t, e)
		}
	}
}

// What Kafka wrote in another order than ours is read as a set.
func TestParse_Order(t *testing.T) {
	value := "0000 03" +
		"f0000000000000000000000000000001 04 00000005 00000002 00000005 00" +
		"f0000000000000000000000000000000 02 00000001 00" +
		"00"
	got, err := Parse(unhex(t, "0007 0001 67 0001 6d"), unhex(t, value))
	require.NoError(t, err)
	first, second := partition.TopicID{0: 0xf0}, partition.TopicID{0: 0xf0, 15: 1}
	assert.True(t, partition.Of(partition.Partition{Topic: second, Number: 2}, partition.Partition{Topic: second, Number: 5}, partition.Partition{Topic: first, Number: 1}).Equal(got.(*TargetMember).Partitions))

	got, err = Parse(unhex(t, "0010 0001 67 0001 6d"), unhex(t, "0000 04 02 62 02 61 02 62 0000000000000009 0000000000000100 00"))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, got.(*Regex).Topics)
}

// text returns a string that is empty at times, and long at others.
func text(rng *rand.Rand) string {
	n := rng.IntN(6)
	if rng.IntN(10) == 0 {
		n = rng.IntN(300)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

func blob(rng *rand.Rand) []byte {
	if s := text(rng); s != "" {
		return []byte(s)
	}
	return nil
}

func names(rng *rand.Rand) []string {
	var names []string
	for range rng.IntN(4) {
		names = append(names, text(rng))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func set(rng *rand.Rand) partition.Set {
	var ps []partition.Partition
	for range rng.IntN(8) {
		ps = append(ps, partition.Partition{Topic: partition.TopicID{byte(rng.IntN(3)), 15: 1}, Number: int32(rng.Uint32())})
	}
	return partition.Of(ps...)
}

// any32 and any64 are small, -1 or anything.
func any32(rng *rand.Rand) int32 {
	return []int32{-1, 0, 1, int32(rng.Uint32())}[rng.IntN(4)]
}

func any64(rng *rand.Rand) int64 {
	return []int64{-1, 0, 1, int64(rng.Uint64())}[rng.IntN(4)]
}

func random(rng *rand.Rand) Entry {
	group, gone := text(rng), rng.IntN(5) == 0
	member := text(rng)
	if gone {
		return []Entry{
			&Offset{Group: group, Topic: text(rng), Partition: any32(rng), Gone: true}, &Classic{Group: group, Gone: true}, &Group{Group: group, Gone: true},
			&Member{Group: group, MemberID: member, Gone: true}, &Target{Group: group, Gone: true}, &TargetMember{Group: group, MemberID: member, Gone: true},
			&Current{Group: group, MemberID: member, Gone: true}, &Regex{Group: group, Regex: member, Gone: true},
		}[rng.IntN(8)]
	}
	switch rng.IntN(8) {
	case 0:
		o := &Offset{Group: group, Topic: text(rng), Partition: any32(rng), Offset: any64(rng), LeaderEpoch: any32(rng), Metadata: text(rng), CommittedAt: any64(rng), ExpiresAt: -1}
		switch rng.IntN(3) {
		case 0:
			o.TopicID = id
		case 1:
			if o.ExpiresAt = any64(rng); o.ExpiresAt != -1 {
				o.LeaderEpoch = -1
			}
		}
		return o
	case 1:
		c := &Classic{Group: group, ProtocolType: text(rng), Generation: any32(rng), Protocol: text(rng), Leader: text(rng), StateAt: any64(rng)}
		for range rng.IntN(4) {
			c.Members = append(c.Members, ClassicMember{
				ID: text(rng), InstanceID: text(rng), ClientID: text(rng), ClientHost: text(rng),
				RebalanceTimeoutMillis: any32(rng), SessionTimeoutMillis: any32(rng), Subscription: blob(rng), Assignment: blob(rng),
			})
		}
		return c
	case 2:
		return &Group{Group: group, Epoch: any32(rng), MetadataHash: any64(rng)}
	case 3:
		m := &Member{
			Group: group, MemberID: member, InstanceID: text(rng), Rack: text(rng), ClientID: text(rng), ClientHost: text(rng), Topics: names(rng), Regex: text(rng),
			RebalanceTimeoutMillis: any32(rng), Assignor: text(rng),
		}
		if rng.IntN(2) == 0 {
			m.Classic = &ClassicMetadata{SessionTimeoutMillis: any32(rng)}
			for range rng.IntN(4) {
				m.Classic.Protocols = append(m.Classic.Protocols, ClassicProtocol{text(rng), blob(rng)})
			}
		}
		return m
	case 4:
		return &Target{Group: group, Epoch: any32(rng)}
	case 5:
		return &TargetMember{Group: group, MemberID: member, Partitions: set(rng)}
	case 6:
		return &Current{Group: group, MemberID: member, Epoch: any32(rng), PreviousEpoch: any32(rng), State: State(rng.IntN(256) - 128), Assigned: set(rng), Revoking: set(rng)}
	default:
		return &Regex{Group: group, Regex: member, Topics: names(rng), Version: any64(rng), ResolvedAt: any64(rng)}
	}
}

// What is appended is read back equal, and nothing of it lies in the bytes that were read.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		e := random(rng)
		key, value := appended(t, e)
		got, err := Parse(key, value)
		require.NoError(t, err, "%+v", e)
		clear(key)
		clear(value)
		require.Equal(t, e, got)
	}
}

func pointer(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// kmsgOf writes an entry with franz-go's codecs, in a version of choice.
func kmsgOf(e Entry, version int16) (key, value []byte) {
	switch e := e.(type) {
	case *Offset:
		k := kmsg.OffsetCommitKey{Version: 1, Group: e.Group, Topic: e.Topic, Partition: e.Partition}
		v := kmsg.OffsetCommitValue{
			Version: version, Offset: e.Offset, LeaderEpoch: e.LeaderEpoch, Metadata: e.Metadata, CommitTimestamp: e.CommittedAt, ExpireTimestamp: e.ExpiresAt, TopicID: e.TopicID,
		}
		return k.AppendTo(nil), v.AppendTo(nil)
	case *Classic:
		k := kmsg.GroupMetadataKey{Version: 2, Group: e.Group}
		v := kmsg.GroupMetadataValue{
			Version: version, ProtocolType: e.ProtocolType, Generation: e.Generation, Protocol: pointer(e.Protocol), Leader: pointer(e.Leader), CurrentStateTimestamp: e.StateAt,
		}
		for _, m := range e.Members {
			v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
				MemberID: m.ID, InstanceID: pointer(m.InstanceID), ClientID: m.ClientID, ClientHost: m.ClientHost,
				RebalanceTimeoutMillis: m.RebalanceTimeoutMillis, SessionTimeoutMillis: m.SessionTimeoutMillis, Subscription: m.Subscription, Assignment: m.Assignment,
			})
		}
		return k.AppendTo(nil), v.AppendTo(nil)
	}
	return nil, nil
}

// franz-go writes and reads the same bytes. For the versions that are only read, it writes.
func TestAgainstKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	compared := 0
	for compared < 2000 {
		e := random(rng)
		written := int16(3)
		switch e := e.(type) {
		case *Offset:
			switch {
			case e.Gone:
				continue
			case e.ExpiresAt != -1:
				written = 1
			case e.TopicID != partition.TopicID{}:
				written = 4
			}
		case *Classic:
			if e.Gone {
				continue
			}
		default:
			continue
		}
		compared++
		key, value := appended(t, e)
		wantKey, wantValue := kmsgOf(e, written)
		require.Equal(t, wantKey, key)
		require.Equal(t, wantValue, value)

		for version := range int16(5) {
			key, value := kmsgOf(e, version)
			got, err := Parse(key, value)
			require.NoError(t, err)
			// What the version does not have is unknown.
			switch want := e.(type) {
			case *Offset:
				want = new(*want)
				if version < 3 {
					want.LeaderEpoch = -1
				}
				if version != 1 {
					want.ExpiresAt = -1
				}
				if version < 4 {
					want.TopicID = partition.TopicID{}
				}
				require.Equal(t, want, got)
				key[1] = 0 // Kafka reads both types alike
				got, err = Parse(key, value)
				require.NoError(t, err)
				require.Equal(t, want, got)
			case *Classic:
				want = new(*want)
				want.Members = slices.Clone(want.Members)
				if version < 2 {
					want.StateAt = -1
				}
				for i := range want.Members {
					if version < 3 {
						want.Members[i].InstanceID = ""
					}
					if version < 1 {
						want.Members[i].RebalanceTimeoutMillis = -1
					}
				}
				require.Equal(t, want, got)
			}
		}
	}
}

// A string that does not fit is cut: a record whose length wrapped could not be read at all.
func TestAppend_LongStrings(t *testing.T) {
	long := strings.Repeat("x", MaxString+1)
	for _, e := range []Entry{&Offset{Group: long, Topic: long, Metadata: long, ExpiresAt: -1}, &Member{Group: long, MemberID: long, ClientID: long}} {
		key, value := appended(t, e)
		got, err := Parse(key, value)
		require.NoError(t, err)
		switch got := got.(type) {
		case *Offset:
			assert.Equal(t, []string{long[1:], long[1:], long[1:]}, []string{got.Group, got.Topic, got.Metadata})
		case *Member:
			assert.Equal(t, []string{long[1:], long[1:], long}, []string{got.Group, got.MemberID, got.ClientID})
		}
	}
}

func TestState_String(t *testing.T) {
	for s, want := range map[State]string{Stable: "stable", Unrevoked: "unrevoked", Unreleased: "unreleased", Unknown: "unknown", 5: "unknown"} {
		assert.Equal(t, want, s.String())
	}
}

// Loading reads millions of offsets: the struct, the strings of the key in one piece, and the metadata.
func TestParse_OffsetAllocs(t *testing.T) {
	for _, o := range []*Offset{
		{Group: "group", Topic: "topic", ExpiresAt: -1}, {Group: "group", Topic: "topic", ExpiresAt: -1, Metadata: "host"}, {Group: "group", Topic: "topic", ExpiresAt: -1, Metadata: "host", TopicID: id},
	} {
		key, value := appended(t, o)
		want := 2.0
		if o.Metadata != "" {
			want++
		}
		var err error
		assert.Equal(t, want, testing.AllocsPerRun(100, func() { _, err = Parse(key, value) }))
		assert.NoError(t, err)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// The costliest inputs: many tiny elements, and counts that claim more than there is.
func TestParse_Memory(t *testing.T) {
	const n = 1 << 16
	count := []byte{0x80, 0x80, 0x04} // n, which says n-1 elements
	for name, c := range map[string]struct{ key, value []byte }{
		"names":     {[]byte{0, 16, 0, 0, 0, 0}, slices.Concat([]byte{0, 0}, count, slices.Repeat([]byte{1}, n))},
		"protocols": {[]byte{0, 5, 0, 0, 0, 0}, slices.Concat([]byte{0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0}, []byte{0x80, 0x80, 0x0c}, []byte{1, 0, 0, 0, 0}, count, slices.Repeat([]byte{1, 1, 0}, n))},
		"topics":    {[]byte{0, 7, 0, 0, 0, 0}, slices.Concat([]byte{0, 0}, count, slices.Repeat(slices.Concat(make([]byte, 16), []byte{2, 0, 0, 0, 0, 0}), n))},
		"numbers":   {[]byte{0, 7, 0, 0, 0, 0}, slices.Concat([]byte{0, 0, 2}, make([]byte, 16), count, make([]byte, 4*n))},
		"members":   {[]byte{0, 2, 0, 0}, slices.Concat([]byte{0, 3, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255}, make([]byte, 8), []byte{0, 0, 0xff, 0xff}, make([]byte, 15*n))},
	} {
		used := allocated(func() { _, _ = Parse(c.key, c.value) })
		assert.LessOrEqual(t, used, uint64(16*len(c.value)+64<<10), "%s: %d bytes for %d", name, used, len(c.value))
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add(unhex(f, g.key), unhex(f, g.value))
		f.Add(unhex(f, g.key), []byte(nil))
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		e := random(rng)
		key, value := appended(f, e)
		f.Add(key, value)
		for version := range int16(5) {
			if key, value := kmsgOf(e, version); key != nil {
				f.Add(key, value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(value) == 0 {
			value = nil
		}
		var e Entry
		var err error
		used := allocated(func() { e, err = Parse(key, value) })
		require.LessOrEqual(t, used, uint64(16*(len(key)+len(value))+64<<10))
		if err != nil {
			require.ErrorAs(t, err, new(*FormatError))
			require.Nil(t, e)
			return
		}
		if e == nil || len(value) > MaxString { // longer strings are cut in the older versions
			return
		}
		k := e.AppendKey(nil)
		v, ok := e.AppendValue(nil)
		require.Equal(t, value != nil, ok)
		again, err := Parse(k, v)
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}

func BenchmarkOffset(b *testing.B) {
	for name, o := range map[string]*Offset{
		"version=3": {Group: "billing-service", Topic: "orders.v1", Partition: 17, Offset: 123_456_789, LeaderEpoch: 3, CommittedAt: 1_700_000_000_000, ExpiresAt: -1},
		"version=4": {Group: "billing-service", Topic: "orders.v1", Partition: 17, Offset: 123_456_789, LeaderEpoch: 3, CommittedAt: 1_700_000_000_000, ExpiresAt: -1, TopicID: id},
	} {
		key, value := appended(b, o)
		b.Run("parse/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(key) + len(value)))
			for b.Loop() {
				if _, err := Parse(key, value); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("append/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(key) + len(value)))
			var buf []byte
			for b.Loop() {
				buf, _ = o.AppendValue(o.AppendKey(buf[:0]))
			}
		})
	}
}
