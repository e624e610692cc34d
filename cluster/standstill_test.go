package cluster_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
)

// fetchOf is a Fetch request for all of topic t, in a session that it begins.
func fetchOf(wait time.Duration) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = int32(wait.Milliseconds()), 1, 50<<20, 0
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 50 << 20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return whole(12, req)
}

// Consumers ask for more than a gigabyte and read nothing of it; others open sessions without end. The node's memory is bounded, and an honest client beside them is served as before.
func TestFault_F32_ConsumersThatStandStill(t *testing.T) {
	n := start(t, cluster.Config{Listen: "127.0.0.1:0"})
	createTopic(t, n, "t", 1)
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: n.Addrs()})
	require.NoError(t, err)
	defer client.Close()
	var want []string
	value := strings.Repeat("x", 900<<10)
	for i := range 8 {
		want = append(want, fmt.Sprint(i)+value)
		produce(t, client, "t", want[i])
	}
	runtime.GC()
	before := heap()

	for range 8 {
		c, err := net.Dial("tcp", n.Addrs()[0])
		require.NoError(t, err)
		defer c.Close()
		for range 200 { // each answer has 7 MiB
			_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := c.Write(fetchOf(0)); err != nil {
				break // it takes no more requests of somebody who reads nothing
			}
		}
	}
	flood, err := net.Dial("tcp", n.Addrs()[0])
	require.NoError(t, err)
	defer flood.Close()
	sessions := map[int32]bool{}
	for range 5000 {
		req := kmsg.NewPtrFetchRequest()
		req.MinBytes, req.SessionEpoch = 1, 0
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes = int64(len(want)), 1
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.Partitions = "t", append(topic.Partitions, p)
		req.Topics = append(req.Topics, topic)
		_, err := flood.Write(whole(12, req))
		require.NoError(t, err)
		var size [4]byte
		_, err = io.ReadFull(flood, size[:])
		require.NoError(t, err)
		answer := make([]byte, binary.BigEndian.Uint32(size[:]))
		_, err = io.ReadFull(flood, answer)
		require.NoError(t, err)
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(12)
		require.NoError(t, resp.ReadFrom(answer[5:]))
		require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
		sessions[resp.SessionID] = true
	}
	delete(sessions, 0)
	assert.Less(t, len(sessions), 5000, "no more sessions than there are places for young ones")

	produce(t, client, "t", "after")
	assert.Equal(t, append(want, "after"), consume(t, client, "t", len(want)+1))
	runtime.GC()
	assert.Less(t, heap(), before+64<<20)
}
