package log

import (
	"context"
	"encoding/hex"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

func TestGoldenCheckpoints(t *testing.T) {
	keys := []partitionKey{{"orders", 0}, {"pay-ments", 12}}
	b := appendOffsetCheckpoint(nil, keys, map[partitionKey]int64{keys[0]: 4711, keys[1]: 0})
	assert.Equal(t, "0\n2\norders 0 4711\t\t      \t\t    \t\t\npay-ments 12 0\t \t \t\t\t \t   \t\t\t\t\n", string(b), "Kafka drops the blanks")
	m, err := parseOffsetCheckpoint(b)
	require.NoError(t, err)
	assert.Equal(t, map[partitionKey]int64{keys[0]: 4711, keys[1]: 0}, m)

	var c epochCache
	c.set([]epochEntry{{1, 0}, {5, 120}})
	assert.Equal(t, "0\n2\n1 0    \t\t\t \t \t\t\t\t  \n5 120\t \t \t\t\t \t\t  \t \t \n", string(c.encode()))
	l, err := parseEpochs(c.encode())
	require.NoError(t, err)
	assert.Equal(t, c.entries(), l)

	for _, bad := range []string{"", "0\n", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 x\n", "0\n1\na 0 -1\n", "0\n0\na 0 1\n", "x\n0\n"} {
		_, err := parseOffsetCheckpoint([]byte(bad))
		assert.Error(t, err, "%q", bad)
	}
	for _, bad := range []string{"0\n2\n1 0\n1 5\n", "0\n2\n1 5\n2 5\n", "0\n1\n-1 0\n", "0\n1\n1\n"} {
		_, err := parseEpochs([]byte(bad))
		assert.Error(t, err, "%q", bad)
	}
}

func TestGoldenMetadata(t *testing.T) {
	id := TopicID{0x1b, 0x4e, 0x28, 0xba, 0x2f, 0xa1, 0x11, 0xd2, 0x88, 0x3f, 0x00, 0x16, 0xd3, 0xcc, 0xa4, 0x27}
	assert.Equal(t, "G04oui-hEdKIPwAW08ykJw", id.String())
	assert.Equal(t, "version: 0\ntopic_id: G04oui-hEdKIPwAW08ykJw\ncrc32c: e1859441\n", string(encodeMetadata(id)), "Kafka reads two lines")
	got, err := parseMetadata([]byte("version: 0\ntopic_id: G04oui-hEdKIPwAW08ykJw"))
	require.NoError(t, err)
	assert.Equal(t, id, got)
	for _, bad := range []string{"", "version: 1\ntopic_id: G04oui-hEdKIPwAW08ykJw\n", "version: 0\n", "version: 0\ntopic_id: xyz\n"} {
		_, err := parseMetadata([]byte(bad))
		assert.Error(t, err, "%q", bad)
	}
	m := metaProperties{nodeID: 3, clusterID: "MkU3OEVBNTcwNTJENDM2Qg", directoryID: id}
	assert.Equal(t, "cluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=G04oui-hEdKIPwAW08ykJw\nnode.id=3\nversion=1\n#crc32c=c240efe9\n", string(m.encode()))
	back, err := parseMeta([]byte("#\n#Sat Jan 01 00:00:00 UTC 2028\n" + string(m.encode())))
	require.NoError(t, err)
	assert.Equal(t, m, back)
}

func TestGoldenSnapshot(t *testing.T) {
	e := &producerEntry{id: 9, epoch: 2, coordinatorEpoch: 4, lastTimestamp: 0x18bcfe56800, txnFirst: 50, n: 2}
	e.batches[0] = producerBatch{lastSequence: 3, offsetDelta: 3, lastOffset: 53, timestamp: 0x18bcfe56700}
	e.batches[1] = producerBatch{lastSequence: 5, offsetDelta: 1, lastOffset: 61, timestamp: 0x18bcfe56800}
	idle := &producerEntry{id: 10, epoch: 0, coordinatorEpoch: 4, lastTimestamp: 1, txnFirst: -1}
	snapshot := encodeSnapshot([]*producerEntry{e, idle})
	assert.Equal(t, "0001"+"65fe751f"+"00000002"+
		"0000000000000009"+"0002"+"00000005"+"000000000000003d"+"00000001"+"0000018bcfe56800"+"00000004"+"0000000000000032"+
		"000000000000000a"+"0000"+"ffffffff"+"ffffffffffffffff"+"00000000"+"0000000000000001"+"00000004"+"ffffffffffffffff",
		hex.EncodeToString(snapshot))
	side := encodeProducers([]*producerEntry{e, idle}, []txnRange{{producer: 9, first: 10, last: 20}}, snapshot)
	assert.Equal(t, "697073620001"+hex.EncodeToString(side[6:14])+"00000001"+
		"0000000000000009"+"01"+"00000003"+"00000003"+"0000000000000035"+"0000018bcfe56700"+
		"00000001"+"0000000000000009"+"000000000000000a"+"0000000000000014",
		hex.EncodeToString(side))
	st := snapshotState{}
	var err error
	st.entries, err = parseSnapshot(snapshot)
	require.NoError(t, err)
	require.NoError(t, parseProducers(&st, side, snapshot))
	assert.Equal(t, []*producerEntry{e, idle}, st.entries)
	assert.Equal(t, []txnRange{{9, 10, 20}}, st.unreplicated)
	for i := range snapshot {
		bad := append([]byte(nil), snapshot...)
		bad[i] ^= 1
		_, err := parseSnapshot(bad)
		assert.Error(t, err, "byte %d", i)
		assert.Error(t, parseProducers(&snapshotState{}, side, bad), "another snapshot")
	}
	for i := range side {
		bad := append([]byte(nil), side...)
		bad[i] ^= 1
		st := snapshotState{}
		st.entries, _ = parseSnapshot(snapshot)
		assert.Error(t, parseProducers(&st, bad, snapshot), "byte %d", i)
	}
}

// TestKIP101_EndOffsetForEpoch is the table of the answers to OffsetForLeaderEpoch.
func TestKIP101_EndOffsetForEpoch(t *testing.T) {
	var c epochCache
	_, _, ok := c.endFor(0, 100)
	assert.False(t, ok, "nothing is known")
	c.assign(2, 10)
	c.assign(4, 30)
	c.assign(4, 35)
	c.assign(7, 60)
	for _, tc := range []struct {
		epoch, found int32
		end          int64
		ok           bool
	}{
		{-1, 0, 0, false},
		{0, 0, 10, true}, // older than all: it ends where the first begins
		{2, 2, 30, true},
		{3, 2, 30, true},
		{4, 4, 60, true},
		{6, 4, 60, true},
		{7, 7, 100, true}, // the current one ends with the log
		{8, 0, 0, false},
	} {
		found, end, ok := c.endFor(tc.epoch, 100)
		assert.Equal(t, tc.ok, ok, "epoch %d", tc.epoch)
		assert.Equal(t, tc.found, found, "epoch %d", tc.epoch)
		assert.Equal(t, tc.end, end, "epoch %d", tc.epoch)
	}
	c.assign(5, 50) // replaces what began later or has a higher epoch
	assert.Equal(t, []epochEntry{{2, 10}, {4, 30}, {5, 50}}, c.entries())
	c.truncateStart(40)
	assert.Equal(t, []epochEntry{{4, 40}, {5, 50}}, c.entries())
	c.truncateEnd(50)
	assert.Equal(t, []epochEntry{{4, 40}}, c.entries())
}

// TestKIP98_ProducerChecks is the table of what a leader says to batches of idempotent producers, one log after the other.
func TestKIP98_ProducerChecks(t *testing.T) {
	type try struct {
		epoch    int16
		sequence int32
		txn      bool
		want     error // nil: appended
		dup      int64 // base offset of the batch it repeats, if above 0
	}
	seq := func(epoch int16, got, want, last int32) error {
		return &SequenceError{ProducerID: 7, Epoch: epoch, Got: got, Want: want, Last: last}
	}
	for name, tries := range map[string][]try{
		"any first sequence of an unknown producer": {{sequence: 40}, {sequence: 43}},
		"in order":              {{sequence: 0}, {sequence: 3}, {sequence: 6}},
		"gap":                   {{sequence: 0}, {sequence: 4, want: seq(0, 4, 3, 2)}, {sequence: 3}},
		"new epoch begins at 0": {{sequence: 5}, {epoch: 1, sequence: 8, want: seq(1, 8, 0, -1)}, {epoch: 1, sequence: 0}},
		"old epoch":             {{epoch: 3, sequence: 0}, {epoch: 2, sequence: 3, want: &ProducerEpochError{ProducerID: 7, Got: 2, Known: 3}}},
		"five batches are remembered": {
			{sequence: 0},
			{sequence: 3},
			{sequence: 6},
			{sequence: 9},
			{sequence: 12},
			{sequence: 15},
			{sequence: 3, dup: 4},
			{sequence: 15, dup: 16},
			{sequence: 0, want: seq(0, 0, 18, 17)},
		},
		"another epoch forgets them":  {{sequence: 0}, {epoch: 1, sequence: 0}, {epoch: 0, sequence: 0, want: &ProducerEpochError{ProducerID: 7, Got: 0, Known: 1}}},
		"numbers begin anew":          {{sequence: 0}, {sequence: 3}, {epoch: 1, sequence: 0}, {epoch: 1, sequence: 3}},
		"sequences wrap":              {{sequence: math.MaxInt32 - 2}, {sequence: 0}, {sequence: math.MaxInt32 - 2, dup: 1}},
		"a batch may wrap inside":     {{sequence: math.MaxInt32 - 1}, {sequence: 1}, {sequence: math.MaxInt32 - 1, dup: 1}},
		"outside an open transaction": {{sequence: 0, txn: true}, {sequence: 3, want: ErrInvalidTxnState}, {sequence: 3, txn: true}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Open("/t-0", Config{FS: vfs.NewMem(), ProducerIDExpiration: 1 << 62})
			require.NoError(t, err)
			mustAppend(t, l, batchOf(t, "first")) // so that no base offset is 0
			for i, try := range tries {
				end := l.Offsets().LogEndOffset
				a, err := l.Append(producerBatchOf(t, 7, try.epoch, try.sequence, 3, try.txn), AppendOptions{Now: testTime})
				require.Equal(t, try.want, err, "try %d", i)
				switch {
				case try.dup > 0:
					require.Equal(t, Appended{BaseOffset: try.dup, EndOffset: try.dup + 3, LogAppendTime: -1, Duplicate: true}, a)
				case try.want == nil:
					require.Equal(t, Appended{BaseOffset: end, EndOffset: end + 3, LogAppendTime: -1}, a)
				default:
					require.Equal(t, end, l.Offsets().LogEndOffset)
				}
				if i == len(tries)/2 { // the same before and after a restart
					require.NoError(t, l.Close())
					l, err = Open("/t-0", Config{FS: l.fs, ProducerIDExpiration: 1 << 62})
					require.NoError(t, err)
				}
			}
			require.NoError(t, l.Close())
		})
	}
}

