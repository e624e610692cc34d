package machine

import (
	"github.com/insynclog/insync/internal/groups/partition"
)

// Listing is a group in a list of groups. The words are Kafka's.
type Listing struct {
	ID           string
	Type         string // "classic" or "consumer"
	ProtocolType string // "consumer", …; "" of a group that only commits
	State        string // "Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Assigning", "Reconciling", "Dead"
}

// List returns all groups by id. It is a read.
func (c *Coordinator) List() []Listing {
	out := make([]Listing, 0, len(c.groups))
	for _, id := range c.ids() {
		g := c.groups[id]
		l := Listing{ID: id, Type: "classic", State: "Empty"}
		switch {
		case g.born():
			l.Type, l.ProtocolType, l.State = "consumer", "consumer", g.consumer.state()
		case g.classic != nil:
			l.ProtocolType, l.State = g.classic.protocolType, g.classic.state.String()
		case len(g.offsets) == 0:
			continue // about to be written for the first time, or forgotten
		}
		out = append(out, l)
	}
	return out
}

// Description is a classic group as DescribeGroups tells it.
type Description struct {
	State        string
	ProtocolType string
	Protocol     string // "" unless the group is stable
	Members      []MemberDescription
}

// MemberDescription is a member of a classic group. Metadata and Assignment are those of the group's protocol, empty unless it is stable.
type MemberDescription struct {
	MemberID   string
	InstanceID string
	ClientID   string
	ClientHost string
	Metadata   []byte
	Assignment []byte
}

// Describe tells about a classic group; false if there is none of that id. It is a read.
func (c *Coordinator) Describe(groupID string) (Description, bool) {
	g := c.groups[groupID]
	switch {
	case g == nil || g.born():
		return Description{}, false
	case g.classic == nil:
		return Description{State: "Empty"}, len(g.offsets) > 0
	}
	return g.classic.describe(), true
}

// ConsumerDescription is a consumer group as ConsumerGroupDescribe tells it.
type ConsumerDescription struct {
	State       string
	Epoch       int32
	TargetEpoch int32
	Assignor    string
	Members     []ConsumerMemberDescription
}

// ConsumerMemberDescription is a member of a consumer group.
type ConsumerMemberDescription struct {
	MemberID   string
	InstanceID string
	Rack       string
	Epoch      int32
	ClientID   string
	ClientHost string
	Topics     []string
	Regex      string
	Assigned   partition.Set
	Target     partition.Set
	Classic    bool // it speaks the classic protocol
}

// DescribeConsumer tells about a consumer group; false if there is none of that id. It is a read.
func (c *Coordinator) DescribeConsumer(groupID string) (ConsumerDescription, bool) {
	g := c.groups[groupID]
	if g == nil || !g.born() {
		return ConsumerDescription{}, false
	}
	return g.consumer.describe(), true
}
