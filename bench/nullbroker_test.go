package bench

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/log/record"
)

// nullBroker is the least that a Kafka client takes for a broker: it frames requests and gives answers that were made beforehand. It reads what is produced and drops it; what is consumed is the same bytes again and
// again with other offsets. It shares no code with insync but the encoder of batches.
type nullBroker struct {
	host string
	port int32
	// records are the batches of one fetch, and at are their places.
	records []byte
	at      []int
	each    int64 // records in a batch
}

// nullEnd is the end of its log, which is without end.
const nullEnd = 1 << 40

// fetchAnswer is how many bytes of records an answer to a fetch holds at most: what a client asks for a partition by default.
const fetchAnswer = 1 << 20

func newNullBroker(addr *net.TCPAddr, batch record.Batch) *nullBroker {
	b := &nullBroker{host: addr.IP.String(), port: int32(addr.Port), each: int64(batch.RecordCount())}
	for len(b.records)+len(batch) <= fetchAnswer {
		b.at = append(b.at, len(b.records))
		b.records = append(b.records, batch...)
	}
	return b
}

// serve answers the requests of one connection, one after the other.
func (b *nullBroker) serve(c net.Conn) error {
	defer c.Close()
	conn := nullConn{b: b, c: c, r: bufio.NewReaderSize(c, 64<<10), records: append([]byte(nil), b.records...)}
	for {
		if err := conn.one(); err != nil {
			return err
		}
	}
}

type nullConn struct {
	b       *nullBroker
	c       net.Conn
	r       *bufio.Reader
	frame   []byte
	out     []byte
	records []byte
}

const (
	keyProduce        = 0
	keyFetch          = 1
	keyListOffsets    = 2
	keyMetadata       = 3
	keyAPIVersions    = 18
	keyInitProducerID = 22
)

// nullVersions are the newest versions spoken, all before the flexible ones where that is possible: they name topics, and their answers are short.
var nullVersions = map[int16]int16{keyProduce: 8, keyFetch: 11, keyListOffsets: 5, keyMetadata: 8, keyAPIVersions: 2, keyInitProducerID: 1}

func (n *nullConn) one() error {
	var head [4]byte
	if _, err := io.ReadFull(n.r, head[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head[:]))
	if cap(n.frame) < size {
		n.frame = make([]byte, size)
	}
	f := n.frame[:size]
	if _, err := io.ReadFull(n.r, f); err != nil {
		return err
	}
	key, version, correlation := int16(binary.BigEndian.Uint16(f)), int16(binary.BigEndian.Uint16(f[2:])), f[4:8]
	body := f[10:]
	if client := int16(binary.BigEndian.Uint16(f[8:])); client > 0 {
		body = body[client:]
	}
	n.out = append(append(n.out[:0], 0, 0, 0, 0), correlation...)
	if key == keyFetch {
		return n.fetch(version, body)
	}
	if err := n.answer(key, version); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(n.out, uint32(len(n.out)-4))
	_, err := n.c.Write(n.out)
	return err
}

// answer appends what does not depend on the request.
func (n *nullConn) answer(key, version int16) error {
	var resp kmsg.Response
	switch key {
	case keyProduce:
		p := kmsg.NewProduceResponseTopicPartition()
		t := kmsg.ProduceResponseTopic{Topic: "t", Partitions: []kmsg.ProduceResponseTopicPartition{p}}
		resp = &kmsg.ProduceResponse{Topics: []kmsg.ProduceResponseTopic{t}}
	case keyListOffsets:
		p := kmsg.NewListOffsetsResponseTopicPartition()
		p.Offset, p.LeaderEpoch = 0, 0
		t := kmsg.ListOffsetsResponseTopic{Topic: "t", Partitions: []kmsg.ListOffsetsResponseTopicPartition{p}}
		resp = &kmsg.ListOffsetsResponse{Topics: []kmsg.ListOffsetsResponseTopic{t}}
	case keyMetadata:
		name, id := "t", "null"
		p := kmsg.MetadataResponseTopicPartition{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}
		resp = &kmsg.MetadataResponse{
			ClusterID: &id, ControllerID: 1,
			Brokers: []kmsg.MetadataResponseBroker{{NodeID: 1, Host: n.b.host, Port: n.b.port}},
			Topics:  []kmsg.MetadataResponseTopic{{Topic: &name, Partitions: []kmsg.MetadataResponseTopicPartition{p}}},
		}
	case keyInitProducerID:
		resp = &kmsg.InitProducerIDResponse{ProducerID: 1}
	default:
		keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(nullVersions))
		for k, v := range nullVersions {
			keys = append(keys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MaxVersion: v})
		}
		r := &kmsg.ApiVersionsResponse{ApiKeys: keys}
		if version > nullVersions[keyAPIVersions] {
			version, r.ErrorCode = 0, 35 // UNSUPPORTED_VERSION, in the version that everybody knows
		}
		resp = r
	}
	resp.SetVersion(version)
	n.out = resp.AppendTo(n.out)
	return nil
}

// fetch answers with the batches, at the offset that was asked for.
func (n *nullConn) fetch(version int16, body []byte) error {
	req := kmsg.NewPtrFetchRequest()
	req.Version = version
	if err := req.ReadFrom(body); err != nil {
		return err
	}
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = nullEnd, nullEnd, 0, -1
	resp := &kmsg.FetchResponse{Version: version}
	var records []byte
	if len(req.Topics) > 0 {
		offset := req.Topics[0].Partitions[0].FetchOffset
		for _, at := range n.b.at {
			record.Batch(n.records[at:]).PutBaseOffset(offset)
			offset += n.b.each
		}
		records = n.records
		p.RecordBatches = []byte{}
		resp.Topics = []kmsg.FetchResponseTopic{{Topic: "t", Partitions: []kmsg.FetchResponseTopicPartition{p}}}
	}
	n.out = resp.AppendTo(n.out)
	if records != nil { // the records are what an answer of this version ends with, behind their length
		binary.BigEndian.PutUint32(n.out[len(n.out)-4:], uint32(len(records)))
	}
	binary.BigEndian.PutUint32(n.out, uint32(len(n.out)-4+len(records)))
	bufs := net.Buffers{n.out, records}
	_, err := bufs.WriteTo(n.c)
	return err
}
