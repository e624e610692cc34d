package entry

import (
	"encoding/binary"
	"math"

	"github.com/insynclog/insync/internal/groups/partition"
)

// MaxString is the length in bytes of the longest string that fits into all places. Keys and the older values have 16 bits for it; what is longer is cut there, so that the record can at least be read: who
// takes names from outside has to refuse them before.
const MaxString = math.MaxInt16

// Tags of the optional fields. They are the format's.
const (
	tagTopicID      = 0 // of an Offset
	tagMetadataHash = 0 // of a Group
	tagClassic      = 0 // of a Member
)

// AppendKey implements Entry.
func (o *Offset) AppendKey(dst []byte) []byte {
	dst = appendKey(dst, typeOffset, o.Group, o.Topic)
	return binary.BigEndian.AppendUint32(dst, uint32(o.Partition))
}

// AppendValue implements Entry. The version is 3, which every broker since Kafka 2.1 reads, or 4 if the topic's id is known. It is 1 if ExpiresAt is set: later versions have no room for it, and this one has none for the leader
// epoch and the topic's id.
func (o *Offset) AppendValue(dst []byte) ([]byte, bool) {
	if o.Gone {
		return dst, false
	}
	version := int16(3)
	switch {
	case o.ExpiresAt != -1:
		version = 1
	case o.TopicID != partition.TopicID{}:
		version = 4
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(version))
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.Offset))
	if version >= 3 {
		dst = binary.BigEndian.AppendUint32(dst, uint32(o.LeaderEpoch))
	}
	if version >= 4 {
		dst = appendCompact(dst, o.Metadata)
	} else {
		dst = appendString(dst, o.Metadata)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.CommittedAt))
	switch version {
	case 1:
		dst = binary.BigEndian.AppendUint64(dst, uint64(o.ExpiresAt))
	case 4:
		dst = append(dst, 1, tagTopicID, byte(len(o.TopicID)))
		dst = append(dst, o.TopicID[:]...)
	}
	return dst, true
}

// AppendKey implements Entry.
func (c *Classic) AppendKey(dst []byte) []byte { return appendKey(dst, typeClassic, c.Group) }

// AppendValue implements Entry. The version is 3, which every broker since Kafka 2.3 reads.
func (c *Classic) AppendValue(dst []byte) ([]byte, bool) {
	if c.Gone {
		return dst, false
	}
	dst = binary.BigEndian.AppendUint16(dst, 3)
	dst = appendString(dst, c.ProtocolType)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Generation))
	dst = appendNullable(dst, c.Protocol)
	dst = appendNullable(dst, c.Leader)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.StateAt))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.Members)))
	for i := range c.Members {
		m := &c.Members[i]
		dst = appendString(dst, m.ID)
		dst = appendNullable(dst, m.InstanceID)
		dst = appendString(dst, m.ClientID)
		dst = appendString(dst, m.ClientHost)
		dst = binary.BigEndian.AppendUint32(dst, uint32(m.RebalanceTimeoutMillis))
		dst = binary.BigEndian.AppendUint32(dst, uint32(m.SessionTimeoutMillis))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(m.Subscription)))
		dst = append(dst, m.Subscription...)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(m.Assignment)))
		dst = append(dst, m.Assignment...)
	}
	return dst, true
}

// AppendKey implements Entry.
func (g *Group) AppendKey(dst []byte) []byte { return appendKey(dst, typeGroup, g.Group) }

// AppendValue implements Entry. A hash of 0 is left out.
func (g *Group) AppendValue(dst []byte) ([]byte, bool) {
	if g.Gone {
		return dst, false
	}
	dst = appendVersion0(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(g.Epoch))
	if g.MetadataHash == 0 {
		return append(dst, 0), true
	}
	dst = append(dst, 1, tagMetadataHash, 8)
	return binary.BigEndian.AppendUint64(dst, uint64(g.MetadataHash)), true
}

// AppendKey implements Entry.
func (m *Member) AppendKey(dst []byte) []byte {
	return appendKey(dst, typeMember, m.Group, m.MemberID)
}

