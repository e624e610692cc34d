package machine

import (
	"cmp"
	"slices"

	"github.com/insynclog/insync/internal/groups/embedded"
)

// consumers tells whether the members are consumers, so that what they read can be known.
func (k *classicGroup) consumers() bool { return k.protocolType == consumerProtocol }

// topicsRead is what the members of a group read.
type topicsRead struct {
	protocol string // under which they say so
	all      bool   // a subscription cannot be read: it may have any topic
	names    map[string]bool
}

// subscribed tells whether a member may read a topic. It is asked for every committed offset when offsets expire.
func (k *classicGroup) subscribed(topic string) bool {
	if !k.consumers() {
		return false
	}
	if k.reads == nil || k.reads.protocol != k.protocol {
		k.reads = k.readTopics()
	}
	return k.reads.all || k.reads.names[topic]
}

// readTopics reads all subscriptions.
func (k *classicGroup) readTopics() *topicsRead {
	reads := &topicsRead{protocol: k.protocol, names: map[string]bool{}}
	for _, id := range k.order {
		sub, err := embedded.ParseSubscription(k.metadata(k.members[id]))
		reads.all = reads.all || err != nil
		for _, name := range sub.Topics {
			reads.names[name] = true
		}
	}
	return reads
}

// metadata is what a member tells the leader under the group's protocol, or its first one before there is one.
func (k *classicGroup) metadata(m *classicMember) []byte {
	for _, p := range m.protocols {
		if p.Name == k.protocol || k.protocol == "" {
			return p.Metadata
		}
	}
	return nil
}

// choose is the protocol that most members prefer among those that all support.
func (k *classicGroup) choose() string {
	supported := k.common("")
	votes := map[string]int{}
	var candidates []string
	for _, id := range k.order {
		for _, p := range k.members[id].protocols {
			if supported(p.Name) {
				if votes[p.Name]++; votes[p.Name] == 1 {
					candidates = append(candidates, p.Name)
				}
				break
			}
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	return slices.MaxFunc(candidates, func(a, b string) int { return cmp.Compare(votes[a], votes[b]) })
}

// common tells which protocols all members have, but for one of them. Its cost is linear: a request has room for a great many names.
func (k *classicGroup) common(except string) func(name string) bool {
	counts, n := map[string]int{}, 0
	for _, id := range k.order {
		if id == except {
			continue
		}
		for _, p := range k.members[id].protocols {
			if counts[p.Name] == n { // all before have it, and it is not a repetition
				counts[p.Name]++
			}
		}
		n++
	}
	return func(name string) bool { return counts[name] == n }
}
