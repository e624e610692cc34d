package transport

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A client asks for records again and again and reads nothing. While those of one fetch lie unsent the next is not served; when the client has gone, nothing of the memory that its requests took is left.
func TestUnreadFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		node := newFakeNode(1)
		var served, given atomic.Int32
		node.hook(int16(kmsg.Fetch), func(_ context.Context, r *Request, reply func(Reply)) {
			served.Add(1)
			resp := r.Message.ResponseKind().(*kmsg.FetchResponse)
			topic, part := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
			part.RecordBatches = make([]byte, 8<<20)
			topic.Partitions = append(topic.Partitions, part)
			resp.Topics = append(resp.Topics, topic)
			reply(Reply{Message: resp, Release: func() { given.Add(1) }})
		})
		s, err := NewServer(ServerConfig{Handler: node, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		l, err := network.Listen(t.Context(), "seed:9092")
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Serve(l) })

		c := dialRaw(t, network, l.Addr().String())
		q := kmsg.NewPtrFetchRequest()
		q.Version = 12
		for i := range int32(3) {
			c.send(q, i)
		}
		synctest.Wait()
		require.EqualValues(t, 1, served.Load())
		require.Positive(t, s.memory.used.Load(), "the second is held")
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Zero(t, s.memory.used.Load())
		require.Equal(t, served.Load(), given.Load())
		require.NoError(t, s.Close())
		wg.Wait()
	})
}
