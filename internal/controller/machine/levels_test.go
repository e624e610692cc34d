package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill gives every field of a record a value, so that all of its tagged fields are written.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fill(f)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1<<v.Type().Bits() - 1) // all flags
	case reflect.Float64:
		v.SetFloat(1)
	}
}

// writtenTags lists the tags of a record whose fields all have values.
func writtenTags(t *testing.T, r Record) (tags []int) {
	fill(reflect.ValueOf(r).Elem())
	tr, ok := r.(tagged)
	if !ok {
		return nil
	}
	d := &reader{b: tr.encodeTags(nil)}
	for range d.count(2) {
		tags = append(tags, int(d.uvarint()))
		d.bytes()
	}
	require.NoError(t, d.err)
	require.Equal(t, len(d.b), d.at)
	return tags
}

// Whatever can be written has a row that says since when, and no row is of what cannot be.
func TestEverythingWrittenHasALevel(t *testing.T) {
	have := map[string]bool{}
	name := func(k, tag int) string { return fmt.Sprintf("kind %d, tag %d", k, tag) }
	for _, r := range rows {
		assert.False(t, have[name(int(r.Kind), r.Tag)], "%s is there twice", name(int(r.Kind), r.Tag))
		have[name(int(r.Kind), r.Tag)] = true
		assert.True(t, LevelBase <= r.Level && r.Level <= Newest, "%s is of level %d", name(int(r.Kind), r.Tag), r.Level)
	}
	for k := range 1 << 16 {
		r := newRecord(kind(k))
		if r == nil {
			continue
		}
		for _, tag := range append(writtenTags(t, r), Whole) {
			assert.True(t, have[name(k, tag)], "%s has no row: what is new needs a level that older nodes do not have", name(k, tag))
			delete(have, name(k, tag))
		}
	}
	assert.Empty(t, have, "rows of what nobody writes")
}

// A node of a level reads what was there at its time as this version does, passes over tagged fields that came later, and does not read kinds that did.
func TestLevelsDecode(t *testing.T) {
	old := &Levels{Known: LevelBase}
	for _, r := range someRecords() {
		b := EncodeRecords(nil, []Record{r})
		got, err := old.DecodeRecords(b)
		switch r := r.(type) {
		case *FeatureLevel:
			require.ErrorIs(t, err, ErrUnknownRecord)
		case *RegisterBroker:
			require.NoError(t, err)
			want := *r
			want.Known, want.SlowDisk = 0, false
			assert.Equal(t, &want, got[0])
		case *BrokerChange:
			require.NoError(t, err)
			want := *r
			want.SlowDisk = Keep
			assert.Equal(t, &want, got[0])
		case *PartitionRecord:
			require.NoError(t, err)
			want := *r
			want.HandOver = nil
			assert.Equal(t, &want, got[0])
		case *PartitionChange:
			require.NoError(t, err)
			want := *r
			want.HandOver, want.Has = nil, r.Has&^HasHandOver
			assert.Equal(t, &want, got[0])
		default:
			require.NoError(t, err)
			assert.Equal(t, b, EncodeRecords(nil, got))
		}
	}
	next := &Levels{Known: Newest, Later: []Row{{Kind: uint16(kindQuota), Tag: Whole, Level: Newest + 1}, {Kind: uint16(kindPartition), Tag: tagUnsure, Level: Newest + 1}}}
	_, err := next.DecodeRecords(EncodeRecords(nil, []Record{&QuotaRecord{Key: "k"}}))
	require.ErrorIs(t, err, ErrUnknownRecord)
	p := Partition{Replicas: []int32{1}, ISR: []int32{1}, Unsure: []int32{1}, Adding: []int32{1}}
	got, err := next.DecodeRecords(EncodeRecords(nil, []Record{&PartitionRecord{Partition: p}}))
	require.NoError(t, err)
	assert.Empty(t, got[0].(*PartitionRecord).Unsure)
	assert.Equal(t, []int32{1}, got[0].(*PartitionRecord).Adding)

	// The level stands before what needs it: who does not know it is told which it is.
	img := Empty()
	img.ClusterID, img.Level = "c", Newest+1
	_, err = next.DecodeRecords(EncodeRecords(nil, append(img.Records(), &QuotaRecord{Key: "k"})))
	tooOld, ok := errors.AsType[*LevelError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, LevelError{Level: Newest + 1, Known: Newest}, *tooOld)
	require.ErrorIs(t, err, ErrUnknownRecord)
	_, err = DecodeRecords(EncodeRecords(nil, []Record{&FeatureLevel{Level: 1}}))
	require.Error(t, err, "a level that needs no record")
	b := EncodeRecords(nil, []Record{&FeatureLevel{Level: 2}})
	b[4] ^= 1 // another feature
	_, err = DecodeRecords(b)
	require.Error(t, err)
}

