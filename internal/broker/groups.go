package broker

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
)

// newGroups makes the group coordinators of this node.
func (b *Broker) newGroups() (*groups.Coordinators, error) {
	ms := func(key string) time.Duration { return time.Duration(b.staticNumber(key)) * time.Millisecond }
	return groups.New(groups.Config{
		Machine: machine.Config{
			InitialRebalanceDelay:     ms("group.initial.rebalance.delay.ms"),
			MinSessionTimeout:         ms("group.min.session.timeout.ms"),
			MaxSessionTimeout:         ms("group.max.session.timeout.ms"),
			MaxSize:                   int(b.staticNumber("group.max.size")),
			ConsumerSessionTimeout:    ms("group.consumer.session.timeout.ms"),
			ConsumerHeartbeatInterval: ms("group.consumer.heartbeat.interval.ms"),
			ConsumerMaxSize:           int(b.staticNumber("group.consumer.max.size")),
			Assignors:                 configs.SplitList(b.staticText("group.consumer.assignors")),
			OffsetsRetention:          time.Duration(b.staticNumber("offsets.retention.minutes")) * time.Minute,
			OffsetMetadataMaxBytes:    int(b.staticNumber("offset.metadata.max.bytes")),
			NewID:                     newMemberID,
			Wall:                      b.clock.look,
		},
		CommitTimeout: ms("offsets.commit.timeout.ms"),
		LoadGrace: func() time.Duration {
			if len(b.metadataImage().Brokers) < 2 {
				return 0
			}
			return b.c.SessionTimeout // then a broker that hears nothing fences itself
		},
		Partitions: func() int32 {
			if t := b.metadataImage().Topics[topicConsumerOffsets]; t != nil {
				return int32(len(t.Partitions))
			}
			return 0
		},
		TopicNames: func() ([]string, int64) {
			img := b.metadataImage()
			// Differs from Kafka: a member that asks for ".*" means its own topics. Clients that match patterns themselves leave internal ones out, too, unless told otherwise (exclude.internal.topics).
			return slices.DeleteFunc(img.TopicNames(), isInternal), img.Offset
		},
		Admit: b.space.short, Refused: func(err error) { b.space.met(time.Now(), err) },
		Spawn: b.spawn, Changed: b.noteChange, Logger: b.c.Logger,
	})
}

// Coordinators tells about the group coordinators of this node, by partition of __consumer_offsets.
func (b *Broker) Coordinators() []groups.Status { return b.groups.Status() }

// staticText is the value of a key of the static configuration, or its default.
func (b *Broker) staticText(key string) string {
	k, _ := configs.LookupBroker(key)
	if v, ok := b.c.Static[key]; ok && k.Validate(v) == nil {
		return v
	}
	return k.Default
}

// newMemberID is a random uuid, as Kafka prints it.
func newMemberID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// groupMetadata is metadata as the group coordinators see it.
type groupMetadata struct{ img *controller.Image }

// Topic implements machine.Metadata.
func (m groupMetadata) Topic(name string) (machine.Topic, bool) {
	return groupTopic(m.img.Topics[name])
}

// TopicByID implements machine.Metadata.
func (m groupMetadata) TopicByID(id [16]byte) (machine.Topic, bool) {
	return groupTopic(m.img.TopicIDs[log.TopicID(id)])
}

func groupTopic(t *controller.Topic) (machine.Topic, bool) {
	if t == nil {
		return machine.Topic{}, false
	}
	return machine.Topic{Name: t.Name, ID: t.ID, Partitions: int32(len(t.Partitions))}, true
}

// coordinate has this node coordinate the groups of the partitions of __consumer_offsets that it leads, and no others, then tells the coordinators of topics. Replicas have their new state by now.
func (a *applier) coordinate(d *controller.Delta, states []*localState) {
	m := groupMetadata{d.New}
	for _, s := range states {
		switch {
		case s.part.topic != topicConsumerOffsets:
		case s.role == replication.Leader:
			a.b.groups.Lead(s.part.index, s.state.LeaderEpoch, s.part.replica, m)
			a.b.groups.StepDown(s.part.index, a.b.stepDowns.epoch(s.part.id, s.part.index)) // recalled since the replica began to lead
		default:
			a.b.groups.Resign(s.part.index)
		}
	}
	var deleted []string
	for _, t := range d.Deleted {
		deleted = append(deleted, t.Name)
	}
	if len(deleted) > 0 || slices.ContainsFunc(d.Topics, func(name string) bool { return topicGrew(d.Old.Topics[name], d.New.Topics[name]) }) {
		a.b.groups.SetMetadata(m, deleted)
	}
}

// topicGrew tells whether a topic is new or has more partitions: most changes of topics are changes of leaders and in-sync replicas, which mean nothing to groups.
func topicGrew(old, now *controller.Topic) bool {
	return now != nil && (old == nil || old.ID != now.ID || len(old.Partitions) != len(now.Partitions))
}

// submitGroup hands a request to the group's coordinator, see groups.Coordinators.Submit.
func (b *Broker) submitGroup(group string, r machine.Request, done func(result any, err error)) {
	if b.selfFenced(time.Now()) { // somebody else may be by now
		done(nil, groups.ErrNotCoordinator)
		return
	}
	b.groups.Submit(group, r, done)
}

// readGroup reads the state of the group's coordinator. A node that may have been replaced has nothing to tell: offsets must not go back.
func (b *Broker) readGroup(group string, f func(*machine.Coordinator)) error {
	if b.selfFenced(time.Now()) {
		return groups.ErrNotCoordinator
	}
	return b.groups.Read(group, f)
}

// gather calls done when it was called as often as there are parts.
func gather(parts int, done func()) (one func()) {
	var left atomic.Int64
	left.Store(int64(parts))
	return func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
}

// clientHost is a client's address as Kafka prints it. A client in this process is local.
func clientHost(r *transport.Request) string {
	if r.Conn == nil || r.Conn.Direct {
		return "/127.0.0.1"
	}
	host, _, err := net.SplitHostPort(r.Conn.Remote)
	if err != nil {
		host = r.Conn.Remote
	}
	return "/" + strings.Trim(host, "[]")
}

// text is a nullable string of the protocol: "" if null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// kept is a copy of bytes that outlive their request, whose memory is used again.
func kept(v []byte) []byte { return bytes.Clone(v) }

// noOperations says that the operations that a client may perform were not looked up.
const noOperations int32 = -1 << 31
