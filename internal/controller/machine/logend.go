package machine

import (
	"cmp"
	"encoding/binary"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// LogEnd is where a replica's log ends while its partition has no leader. Brokers tell of them with their heartbeats, so that the controller can compare candidates.
type LogEnd struct {
	TopicID     log.TopicID
	Partition   int32
	LeaderEpoch int32 // of the partition, as the broker knows it: what is told under another one is out of date
	LastEpoch   int32 // of the last record; -1 of an empty log
	Offset      int64 // log end offset
}

// compare orders by (epoch, offset), as elections of raft do: of two logs the one that ends later has all that was committed in either.
func (e LogEnd) compare(f LogEnd) int {
	return cmp.Or(cmp.Compare(e.LastEpoch, f.LastEpoch), cmp.Compare(e.Offset, f.Offset))
}

// logKey names a partition.
type logKey struct {
	topic     log.TopicID
	partition int32
}

// Private tags in requests between nodes. Format: never renumber.
const (
	tagRebooted   uint32 = 32_101 // of BrokerRegistration: one byte, the operating system is not the one of the broker's last life
	tagLogEnds    uint32 = 32_102 // of BrokerHeartbeat: uvarint count | count times: id, and as varints partition, leader epoch, last epoch, offset
	tagStillKnown uint32 = 32_103 // of BrokerHeartbeat: varint, the level of the metadata up to which the broker knows it
	tagSlowDisk   uint32 = 32_105 // of BrokerHeartbeat: one byte, the broker's disk is slow
	tagLevel      uint32 = 32_104 // of the answer to BrokerRegistration that is UNSUPPORTED_VERSION: varint, the cluster's level
)

// MaxLogEnds is how many a heartbeat carries.
const MaxLogEnds = 5_000

// SetRebooted says in a registration that the operating system was started anew since the broker's last life, or may have been.
func SetRebooted(req *kmsg.BrokerRegistrationRequest) { req.UnknownTags.Set(tagRebooted, []byte{1}) }

func wasRebooted(req *kmsg.BrokerRegistrationRequest) (is bool) {
	req.UnknownTags.Each(func(tag uint32, _ []byte) { is = is || tag == tagRebooted })
	return is
}

// SetLogEnds puts log ends into a heartbeat.
func SetLogEnds(req *kmsg.BrokerHeartbeatRequest, ends []LogEnd) {
	b := binary.AppendUvarint(nil, uint64(len(ends)))
	for _, e := range ends {
		b = putInt(append(b, e.TopicID[:]...), int64(e.Partition))
		b = putInt(putInt(putInt(b, int64(e.LeaderEpoch)), int64(e.LastEpoch)), e.Offset)
	}
	req.UnknownTags.Set(tagLogEnds, b)
}

// logEnds reads what SetLogEnds wrote; of a tag that cannot be read, nothing.
func logEnds(req *kmsg.BrokerHeartbeatRequest) (ends []LogEnd) {
	req.UnknownTags.Each(func(tag uint32, b []byte) {
		if tag != tagLogEnds {
			return
		}
		r := &reader{b: b}
		told := make([]LogEnd, min(r.count(20), MaxLogEnds))
		for i := range told {
			told[i] = LogEnd{TopicID: r.id(), Partition: r.int32(), LeaderEpoch: r.int32(), LastEpoch: r.int32(), Offset: r.int()}
		}
		if r.err == nil {
			ends = told
		}
	})
	return ends
}

// compare notes where the logs of a broker end, and elects leaders where that decides it.
func (b *Batch) compare(s *session, ends []LogEnd) {
	for _, e := range ends {
		t := b.d.img.TopicIDs[e.TopicID]
		p := t.partition(e.Partition)
		if p == nil || p.Leader != NoLeader || p.LeaderEpoch != e.LeaderEpoch {
			continue
		}
		key := logKey{e.TopicID, e.Partition}
		if s.ends[key] == e {
			continue
		}
		if s.ends == nil {
			s.ends = map[logKey]LogEnd{}
		}
		s.ends[key] = e
		b.decide(b.change(t, e.Partition, b.active))
	}
}

// end is where a broker says that its log of a partition ends, since the partition has no leader.
func (b *Batch) end(id int32, t *Topic, n int32) (e LogEnd, ok bool) {
	s, br := b.m.sessions[id], b.d.img.Brokers[id]
	if s == nil || br == nil || s.epoch != br.Epoch {
		return e, false
	}
	e, ok = s.ends[logKey{t.ID, n}]
	return e, ok && e.LeaderEpoch == t.Partitions[n].LeaderEpoch
}
