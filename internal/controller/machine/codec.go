package machine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/insynclog/insync/log"
)

// The encoding of records, in entries of the metadata log and in snapshots:
//
//	entry   version byte (1) | uvarint count | count records
//	record  uvarint kind | uvarint length | length bytes: fields, tagged section
//	tagged  uvarint count | count times: uvarint tag | uvarint length | bytes
//
// Integers are zig-zag varints, strings and lists have a uvarint length in front, ids are 16 bytes as they are. A later version may add tagged
// fields to a record, which an older one skips; it may not add fields otherwise. A kind that is not known cannot be skipped: whoever meets
// one is too old for the cluster and has to stop. What keeps it from being written before everybody knows it are levels; see rows.
const entryVersion = 1

// CodecError is an entry or a snapshot that cannot be decoded.
type CodecError struct {
	Position int // in bytes from the start of the entry
	Reason   string
}

// Error names position and reason.
func (e *CodecError) Error() string {
	return fmt.Sprintf("metadata records at byte %d: %s", e.Position, e.Reason)
}

// ErrUnknownRecord is in the chain of the error for a record kind that this version does not know: the cluster runs a newer version.
var ErrUnknownRecord = errors.New("unknown kind of metadata record, written by a newer version")

// EncodeRecords appends the encoding of one entry to dst.
func EncodeRecords(dst []byte, records []Record) []byte {
	dst = append(dst, entryVersion)
	dst = binary.AppendUvarint(dst, uint64(len(records)))
	var body []byte
	for _, r := range records {
		body = r.encode(body[:0])
		if t, ok := r.(tagged); ok {
			body = t.encodeTags(body)
		} else {
			body = append(body, 0)
		}
		dst = binary.AppendUvarint(dst, uint64(r.kind()))
		dst = binary.AppendUvarint(dst, uint64(len(body)))
		dst = append(dst, body...)
	}
	return dst
}

// tagged is a record with tagged fields.
type tagged interface {
	encodeTags(dst []byte) []byte // with their count
	decodeTag(tag uint64, d *reader)
}

// putTag appends a tagged field; body is what it holds.
func putTag(dst []byte, tag uint64, body []byte) []byte {
	dst = binary.AppendUvarint(dst, tag)
	return append(binary.AppendUvarint(dst, uint64(len(body))), body...)
}

// DecodeRecords decodes one entry. Nothing of the result aliases b. Errors: *CodecError, ErrUnknownRecord.
func DecodeRecords(b []byte) ([]Record, error) { return (*Levels)(nil).DecodeRecords(b) }

// DecodeRecords decodes one entry as a node does that knows so much. Nothing of the result aliases b. Errors: *CodecError; ErrUnknownRecord, a *LevelError among them.
func (l *Levels) DecodeRecords(b []byte) ([]Record, error) {
	r := &reader{b: b}
	if v := r.byte(); r.err == nil && v != entryVersion {
		return nil, &CodecError{0, fmt.Sprintf("entry version %d, expected %d", v, entryVersion)}
	}
	count := r.count(3) // kind, length and the count of tagged fields
	records := make([]Record, 0, count)
	for range count {
		at := r.at
		k := r.uvarint()
		body := r.sub()
		if r.err != nil {
			break
		}
		if k > 0xffff || newRecord(kind(k)) == nil || !l.knows(kind(k), Whole) {
			return nil, fmt.Errorf("kind %d at byte %d: %w", k, at, ErrUnknownRecord)
		}
		rec := newRecord(kind(k))
		rec.decode(body)
		body.tags(rec, l)
		if body.err == nil && body.at != len(body.b) {
			body.fail("bytes left over in a record")
		}
		if body.err != nil {
			return nil, body.err
		}
		if f, ok := rec.(*FeatureLevel); ok && f.Level > l.Highest() {
			return nil, &LevelError{Level: f.Level, Known: l.Highest()}
		}
		records = append(records, rec)
	}
	if r.err == nil && r.at != len(r.b) {
		r.fail("bytes left over")
	}
	if r.err != nil {
		return nil, r.err
	}
	return records, nil
}

func putInt(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

func putString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func putBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func putIDs(dst []byte, ids []int32) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = putInt(dst, int64(id))
	}
	return dst
}

// reader decodes with every length checked against what is left. After the first error all results are zero.
type reader struct {
	b    []byte
	at   int
	base int // of b in the entry, for errors
	err  error
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &CodecError{r.base + r.at, reason}
	}
}

func (r *reader) byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.fail("cut short")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.at += n
	return v
}

func (r *reader) int() int64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Varint(r.b[r.at:])
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.at += n
	return v
}

