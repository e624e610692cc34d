package cluster_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// outcome is what becomes of a hostile connection.
type outcome int

const (
	hungUp   outcome = iota // at once, or when it was silent for too long in the middle of something
	answered                // with an error, most likely
)

func (o outcome) String() string { return [...]string{"hung up", "answered"}[o] }

// hostile is one kind of bytes that no honest client sends.
type hostile struct {
	name  string
	bytes []byte
	want  outcome // of a node where nobody has to log in
}

// sized puts a length in front.
func sized(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// head is the header of a request from client "x".
func head(key, version int16, flexible bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7, 0, 1, 'x')
	if flexible {
		b = append(b, 0)
	}
	return b
}

func frame(key, version int16, flexible bool, body ...byte) []byte {
	return sized(append(head(key, version, flexible), body...))
}

// whole is a request as kmsg writes it.
func whole(version int16, req kmsg.Request) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, req, 7)
}

// lie replaces some bytes of a frame.
func lie(t *testing.T, frame []byte, old, by []byte) []byte {
	t.Helper()
	require.Equal(t, 1, bytes.Count(frame, old))
	out := bytes.Replace(frame, old, by, 1)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// produceOf is a Produce request for topic t with these bytes in place of a batch.
func produceOf(batch []byte) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return whole(9, req)
}

