package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config sets up a Machine. Zero durations and numbers are not defaults here: the driver fills them.
type Config struct {
	ClusterID          string        // a registration must name it; "" takes any
	Voters             []Member      // who founds the quorum, by id
	SessionTimeout     time.Duration // broker.session.timeout.ms
	DefaultPartitions  int32         // num.partitions
	DefaultReplication int16         // default.replication.factor; 0 = min(3, registered brokers)
	PreferredInterval  time.Duration // leader.imbalance.check.interval.seconds
	Static             map[string]string
	Rand               *rand.Rand
	Levels             *Levels // what this node knows of the format; nil: this version
	FoundLevel         int16   // of the metadata of a cluster that this node founds; 0 means LevelBase
}

// Machine is the active controller's judgement: an image judges by itself, but sessions of brokers live here. Another active controller starts with a new Machine.
type Machine struct {
	c           Config
	sessions    map[int32]*session
	waiting     departures              // brokers that are back, and wait until it is known who else is
	replaced    map[int32][]log.TopicID // incarnations of brokers that others took the place of, the last ones
	handOvers   map[logKey]*handOver    // planned moves under way
	nextBalance time.Time
}

// New returns the machine of a controller that has just become active: every broker that is not fenced gets a fresh session.
func New(c Config, img *Image, now time.Time) *Machine {
	m := &Machine{
		c: c, sessions: map[int32]*session{}, waiting: departures{}, replaced: map[int32][]log.TopicID{}, handOvers: map[logKey]*handOver{}, nextBalance: now.Add(c.PreferredInterval),
	}
	m.takeOver(img, now)
	for id, b := range img.Brokers {
		if !b.Fenced {
			m.sessions[id] = &session{epoch: b.Epoch, contact: now, metadataOffset: -1, shutdownOffset: -1}
		}
	}
	return m
}

// Batch judges requests one after another on a draft of the image and collects the records for one entry of the metadata log.
type Batch struct {
	m       *Machine
	now     time.Time
	offset  int64 // that the entry will have
	d       *draft
	records []Record
	err     error  // a record did not fit the draft: our bug
	changed bool   // the quorum
	beyond  *int16 // the level that a record needs which the metadata does not have; 0: none does. Trials share it
}

// Begin starts a batch on img. offset is the offset that the entry will have in the metadata log: it becomes the epoch of brokers registered in it.
func (m *Machine) Begin(img *Image, offset int64, now time.Time) *Batch {
	return &Batch{m: m, now: now, offset: offset, d: newDraft(img), beyond: new(int16)}
}

// Records returns the collected records, or the error of a record that did not fit: a bug of this package, after which nothing of the batch may be used.
func (b *Batch) Records() ([]Record, error) {
	if *b.beyond != 0 && b.err == nil {
		// Nobody asked for it who could be refused.
		b.err = fmt.Errorf("a record needs level %d of the metadata, which has level %d", *b.beyond, b.d.img.Level)
	}
	return b.records, b.err
}

// Image is the draft as far as it has come. It must not be kept beyond the batch.
func (b *Batch) Image() *Image { return b.d.img }

// add decides a record.
func (b *Batch) add(r Record) {
	if b.err != nil {
		return
	}
	if l := b.m.c.Levels; l != nil || b.d.img.Level < Newest {
		level := b.d.img.Level
		if f, ok := r.(*FeatureLevel); ok {
			level = f.Level
		}
		if need := l.needs(r); need > level {
			*b.beyond = max(*b.beyond, need)
		}
	}
	if err := r.apply(b.d); err != nil {
		b.err = &ApplyError{Offset: b.offset, Index: len(b.records), Record: r, Err: err}
		return
	}
	b.records = append(b.records, r)
}

// trial is a batch on top of b whose records go nowhere: for requests that only ask if they would do.
func (b *Batch) trial() *Batch {
	return &Batch{m: b.m, now: b.now, offset: b.offset, d: newDraft(b.d.img), beyond: b.beyond}
}

// Deadline is when Tick has to be called next.
func (m *Machine) Deadline() time.Time {
	at := m.nextBalance
	for _, s := range m.sessions {
		if t := s.contact.Add(m.c.SessionTimeout); t.Before(at) {
			at = t
		}
	}
	for _, h := range m.handOvers {
		if h.until.Before(at) {
			at = h.until
		}
	}
	return at
}

// Tick does what is due: brokers whose session ended are fenced, planned moves that take too long end, leadership goes back to preferred replicas.
func (b *Batch) Tick() {
	b.expireSessions()
	b.expireHandOvers()
	if !b.now.Before(b.m.nextBalance) {
		b.m.nextBalance = b.now.Add(b.m.c.PreferredInterval)
		b.balance()
		b.electUnclean()
	}
}

// Found names the cluster if it has no name yet, the first record of the metadata log, and the voters if they are not written down.
func (b *Batch) Found() {
	defer b.foundQuorum()
	if b.d.img.ClusterID != "" {
		return
	}
	id := b.m.c.ClusterID
	if id == "" {
		id = b.newID().String()
	}
	b.add(&ClusterID{ID: id})
	if level := b.m.c.FoundLevel; level > LevelBase {
		b.add(&FeatureLevel{Level: level})
	}
}

// ErrUnknownRequest is returned for a request that the controller does not answer.
var ErrUnknownRequest = errors.New("not a request to the controller")