func (r *reader) int32() int32 {
	v := r.int()
	if int64(int32(v)) != v {
		r.fail("number beyond 32 bits")
		return 0
	}
	return int32(v)
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail("bad flag")
	}
	return v == 1
}

// count reads a number of elements of at least size bytes each.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if r.err == nil && n > uint64((len(r.b)-r.at)/size) {
		r.fail("count beyond the end")
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count(1)
	if r.err != nil {
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) sub() *reader {
	b := r.bytes()
	return &reader{b: b, base: r.base + r.at - len(b), err: r.err}
}

func (r *reader) id() (id log.TopicID) {
	if r.err != nil || len(r.b)-r.at < len(id) {
		r.fail("cut short")
		return id
	}
	r.at += copy(id[:], r.b[r.at:])
	return id
}

func (r *reader) ids() []int32 {
	n := r.count(1)
	if n == 0 || r.err != nil {
		return nil
	}
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = r.int32()
	}
	return ids
}

// tags reads the tagged fields, and skips those that this version does not know.
func (r *reader) tags(rec Record, l *Levels) {
	t, _ := rec.(tagged)
	for range r.count(2) {
		tag := r.uvarint()
		body := r.sub()
		if t == nil || r.err != nil || l != nil && (tag > 1<<15 || !l.knows(rec.kind(), int(tag))) {
			continue
		}
		if t.decodeTag(tag, body); body.err != nil {
			r.err = body.err
		}
	}
}

func (r *ClusterID) encode(dst []byte) []byte { return putString(dst, r.ID) }
func (r *ClusterID) decode(d *reader)         { r.ID = d.string() }

func (r *RegisterBroker) encode(dst []byte) []byte {
	dst = putInt(putInt(dst, int64(r.ID)), r.Epoch)
	dst = append(append(dst, r.Incarnation[:]...), r.DirectoryID[:]...)
	dst = putString(putString(dst, r.Addr), r.Rack)
	return putBool(putBool(putBool(dst, r.Fenced), r.InControlledShutdown), r.DirectoryOffline)
}

func (r *RegisterBroker) decode(d *reader) {
	r.Broker = Broker{
		ID: d.int32(), Epoch: d.int(), Incarnation: d.id(), DirectoryID: d.id(), Addr: d.string(), Rack: d.string(),
		Fenced: d.bool(), InControlledShutdown: d.bool(), DirectoryOffline: d.bool(),
	}
}

func (r *UnregisterBroker) encode(dst []byte) []byte {
	return putInt(putInt(dst, int64(r.ID)), r.Epoch)
}
func (r *UnregisterBroker) decode(d *reader) { r.ID, r.Epoch = d.int32(), d.int() }

func (r *BrokerChange) encode(dst []byte) []byte {
	dst = putInt(putInt(dst, int64(r.ID)), r.Epoch)
	return append(dst, byte(r.Fenced), byte(r.InControlledShutdown), byte(r.DirectoryOffline))
}

func (r *BrokerChange) decode(d *reader) {
	r.ID, r.Epoch = d.int32(), d.int()
	r.Fenced, r.InControlledShutdown, r.DirectoryOffline = d.change(), d.change(), d.change()
}

func (r *reader) change() Change {
	c := Change(int8(r.byte()))
	if c < Unset || c > Set {
		r.fail("bad change of a flag")
	}
	return c
}

func (r *TopicRecord) encode(dst []byte) []byte { return append(putString(dst, r.Name), r.ID[:]...) }
func (r *TopicRecord) decode(d *reader)         { r.Name, r.ID = d.string(), d.id() }

func (r *RemoveTopic) encode(dst []byte) []byte { return append(dst, r.ID[:]...) }
func (r *RemoveTopic) decode(d *reader)         { r.ID = d.id() }

func (r *PartitionRecord) encode(dst []byte) []byte {
	dst = putInt(append(dst, r.TopicID[:]...), int64(r.Number))
	dst = putIDs(putIDs(putIDs(putIDs(dst, r.Replicas), r.ISR), r.ELR), r.LastKnownELR)
	dst = putInt(putInt(putInt(dst, int64(r.Leader)), int64(r.LeaderEpoch)), int64(r.PartitionEpoch))
	return putBool(dst, r.Recovering)
}

func (r *PartitionRecord) decode(d *reader) {
	r.TopicID, r.Number = d.id(), d.int32()
	r.Partition = Partition{
		Replicas: d.ids(), ISR: d.ids(), ELR: d.ids(), LastKnownELR: d.ids(),
		Leader: d.int32(), LeaderEpoch: d.int32(), PartitionEpoch: d.int32(), Recovering: d.bool(),
	}
}

