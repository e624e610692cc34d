package machine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// QuotaName is one part of a QuotaEntity. The zero value is absent.
type QuotaName struct {
	Has     bool
	Default bool // for all that have no quota of their own; Name is empty then
	Name    string
}

func (n QuotaName) compare(o QuotaName) int {
	rank := func(n QuotaName) int {
		switch {
		case !n.Has:
			return 0
		case n.Default:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(n), rank(o)), cmp.Compare(n.Name, o.Name))
}

// QuotaEntity is who a quota is for: users, client ids or both, or addresses.
type QuotaEntity struct{ User, ClientID, IP QuotaName }

// The types of the parts of an entity.
const (
	QuotaUser     = "user"
	QuotaClientID = "client-id"
	QuotaIP       = "ip"
)

// Compare orders entities.
func (e QuotaEntity) Compare(o QuotaEntity) int {
	return cmp.Or(e.User.compare(o.User), e.ClientID.compare(o.ClientID), e.IP.compare(o.IP))
}

// part finds the part of a type; nil for a type that there is not.
func (e *QuotaEntity) part(kind string) *QuotaName {
	switch kind {
	case QuotaUser:
		return &e.User
	case QuotaClientID:
		return &e.ClientID
	case QuotaIP:
		return &e.IP
	}
	return nil
}

// String is the entity in Kafka's words.
func (e QuotaEntity) String() string {
	var parts []string
	for _, kind := range []string{QuotaUser, QuotaClientID, QuotaIP} {
		switch n := e.part(kind); {
		case !n.Has:
		case n.Default:
			parts = append(parts, kind+"=<default>")
		default:
			parts = append(parts, fmt.Sprintf("%s=%q", kind, n.Name))
		}
	}
	return strings.Join(parts, " ")
}

// The quotas.
const (
	ProducerByteRate       = "producer_byte_rate"
	ConsumerByteRate       = "consumer_byte_rate"
	RequestPercentage      = "request_percentage"
	ControllerMutationRate = "controller_mutation_rate"
	ConnectionCreationRate = "connection_creation_rate"
)

// QuotaRecord is Kafka's ClientQuotaRecord.
type QuotaRecord struct {
	Entity QuotaEntity
	Key    string
	Value  float64
	Remove bool
}

func (r *QuotaRecord) kind() kind { return kindQuota }

func (r *QuotaRecord) String() string {
	if r.Remove {
		return fmt.Sprintf("ClientQuota %s %s removed", r.Entity, r.Key)
	}
	return fmt.Sprintf("ClientQuota %s %s=%v", r.Entity, r.Key, r.Value)
}

func (r *QuotaRecord) encode(dst []byte) []byte {
	for _, n := range []QuotaName{r.Entity.User, r.Entity.ClientID, r.Entity.IP} {
		dst = putString(putBool(putBool(dst, n.Has), n.Default), n.Name)
	}
	return binary.BigEndian.AppendUint64(putBool(putString(dst, r.Key), r.Remove), math.Float64bits(r.Value))
}

func (r *QuotaRecord) decode(d *reader) {
	for _, n := range []*QuotaName{&r.Entity.User, &r.Entity.ClientID, &r.Entity.IP} {
		n.Has, n.Default, n.Name = d.bool(), d.bool(), d.string()
	}
	r.Key, r.Remove = d.string(), d.bool()
	var bits uint64
	for range 8 {
		bits = bits<<8 | uint64(d.byte())
	}
	r.Value = math.Float64frombits(bits)
}

func (r *QuotaRecord) apply(d *draft) error {
	for _, n := range []QuotaName{r.Entity.User, r.Entity.ClientID, r.Entity.IP} {
		if n.Default && (!n.Has || n.Name != "") || !n.Has && n.Name != "" || n.Has && !n.Default && n.Name == "" {
			return fmt.Errorf("entity %s cannot be", r.Entity)
		}
	}
	if p := checkQuotaEntity(r.Entity); p.code != 0 {
		return fmt.Errorf("%s", p.message)
	}
	if !d.ownQuotas {
		d.img.Quotas, d.ownQuotas = maps.Clone(d.img.Quotas), true
	}
	d.security = true
	values := maps.Clone(d.img.Quotas[r.Entity])
	if values == nil {
		values = map[string]float64{}
	}
	if r.Remove {
		delete(values, r.Key)
	} else {
		if p := checkQuota(r.Entity, r.Key, r.Value); p.code != 0 {
			return fmt.Errorf("%s", p.message)
		}
		values[r.Key] = r.Value
	}
	if len(values) == 0 {
		delete(d.img.Quotas, r.Entity)
	} else {
		d.img.Quotas[r.Entity] = values
	}
	return nil
}

// QuotaEntities lists the entities that have quotas in order.
func (img *Image) QuotaEntities() []QuotaEntity {
	return slices.SortedFunc(maps.Keys(img.Quotas), QuotaEntity.Compare)
}

