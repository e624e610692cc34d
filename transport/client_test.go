package transport

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// eachNetwork runs a test over TCP, over Mem, and over Mem in a bubble.
func eachNetwork(t *testing.T, f func(t *testing.T, network Network, addr string)) {
	t.Run("tcp", func(t *testing.T) { f(t, TCP(nil), "127.0.0.1:0") })
	t.Run("mem", func(t *testing.T) { f(t, NewMem().Host("a"), "a:0") })
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, NewMem().Host("a"), "a:0") })
	})
}

func TestRoundTrip(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		ctx := context.Background()
		for _, size := range []int{0, 100, 5000, 70_000, 3_000_000} {
			resp, err := c.Request(ctx, AnyNode, produceRequest(-1, make([]byte, size)))
			require.NoError(t, err)
			require.EqualValues(t, size, resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].BaseOffset)
		}
		resp, err := c.Request(ctx, AnyNode, produceRequest(0, []byte("x")))
		require.NoError(t, err)
		require.Nil(t, resp)
		_, err = c.Request(ctx, 5, produceRequest(-1, nil))
		require.ErrorAs(t, err, new(*UnknownNodeError))
		_, err = c.Request(ctx, AnyNode, kmsg.NewPtrCreateTopicsRequest())
		require.ErrorAs(t, err, new(*UnsupportedVersionError))
		node.setBrokers(addr)
		node.setTopic("t", 1)
		topic, err := c.Topic(ctx, "t", false)
		require.NoError(t, err)
		require.Equal(t, int32(1), topic.Partitions[0].Leader)
		_, err = c.Request(ctx, 1, produceRequest(-1, nil))
		require.NoError(t, err)
	})
}