// Tags of a PartitionRecord. Format: never renumber.
const (
	tagAdding   = 0
	tagRemoving = 1
	tagUnsure   = 2
	tagHandOver = 3
)

func (r *PartitionRecord) encodeTags(dst []byte) []byte {
	lists := [4][]int32{tagAdding: r.Adding, tagRemoving: r.Removing, tagUnsure: r.Unsure, tagHandOver: r.HandOver}
	count := 0
	for _, l := range lists {
		if len(l) > 0 {
			count++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(count))
	for tag, l := range lists {
		if len(l) > 0 {
			dst = putTag(dst, uint64(tag), putIDs(nil, l))
		}
	}
	return dst
}

func (r *PartitionRecord) decodeTag(tag uint64, d *reader) {
	switch tag {
	case tagAdding:
		r.Adding = d.ids()
	case tagRemoving:
		r.Removing = d.ids()
	case tagUnsure:
		r.Unsure = d.ids()
	case tagHandOver:
		r.HandOver = d.ids()
	}
}

func (r *PartitionChange) encode(dst []byte) []byte {
	dst = putInt(append(dst, r.TopicID[:]...), int64(r.Number))
	dst = append(dst, byte(r.Has))
	for _, f := range r.lists() {
		if r.Has&f.has != 0 {
			dst = putIDs(dst, *f.list)
		}
	}
	if r.Has&HasLeader != 0 {
		dst = putInt(dst, int64(r.Leader))
	}
	if r.Has&HasRecovering != 0 {
		dst = putBool(dst, r.Recovering)
	}
	return dst
}

func (r *PartitionChange) decode(d *reader) {
	r.TopicID, r.Number = d.id(), d.int32()
	r.Has = Fields(d.byte())
	for _, f := range r.lists() {
		if r.Has&f.has != 0 {
			*f.list = d.ids()
		}
	}
	if r.Has&HasLeader != 0 {
		r.Leader = d.int32()
	}
	if r.Has&HasRecovering != 0 {
		r.Recovering = d.bool()
	}
}

// Tags of a PartitionChange. Format: never renumber.
const (
	tagChangedUnsure   = 0
	tagChangedHandOver = 1
)

func (r *PartitionChange) encodeTags(dst []byte) []byte {
	lists := [2]listField{tagChangedUnsure: {HasUnsure, &r.Unsure}, tagChangedHandOver: {HasHandOver, &r.HandOver}}
	count := 0
	for _, l := range lists {
		if r.Has&l.has != 0 {
			count++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(count))
	for tag, l := range lists {
		if r.Has&l.has != 0 {
			dst = putTag(dst, uint64(tag), putIDs(nil, *l.list))
		}
	}
	return dst
}

func (r *PartitionChange) decodeTag(tag uint64, d *reader) {
	switch tag {
	case tagChangedUnsure:
		r.Has, r.Unsure = r.Has|HasUnsure, d.ids()
	case tagChangedHandOver:
		r.Has, r.HandOver = r.Has|HasHandOver, d.ids()
	}
}

type listField struct {
	has  Fields
	list *[]int32
}

func (r *PartitionChange) lists() [6]listField {
	return [6]listField{
		{HasReplicas, &r.Replicas}, {HasISR, &r.ISR}, {HasELR, &r.ELR}, {HasLastKnownELR, &r.LastKnownELR}, {HasAdding, &r.Adding}, {HasRemoving, &r.Removing},
	}
}

func (r *ConfigRecord) encode(dst []byte) []byte {
	dst = putString(putString(append(dst, byte(r.Resource)), r.Name), r.Key)
	dst = putBool(dst, r.Value != nil)
	if r.Value != nil {
		dst = putString(dst, *r.Value)
	}
	return dst
}

func (r *ConfigRecord) decode(d *reader) {
	r.Resource, r.Name, r.Key = ResourceType(int8(d.byte())), d.string(), d.string()
	if d.bool() {
		v := d.string()
		r.Value = &v
	}
}

func (r *ProducerIDs) encode(dst []byte) []byte {
	return putInt(putInt(putInt(dst, int64(r.BrokerID)), r.BrokerEpoch), r.Next)
}

func (r *ProducerIDs) decode(d *reader) {
	r.BrokerID, r.BrokerEpoch, r.Next = d.int32(), d.int(), d.int()
}

func (r *ClearELR) encode(dst []byte) []byte { return putString(dst, r.Topic) }
func (r *ClearELR) decode(d *reader)         { r.Topic = d.string() }
