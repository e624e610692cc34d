package broker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What Kafka's clients are told when nobody has subscribed to their metrics.
const (
	telemetryInterval = 300_000 // ms: when to ask again
	telemetryMaxBytes = 1 << 20 // telemetry.max.bytes
)

// GetTelemetrySubscriptions (71), version 0: which metrics a client shall push (KIP-714).
//
// Behaviour: none. There is no receiver of clients' metrics, so that, as with Kafka's brokers without a plugin, ApiVersions does not name this API, and clients that go by it do not ask. One that asks
// nevertheless gets an empty subscription: an id if it has none, and when to ask again.
func (b *Broker) getTelemetrySubscriptions(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.GetTelemetrySubscriptionsRequest)
	resp := kmsg.NewPtrGetTelemetrySubscriptionsResponse()
	resp.Version = req.Version
	id := req.ClientInstanceID
	if id == [16]byte{} {
		_, _ = rand.Read(id[:]) // never fails
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	}
	resp.ClientInstanceID, resp.SubscriptionID = id, emptySubscription(id)
	resp.AcceptedCompressionTypes = []int8{4, 3, 1, 2} // zstd, lz4, gzip, snappy
	resp.PushIntervalMillis, resp.TelemetryMaxBytes, resp.DeltaTemporality = telemetryInterval, telemetryMaxBytes, true
	reply(transport.Reply{Message: resp})
}

// emptySubscription is the id that Kafka gives a subscription to nothing: it differs from client to client, and from those to something.
func emptySubscription(client [16]byte) int32 {
	mixed := binary.BigEndian.Uint64(client[:8]) ^ binary.BigEndian.Uint64(client[8:])
	return int32(crc32.Checksum([]byte("[]300000"), crc32.MakeTable(crc32.Castagnoli)) ^ uint32(mixed>>32) ^ uint32(mixed))
}