// Producers are forgotten by the time of their last batch, which may be a marker, and not while a transaction of theirs is open.
func TestKIP98_ProducersExpire(t *testing.T) {
	l, err := Open("/t-0", Config{FS: vfs.NewMem(), ProducerIDExpiration: time.Hour})
	require.NoError(t, err)
	for id := range int64(3) {
		b := record.NewBuilder(record.BuilderConfig{Transactional: id > 0})
		b.SetProducer(id, 0, 0)
		b.Append(&record.Record{Value: []byte("v"), Timestamp: testTime.Add(-2 * time.Hour)})
		batch, err := b.Build(nil)
		require.NoError(t, err)
		mustAppend(t, l, batch)
	}
	_, err = l.Append(markerOf(t, 2, 0, 1, false), AppendOptions{Now: testTime, Origin: FromCoordinator})
	require.NoError(t, err)
	l.ExpireProducers(testTime.Add(30 * time.Minute))
	var known []int64
	for _, p := range l.Producers() {
		known = append(known, p.ProducerID)
	}
	assert.Equal(t, []int64{1, 2}, known)
	require.NoError(t, l.Close())
}

// TestLastStableOffset follows two transactions through their markers and the high watermark.
func TestLastStableOffset(t *testing.T) {
	fsys := vfs.NewMem()
	d, err := OpenDirectory("/data", DirectoryConfig{FS: fsys, NodeID: 1})
	require.NoError(t, err)
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{ProducerIDExpiration: 1 << 62})
	require.NoError(t, err)
	lso := func(hw int64) int64 {
		l.SetHighWatermark(hw)
		return l.Offsets().LastStableOffset
	}
	mustAppend(t, l, batchOf(t, "a"))                      // 0
	mustAppend(t, l, producerBatchOf(t, 1, 0, 0, 2, true)) // 1-2
	mustAppend(t, l, producerBatchOf(t, 2, 0, 0, 1, true)) // 3
	assert.Equal(t, int64(1), lso(4), "two open transactions")
	marker := func(b []byte) {
		_, err := l.Append(b, AppendOptions{Now: testTime, Origin: FromCoordinator})
		require.NoError(t, err)
	}
	marker(markerOf(t, 1, 0, 5, true)) // 4
	assert.Equal(t, int64(1), l.Offsets().LastStableOffset, "the marker is not below the high watermark")
	require.NoError(t, d.Checkpoint(context.Background()))
	require.NoError(t, d.Close(1))
	d, err = OpenDirectory("/data", DirectoryConfig{FS: fsys, NodeID: 1})
	require.NoError(t, err)
	l, err = d.OpenLog("t", 0, TopicID{1}, Config{ProducerIDExpiration: 1 << 62})
	require.NoError(t, err)
	assert.Equal(t, int64(4), l.Offsets().HighWatermark)
	assert.Equal(t, int64(1), l.Offsets().LastStableOffset, "a restart does not show it either")
	assert.Equal(t, int64(3), lso(5), "the other one is open")
	marker(markerOf(t, 2, 0, 5, false)) // 5
	assert.Equal(t, int64(6), lso(6))
	list, err := l.AbortedTxns(nil, 0, 6)
	require.NoError(t, err)
	assert.Equal(t, []AbortedTxn{{ProducerID: 1, FirstOffset: 1}}, list)
	list, err = l.AbortedTxns(nil, 5, 6)
	require.NoError(t, err)
	assert.Empty(t, list)
	_, err = l.Append(markerOf(t, 1, 0, 4, true), AppendOptions{Now: testTime, Origin: FromCoordinator})
	assert.Equal(t, &CoordinatorEpochError{ProducerID: 1, Got: 4, Known: 5}, err)
	require.NoError(t, d.Close(1))
}