// leveled is a machine with brokers of several versions, whose records all of them read.
type leveled struct {
	t      *testing.T
	m      *Machine
	img    *Image
	later  []Row
	knows  map[int32]int16 // up to which level each of the brokers knows, and reads
	offset int64
	now    time.Time
}

func newLeveled(t *testing.T, controller, found int16, later ...Row) *leveled {
	l := &leveled{t: t, img: Empty(), later: later, knows: map[int32]int16{}, now: time.Unix(1000, 0)}
	l.takeOver(controller, found)
	l.do(func(b *Batch) { b.Found() })
	return l
}

// takeOver has a controller of another version take over.
func (l *leveled) takeOver(known, found int16) {
	l.m = New(Config{
		ClusterID: "c", Rand: rand.New(rand.NewPCG(1, 1)), PreferredInterval: time.Hour, SessionTimeout: time.Hour, DefaultPartitions: 1, FoundLevel: found,
		Levels: &Levels{Known: known, Later: l.later}, Voters: []Member{{ID: 1, Addr: "h:1", Voter: true}},
	}, l.img, l.now)
}

func (l *leveled) do(f func(b *Batch)) (records []Record) {
	l.t.Helper()
	b := l.m.Begin(l.img, l.offset, l.now)
	f(b)
	records, err := b.Records()
	require.NoError(l.t, err)
	entry := EncodeRecords(nil, records)
	for id, known := range l.knows {
		_, err := (&Levels{Known: known, Later: l.later}).DecodeRecords(entry)
		require.NoError(l.t, err, "broker %d", id)
	}
	read, err := l.m.c.Levels.DecodeRecords(entry)
	require.NoError(l.t, err)
	l.img, _, err = l.img.Apply(l.offset, 1, read)
	require.NoError(l.t, err)
	snapshot, _, err := Empty().Apply(l.img.Offset, l.img.Epoch, l.img.Records())
	require.NoError(l.t, err)
	require.True(l.t, snapshot.Equal(l.img))
	l.offset++
	return records
}

func (l *leveled) handle(req kmsg.Request) (resp kmsg.Response) {
	l.t.Helper()
	l.do(func(b *Batch) {
		var err error
		resp, err = b.Handle(req)
		require.NoError(l.t, err)
	})
	return resp
}

func (l *leveled) register(id int32, known int16) (code int16, e *LevelError) {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.IncarnationID, req.PreviousBrokerEpoch = id, "c", [16]byte{byte(id), byte(l.offset)}, -1
	req.LogDirs = [][16]byte{{0xd, 15: byte(id)}}
	node := &Levels{Known: known}
	node.SetKnown(req)
	if l.img.Level <= known {
		l.knows[id] = known // it reads what comes
	}
	if _, ok := l.img.Quorum.Member(id); !ok {
		join := &JoinRequest{NodeID: id, Addr: "h:1", DirectoryID: req.LogDirs[0], Purpose: Join, Level: known}
		if r := l.handle(join).(*JoinResponse); r.ErrorCode != 0 {
			return r.ErrorCode, &LevelError{Level: r.Level, Known: known}
		}
	}
	resp := l.handle(req).(*kmsg.BrokerRegistrationResponse)
	return resp.ErrorCode, node.RefusedLevel(resp)
}

