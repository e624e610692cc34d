package guard

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const plenty = math.MaxInt32

// TestTablesAreOfThisKmsg: an upgrade needs go generate. tools/genguard tests that the tables are what the generator writes.
func TestTablesAreOfThisKmsg(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/twmb/franz-go/pkg/kmsg").Output()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "generated.go"))
	require.NoError(t, err)
	sum := sha256.Sum256(text)
	require.Equal(t, sourceSum, hex.EncodeToString(sum[:]), "kmsg has changed: go generate ./internal/guard")
}

// TestTablesAreSound: each fact that walk relies on.
func TestTablesAreSound(t *testing.T) {
	depths := make([]int, len(steps)) // of programs by their first step
	first := 0
	for pc, s := range steps {
		inner := func(body uint16) {
			require.Less(t, int(body), first, "step %d: a program comes after those it contains", pc)
			require.True(t, body == 0 || steps[body-1].op == opEnd, "step %d: inner program begins in the middle", pc)
			depths[first] = max(depths[first], 1+depths[body])
		}
		switch s.op {
		case opEnd:
			require.Zero(t, s)
			require.Less(t, depths[first], maxDepth)
			first = pc + 1
		case opFixed:
			require.NotZero(t, s.n)
		case opArray, opCompactArray:
			require.NotZero(t, s.n, "step %d: elements of no size", pc)
			require.NotZero(t, s.size)
			inner(s.body)
		case opFixedArray, opCompactFixedArray:
			require.NotZero(t, s.n)
			require.NotZero(t, s.size)
		case opStruct:
			require.NotZero(t, s.size)
			inner(s.body)
		case opTagged:
			require.NotZero(t, s.n)
			for _, tag := range tags[s.body : s.body+s.n] {
				inner(tag.body)
			}
		default:
			require.LessOrEqual(t, s.op, opTagged)
		}
		require.Less(t, int(s.name), len(names))
	}
	require.Equal(t, len(steps), first, "the last program ends")
	for _, at := range versions {
		require.True(t, at == 0 || steps[at-1].op == opEnd)
	}

	each(t, func(k kind, version int16) {
		m := find(k.table(), k.key)
		require.NotNil(t, m, "%v", k.key)
		typ := reflect.TypeOf(k.message()).Elem()
		require.Equal(t, typ.Name(), m.name)
		require.GreaterOrEqual(t, uintptr(m.size), typ.Size())
		require.Less(t, version, int16(m.count))
	})
}

// TestWhatIsEncodedPasses, in every version of every message, and is decoded within what was estimated.
func TestWhatIsEncodedPasses(t *testing.T) {
	rounds := 24
	if testing.Short() {
		rounds = 4
	}
	each(t, func(k kind, version int16) {
		for seed := range rounds {
			f := filler{rand.New(rand.NewPCG(uint64(seed), uint64(k.key))), seed % 5, []int{0, 1, 3}[seed%3]}
			body := f.encoded(k, version)
			require.NoError(t, k.check(version, body, plenty), "%v version %d seed %d", k, version, seed)

			m := k.empty(version)
			require.NoError(t, m.ReadFrom(body))
			require.Equal(t, body, m.AppendTo(nil), "%v version %d: the filler fills what an encoder does not write", k, version)

			w, ok := k.walk(version, body, plenty)
			require.True(t, ok)
			require.LessOrEqual(t, w.steps, mostSteps(body))
			require.NoError(t, k.check(version, body, int(w.cost)))
			require.ErrorIs(t, k.check(version, body, int(w.cost)-1), ErrBudget)
			if seed == 0 {
				requireWithin(t, k, version, body, w.cost)
			}
			if k.response {
				require.ErrorIs(t, k.check(version, append(body, 0), plenty), ErrTrailing)
			}
			for n := range body {
				if n%(1+len(body)/32) == 0 {
					require.Error(t, k.check(version, body[:n:n], plenty), "%v version %d: %d of %d bytes", k, version, n, len(body))
				}
			}
		}
	})
}

// mostSteps bounds the time of a walk: each step takes a byte at least, and so does each element, whose program has an end.
func mostSteps(body []byte) int { return 2*len(body) + 1 }

