package broker

import (
	"net"
	"strconv"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
)

// emptyImage stands for metadata before there is any.
var emptyImage = &controller.Image{Offset: -1}

// metadataImage is the newest image; never nil.
func (b *Broker) metadataImage() *controller.Image {
	if img := b.image.Load(); img != nil {
		return img
	}
	return emptyImage
}

// alive returns a broker that clients may be sent to: registered and not fenced.
func alive(img *controller.Image, id int32) (*controller.Broker, bool) {
	n := img.Brokers[id]
	return n, n != nil && !n.Fenced
}

// partitionOf finds a partition in the image, nil without it.
func partitionOf(img *controller.Image, topic string, index int32) *controller.Partition {
	t := img.Topics[topic]
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[index]
}

// topicName finds the name of a topic id, "" without.
func topicName(img *controller.Image, id log.TopicID) string {
	if t := img.TopicIDs[id]; t != nil {
		return t.Name
	}
	return ""
}

// hostPort splits an advertised address. A node that does not listen has neither.
func hostPort(addr string) (host string, port int32) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return host, 0
	}
	return host, int32(n)
}

// optional is a nullable string of the protocol: null if empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// leaderHint is who leads a partition, for KIP-951; false if nobody does or nobody knows.
func leaderHint(img *controller.Image, topic string, index int32) (leader, epoch int32, ok bool) {
	p := partitionOf(img, topic, index)
	if p == nil || p.Leader < 0 {
		return -1, -1, false
	}
	return p.Leader, p.LeaderEpoch, true
}

// topicOf is the name of a fetched partition's topic, "" if it is not known.
func topicOf(img *controller.Image, key fetchKey) string {
	if key.topic != "" {
		return key.topic
	}
	return topicName(img, key.id)
}

// leads tells whether a broker leads anything.
func leads(img *controller.Image, id int32) bool {
	for _, t := range img.Topics {
		for _, p := range t.Partitions {
			if p.Leader == id {
				return true
			}
		}
	}
	return false
}
