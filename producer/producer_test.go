package producer

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/log/record"
)

func rec(topic string, partition int32, value string) *record.Record {
	return &record.Record{Topic: topic, Partition: partition, Value: []byte(value)}
}

func TestProduce_Local(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{})
	for i := range 10 {
		md, err := p.Produce(t.Context(), rec("a", 0, fmt.Sprint(i)))
		require.NoError(t, err)
		assert.Equal(t, int64(i), md.Offset)
	}
	assert.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, f.values("a", 0))
}

func TestEnqueue_OverNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 3).topic("a", 6)
		p := f.producer(f.serve(), Config{Partitioner: Manual{}})
		const n = 5000
		var mu sync.Mutex
		got := make(map[int32][]int64)
		for i := range n {
			require.NoError(t, p.Enqueue(context.Background(), rec("a", int32(i%6), fmt.Sprint(i)), func(md Metadata, err error) {
				mu.Lock()
				defer mu.Unlock()
				assert.NoError(t, err)
				got[md.Partition] = append(got[md.Partition], md.Offset)
			}))
		}
		require.NoError(t, p.Flush(t.Context()))
		for part := range 6 {
			vs := f.values("a", part)
			require.Len(t, got[int32(part)], len(vs))
			for i, v := range vs {
				require.Equal(t, fmt.Sprint(i*6+part), v)
				require.Equal(t, int64(i), got[int32(part)][i])
			}
		}
	})
}