// batch is a sound one, changed, with a CRC that says that it is right.
func batch(t *testing.T, change func(b []byte)) []byte {
	t.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	b.Append(&record.Record{Value: []byte("evil"), Timestamp: time.Now()})
	out, err := b.Build(nil)
	require.NoError(t, err)
	change(out)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

// bomb is a batch whose records are 64 MiB of zeros, compressed.
func bomb(t *testing.T) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	require.NoError(t, err)
	for range 64 {
		_, err = w.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	b := append(batch(t, func([]byte) {})[:record.HeaderSize], z.Bytes()...)
	b[22] = 1 // gzip
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// hostiles is the corpus.
func hostiles(t *testing.T) []hostile {
	many := []byte{0x7f, 0xff, 0xff, 0xff}
	varint := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // compact lengths and counts: 2^32 - 2 elements
	fetch := func(change func(*kmsg.FetchRequest)) []byte {
		req := kmsg.NewPtrFetchRequest()
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes = math.MaxInt32
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.Partitions = "t", append(topic.Partitions, p)
		req.MaxBytes, req.MaxWaitMillis, req.Topics = math.MaxInt32, 1, append(req.Topics, topic)
		change(req)
		return whole(12, req)
	}
	create := func(name string, partitions int32, replicas int16) []byte {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, replicas
		req.TimeoutMillis, req.Topics = 1000, append(req.Topics, topic)
		return whole(5, req)
	}
	join := func(protocols int, metadata []byte) []byte {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.ProtocolType, req.SessionTimeoutMillis = "g", "consumer", 10_000
		for i := range protocols {
			p := kmsg.NewJoinGroupRequestProtocol()
			p.Name, p.Metadata = fmt.Sprint("p", i), metadata
			req.Protocols = append(req.Protocols, p)
		}
		return whole(5, req)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "g", 17
	for i := range 300 { // deep: topics, partitions, each with text
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic = strings.Repeat("n", 30)
		for range 30 {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			text := strings.Repeat("m", 10)
			p.Partition, p.Offset, p.Metadata = int32(-i), -5, &text
			topic.Partitions = append(topic.Partitions, p)
		}
		commit.Topics = append(commit.Topics, topic)
	}
	metadata := whole(12, kmsg.NewPtrMetadataRequest())
	return []hostile{
		{"nothing", []byte{0, 0, 0, 0}, hungUp},
		{"a negative length", []byte{0xff, 0xff, 0xff, 0xff}, hungUp},
		{"a length of two gigabytes", many, hungUp},
		{"a length above the limit", []byte{0, 0x10, 0, 1, 0, 3}, hungUp},
		{"a length below a header", []byte{0, 0, 0, 7, 0, 3, 0, 1, 0, 0, 0}, hungUp},
		{"half a length", []byte{0, 0}, hungUp},
		{"half a header", []byte{0, 0, 0, 20, 0, 3, 0}, hungUp},
		{"half a body", append([]byte{0, 0, 1, 0}, head(3, 1, false)...), hungUp},
		{"another protocol", []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"), hungUp},
		{"a handshake of TLS", []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}, hungUp},
		{"noise", bytes.Repeat([]byte{0x00, 0x00, 0x5a}, 400), hungUp},
		{"an unknown request", frame(999, 0, false), hungUp},
		{"a negative request", frame(-1, 0, false), hungUp},
		{"an unknown version", frame(3, 99, true), hungUp},
		{"a negative version", frame(3, -1, false), hungUp},
		{"versions in a version of the future", frame(18, 99, true, 0xff, 0xff, 0xff), answered},
		{"a client id beyond the frame", sized([]byte{0, 3, 0, 1, 0, 0, 0, 7, 0x7f, 0xff, 'x'}), hungUp},
		{"a client id of a negative length", sized([]byte{0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xfe, 'x', 0, 0, 0, 0}), hungUp},
		{"tags without end in the header", sized(append(append([]byte{0, 3, 0, 12, 0, 0, 0, 7, 0, 1, 'x'}, varint...), 0, 0)), hungUp},
		{"a tag beyond the header", sized([]byte{0, 3, 0, 12, 0, 0, 0, 7, 0, 1, 'x', 1, 5, 0xff, 0xff, 0x03, 0}), hungUp},
		{"two billion topics", frame(3, 1, false, many...), hungUp},
		{"minus two topics", frame(3, 1, false, 0xff, 0xff, 0xff, 0xfe), hungUp},
		{"more topics than bytes", frame(3, 1, false, 0, 0, 0, 9, 0, 1, 'a', 0, 1, 'b'), hungUp},
		{"four billion topics", frame(3, 12, true, varint...), hungUp},
		{"a number without end", frame(3, 12, true, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), hungUp},
		{"empty topics by the thousand", frame(3, 1, false, append([]byte{0, 0, 0x40, 0}, make([]byte, 2*0x4000)...)...), hungUp},
		{"bytes left over", sized(append(metadata[4:len(metadata):len(metadata)], 1, 2, 3)), answered}, // librdkafka does
		{"tags without end in the body", sized(append(metadata[4:len(metadata)-1:len(metadata)-1], varint...)), hungUp},
		{"two billion topics to write to", frame(0, 3, false, append([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, many...)...), hungUp},
		{"records beyond the frame", lie(t, produceOf([]byte("0123456789")), []byte("\x0b0123456789"), []byte("\xff\xff\x010123456789")), hungUp},
		{"records that are none", produceOf(bytes.Repeat([]byte{0xa5}, 200)), answered},
		{"a batch cut short", produceOf(batch(t, func([]byte) {})[:70]), answered},
		{"a batch of two billion records", produceOf(batch(t, func(b []byte) { copy(b[57:], many); copy(b[23:], []byte{0x7f, 0xff, 0xff, 0xfe}) })), answered},
		{"a batch of minus one record", produceOf(batch(t, func(b []byte) { copy(b[57:], []byte{0xff, 0xff, 0xff, 0xff}) })), answered},
		{"a batch with a wrong CRC", produceOf(bytes.Replace(batch(t, func([]byte) {}), []byte("evil"), []byte("good"), 1)), answered},
		{"a batch of magic 1", produceOf(batch(t, func(b []byte) { b[16] = 1 })), answered},
		{"a batch of magic 9", produceOf(batch(t, func(b []byte) { b[16] = 9 })), answered},
		{"a codec that there is not", produceOf(batch(t, func(b []byte) { b[22] = 7 })), answered},
		{"a codec that it is not in", produceOf(batch(t, func(b []byte) { b[22] = 4 })), answered},
		{"a control batch", produceOf(batch(t, func(b []byte) { b[22] = 0x20 })), answered},
		{"a transaction that was not begun", produceOf(batch(t, func(b []byte) { b[22] = 0x10; copy(b[43:], make([]byte, 14)) })), answered},
		{"a negative producer epoch", produceOf(batch(t, func(b []byte) { copy(b[43:], make([]byte, 8)); copy(b[51:], []byte{0x80, 0, 0, 0, 0, 0}) })), answered},
		{"two batches as one", produceOf(append(batch(t, func([]byte) {}), batch(t, func([]byte) {})...)), answered},
		{"a bomb", produceOf(bomb(t)), answered},
		{"a fetch of everything", fetch(func(*kmsg.FetchRequest) {}), answered},
		{"a fetch of nothing", fetch(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].PartitionMaxBytes, r.MaxBytes = -7, -7 }), answered},
		{"a fetch from before the beginning", fetch(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = math.MinInt64 }), answered},
		{"a fetch of partition -1", fetch(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = math.MinInt32 }), answered},
		{"a fetch of another's session", fetch(func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 12345, 6 }), answered},
		{"a topic in another directory", create("../../../etc/passwd", 1, 1), answered},
		{"a topic with a long name", create(strings.Repeat("x", 5000), 1, 1), answered},
		{"a topic of two billion partitions", create("huge", math.MaxInt32, 1), answered},
		{"a topic of minus five replicas", create("less", 1, -5), answered},
		{"a member that cannot be read", join(1, bytes.Repeat([]byte{0x7f}, 40)), answered},
		{"a member of a thousand protocols", join(1000, nil), answered},
		{"commits that nobody may make", whole(8, commit), answered},
		{"an answer", sized([]byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0}), hungUp},
	}
}

// attack sends the bytes and tells what came of it.
func attack(ctx context.Context, addr string, b []byte) (outcome, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	_, _ = nc.Write(b) // it may be hung up in the middle of it
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		return hungUp, nil
	}
	_, err = io.ReadFull(nc, make([]byte, binary.BigEndian.Uint32(size[:])))
	return answered, err
}

