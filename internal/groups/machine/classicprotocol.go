package machine

import (
	"cmp"
	"slices"

	"github.com/insynclog/insync/internal/groups/embedded"
)

// consumers tells whether the members are consumers, so that what they read can be known.
func (k *classicGroup) consumers() bool { return k.protocolType == consumerProtocol }

// subscribed tells whether a member may read a topic. A subscription that cannot be read may have any.
func (k *classicGroup) subscribed(topic string) bool {
	if !k.consumers() {
		return false
	}
	return slices.ContainsFunc(k.order, func(id string) bool {
		sub, err := embedded.ParseSubscription(k.metadata(k.members[id]))
		return err != nil || slices.Contains(sub.Topics, topic)
	})
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
	supported := func(name string) bool {
		return !slices.ContainsFunc(k.order, func(id string) bool { return !k.members[id].supports(name) })
	}
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

func (m *classicMember) supports(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == name })
}