// Handle judges one request. The answer holds once the batch's records are committed and applied. Nothing of it aliases req's slices. What needs a higher level of the metadata than is finalized is refused with UNSUPPORTED_VERSION.
func (b *Batch) Handle(req kmsg.Request) (kmsg.Response, error) {
	records, changed := len(b.records), b.changed
	resp, err := b.handle(req)
	need := *b.beyond
	if need == 0 {
		return resp, err
	}
	*b.beyond = 0
	b.undo(records)
	b.changed = changed
	e := *kerr.UnsupportedVersion
	e.Description = fmt.Sprintf("This needs level %d of the metadata; the cluster has level %d, which UpdateFeatures raises when all nodes know a higher one", need, b.d.img.Level)
	return Refuse(req, &e), err
}

// undo takes back all but the first n records.
func (b *Batch) undo(n int) {
	b.d, b.records = newDraft(b.d.base), b.records[:n]
	for _, r := range b.records {
		if err := r.apply(b.d); err != nil {
			b.err = err // they were applied before
		}
	}
}

func (b *Batch) handle(req kmsg.Request) (kmsg.Response, error) {
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		return b.createTopics(req), nil
	case *kmsg.DeleteTopicsRequest:
		return b.deleteTopics(req), nil
	case *kmsg.CreatePartitionsRequest:
		return b.createPartitions(req), nil
	case *kmsg.IncrementalAlterConfigsRequest:
		return b.alterConfigs(req), nil
	case *kmsg.AlterConfigsRequest:
		return b.replaceConfigs(req), nil
	case *kmsg.UpdateFeaturesRequest:
		return b.updateFeatures(req), nil
	case *kmsg.UnregisterBrokerRequest:
		return b.unregister(req), nil
	case *kmsg.ElectLeadersRequest:
		return b.electLeaders(req), nil
	case *kmsg.AlterPartitionAssignmentsRequest:
		return b.alterReassignments(req), nil
	case *kmsg.ListPartitionReassignmentsRequest:
		return b.listReassignments(req), nil
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		return b.alterScram(req), nil
	case *kmsg.AlterClientQuotasRequest:
		return b.alterQuotas(req), nil
	case *kmsg.CreateACLsRequest:
		return b.createACLs(req), nil
	case *kmsg.DeleteACLsRequest:
		return b.deleteACLs(req), nil
	case *kmsg.AlterPartitionRequest:
		return b.alterPartition(req), nil
	case *kmsg.BrokerRegistrationRequest:
		return b.register(req), nil
	case *kmsg.BrokerHeartbeatRequest:
		return b.heartbeat(req), nil
	case *kmsg.AllocateProducerIDsRequest:
		return b.allocateProducerIDs(req), nil
	case *JoinRequest:
		return b.join(req), nil
	case *kmsg.AddRaftVoterRequest:
		return b.addVoter(req), nil
	case *kmsg.RemoveRaftVoterRequest:
		return b.removeVoter(req), nil
	case *VotersRequest:
		return b.changeVoters(req), nil
	}
	return nil, fmt.Errorf("api key %d: %w", req.Key(), ErrUnknownRequest)
}

// Timeout is how long the sender of the request wants to wait; 0 if the request does not say.
func Timeout(req kmsg.Request) time.Duration {
	var ms int32
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		ms = req.TimeoutMillis
	case *kmsg.DeleteTopicsRequest:
		ms = req.TimeoutMillis
	case *kmsg.CreatePartitionsRequest:
		ms = req.TimeoutMillis
	case *kmsg.ElectLeadersRequest:
		ms = req.TimeoutMillis
	case *kmsg.AlterPartitionAssignmentsRequest:
		ms = req.TimeoutMillis
	case *kmsg.ListPartitionReassignmentsRequest:
		ms = req.TimeoutMillis
	case *kmsg.UpdateFeaturesRequest:
		ms = req.TimeoutMillis
	default:
		return 0
	}
	return max(1, time.Duration(ms)*time.Millisecond)
}

// problem is a Kafka error code with a message of our own. The zero value is "none".
type problem struct {
	code    int16
	message string
}

func refuse(e *kerr.Error, format string, args ...any) problem {
	return problem{e.Code, fmt.Sprintf(format, args...)}
}

// text is the message as the protocol has it: null without an error.
func (p problem) text() *string {
	if p.code == 0 {
		return nil
	}
	return &p.message
}

// maxUserRecords is how many records one request may make, and one entry hold for it.
const maxUserRecords = 10_000

// newID draws a random uuid (version 4) that Kafka does not reserve.
func (b *Batch) newID() (id log.TopicID) {
	for {
		hi, lo := b.m.c.Rand.Uint64(), b.m.c.Rand.Uint64()
		for i := range 8 {
			id[i], id[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
		}
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		// Kafka keeps ids whose text begins with a dash out of its command lines.
		if id[0]>>2 != 62 && b.d.img.TopicIDs[id] == nil {
			return id
		}
	}
}

func (b *Batch) static(key string) string {
	if v, ok := b.m.c.Static[key]; ok {
		return v
	}
	k, _ := configs.LookupBroker(key)
	return k.Default
}

// Full tells that the batch should become an entry before more is judged.
func (b *Batch) Full() bool { return b.changed || len(b.records) >= maxUserRecords }