// AppendValue implements Entry.
func (m *Member) AppendValue(dst []byte) ([]byte, bool) {
	if m.Gone {
		return dst, false
	}
	dst = appendVersion0(dst)
	dst = appendCompactNullable(dst, m.InstanceID)
	dst = appendCompactNullable(dst, m.Rack)
	dst = appendCompact(dst, m.ClientID)
	dst = appendCompact(dst, m.ClientHost)
	dst = appendNames(dst, m.Topics)
	dst = appendCompactNullable(dst, m.Regex)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.RebalanceTimeoutMillis))
	dst = appendCompactNullable(dst, m.Assignor)
	if m.Classic == nil {
		return append(dst, 0), true
	}
	dst = append(dst, 1, tagClassic)
	dst = appendLength(dst, m.Classic.size(), 0)
	dst = append(dst, 1) // not null
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Classic.SessionTimeoutMillis))
	dst = appendLength(dst, len(m.Classic.Protocols), 1)
	for i := range m.Classic.Protocols {
		p := &m.Classic.Protocols[i]
		dst = appendCompact(dst, p.Name)
		dst = appendLength(dst, len(p.Metadata), 1)
		dst = append(dst, p.Metadata...)
		dst = append(dst, 0)
	}
	return append(dst, 0), true
}

// size returns how many bytes AppendValue appends for the field after its length.
func (c *ClassicMetadata) size() int {
	n := 1 + 4 + lengthSize(len(c.Protocols)+1) + 1
	for i := range c.Protocols {
		p := &c.Protocols[i]
		n += lengthSize(len(p.Name)+1) + len(p.Name) + lengthSize(len(p.Metadata)+1) + len(p.Metadata) + 1
	}
	return n
}

// AppendKey implements Entry.
func (t *Target) AppendKey(dst []byte) []byte { return appendKey(dst, typeTarget, t.Group) }

// AppendValue implements Entry.
func (t *Target) AppendValue(dst []byte) ([]byte, bool) {
	if t.Gone {
		return dst, false
	}
	dst = binary.BigEndian.AppendUint32(appendVersion0(dst), uint32(t.Epoch))
	return append(dst, 0), true
}

// AppendKey implements Entry.
func (t *TargetMember) AppendKey(dst []byte) []byte {
	return appendKey(dst, typeTargetMember, t.Group, t.MemberID)
}

// AppendValue implements Entry.
func (t *TargetMember) AppendValue(dst []byte) ([]byte, bool) {
	if t.Gone {
		return dst, false
	}
	dst = appendPartitions(appendVersion0(dst), t.Partitions)
	return append(dst, 0), true
}

// AppendKey implements Entry.
func (c *Current) AppendKey(dst []byte) []byte {
	return appendKey(dst, typeCurrent, c.Group, c.MemberID)
}

// AppendValue implements Entry.
func (c *Current) AppendValue(dst []byte) ([]byte, bool) {
	if c.Gone {
		return dst, false
	}
	dst = appendVersion0(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Epoch))
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.PreviousEpoch))
	dst = append(dst, byte(c.State))
	dst = appendPartitions(dst, c.Assigned)
	dst = appendPartitions(dst, c.Revoking)
	return append(dst, 0), true
}

// AppendKey implements Entry.
func (r *Regex) AppendKey(dst []byte) []byte { return appendKey(dst, typeRegex, r.Group, r.Regex) }

// AppendValue implements Entry.
func (r *Regex) AppendValue(dst []byte) ([]byte, bool) {
	if r.Gone {
		return dst, false
	}
	dst = appendNames(appendVersion0(dst), r.Topics)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Version))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.ResolvedAt))
	return append(dst, 0), true
}

func appendKey(dst []byte, typ int16, fields ...string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(typ))
	for _, s := range fields {
		dst = appendString(dst, s)
	}
	return dst
}

func appendVersion0(dst []byte) []byte { return append(dst, 0, 0) }

func appendString(dst []byte, s string) []byte {
	s = s[:min(len(s), MaxString)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// appendNullable appends null for "".
func appendNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, 0xff, 0xff)
	}
	return appendString(dst, s)
}

// appendLength appends a length or, with plus = 1, a compact one: there 0 is null, and 1 the length 0.
func appendLength(dst []byte, n, plus int) []byte {
	return binary.AppendUvarint(dst, uint64(n+plus))
}

// lengthSize returns how many bytes a number takes.
func lengthSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func appendCompact(dst []byte, s string) []byte { return append(appendLength(dst, len(s), 1), s...) }

// appendCompactNullable appends null for "".
func appendCompactNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, 0)
	}
	return appendCompact(dst, s)
}

func appendNames(dst []byte, names []string) []byte {
	dst = appendLength(dst, len(names), 1)
	for _, s := range names {
		dst = appendCompact(dst, s)
	}
	return dst
}

func appendPartitions(dst []byte, s partition.Set) []byte {
	dst = appendLength(dst, len(s), 1)
	for i := range s {
		dst = append(dst, s[i].ID[:]...)
		dst = appendLength(dst, len(s[i].Numbers), 1)
		for _, n := range s[i].Numbers {
			dst = binary.BigEndian.AppendUint32(dst, uint32(n))
		}
		dst = append(dst, 0)
	}
	return dst
}