var hostileLimits = transport.Limits{Frame: 1 << 20, LoginFrame: 64 << 10, FrameTimeout: 200 * time.Millisecond, LoginTimeout: 200 * time.Millisecond, IdleTimeout: 500 * time.Millisecond}

// Every kind of frame that no honest client sends gets an error, or its connection ends; it costs little memory; and an honest client beside them notices nothing.
func TestFault_F42_HostileFrames(t *testing.T) {
	n := start(t, cluster.Config{Listen: "127.0.0.1:0", Limits: hostileLimits})
	createTopic(t, n, "t", 1)
	corpus := hostiles(t)
	require.Greater(t, len(corpus), 50)
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: n.Addrs()})
	require.NoError(t, err)
	defer client.Close()
	produce(t, client, "t", "first")

	const times = 3
	for _, h := range corpus {
		begun := allocated()
		for range times {
			got, err := attack(t.Context(), n.Addrs()[0], h.bytes)
			require.NoError(t, err, h.name)
			assert.Equal(t, h.want, got, h.name)
		}
		most := 16*len(h.bytes) + 600<<10 // a connection has its buffers
		if h.name == "a bomb" {
			most += 48 << 20 // records may be ten times max.message.bytes, and their buffer grows by doubling
		}
		assert.Less(t, allocated()-begun, uint64(times*most), h.name)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	peak := uint64(0)
	for i := range 16 {
		rng := rand.New(rand.NewPCG(42, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = attack(ctx, n.Addrs()[0], corpus[rng.IntN(len(corpus))].bytes)
			}
		})
	}
	p, err := producer.New(producer.Config{Client: client})
	require.NoError(t, err)
	runtime.GC()
	before := heap()
	want := []string{"first"}
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		want = append(want, fmt.Sprint(len(want)))
		began := time.Now()
		_, err := p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte(want[len(want)-1])})
		require.NoError(t, err)
		assert.Less(t, time.Since(began), 5*time.Second)
		peak = max(peak, heap())
	}
	cancel()
	wg.Wait()
	p.Close()
	require.Greater(t, len(want), 10)
	assert.Equal(t, want, consume(t, client, "t", len(want)))
	assert.Less(t, peak, before+256<<20)
	select {
	case <-n.Done():
		t.Fatalf("the node has stopped: %v", n.Err())
	default:
	}
	s := n.Status()
	for _, topic := range s.Topics {
		assert.Contains(t, []string{"t", "__consumer_offsets"}, topic.Name)
	}
}

// Before it has logged in nobody is answered but about the login, and nobody is taken for a node for saying so.
func TestFault_F42_BeforeTheLogin(t *testing.T) {
	tcp := transport.TCP(nil)
	n := start(t, cluster.Config{
		Listen: "127.0.0.1:0", Limits: hostileLimits, Network: tcp,
		Security: &cluster.Security{SASL: []string{cluster.SASLPlain}, Passwords: map[string]string{"alice": "wonderland"}, PeerSecret: strings.Repeat("s", 32)},
	})
	createTopic(t, n, "t", 1)
	logs := kmsg.NewPtrAlterPartitionRequest()
	logs.BrokerID = 1
	beat := kmsg.NewPtrBrokerHeartbeatRequest()
	beat.BrokerID, beat.WantShutdown = 1, true
	register := kmsg.NewPtrBrokerRegistrationRequest()
	register.BrokerID = 1
	corpus := append(hostiles(t),
		hostile{"an isr", whole(3, logs), hungUp},
		hostile{"a heartbeat", whole(1, beat), hungUp},
		hostile{"a registration", whole(4, register), hungUp},
		hostile{"raft", frame(32100, 0, false, 0, 0, 0, 1), hungUp},
		hostile{"a voter", frame(32101, 0, false, 0, 0, 0, 1), hungUp},
		hostile{"a password before a mechanism", whole(2, kmsg.NewPtrSASLAuthenticateRequest()), hungUp},
		hostile{"metadata", whole(12, kmsg.NewPtrMetadataRequest()), hungUp},
		hostile{"silence", nil, hungUp},
	)
	for _, h := range corpus {
		want := hungUp
		if strings.HasPrefix(h.name, "versions in a version") {
			want = h.want // which anybody may ask for
		}
		got, err := attack(t.Context(), n.Addrs()[0], h.bytes)
		require.NoError(t, err, h.name)
		assert.Equal(t, want, got, h.name)
	}
	alice, err := transport.Plain("alice", "wonderland")
	require.NoError(t, err)
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: n.Addrs(), Network: tcp, Credentials: alice})
	require.NoError(t, err)
	defer client.Close()
	produce(t, client, "t", "a", "b")
	assert.Equal(t, []string{"a", "b"}, consume(t, client, "t", 2))
	assert.NoError(t, n.Err())
}

// allocated is how many bytes were ever allocated, heap how many are.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
