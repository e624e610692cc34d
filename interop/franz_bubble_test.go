//go:build synctests

package interop

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The same in virtual time, over the network in memory, with power loss. It needs franz-go's build tag synctests: kgo waits for a producer id with a mutex held, and a goroutine that waits for a mutex stops
// the clock of a bubble; with the tag its mutexes are made of channels.
func TestFranzInABubble(t *testing.T) {
	zstdDecoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zstdDecoder.Close()
	decompress := decompressor{zstd: zstdDecoder, others: kgo.DefaultDecompressor()}
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 1})
		c.CreateTopic(topic, partitions, 3)
		network := c.Network().Host("franz")
		crash := func() { c.Crash(c.Leader(topic, 0)) }
		began := time.Now()
		produceAndConsume(t, crash, kgo.SeedBrokers(c.Addrs()...), kgo.WithDecompressor(decompress), kgo.Dialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			return network.Dial(ctx, addr)
		}))
		t.Logf("%v of virtual time", time.Since(began))
	})
}

// decompressor has a zstd decoder from outside the bubble: those that kgo makes are closed by a finalizer, and the finalizers' goroutine may not touch a channel of a bubble.
type decompressor struct {
	zstd   *zstd.Decoder
	others kgo.Decompressor
}

func (d decompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecZstd {
		return d.zstd.DecodeAll(src, nil)
	}
	return d.others.Decompress(src, codec)
}