// TestMutations: whatever passes is decoded to its end, within the estimate.
func TestMutations(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	passed, refused := 0, map[error]int{}
	each(t, func(k kind, version int16) {
		for seed := range rounds {
			f := filler{rand.New(rand.NewPCG(uint64(seed)+100, uint64(k.key))), 3, 4}
			good := f.encoded(k, version)
			for range 8 {
				body := mutate(f.Rand, good)
				w := requireBounded(t, k, version, body, []int{Budget(len(body)), 6 * len(body), plenty}[f.IntN(3)])
				if w.err == nil {
					passed++
				} else {
					refused[w.err]++
				}
			}
		}
	})
	require.NotZero(t, passed)
	for _, err := range []error{ErrTruncated, ErrLength, ErrCount, ErrVarint, ErrTrailing, ErrBudget} {
		require.NotZero(t, refused[err], err)
	}
	t.Logf("%d passed, refused %v", passed, refused)
}

// mutate changes a few bytes, cuts some out, or writes some twice.
func mutate(r *rand.Rand, good []byte) []byte {
	b := bytes.Clone(good)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			return []byte{byte(r.Uint32())}
		}
		i := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b[i] = []byte{0, 1, 2, 0x7f, 0x80, 0xff}[r.IntN(6)]
		case 2:
			b = append(b[:i:i], b[min(len(b), i+1+r.IntN(4)):]...)
		case 3:
			b = append(b[:i:i], append(bytes.Clone(b[i:min(len(b), i+1+r.IntN(40))]), b[i:]...)...)
		case 4:
			b = append(b[:i:i], append([]byte{0xff, 0xff, 0xff, 0xff, []byte{0x0f, 0x07, 0x1f, 0x7f}[r.IntN(4)]}, b[min(len(b), i+5):]...)...)
		case 5:
			b = append(b[:i:i], append([]byte{0, 0, byte(r.Uint32()), byte(r.Uint32())}, b[min(len(b), i+4):]...)...)
		}
	}
	return b
}