// beat sends a heartbeat, and returns what is written because of it.
func (l *leveled) beat(id int32) []string {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset, req.WantFence = id, l.img.Brokers[id].Epoch, l.img.Offset, true
	(&Levels{Known: l.knows[id]}).SetStillKnown(req)
	var written []string
	for _, r := range l.do(func(b *Batch) { _, _ = b.Handle(req) }) {
		written = append(written, r.String())
	}
	return written
}

func (l *leveled) raise(level int16, change ...func(*kmsg.UpdateFeaturesRequest)) (code int16, text string) {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: FeatureName, MaxVersionLevel: level, UpgradeType: 1}}
	for _, f := range change {
		f(req)
	}
	resp := l.handle(req).(*kmsg.UpdateFeaturesResponse)
	if resp.ErrorMessage != nil {
		text = *resp.ErrorMessage
	}
	return resp.ErrorCode, text
}

// A level is finalized when everybody knows it who registers or follows, and not before; then the older ones are turned away.
func TestLevelIsRaisedWhenAllKnowIt(t *testing.T) {
	invalid := kerr.InvalidUpdateVersion.Code
	l := newLeveled(t, LevelBase, LevelBase)
	for id := range int32(3) {
		code, _ := l.register(id+1, LevelBase)
		require.Zero(t, code)
	}
	code, text := l.raise(2)
	assert.Equal(t, invalid, code)
	assert.Contains(t, text, "No node supports", "the controller itself is old")

	// Node 1 is upgraded while an old controller is active, which passes over what it says of itself.
	code, _ = l.register(1, Newest)
	require.Zero(t, code)
	require.Zero(t, l.img.Brokers[1].Known)
	l.takeOver(Newest, 0)
	require.Equal(t, LevelBase, l.img.Level)
	_, text = l.raise(2)
	assert.Contains(t, text, "Broker 1 supports levels from 1 to 1", "it is not known")
	require.Len(t, l.beat(1), 1, "a heartbeat says it again")
	require.Empty(t, l.beat(1), "once")
	require.Equal(t, Newest, l.img.Brokers[1].Known)
	_, text = l.raise(2)
	assert.Contains(t, text, "Broker 2 supports levels from 1 to 1")
	require.Empty(t, l.beat(2), "an old one does not say")
	code, _ = l.register(2, Newest)
	require.Zero(t, code)
	code, _ = l.register(3, Newest)
	require.Zero(t, code)

	// Down again, which is free until the level is raised.
	code, _ = l.register(3, LevelBase)
	require.Zero(t, code)
	_, text = l.raise(2)
	assert.Contains(t, text, "Broker 3 supports levels from 1 to 1")
	code, _ = l.register(3, Newest)
	require.Zero(t, code)

	// Who follows without having registered is not known either.
	require.Zero(t, l.handle(&JoinRequest{NodeID: 4, Addr: "h:4", DirectoryID: log.TopicID{4}, Purpose: Join}).(*JoinResponse).ErrorCode)
	_, text = l.raise(2)
	assert.Contains(t, text, "Node 4 follows the metadata log")
	unregister := kmsg.NewPtrUnregisterBrokerRequest()
	unregister.BrokerID = 4
	require.Zero(t, l.handle(unregister).(*kmsg.UnregisterBrokerResponse).ErrorCode)

	for name, x := range map[string]struct {
		level int16
		f     func(*kmsg.UpdateFeaturesRequest)
		text  string
	}{
		"a level to come": {Newest + 1, nil, fmt.Sprintf("supported are levels from 1 to %d", Newest)},
		"none":            {0, nil, "always has a level"},
		"negative":        {-1, nil, "less than 0"},
		"another feature": {2, func(r *kmsg.UpdateFeaturesRequest) { r.FeatureUpdates[0].Feature = "metadata.version" }, "No node supports"},
		"a downgrade, up": {2, func(r *kmsg.UpdateFeaturesRequest) { r.FeatureUpdates[0].UpgradeType = 2 }, "Can't downgrade to a newer version"},
		"no type":         {2, func(r *kmsg.UpdateFeaturesRequest) { r.FeatureUpdates[0].UpgradeType = 4 }, "upgrade type is not supported"},
		"one of two": {2, func(r *kmsg.UpdateFeaturesRequest) {
			r.FeatureUpdates = append(r.FeatureUpdates, kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "x", MaxVersionLevel: 1, UpgradeType: 1})
		}, "feature x"},
		"one of two, before": {2, func(r *kmsg.UpdateFeaturesRequest) {
			r.FeatureUpdates = append([]kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "x", MaxVersionLevel: 1, UpgradeType: 1}}, r.FeatureUpdates...)
		}, "feature x"},
	} {
		var change []func(*kmsg.UpdateFeaturesRequest)
		if x.f != nil {
			change = append(change, x.f)
		}
		code, text := l.raise(x.level, change...)
		assert.Equal(t, invalid, code, name)
		assert.Contains(t, text, x.text, name)
	}
	code, text = l.raise(2, func(r *kmsg.UpdateFeaturesRequest) { r.ValidateOnly = true })
	assert.Zero(t, code, text)
	require.Equal(t, LevelBase, l.img.Level)

	code, text = l.raise(2)
	require.Zero(t, code, text)
	require.Equal(t, LevelLevels, l.img.Level)
	written := l.offset
	code, _ = l.raise(2)
	require.Zero(t, code, "again")
	require.Equal(t, written+1, l.offset)
	code, text = l.raise(1, func(r *kmsg.UpdateFeaturesRequest) { r.FeatureUpdates[0].UpgradeType = 3 })
	assert.Equal(t, invalid, code)
	assert.Contains(t, text, "older versions cannot read")
	_, text = l.raise(1)
	assert.Contains(t, text, "upgrade type to either safe or unsafe downgrade")

	// The old ones.
	delete(l.knows, 3)
	before := l.img
	code, e := l.register(3, LevelBase)
	assert.Equal(t, kerr.UnsupportedVersion.Code, code)
	assert.Equal(t, LevelError{Level: 2, Known: 1}, *e)
	code, e = l.register(5, LevelBase)
	assert.Equal(t, kerr.UnsupportedVersion.Code, code, "nor does a new one join")
	assert.Equal(t, LevelError{Level: 2, Known: 1}, *e)
	assert.Equal(t, before.Brokers, l.img.Brokers, "nothing was written")
	assert.Equal(t, before.Quorum, l.img.Quorum)
}

