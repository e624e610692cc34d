package cluster

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The quotas. Nodes hold clients to the first two; the others are kept and shown.
const (
	QuotaProducerByteRate       = "producer_byte_rate"       // bytes a second
	QuotaConsumerByteRate       = "consumer_byte_rate"       // bytes a second
	QuotaRequestPercentage      = "request_percentage"       // of a thread's time
	QuotaControllerMutationRate = "controller_mutation_rate" // partitions created and deleted a second
	QuotaConnectionCreationRate = "connection_creation_rate" // connections a second, of an IP address
)

// What stands for names in a QuotaEntity.
const (
	QuotaDefault = "<default>" // those that have no quota of their own, each on its own
	QuotaAny     = "<any>"     // in what is looked for: with any name, or QuotaDefault
)

// QuotaEntity is who a quota is for: a user, a client id, both together, or an IP address. "" is not about it. Each node has its own account of it.
//
// Of all that are about a client the most particular one counts (KIP-55): user and client id, user and default client id, user; then the same with the default user; then client id, and default client id.
// Where nobody logs in every user is "ANONYMOUS".
type QuotaEntity struct{ User, ClientID, IP string }

// quotaEntityParts are the protocol's names of the fields, in their order.
var quotaEntityParts = [...]string{"user", "client-id", "ip"}

func (e *QuotaEntity) fields() [3]*string { return [...]*string{&e.User, &e.ClientID, &e.IP} }

// String is the entity as Kafka's tools write it.
func (e QuotaEntity) String() string {
	var parts []string
	for i, f := range e.fields() {
		if *f != "" {
			parts = append(parts, quotaEntityParts[i]+"="+*f)
		}
	}
	return strings.Join(parts, " ")
}

// ClientQuota is the quotas of one entity, by their names.
type ClientQuota struct {
	QuotaEntity
	Values map[string]float64 // to alter them: 0 removes one, and those that are not named stay
}

// AlterClientQuotas changes quotas of entities, each as a whole or not at all; an error is about one of them. It takes effect at once for whoever is not waiting already. errors.Is(err, kerr.InvalidRequest) for
// an entity, a quota or a value that cannot be.
func (a *Admin) AlterClientQuotas(ctx context.Context, quotas ...ClientQuota) error {
	req := kmsg.NewPtrAlterClientQuotasRequest()
	for _, q := range quotas {
		entry := kmsg.NewAlterClientQuotasRequestEntry()
		for i, f := range q.fields() {
			switch *f {
			case "":
				continue
			case QuotaAny:
				return &AdminError{Op: "alter client quotas of", Name: q.String(), Err: kerr.InvalidRequest, Text: "a quota is for a name, or for QuotaDefault"}
			}
			part := kmsg.NewAlterClientQuotasRequestEntryEntity()
			if part.Type = quotaEntityParts[i]; *f != QuotaDefault {
				part.Name = f
			}
			entry.Entity = append(entry.Entity, part)
		}
		for _, key := range slices.Sorted(maps.Keys(q.Values)) {
			op := kmsg.NewAlterClientQuotasRequestEntryOp()
			op.Key, op.Value, op.Remove = key, q.Values[key], q.Values[key] == 0
			entry.Ops = append(entry.Ops, op)
		}
		req.Entries = append(req.Entries, entry)
	}
	resp, err := request[*kmsg.AlterClientQuotasResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "alter client quotas", Err: err}
	}
	for i := range resp.Entries {
		r := &resp.Entries[i]
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			var e QuotaEntity
			for _, part := range r.Entity {
				e.take(part.Type, part.Name)
			}
			return &AdminError{Op: "alter client quotas of", Name: e.String(), Err: err, Text: deref(r.ErrorMessage)}
		}
	}
	return nil
}

// take sets the field of a type; types that there are not are left out.
func (e *QuotaEntity) take(kind string, name *string) {
	if i := slices.Index(quotaEntityParts[:], kind); i >= 0 {
		f := e.fields()[i]
		if *f = QuotaDefault; name != nil {
			*f = *name
		}
	}
}

// DescribeClientQuotas lists the quotas of the entities that have the parts that of names; only, those that have no others. The zero QuotaEntity finds all.
func (a *Admin) DescribeClientQuotas(ctx context.Context, of QuotaEntity, only bool) ([]ClientQuota, error) {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Strict = only
	for i, f := range of.fields() {
		c := kmsg.NewDescribeClientQuotasRequestComponent()
		c.EntityType = quotaEntityParts[i]
		switch *f {
		case "":
			continue
		case QuotaDefault:
			c.MatchType = kmsg.QuotasMatchTypeDefault
		case QuotaAny:
			c.MatchType = kmsg.QuotasMatchTypeAny
		default:
			c.MatchType, c.Match = kmsg.QuotasMatchTypeExact, f
		}
		req.Components = append(req.Components, c)
	}
	resp, err := request[*kmsg.DescribeClientQuotasResponse](ctx, a, req)
	text := ""
	if err == nil {
		err, text = kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage)
	}
	if err != nil {
		return nil, &AdminError{Op: "describe client quotas of", Name: of.String(), Err: err, Text: text}
	}
	var list []ClientQuota
	for i := range resp.Entries {
		q := ClientQuota{Values: map[string]float64{}}
		for _, part := range resp.Entries[i].Entity {
			q.take(part.Type, part.Name)
		}
		for _, v := range resp.Entries[i].Values {
			q.Values[v.Key] = v.Value
		}
		list = append(list, q)
	}
	return list, nil
}