func TestErrors(t *testing.T) {
	produce := kmsg.NewPtrProduceRequest()
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "t"
	topic.Partitions = append(topic.Partitions, kmsg.NewProduceRequestTopicPartition())
	produce.Topics = append(produce.Topics, topic)
	produce.Version = 9
	flexible := produce.AppendTo(nil) // 00 0000 00000000 02 02 t 02 00000000 00 00 00 00
	produce.Version = 3
	fixed := produce.AppendTo(nil)

	apis := kmsg.NewPtrApiVersionsResponse()
	apis.Version, apis.FinalizedFeaturesEpoch, apis.ZkMigrationReady = 3, 7, true
	tagged := apis.AppendTo(nil) // 0000 01 00000000 02 01 08 <int64> 03 01 01

	with := func(b []byte, at int, text string) []byte {
		v, err := hex.DecodeString(text)
		require.NoError(t, err)
		b = bytes.Clone(b)
		return append(b[:at], append(v, b[min(len(b), at+len(v)):]...)...)
	}
	for name, c := range map[string]struct {
		err   error
		want  error
		field string
		at    int
	}{
		"no such key":             {request(12345, 0, nil, plenty), ErrUnknown, "", 0},
		"negative key":            {request(-1, 0, nil, plenty), ErrUnknown, "", 0},
		"removed key":             {Response(52, 99, nil, plenty), ErrUnknown, "", 0},
		"no such version":         {request(0, 99, flexible, plenty), ErrUnknown, "", 0},
		"negative version":        {request(0, -1, flexible, plenty), ErrUnknown, "", 0},
		"empty":                   {request(0, 9, nil, plenty), ErrTruncated, "TransactionID", 0},
		"no acks":                 {request(0, 9, flexible[:2], plenty), ErrTruncated, "Acks", 1},
		"count over the rest":     {request(0, 9, with(flexible, 7, "07"), plenty), ErrCount, "Topics", 7},
		"count of int32":          {request(0, 3, with(fixed, 8, "00000007"), plenty), ErrCount, "Topics", 8},
		"count below null":        {request(0, 3, with(fixed, 8, "fffffffe"), plenty), ErrLength, "Topics", 8},
		"string over the rest":    {request(0, 9, with(flexible, 8, "70"), plenty), ErrTruncated, "Topics.Topic", 8},
		"null string":             {request(0, 9, with(flexible, 8, "00"), plenty), ErrLength, "Topics.Topic", 8},
		"null string, int16":      {request(0, 3, with(fixed, 12, "ffff"), plenty), ErrLength, "Topics.Topic", 12},
		"string below null":       {request(0, 3, with(fixed, 0, "fffe"), plenty), ErrLength, "TransactionID", 0},
		"bytes over the rest":     {request(0, 9, with(flexible, 15, "05"), plenty), ErrTruncated, "Topics.Partitions.Records", 15},
		"tags over the rest":      {request(0, 9, with(flexible, 18, "01"), plenty), ErrCount, "tags", 18},
		"varint of 33 bits":       {request(0, 9, with(flexible, 7, "ffffffff1f"), plenty), ErrVarint, "Topics", 7},
		"varint of 32 bits":       {request(0, 9, with(flexible, 7, "ffffffff0f"), plenty), ErrTruncated, "Topics", 7},
		"left over":               {Response(18, 3, append(bytes.Clone(tagged), 0), plenty), ErrTrailing, "", len(tagged)},
		"budget":                  {request(0, 9, flexible, 100), ErrBudget, "Topics", 7},
		"no budget":               {request(0, 9, flexible, 0), ErrBudget, "", 0},
		"budget of tags":          {request(0, 9, with(flexible, 18, "01fe7f00"), 400), ErrBudget, "tags", 19},
		"known tag, short":        {Response(18, 3, with(tagged, 9, "07"), plenty), ErrTruncated, "tags.FinalizedFeaturesEpoch", 10},
		"known tag, long":         {Response(18, 3, with(tagged, 9, "09"), plenty), ErrTrailing, "tags", 18},
		"known tag over the rest": {Response(18, 3, with(tagged, 9, "70"), plenty), ErrTruncated, "tags", 8},
	} {
		e, ok := errors.AsType[*Error](c.err)
		require.True(t, ok, name)
		require.ErrorIs(t, e, c.want, name)
		require.Equal(t, c.field, e.Field, name)
		require.Equal(t, c.at, e.Position, name)
	}
	require.NoError(t, request(0, 9, flexible, plenty))
	require.NoError(t, request(0, 3, fixed, plenty))
	require.NoError(t, Response(18, 3, tagged, plenty))

	err := request(0, 9, with(flexible, 15, "05"), plenty)
	require.EqualError(t, err, "ProduceRequest (key 0) version 9: Topics.Partitions.Records at byte 15: longer than the rest of the frame")
	require.EqualError(t, Response(-7, 1, nil, 0), "response (key -7) version 1: byte 0: no such message or version")
}

// TestLeftOverAfterARequest is ignored: it changes neither what is decoded, nor what that costs, nor how long the walk takes.
func TestLeftOverAfterARequest(t *testing.T) {
	each(t, func(k kind, version int16) {
		if k.response {
			return
		}
		f := filler{rand.New(rand.NewPCG(7, uint64(k.key))), 2, 1}
		body := f.encoded(k, version)
		want, ok := k.walk(version, body, plenty)
		require.True(t, ok)
		for _, rest := range [][]byte{{0}, {1, 0, 0}, body, bytes.Repeat([]byte{0xff}, 1000)} {
			long := append(bytes.Clone(body), rest...)
			w, ok := k.walk(version, long, plenty)
			require.True(t, ok)
			require.Equal(t, [...]int64{int64(want.pos), int64(want.steps), want.cost}, [...]int64{int64(w.pos), int64(w.steps), w.cost}, "%v version %d", k, version)
			m := k.empty(version)
			require.NoError(t, m.ReadFrom(long))
			require.Equal(t, body, m.AppendTo(nil), "%v version %d", k, version)
			requireWithin(t, k, version, long, w.cost)
		}
	})
}

