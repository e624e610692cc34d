package transport

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// slowNode answers a fetch after the time that it says it may wait.
type slowNode struct{}

func (slowNode) Versions() map[int16]VersionRange {
	return map[int16]VersionRange{1: {4, 18}, 18: {0, 4}}
}

func (slowNode) Serve(_ context.Context, r *Request, reply func(Reply)) {
	if req, ok := r.Message.(*kmsg.FetchRequest); ok {
		time.Sleep(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	}
	resp := r.Message.ResponseKind()
	if v, ok := resp.(*kmsg.ApiVersionsResponse); ok {
		for key, rng := range (slowNode{}).Versions() {
			v.ApiKeys = append(v.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MinVersion: rng.Min, MaxVersion: rng.Max})
		}
	}
	reply(Reply{Message: resp})
}

// A fetch that waits at a node holds up no other fetch of the same client, up to the bound on connections.
func TestFetchesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem()
		s, err := NewServer(ServerConfig{Handler: slowNode{}})
		require.NoError(t, err)
		l, err := network.Host("node").Listen(t.Context(), "node:1")
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() { s.Serve(l) })
		c, err := NewClient(ClientConfig{Network: network.Host("client")})
		require.NoError(t, err)
		c.SetNode(Node{ID: 1, Addr: "node:1"})
		fetch := func(wait time.Duration) time.Duration {
			req := kmsg.NewPtrFetchRequest()
			req.MaxWaitMillis = int32(wait.Milliseconds())
			began := time.Now()
			_, err := c.Request(t.Context(), 1, req)
			require.NoError(t, err)
			return time.Since(began)
		}
		var slow sync.WaitGroup
		for range 10 {
			slow.Go(func() { require.Equal(t, 10*time.Second, fetch(10*time.Second)) })
			synctest.Wait() // it is under way
		}
		require.Zero(t, fetch(0), "although ten wait")
		slow.Wait()
		for range 30 { // more than there are connections: some wait for others, all are answered
			slow.Go(func() { fetch(time.Second) })
			synctest.Wait()
		}
		slow.Wait()
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		wg.Wait()
	})
}
