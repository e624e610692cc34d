package broker

import (
	"bytes"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestThrottle(t *testing.T) {
	var b throttle
	now := time.Unix(100, 0)
	assert.EqualValues(t, math.MaxInt32, b.available(now), "no limit")
	b.take(1<<40, now)
	b.set(1000, now)
	assert.LessOrEqual(t, b.available(now), 0, "nothing is saved up yet")
	now = now.Add(500 * time.Millisecond)
	assert.Equal(t, 500, b.available(now))
	b.take(2000, now) // more than there is
	assert.Equal(t, 0, b.available(now.Add(1500*time.Millisecond)))
	assert.Equal(t, 100, b.available(now.Add(1600*time.Millisecond)))
	now = now.Add(time.Hour)
	b.take(1000, now)
	assert.Zero(t, b.available(now), "an hour saves up what a second does")
	b.set(1<<63-1, now)
	assert.Positive(t, b.available(now))
}

// brokerConfig sets cluster-wide configs of brokers, and one of a topic.
func (h *harness) setConfigs(kind kmsg.ConfigResourceType, name string, pairs ...string) {
	h.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for i := 0; i < len(pairs); i += 2 {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = pairs[i], &pairs[i+1]
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	require.Zero(h.t, call[*kmsg.IncrementalAlterConfigsResponse](h.nodes[h.ids[0]], req).Resources[0].ErrorCode)
}

// TestReplicationThrottle moves 2 MB to a node that gets, or takes, 100 kB a second, while another partition goes on at its own pace.
func TestReplicationThrottle(t *testing.T) {
	for _, side := range []string{"leader", "follower"} {
		t.Run(side, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const size, rate = 2_000_000, 100_000
				h := newHarness(t, 3, nil)
				h.create(1, "t", 1, 2)
				h.create(1, "other", 1, 3)
				lead := h.leader("t", 0)
				value := string(bytes.Repeat([]byte("x"), 10_000))
				for range size / len(value) {
					lead.mustProduce("t", 0, value)
				}
				replicas := partitionOf(lead.metadataImage(), "t", 0).Replicas
				newcomer := 6 - replicas[0] - replicas[1]
				h.setConfigs(kmsg.ConfigResourceTypeTopic, "t", side+".replication.throttled.replicas", "0:"+strconv.Itoa(int(newcomer)))
				h.setConfigs(kmsg.ConfigResourceTypeBroker, "", side+".replication.throttled.rate", strconv.Itoa(rate))
				time.Sleep(time.Second)
				move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
				move.Version, move.TimeoutMillis, move.AllowReplicationFactorChange = 1, 1000, true
				move.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: append(replicas, newcomer)}}}}
				began := time.Now()
				require.Zero(t, call[*kmsg.AlterPartitionAssignmentsResponse](h.nodes[1], move).Topics[0].Partitions[0].ErrorCode)
				for range 10 { // neither the partition itself nor another one waits for it
					at := time.Now()
					lead.mustProduce("t", 0, "y")
					h.leader("other", 0).mustProduce("other", 0, "y")
					assert.Less(t, time.Since(at), time.Second)
					time.Sleep(100 * time.Millisecond)
				}
				h.isr("t", 0, 3)
				assert.InDelta(t, (size / rate * time.Second).Seconds(), time.Since(began).Seconds(), 6)
				// In sync it is not throttled.
				at := time.Now()
				for range 50 {
					lead.mustProduce("t", 0, value)
				}
				assert.Less(t, time.Since(at), 2*time.Second)
			})
		})
	}
}