// quotaRecords are the part of a snapshot.
func (img *Image) quotaRecords() (rs []Record) {
	for _, e := range img.QuotaEntities() {
		for _, key := range slices.Sorted(maps.Keys(img.Quotas[e])) {
			rs = append(rs, &QuotaRecord{Entity: e, Key: key, Value: img.Quotas[e][key]})
		}
	}
	return rs
}

// checkQuotaEntity finds what is wrong with a combination.
func checkQuotaEntity(e QuotaEntity) problem {
	switch {
	case e.IP.Has && (e.User.Has || e.ClientID.Has):
		return refuse(kerr.InvalidRequest, "Invalid quota entity combination, IP entity should not be combined with User or ClientId")
	case e.IP.Has && !e.IP.Default:
		if _, err := netip.ParseAddr(e.IP.Name); err != nil {
			return refuse(kerr.InvalidRequest, "%.100s is not a valid IP.", e.IP.Name)
		}
	case !e.IP.Has && !e.User.Has && !e.ClientID.Has:
		return refuse(kerr.InvalidRequest, "Invalid empty client quota entity")
	}
	return problem{}
}

// checkQuota finds what is wrong with a value. Bytes a second and connections a second are whole numbers.
func checkQuota(e QuotaEntity, key string, value float64) problem {
	most, known := math.MaxFloat64, !e.IP.Has
	switch key {
	case ProducerByteRate, ConsumerByteRate:
		most = math.MaxInt64
	case ConnectionCreationRate:
		most, known = math.MaxInt32, e.IP.Has
	case RequestPercentage, ControllerMutationRate:
	default:
		known = false
	}
	switch {
	case !known:
		return refuse(kerr.InvalidRequest, "Invalid configuration key %.100s", key)
	case !(value > 0): // nor is it NaN
		return refuse(kerr.InvalidRequest, "Quota %s must be greater than 0", key)
	case value > most:
		return refuse(kerr.InvalidRequest, "Proposed value for %s is too large.", key)
	case most < math.MaxFloat64 && math.Mod(value, 1) > 1e-6:
		return refuse(kerr.InvalidRequest, "%s cannot be a fractional value.", key)
	}
	return problem{}
}

// entityOf reads who an entry is about.
func entityOf(entry *kmsg.AlterClientQuotasRequestEntry) (e QuotaEntity, p problem) {
	for _, part := range entry.Entity {
		n := e.part(part.Type)
		switch {
		case n == nil:
			return e, refuse(kerr.InvalidRequest, "Unhandled client quota entity type: %.100s", part.Type)
		case n.Has:
			return e, refuse(kerr.InvalidRequest, "Invalid client quota entity, duplicate entity entry %s", part.Type)
		case part.Name != nil && *part.Name == "":
			return e, refuse(kerr.InvalidRequest, "Empty %s not supported", part.Type)
		}
		n.Has, n.Default = true, part.Name == nil
		if part.Name != nil {
			n.Name = strings.Clone(*part.Name)
		}
	}
	return e, checkQuotaEntity(e)
}

// alterQuotas answers AlterClientQuotas (KIP-546): each entry changes as a whole or not at all.
func (b *Batch) alterQuotas(req *kmsg.AlterClientQuotasRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	on := b
	if req.ValidateOnly {
		on = b.trial()
	}
	seen := map[QuotaEntity]bool{}
	for i := range req.Entries {
		entry := &req.Entries[i]
		e, p := entityOf(entry)
		switch {
		case p.code != 0:
		case seen[e]:
			p = refuse(kerr.InvalidRequest, "Ignoring duplicate entity %s", e)
		default:
			seen[e] = true
			p = on.alterQuota(e, entry.Ops)
		}
		out := kmsg.NewAlterClientQuotasResponseEntry()
		out.ErrorCode, out.ErrorMessage = p.code, p.text()
		for _, part := range entry.Entity {
			op := kmsg.NewAlterClientQuotasResponseEntryEntity()
			op.Type, op.Name = part.Type, part.Name
			out.Entity = append(out.Entity, op)
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp
}

// alterQuota alters the quotas of one entity.
func (b *Batch) alterQuota(e QuotaEntity, ops []kmsg.AlterClientQuotasRequestEntryOp) problem {
	if len(b.records)+len(ops) > maxUserRecords {
		return refuse(kerr.PolicyViolation, "Too many quotas in one request: at most %d.", maxUserRecords)
	}
	now := b.d.img.Quotas[e]
	seen := map[string]bool{}
	var records []Record
	for i := range ops {
		op := &ops[i]
		if seen[op.Key] {
			return refuse(kerr.InvalidRequest, "Duplicate quota key %.100s not updating quota for this entity %s", op.Key, e)
		}
		seen[op.Key] = true
		v, has := now[op.Key]
		if op.Remove {
			if has {
				records = append(records, &QuotaRecord{Entity: e, Key: strings.Clone(op.Key), Remove: true})
			}
			continue
		}
		if p := checkQuota(e, op.Key, op.Value); p.code != 0 {
			return p
		}
		if !has || v != op.Value {
			records = append(records, &QuotaRecord{Entity: e, Key: strings.Clone(op.Key), Value: op.Value})
		}
	}
	for _, r := range records {
		b.add(r)
	}
	return problem{}
}
