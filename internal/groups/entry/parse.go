package entry

// Types of keys. They are the format's.
const (
	typeOffsetOld    int16 = 0 // as typeOffset: Kafka never distinguished them
	typeOffset       int16 = 1
	typeClassic      int16 = 2
	typeGroup        int16 = 3
	typeTopics       int16 = 4 // metadata of the topics subscribed to, until Kafka 4.0
	typeMember       int16 = 5
	typeTarget       int16 = 6
	typeTargetMember int16 = 7
	typeCurrent      int16 = 8
	typeShareFirst   int16 = 9 // share groups
	typeShareLast    int16 = 15
	typeRegex        int16 = 16
)

// Parse reads a record of __consumer_offsets; a nil value says that the key's entry is gone. It returns nil and no error for a record that means nothing to insync: types 4, 9 to 15, and from 17 on. It keeps
// nothing of key and value. What follows the last field is ignored, as in Kafka.
//
// Errors: *FormatError, also for a version of the value that is newer than what is known here.
func Parse(key, value []byte) (Entry, error) {
	k := decoder{b: key}
	typ := k.int16()
	if k.failed {
		return nil, &FormatError{Part: "key", Type: -1, Byte: 0, Reason: "no type"}
	}
	if typ < 0 {
		return nil, &FormatError{Part: "key", Type: typ, Byte: 0, Reason: "negative type"}
	}
	if typ == typeTopics || typ >= typeShareFirst && typ <= typeShareLast || typ > typeRegex {
		return nil, nil
	}
	// One copy for all the strings of the key: loading reads millions of them.
	k.text = string(key)
	v := decoder{b: value}
	gone := value == nil
	version, newest := int16(0), newestValue(typ)
	if !gone {
		version = v.int16()
		if !v.failed && (version < 0 || version > newest) {
			v.at = 0
			v.fail("unknown version")
		}
		v.flex = version >= flexibleFrom(typ)
	}
	var e Entry
	switch typ {
	case typeOffsetOld, typeOffset:
		o := &Offset{Group: k.str(), Topic: k.str(), Partition: k.int32(), Gone: gone}
		if !gone {
			o.parse(&v, version)
		}
		e = o
	case typeClassic:
		c := &Classic{Group: k.str(), Gone: gone}
		if !gone {
			c.parse(&v, version)
		}
		e = c
	case typeGroup:
		g := &Group{Group: k.str(), Gone: gone}
		if !gone {
			g.Epoch = v.int32()
			for n := v.tags(); n > 0 && !v.failed; n-- {
				if tag, field := v.field(); tag == tagMetadataHash {
					g.MetadataHash = field.int64()
					v.done(&field)
				}
			}
		}
		e = g
	case typeMember:
		m := &Member{Group: k.str(), MemberID: k.str(), Gone: gone}
		if !gone {
			m.parse(&v)
		}
		e = m
	case typeTarget:
		t := &Target{Group: k.str(), Gone: gone}
		if !gone {
			t.Epoch = v.int32()
			v.skipTags()
		}
		e = t
	case typeTargetMember:
		t := &TargetMember{Group: k.str(), MemberID: k.str(), Gone: gone}
		if !gone {
			t.Partitions = v.partitions()
			v.skipTags()
		}
		e = t
	case typeCurrent:
		c := &Current{Group: k.str(), MemberID: k.str(), Gone: gone}
		if !gone {
			c.Epoch, c.PreviousEpoch, c.State = v.int32(), v.int32(), State(v.int8())
			c.Assigned, c.Revoking = v.partitions(), v.partitions()
			v.skipTags()
		}
		e = c
	case typeRegex:
		r := &Regex{Group: k.str(), Regex: k.str(), Gone: gone}
		if !gone {
			r.Topics, r.Version, r.ResolvedAt = v.names(), v.int64(), v.int64()
			v.skipTags()
		}
		e = r
	}
	if k.failed {
		return nil, &FormatError{Part: "key", Type: typ, Byte: k.at, Reason: k.reason}
	}
	if v.failed {
		return nil, &FormatError{Part: "value", Type: typ, Byte: v.at, Reason: v.reason}
	}
	return e, nil
}

// newestValue is the highest version of a type's value that is known.
func newestValue(typ int16) int16 {
	if typ <= typeClassic {
		return 4
	}
	return 0
}

// flexibleFrom is the version of a type's value from which on it is flexible.
func flexibleFrom(typ int16) int16 {
	if typ <= typeClassic {
		return 4
	}
	return 0
}

func (o *Offset) parse(v *decoder, version int16) {
	o.LeaderEpoch, o.ExpiresAt = -1, -1
	o.Offset = v.int64()
	if version >= 3 {
		o.LeaderEpoch = v.int32()
	}
	o.Metadata = v.str()
	o.CommittedAt = v.int64()
	if version == 1 {
		o.ExpiresAt = v.int64()
	}
	for n := v.tags(); n > 0 && !v.failed; n-- {
		if tag, field := v.field(); tag == tagTopicID {
			o.TopicID = field.topicID()
			v.done(&field)
		}
	}
}

// minClassicMember is the least number of bytes of a member in the value of a classic group: version 4 is the tightest.
const minClassicMember = 4*1 + 2*4 + 2*1 + 1

func (c *Classic) parse(v *decoder, version int16) {
	c.ProtocolType, c.Generation, c.Protocol, c.Leader, c.StateAt = v.str(), v.int32(), v.nullable(), v.nullable(), -1
	if version >= 2 {
		c.StateAt = v.int64()
	}
	if n := v.count(minClassicMember); n > 0 {
		c.Members = make([]ClassicMember, n)
	}
	for i := range c.Members {
		m := &c.Members[i]
		m.ID = v.str()
		if version >= 3 {
			m.InstanceID = v.nullable()
		}
		m.ClientID, m.ClientHost = v.str(), v.str()
		m.RebalanceTimeoutMillis = -1
		if version >= 1 {
			m.RebalanceTimeoutMillis = v.int32()
		}
		m.SessionTimeoutMillis = v.int32()
		m.Subscription, m.Assignment = v.bytes(), v.bytes()
		v.skipTags()
		if v.failed {
			return
		}
	}
	v.skipTags()
}

func (m *Member) parse(v *decoder) {
	m.InstanceID, m.Rack, m.ClientID, m.ClientHost = v.nullable(), v.nullable(), v.str(), v.str()
	m.Topics, m.Regex = v.names(), v.nullable()
	m.RebalanceTimeoutMillis, m.Assignor = v.int32(), v.nullable()
	for n := v.tags(); n > 0 && !v.failed; n-- {
		if tag, field := v.field(); tag == tagClassic {
			m.Classic = parseClassicMetadata(&field)
			v.done(&field)
		}
	}
}

func parseClassicMetadata(v *decoder) *ClassicMetadata {
	if v.int8() < 0 { // null
		return nil
	}
	c := &ClassicMetadata{SessionTimeoutMillis: v.int32()}
	if n := v.count(1 + 1 + 1); n > 0 {
		c.Protocols = make([]ClassicProtocol, n)
	}
	for i := range c.Protocols {
		c.Protocols[i] = ClassicProtocol{Name: v.str(), Metadata: v.bytes()}
		v.skipTags()
		if v.failed {
			return nil
		}
	}
	v.skipTags()
	return c
}
