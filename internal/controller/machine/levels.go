package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The level of the metadata is one number for the whole format: what the nodes of a cluster may write. It is finalized, in the metadata log, by a FeatureLevel; from there on, entries may hold what the level has, and who does not know it
// cannot follow. Nodes register up to which level they know (KIP-584), and a level is finalized by request only, when everybody knows it: until then each node may go back to the version before.
//
//	nodes know 1 1 1 ── restarted one by one ──> 2 1 1 ──> 2 2 2 ── UpdateFeatures ──> finalized 2 ──> what level 2 brings may be used
//	            <──────────── and back ──────────────────────┘             └── a node that knows 1 is turned away: *LevelError
//
// A new cluster begins at the highest level that all founders know. There is no way down.
//
// Who adds a record kind, a tagged field, or a value that older versions refuse, adds a row to rows, of level Newest, raised by one after each release. A tagged field that means nothing new to those who pass it over is a hint: it is written
// whatever the level is.

// FeatureName is what the level is called in requests and records.
const FeatureName = "insync.metadata"

// The levels.
const (
	LevelBase   int16 = 1 // of clusters that were founded before there were levels, and of nodes that say nothing
	LevelLevels int16 = 2 // FeatureLevel
	Newest            = LevelLevels
)

// Row says since which level something may be written.
type Row struct {
	Kind  uint16
	Tag   int // of the record kind; Whole is the record itself
	Level int16
	Hint  bool // may be written before: who does not know it loses nothing by passing it over
}

// Whole is Row.Tag of a record kind.
const Whole = -1

// rows is the table. It never changes while the program runs.
var rows = [...]Row{
	{Kind: uint16(kindRegisterBroker), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindRegisterBroker), Tag: tagKnown, Level: LevelLevels, Hint: true},
	{Kind: uint16(kindRegisterBroker), Tag: tagSlow, Level: LevelLevels, Hint: true},
	{Kind: uint16(kindUnregisterBroker), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindTopic), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindPartition), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindPartition), Tag: tagAdding, Level: LevelBase},
	{Kind: uint16(kindPartition), Tag: tagRemoving, Level: LevelBase},
	{Kind: uint16(kindPartition), Tag: tagUnsure, Level: LevelBase},
	{Kind: uint16(kindPartition), Tag: tagHandOver, Level: LevelLevels, Hint: true},
	{Kind: uint16(kindConfig), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindPartitionChange), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindPartitionChange), Tag: tagChangedUnsure, Level: LevelBase},
	{Kind: uint16(kindPartitionChange), Tag: tagChangedHandOver, Level: LevelLevels, Hint: true},
	{Kind: uint16(kindRemoveTopic), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindScram), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindFeatureLevel), Tag: Whole, Level: LevelLevels},
	{Kind: uint16(kindQuota), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindProducerIDs), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindBrokerChange), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindBrokerChange), Tag: tagChangedSlow, Level: LevelLevels, Hint: true},
	{Kind: uint16(kindACL), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindRemoveACL), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindRemoveScram), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindClearELR), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindClusterID), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindQuorum), Tag: Whole, Level: LevelBase},
	{Kind: uint16(kindQuorum), Tag: tagOutgoing, Level: LevelBase},
}

// Levels is what a node knows of the format. nil is this version: it knows Newest, and rows. Others are nodes of another version, for tests.
type Levels struct {
	Known int16
	Later []Row // of versions to come, instead of what rows says of the same
}

// Highest is the level up to which the node knows the format.
func (l *Levels) Highest() int16 {
	if l == nil {
		return Newest
	}
	return l.Known
}

// row finds what is said of a record kind or a tagged field; without a row it is of a level that nobody knows.
func (l *Levels) row(k kind, tag int) Row {
	is := func(r Row) bool { return r.Kind == uint16(k) && r.Tag == tag }
	if l != nil {
		if i := slices.IndexFunc(l.Later, is); i >= 0 {
			return l.Later[i]
		}
	}
	if i := slices.IndexFunc(rows[:], is); i >= 0 {
		return rows[i]
	}
	return Row{Kind: uint16(k), Tag: tag, Level: 1<<15 - 1}
}