// What a request would write that the level does not have is refused, all of it and of nothing else; with the level it is done.
func TestRequestBeyondTheLevelIsRefused(t *testing.T) {
	const next = Newest + 1
	l := newLeveled(t, next, Newest, Row{Kind: uint16(kindQuota), Tag: Whole, Level: next}, Row{Kind: uint16(kindPartition), Tag: tagAdding, Level: next}, Row{Kind: uint16(kindConfig), Tag: Whole, Level: next})
	require.Equal(t, Newest, l.img.Level)
	for id := range int32(2) {
		code, _ := l.register(id+1, Newest+int16(id)) // the first is old
		require.Zero(t, code)
	}
	quota := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	part, op := kmsg.NewAlterClientQuotasRequestEntryEntity(), kmsg.NewAlterClientQuotasRequestEntryOp()
	part.Type, part.Name = "user", kmsg.StringPtr("u")
	op.Key, op.Value = ProducerByteRate, 5
	entry.Entity, entry.Ops = append(entry.Entity, part), append(entry.Ops, op)
	quota.Entries = append(quota.Entries, entry)
	topic := func(name string, configs ...kmsg.CreateTopicsRequestTopicConfig) *kmsg.CreateTopicsRequest {
		req := kmsg.NewPtrCreateTopicsRequest()
		tp := kmsg.NewCreateTopicsRequestTopic()
		tp.Topic, tp.NumPartitions, tp.ReplicationFactor, tp.Configs = name, 1, 1, configs
		tp.ReplicaAssignment = nil
		req.Topics = append(req.Topics, tp)
		return req
	}
	configured := topic("b", kmsg.CreateTopicsRequestTopicConfig{Name: "retention.ms", Value: kmsg.StringPtr("1000")})
	unfence := kmsg.NewPtrBrokerHeartbeatRequest()
	unfence.BrokerID, unfence.BrokerEpoch, unfence.CurrentMetadataOffset = 1, l.img.Brokers[1].Epoch, l.img.Offset
	l.handle(unfence)

	var answers []kmsg.Response
	records := l.do(func(b *Batch) {
		for _, req := range []kmsg.Request{topic("a"), configured, quota, topic("c")} {
			resp, err := b.Handle(req)
			require.NoError(t, err)
			answers = append(answers, resp)
		}
	})
	require.Zero(t, answers[0].(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	refused := answers[1].(*kmsg.CreateTopicsResponse).Topics[0]
	assert.Equal(t, kerr.UnsupportedVersion.Code, refused.ErrorCode)
	assert.Contains(t, *refused.ErrorMessage, "level 3 of the metadata; the cluster has level 2")
	assert.Equal(t, kerr.UnsupportedVersion.Code, answers[2].(*kmsg.AlterClientQuotasResponse).Entries[0].ErrorCode)
	require.Zero(t, answers[3].(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	assert.Equal(t, []string{"a", "c"}, l.img.TopicNames())
	assert.Len(t, records, 4)
	assert.Empty(t, l.img.Quotas)
	configured.ValidateOnly = true
	assert.Equal(t, kerr.UnsupportedVersion.Code, l.handle(configured).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode, "nor would it do")
	configured.ValidateOnly = false

	code, _ := l.raise(next)
	assert.Equal(t, kerr.InvalidUpdateVersion.Code, code, "broker 1 is old")
	code, _ = l.register(1, next)
	require.Zero(t, code)
	unfence.BrokerEpoch, unfence.CurrentMetadataOffset = l.img.Brokers[1].Epoch, l.img.Offset
	l.handle(unfence)
	code, text := l.raise(next)
	require.Zero(t, code, text)
	require.Zero(t, l.handle(quota).(*kmsg.AlterClientQuotasResponse).Entries[0].ErrorCode)
	require.Zero(t, l.handle(configured).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	assert.Len(t, l.img.Quotas, 1)

	// What nobody asked for must not be written either: the controller ends, and does not corrupt.
	b := l.m.Begin(Empty(), 0, l.now)
	b.add(&ConfigRecord{Resource: BrokerResource, Key: "k"})
	_, err := b.Records()
	require.ErrorContains(t, err, "needs level 3")
}

// A new cluster begins at the level that it is founded with.
func TestFoundingLevel(t *testing.T) {
	for _, level := range []int16{0, LevelBase, Newest} {
		l := newLeveled(t, Newest, level)
		assert.Equal(t, max(level, LevelBase), l.img.Level)
		l.takeOver(Newest, Newest)
		assert.Empty(t, l.do(func(b *Batch) { b.Found() }), "it is founded once")
	}
	old := newLeveled(t, LevelBase, LevelBase)
	assert.Len(t, slices.DeleteFunc(old.img.Records(), func(r Record) bool { _, ok := r.(*FeatureLevel); return !ok }), 0)
}
