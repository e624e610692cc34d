package log

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// agedLog is a log of one record a batch and three batches a segment.
func agedLog(t *testing.T, ages []time.Duration) (*Directory, *Log) {
	t.Helper()
	d := openDir(t, vfs.NewMem(), "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 400, TimestampAfterMax: 1000 * time.Hour})
	require.NoError(t, err)
	for i, age := range ages {
		b := record.NewBuilder(record.BuilderConfig{})
		b.Append(&record.Record{Value: []byte(fmt.Sprintf("%060d", i)), Timestamp: testTime.Add(-age)})
		batch, err := b.Build(nil)
		require.NoError(t, err)
		_, err = l.Append(batch, AppendOptions{Now: testTime, LeaderEpoch: 1})
		require.NoError(t, err)
	}
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(l.Offsets().LogEndOffset)
	return d, l
}

func minutes(from, n int) (ages []time.Duration) {
	for i := range n {
		ages = append(ages, time.Duration(from-i)*time.Minute)
	}
	return ages
}

func bases(l *Log) (list []int64) {
	for _, s := range *l.segments.Load() {
		list = append(list, s.BaseOffset())
	}
	return list
}

func TestRetain(t *testing.T) {
	_, l := agedLog(t, minutes(20, 20)) // 20 minutes to one minute old
	require.Equal(t, []int64{0, 3, 6, 9, 12, 15, 18}, bases(l))
	size, total := (*l.segments.Load())[0].SizeBytes(), int64(0)
	for _, s := range *l.segments.Load() {
		total += s.SizeBytes()
	}
	at := func(age time.Duration, bytes int64) int64 {
		t.Helper()
		offset, err := l.Retain(Retention{Age: age, Bytes: bytes}, testTime)
		require.NoError(t, err)
		return offset
	}
	assert.Zero(t, at(-1, -1))
	assert.Zero(t, at(time.Hour, -1))
	assert.Zero(t, at(18*time.Minute, -1), "its newest record counts, and is not older than that")
	assert.EqualValues(t, 3, at(18*time.Minute-time.Millisecond, -1))
	assert.EqualValues(t, 12, at(6*time.Minute+30*time.Second, -1))
	assert.EqualValues(t, 20, at(0, -1), "all of it")
	assert.Zero(t, at(-1, total))
	assert.Zero(t, at(-1, total-size+1), "it never becomes smaller than asked")
	assert.EqualValues(t, 3, at(-1, total-size))
	assert.EqualValues(t, 15, at(-1, size))
	assert.EqualValues(t, 20, at(-1, 0))
	assert.EqualValues(t, 12, at(6*time.Minute+30*time.Second, total-size), "whichever gives up more")
	assert.EqualValues(t, 9, at(18*time.Minute-time.Millisecond, 3*size))

	require.NoError(t, l.AdvanceLogStart(5))
	assert.EqualValues(t, 5, at(time.Hour, -1), "what lies below the start is gone already")
	assert.EqualValues(t, 9, at(-1, 3*size))
}

func TestRetainBelowTheHighWatermark(t *testing.T) {
	d := openDir(t, vfs.NewMem(), "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 400, TimestampAfterMax: 1000 * time.Hour})
	require.NoError(t, err)
	for i := range 6 {
		_, err := l.Append(batchOf(t, fmt.Sprintf("%060d", i)), AppendOptions{Now: testTime, LeaderEpoch: 1})
		require.NoError(t, err)
	}
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(5)
	offset, err := l.Retain(Retention{Age: 0, Bytes: 0}, testTime.Add(24*time.Hour))
	require.NoError(t, err)
	assert.EqualValues(t, 3, offset, "the segment of offset 3 has a record that is not committed")
}

// A record from the future keeps its segment, and all behind it.
func TestRetainFuture(t *testing.T) {
	ages := minutes(20, 8)
	ages[3] = -24 * time.Hour
	_, l := agedLog(t, ages)
	offset, err := l.Retain(Retention{Age: time.Minute, Bytes: -1}, testTime)
	require.NoError(t, err)
	assert.EqualValues(t, 3, offset)
	offset, err = l.Retain(Retention{Age: time.Minute, Bytes: 0}, testTime)
	require.NoError(t, err)
	assert.EqualValues(t, 8, offset, "size does not ask for the time")
}

// The active segment goes, too, when a new one has begun; what comes next has the next offset.
func TestRetainAll(t *testing.T) {
	d, l := agedLog(t, minutes(20, 5))
	offset, err := l.Retain(Retention{Age: time.Minute, Bytes: -1}, testTime)
	require.NoError(t, err)
	require.EqualValues(t, 5, offset)
	require.NoError(t, l.Roll())
	require.NoError(t, l.Roll(), "an empty one stays")
	require.NoError(t, l.AdvanceLogStart(offset))
	_, err = l.Sync()
	require.NoError(t, err)
	n, err := l.DeleteOldSegments()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []int64{5}, bases(l))
	again, err := l.Retain(Retention{Age: time.Minute, Bytes: 0}, testTime)
	require.NoError(t, err)
	require.EqualValues(t, 5, again, "an empty segment stays")
	a, err := l.Append(batchOf(t, "next"), AppendOptions{Now: testTime, LeaderEpoch: 1})
	require.NoError(t, err)
	require.EqualValues(t, 5, a.BaseOffset)
	require.NoError(t, d.Close(-1))
	_, err = l.Retain(Retention{}, testTime)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, l.Roll(), ErrClosed)
}

// What a retention remembers of a segment does not outlive a truncation, also one that the next records make up for, or in the middle of which it looked.
func TestRetainAfterATruncation(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{TimestampAfterMax: 1000 * time.Hour})
	require.NoError(t, err)
	fill := func(age time.Duration) {
		t.Helper()
		b := record.NewBuilder(record.BuilderConfig{})
		b.Append(&record.Record{Value: []byte("v"), Timestamp: testTime.Add(-age)})
		batch, err := b.Build(nil)
		require.NoError(t, err)
		_, err = l.Append(batch, AppendOptions{Now: testTime, LeaderEpoch: 1})
		require.NoError(t, err)
		_, err = l.Sync()
		require.NoError(t, err)
		l.SetHighWatermark(l.Offsets().LogEndOffset)
	}
	at := func() int64 {
		t.Helper()
		offset, err := l.Retain(Retention{Age: time.Hour, Bytes: -1}, testTime)
		require.NoError(t, err)
		return offset
	}
	fill(3 * time.Hour)
	fill(time.Minute)
	assert.Zero(t, at())
	require.NoError(t, l.TruncateTo(1))
	fill(2 * time.Hour)
	assert.EqualValues(t, 2, at(), "they are old, all of them")

	looks := 0
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind.Changes() {
			looks++
			at()
		}
		return nil
	})
	require.NoError(t, l.TruncateTo(1))
	disk.SetFault(nil)
	require.Positive(t, looks)
	fill(time.Minute)
	assert.Zero(t, at(), "one is young")
	require.NoError(t, d.Close(-1))
}
