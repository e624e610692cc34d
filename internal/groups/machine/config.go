package machine

import (
	"time"

	"github.com/insynclog/insync/internal/groups/partition"
)

// Config holds what Kafka's broker configs say of groups. All fields but LoadGrace and Wall must be set.
type Config struct {
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	MaxSize               int           // group.max.size: members of a classic group

	ConsumerSessionTimeout    time.Duration // group.consumer.session.timeout.ms
	ConsumerHeartbeatInterval time.Duration // group.consumer.heartbeat.interval.ms
	ConsumerMaxSize           int           // group.consumer.max.size
	Assignors                 []string      // group.consumer.assignors: the first one is the default

	OffsetsRetention       time.Duration // offsets.retention.minutes
	OffsetMetadataMaxBytes int           // offset.metadata.max.bytes, in characters as in Kafka

	// LoadGrace is how long another coordinator of the same groups may go on answering heartbeats after this one has loaded them, because it has not heard that it is not the one any more: until a node that
	// hears nothing fences itself. Sessions begin then at the earliest, those of new members, too: who was answered here may still ask there next.
	LoadGrace time.Duration

	// NewID makes a random id for a member: a uuid.
	NewID func() string

	// Wall is what the wall clock shows at a time, and whether it may be believed: commits get their times from it, and none expires while it is not believed. nil: it shows the time.
	Wall func(now time.Time) (wall time.Time, sure bool)
}

// wall is Config.Wall.
func (c *Coordinator) wall(now time.Time) (wall time.Time, sure bool) {
	if c.c.Wall == nil {
		return now, true
	}
	return c.c.Wall(now)
}

// Wall is what the wall clock shows at a time.
func (c *Coordinator) Wall(now time.Time) time.Time {
	wall, _ := c.wall(now)
	return wall
}

// Topic is what the coordinator has to know of a topic.
type Topic struct {
	Name       string
	ID         partition.TopicID
	Partitions int32
}

// Metadata is the cluster's topics at one point. It is immutable.
type Metadata interface {
	// Topic finds a topic by its name.
	Topic(name string) (Topic, bool)
	// TopicByID finds a topic by its id.
	TopicByID(id partition.TopicID) (Topic, bool)
}

// noTopics is the metadata before there is any.
type noTopics struct{}

func (noTopics) Topic(string) (Topic, bool)                { return Topic{}, false }
func (noTopics) TopicByID(partition.TopicID) (Topic, bool) { return Topic{}, false }
