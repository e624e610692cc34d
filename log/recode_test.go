package log

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/stretchr/testify/require"
)

// compression.type: a batch of another codec is stored with the topic's, everything else in it stays; one of the topic's codec is stored byte for byte.
func TestCompressionType(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	build := func(codec record.Codec) record.Batch {
		b := record.NewBuilder(record.BuilderConfig{Codec: codec})
		b.SetProducer(7, 3, 0)
		for i := range 50 {
			r := record.Record{Key: fmt.Append(nil, i), Value: []byte(strings.Repeat("v", 100)), Timestamp: now.Add(-time.Duration(i) * time.Second), Headers: []record.Header{{Key: "h", Value: fmt.Append(nil, i)}}}
			if i%10 == 0 {
				r.Key, r.Value = nil, nil
			}
			b.Append(&r)
		}
		data, err := b.Build(nil)
		require.NoError(t, err)
		return data
	}
	for _, topic := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		for _, client := range []record.Codec{record.None, record.Zstd, record.LZ4} {
			t.Run(fmt.Sprintf("%v to %v", client, topic), func(t *testing.T) {
				l, err := Open("d", Config{FS: vfs.NewMem(), Compression: Compression{Recode: true, Codec: topic}})
				require.NoError(t, err)
				defer l.Close()
				sent := build(client)
				before := sent.Clone()
				_, err = l.Append(sent, AppendOptions{LeaderEpoch: 4, Now: now})
				require.NoError(t, err)
				require.Equal(t, before, sent, "the caller's memory is not changed")

				s, err := l.Read(0, 50, 1<<20, true)
				require.NoError(t, err)
				data, err := s.Append(nil)
				s.Release()
				require.NoError(t, err)
				got, rest, err := record.Split(data)
				require.NoError(t, err)
				require.Empty(t, rest)
				require.NoError(t, got.CheckCRC())
				require.Equal(t, topic, got.Codec())
				require.Equal(t, []int64{7, 3, 0, 4, 49}, []int64{got.ProducerID(), int64(got.ProducerEpoch()), int64(got.BaseSequence()), int64(got.LeaderEpoch()), got.LastOffset()})
				require.Equal(t, sent.MaxTimestamp(), got.MaxTimestamp())
				if topic == client {
					require.Equal(t, []byte(sent[record.HeaderSize:]), []byte(got[record.HeaderSize:]), "not touched")
				}
				i := 0
				for r, err := range l.Records(context.Background(), 0) {
					require.NoError(t, err)
					require.Equal(t, now.Add(-time.Duration(i)*time.Second).UnixMilli(), r.Timestamp.UnixMilli())
					require.Equal(t, i%10 == 0, r.Key == nil && r.Value == nil)
					require.Equal(t, fmt.Sprint(i), string(r.Headers[0].Value))
					i++
				}
				require.Equal(t, 50, i)
			})
		}
	}
}

// A batch that fits compressed may not fit as it is to be stored.
func TestCompressionTypeMakesABatchTooLarge(t *testing.T) {
	l, err := Open("d", Config{FS: vfs.NewMem(), MaxBatchBytes: 1000, Compression: Compression{Recode: true, Codec: record.None}})
	require.NoError(t, err)
	defer l.Close()
	b := record.NewBuilder(record.BuilderConfig{Codec: record.Zstd})
	b.Append(&record.Record{Value: []byte(strings.Repeat("v", 5000)), Timestamp: time.UnixMilli(1)})
	data, err := b.Build(nil)
	require.NoError(t, err)
	require.Less(t, len(data), 1000)
	_, err = l.Append(data, AppendOptions{Now: time.UnixMilli(1)})
	var large *record.TooLargeError
	require.ErrorAs(t, err, &large)
	require.Equal(t, int64(0), l.Offsets().LogEndOffset)
}