// knows tells whether a node can read a record kind or a tagged field. This version knows what it can decode.
func (l *Levels) knows(k kind, tag int) bool { return l == nil || l.row(k, tag).Level <= l.Known }

// needs is the level that has all of what is in a record, hints aside.
func (l *Levels) needs(r Record) int16 {
	need := l.row(r.kind(), Whole).Level
	t, ok := r.(tagged)
	if !ok {
		return need
	}
	d := &reader{b: t.encodeTags(nil)}
	for range d.count(2) {
		tag := d.uvarint()
		d.bytes()
		if row := l.row(r.kind(), int(tag)); !row.Hint {
			need = max(need, row.Level)
		}
	}
	return need
}

// LevelError says that a node cannot follow the cluster's metadata: it is of an older version than the level that was finalized.
type LevelError struct {
	Level int16 // of the cluster; 0 if it did not say
	Known int16 // to the node
}

// Error names both and what to do.
func (e *LevelError) Error() string {
	if e.Level == 0 {
		return fmt.Sprintf("the cluster's metadata is of a level that this version, which knows up to level %d, cannot read: start a newer version", e.Known)
	}
	return fmt.Sprintf("the cluster's metadata is of level %d, this version knows up to level %d: start a newer version", e.Level, e.Known)
}

// Is says that a LevelError is an ErrUnknownRecord: there are records that the node would not know.
func (e *LevelError) Is(target error) bool { return target == ErrUnknownRecord }

// FeatureLevel is Kafka's FeatureLevelRecord: a level is finalized. There is one feature.
type FeatureLevel struct{ Level int16 }

func (*FeatureLevel) kind() kind { return kindFeatureLevel }

func (r *FeatureLevel) String() string {
	return fmt.Sprintf("FeatureLevel %s %d", FeatureName, r.Level)
}

func (r *FeatureLevel) encode(dst []byte) []byte {
	return putInt(putString(dst, FeatureName), int64(r.Level))
}

func (r *FeatureLevel) decode(d *reader) {
	if d.string() != FeatureName {
		d.fail("an unknown feature")
	}
	level := d.int()
	if r.Level = int16(level); level < int64(LevelLevels) || level != int64(r.Level) {
		d.fail("a level that cannot be")
	}
}

func (r *FeatureLevel) apply(d *draft) error {
	if r.Level < d.img.Level {
		return fmt.Errorf("level %d follows level %d", r.Level, d.img.Level)
	}
	d.img.Level = r.Level
	return nil
}

// Tags of a RegisterBroker. Format: never renumber.
const (
	tagKnown = 0 // varint, up to which level the node knows
	tagSlow  = 1 // empty: its disk is slow
)

func (r *RegisterBroker) encodeTags(dst []byte) []byte {
	var tags []byte
	count := 0
	if r.Known != 0 {
		count, tags = count+1, putTag(tags, tagKnown, binary.AppendVarint(nil, int64(r.Known)))
	}
	if r.SlowDisk {
		count, tags = count+1, putTag(tags, tagSlow, nil)
	}
	return append(binary.AppendUvarint(dst, uint64(count)), tags...)
}

func (r *RegisterBroker) decodeTag(tag uint64, d *reader) {
	switch tag {
	case tagKnown:
		known := d.int()
		if r.Known = int16(known); known < int64(LevelBase) || known != int64(r.Known) {
			d.fail("a level that cannot be")
		}
	case tagSlow:
		r.SlowDisk = true
	}
}

// tagChangedSlow is a tag of a BrokerChange: a byte as its flags have. Format: never renumber.
const tagChangedSlow = 0

func (r *BrokerChange) encodeTags(dst []byte) []byte {
	if r.SlowDisk == Keep {
		return append(dst, 0)
	}
	return putTag(append(dst, 1), tagChangedSlow, []byte{byte(r.SlowDisk)})
}

func (r *BrokerChange) decodeTag(tag uint64, d *reader) {
	if tag == tagChangedSlow {
		r.SlowDisk = d.change()
	}
}