// TestLibrdkafka is what librdkafka 2.15 sends: Metadata for all topics, where the first of the four bytes that it kept for their number is the null array
// and the others are read as flags and tags; the tagged fields of AlterUserScramCredentials, twice.
func TestLibrdkafka(t *testing.T) {
	for version := int16(9); version <= 13; version++ {
		body := []byte{0, 0, 0, 0, 1, 0, 0} // the topics; may create, topics' operations, tags
		if version <= 10 {
			body = append(body, 0) // and the cluster's operations
		}
		require.NoError(t, request(3, version, body, Budget(len(body))))
		var m kmsg.MetadataRequest
		m.Version = version
		require.NoError(t, m.ReadFrom(body))
		require.Nil(t, m.Topics)
		require.False(t, m.AllowAutoTopicCreation)
	}
	alter := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	upsert := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	upsert.Name, upsert.Mechanism, upsert.Iterations, upsert.Salt, upsert.SaltedPassword = "alice", 1, 4096, []byte("salt"), []byte("salted")
	alter.Upsertions = append(alter.Upsertions, upsert)
	body := append(alter.AppendTo(nil), 0)
	require.NoError(t, request(alter.Key(), 0, body, Budget(len(body))))
}

// TestNullableStruct: the byte before it is -1 or not negative.
func TestNullableStruct(t *testing.T) {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	k := kind{true, resp.Key()}
	body := resp.AppendTo(nil) // throttle, no topics, cursor, tags
	require.Equal(t, []byte{0, 0, 0, 0, 1, 0xff, 0}, body)
	require.NoError(t, k.check(0, body, plenty))
	body[5] = 0xfe
	require.ErrorIs(t, k.check(0, body, plenty), ErrLength)

	resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: "t"}
	body = resp.AppendTo(nil)
	require.NoError(t, k.check(0, body, plenty))
	require.Contains(t, k.check(0, body[:7], plenty).Error(), "NextCursor.Topic")
}

// TestPaddedVarint: Kafka reads varints that are longer than they need be, and some clients write them.
func TestPaddedVarint(t *testing.T) {
	require.NoError(t, request(18, 3, []byte{2, 'a', 2, 'b', 0}, plenty))
	require.NoError(t, request(18, 3, []byte{0x82, 0x80, 0, 'a', 2, 'b', 0x80, 0}, plenty))
	require.Error(t, request(18, 3, []byte{0x82, 0x80, 0x80, 0x80, 0x80, 0, 'a', 2, 'b', 0}, plenty))
}

func TestConsumerMessages(t *testing.T) {
	for version := range int16(6) {
		for seed := range uint64(50) {
			f := filler{rand.New(rand.NewPCG(seed, 1)), int(seed) % 5, 0}
			for _, c := range []struct {
				m interface {
					AppendTo(dst []byte) []byte
					ReadFrom(src []byte) error
				}
				check func([]byte, int) error
			}{
				{new(kmsg.ConsumerMemberMetadata), ConsumerMemberMetadata},
				{new(kmsg.ConsumerMemberAssignment), ConsumerMemberAssignment},
			} {
				f.fill(c.m)
				reflect.ValueOf(c.m).Elem().FieldByName("Version").SetInt(int64(version))
				body := c.m.AppendTo(nil)
				require.NoError(t, c.check(body, plenty))
				require.NoError(t, c.check(append(body, 1, 2, 3), plenty))
				require.ErrorIs(t, c.check(body, 0), ErrBudget)
				require.Error(t, c.check(body[:len(body)-1], plenty))
				for range 10 {
					changed := mutate(f.Rand, body)
					if c.check(changed, plenty) == nil {
						require.NoError(t, c.m.ReadFrom(changed))
					}
				}
			}
		}
	}
	require.ErrorIs(t, ConsumerMemberMetadata(nil, plenty), ErrTruncated)
	require.ErrorIs(t, ConsumerMemberAssignment([]byte{0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}, plenty), ErrUnknown)
}

// TestAllocatesNothing when all is well.
func TestAllocatesNothing(t *testing.T) {
	each(t, func(k kind, version int16) {
		f := filler{rand.New(rand.NewPCG(1, uint64(k.key))), 4, 2}
		body := f.encoded(k, version)
		require.Zero(t, testing.AllocsPerRun(2, func() {
			if k.check(version, body, plenty) != nil {
				t.Fail()
			}
		}), "%v version %d", k, version)
	})
}

// request is Request for its error alone.
func request(key, version int16, body []byte, budget int) error {
	_, err := Request(key, version, body, budget)
	return err
}
