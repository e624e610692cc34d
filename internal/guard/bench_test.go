package guard

import (
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// samples are the frames whose handling must not become slower.
func samples() map[string]struct {
	k       kind
	version int16
	body    []byte
} {
	produce := kmsg.NewPtrProduceRequest()
	produce.Version, produce.Acks, produce.TimeoutMillis = 13, -1, 30_000
	pt, pp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	pp.Records = make([]byte, 16<<10)
	pt.Partitions = append(pt.Partitions, pp)
	produce.Topics = append(produce.Topics, pt)

	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version = 17
	for range 10 {
		topic := kmsg.NewFetchRequestTopic()
		for n := range int32(10) {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition = n
			topic.Partitions = append(topic.Partitions, p)
		}
		fetch.Topics = append(fetch.Topics, topic)
	}

	metadata := kmsg.NewPtrMetadataResponse()
	metadata.Version = 12
	for n := range int32(3) {
		metadata.Brokers = append(metadata.Brokers, kmsg.MetadataResponseBroker{NodeID: n, Host: "broker.example.org", Port: 9092})
	}
	for n := range 100 {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = kmsg.StringPtr(fmt.Sprintf("topic-%04d", n))
		for n := range int32(12) {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Replicas, p.ISR = n, []int32{0, 1, 2}, []int32{0, 1, 2}
			topic.Partitions = append(topic.Partitions, p)
		}
		metadata.Topics = append(metadata.Topics, topic)
	}
	return map[string]struct {
		k       kind
		version int16
		body    []byte
	}{
		"produce=16KiB":                       {kind{false, 0}, 13, produce.AppendTo(nil)},
		"fetch/partitions=100":                {kind{false, 1}, 17, fetch.AppendTo(nil)},
		"metadata/topics=100/partitions=1200": {kind{true, 3}, 12, metadata.AppendTo(nil)},
	}
}

func BenchmarkGuard(b *testing.B) {
	for name, s := range samples() {
		budget := Budget(len(s.body))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.body)))
			for b.Loop() {
				if err := s.k.check(s.version, s.body, budget); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode is kmsg's decoder on the same frames.
func BenchmarkDecode(b *testing.B) {
	for name, s := range samples() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.body)))
			for b.Loop() {
				if err := s.k.empty(s.version).ReadFrom(s.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCRC32C is the least that is done with the records of a produce request: a scale.
func BenchmarkCRC32C(b *testing.B) {
	records, table := make([]byte, 16<<10), crc32.MakeTable(crc32.Castagnoli)
	b.SetBytes(int64(len(records)))
	for b.Loop() {
		crc32.Checksum(records, table)
	}
}
