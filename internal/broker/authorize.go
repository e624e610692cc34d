package broker

import (
	"net"
	"net/netip"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Authorization happens in front of the handlers: what a client may not do is taken out of its request, and what became of it is added to the answer. A handler sees only what is allowed, and each API of the
// table has its rule in authorizations.

// guest is a client whose rights are limited. nil is one that may do everything: this process, another node, a super user, anybody where there are no rules.
type guest struct {
	rules           *acl.Rules
	principal, host string
}

// takeRules goes by an image's access control lists from now on.
func (b *Broker) takeRules(img *controller.Image) error {
	if b.c.ACLs == nil {
		return nil
	}
	rules, err := acl.NewRules(*b.c.ACLs, img.Bindings())
	if err != nil {
		return err
	}
	b.rules.Store(rules)
	return nil
}

// may tells whether the guest may do something.
func (g *guest) may(op acl.Operation, t acl.ResourceType, name string) bool {
	return g == nil || g.rules.Authorize(g.principal, g.host, op, acl.Resource{Type: t, Name: name}).Allowed()
}

func (g *guest) mayCluster(op acl.Operation) bool { return g.may(op, acl.Cluster, acl.ClusterName) }

// operations is the answer to a client that wants to know what it may do with a resource (KIP-430).
func (g *guest) operations(t acl.ResourceType, name string) int32 {
	if g == nil {
		return int32(acl.Supported(t))
	}
	return int32(g.rules.AuthorizedOperations(g.principal, g.host, acl.Resource{Type: t, Name: name}))
}

// verdict is what authorization makes of a request. The zero value: serve it as it is.
type verdict struct {
	answer kmsg.Response       // the whole is refused
	hangUp bool                // and there is no way to say so
	amend  func(kmsg.Response) // adds what was refused to the answer
}

// authorization is the rule of one API. It may change the request.
type authorization func(b *Broker, g *guest, m kmsg.Request) verdict

// trusted tells whether a request comes from this process or from another node.
func trusted(r *transport.Request) bool {
	return r.Conn == nil || r.Conn.Direct || r.Conn.Identity.Peer
}

// guestOf is who sent a request.
func (b *Broker) guestOf(r *transport.Request) *guest {
	rules := b.rules.Load()
	if rules == nil || trusted(r) {
		return nil
	}
	host := r.Conn.Remote
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = acl.Host(addr)
	}
	return &guest{rules: rules, principal: r.Conn.Identity.Principal, host: host}
}

// asPeer tells whether a request is one that only nodes send. The field that says so proves nothing.
func asPeer(m kmsg.Request) bool {
	switch m := m.(type) {
	case *kmsg.FetchRequest:
		return m.ReplicaID >= 0 || m.Version >= 15 && m.ReplicaState.ID >= 0
	case *kmsg.OffsetForLeaderEpochRequest:
		return m.ReplicaID >= 0
	case *kmsg.ListOffsetsRequest:
		return m.ReplicaID >= 0
	}
	return false
}

// asksOperations tells whether a client wants to know what it may do.
func asksOperations(m kmsg.Request) bool {
	switch m := m.(type) {
	case *kmsg.MetadataRequest:
		return m.IncludeTopicAuthorizedOperations || m.IncludeClusterAuthorizedOperations
	case *kmsg.DescribeGroupsRequest:
		return m.IncludeAuthorizedOperations
	case *kmsg.ConsumerGroupDescribeRequest:
		return m.IncludeAuthorizedOperations
	case *kmsg.DescribeClusterRequest:
		return m.IncludeClusterAuthorizedOperations
	case *kmsg.DescribeTopicPartitionsRequest:
		return true
	}
	return false
}

// serveGuest serves a request as far as its sender may send it.
func (b *Broker) serveGuest(a api, g *guest, m kmsg.Request, reply func(transport.Reply), serve func(reply func(transport.Reply))) {
	rule := b.authorizations[a.key]
	if rule == nil { // a row without a rule is open to nobody; a test holds that there is none
		reply(transport.Reply{Close: true})
		return
	}
	v := rule(b, g, m)
	switch {
	case v.hangUp:
		reply(transport.Reply{Close: true})
	case v.answer != nil:
		reply(transport.Reply{Message: v.answer})
	case v.amend == nil:
		serve(reply)
	default:
		serve(func(r transport.Reply) {
			if r.Message != nil {
				v.amend(r.Message)
			} else {
				r.Close = true // acks=0
			}
			reply(r)
		})
	}
}

// sift splits a list into what is allowed and what is not; it changes the list only if something is not.
func sift[T any](list []T, allowed func(*T) bool) (yes, no []T) {
	for i := range list {
		if allowed(&list[i]) {
			if no != nil {
				yes = append(yes, list[i])
			}
			continue
		}
		if no == nil {
			yes = append(make([]T, 0, len(list)), list[:i]...)
		}
		no = append(no, list[i])
	}
	if no == nil {
		return list, nil
	}
	return yes, no
}

// refuse is a verdict for the whole request.
func refuse(answer kmsg.Response) verdict { return verdict{answer: answer} }

// onCluster makes a rule that needs one operation on the cluster; refused makes the answer without it.
func onCluster(op acl.Operation, refused func(m kmsg.Request, code int16) kmsg.Response) authorization {
	return func(_ *Broker, g *guest, m kmsg.Request) verdict {
		if g.mayCluster(op) {
			return verdict{}
		}
		return refuse(refused(m, kerr.ClusterAuthorizationFailed.Code))
	}
}

// open is the rule of an API that anybody may use.
func open(*Broker, *guest, kmsg.Request) verdict { return verdict{} }

// topicNamed is the name of a topic that a request names either way; "" for an id that is not known, about which handlers find the right words.
func (b *Broker) topicNamed(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	return topicName(b.metadataImage(), id)
}

// mayTopic tells whether a guest may do something with a topic named either way. An id that is not known tells nothing.
func (b *Broker) mayTopic(g *guest, op acl.Operation, name string, id [16]byte) bool {
	if g == nil {
		return true
	}
	name = b.topicNamed(name, id)
	return name == "" || g.may(op, acl.Topic, name)
}
