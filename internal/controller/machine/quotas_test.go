package machine

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	quotaPart = kmsg.AlterClientQuotasRequestEntryEntity
	quotaOp   = kmsg.AlterClientQuotasRequestEntryOp
)

func quotaEntry(parts []quotaPart, ops ...quotaOp) kmsg.AlterClientQuotasRequestEntry {
	return kmsg.AlterClientQuotasRequestEntry{Entity: parts, Ops: ops}
}

// of makes parts out of pairs of a type and a name; "" is the default.
func of(pairs ...string) (parts []quotaPart) {
	for i := 0; i < len(pairs); i += 2 {
		part := quotaPart{Type: pairs[i]}
		if pairs[i+1] != "" {
			part.Name = &pairs[i+1]
		}
		parts = append(parts, part)
	}
	return parts
}

func set(key string, value float64) quotaOp { return quotaOp{Key: key, Value: value} }

func TestClientQuotas(t *testing.T) {
	j := newJudged(t)
	validate := false
	alter := func(entries ...kmsg.AlterClientQuotasRequestEntry) (codes []int16) {
		req := kmsg.NewPtrAlterClientQuotasRequest()
		req.Entries, req.ValidateOnly = entries, validate
		resp := j.handle(req).(*kmsg.AlterClientQuotasResponse)
		require.Len(t, resp.Entries, len(entries))
		for i, e := range resp.Entries {
			codes = append(codes, e.ErrorCode)
			assert.Equal(t, e.ErrorCode != 0, e.ErrorMessage != nil)
			require.Len(t, e.Entity, len(entries[i].Entity), "the answer says whom it is about")
			for k, part := range e.Entity {
				assert.Equal(t, entries[i].Entity[k].Type, part.Type)
				assert.Equal(t, entries[i].Entity[k].Name, part.Name)
			}
		}
		return codes
	}
	alice, everybody := QuotaName{Has: true, Name: "alice"}, QuotaName{Has: true, Default: true}

	assert.Equal(t, []int16{0, 0, 0}, alter(
		quotaEntry(of("user", "alice"), set(ProducerByteRate, 1000), set(RequestPercentage, 0.5)),
		quotaEntry(of("client-id", "", "user", "alice"), set(ConsumerByteRate, 2000)),
		quotaEntry(of("ip", ""), set(ConnectionCreationRate, 3)),
	))
	want := map[QuotaEntity]map[string]float64{
		{User: alice}:                      {ProducerByteRate: 1000, RequestPercentage: 0.5},
		{User: alice, ClientID: everybody}: {ConsumerByteRate: 2000},
		{IP: everybody}:                    {ConnectionCreationRate: 3},
	}
	assert.Equal(t, want, j.img.Quotas)
	assert.Equal(t, []QuotaEntity{{IP: everybody}, {User: alice}, {User: alice, ClientID: everybody}}, j.img.QuotaEntities())

	// What is refused changes nothing, and what stands beside it is done.
	empty, bob := "", "bob"
	for name, bad := range map[string]kmsg.AlterClientQuotasRequestEntry{
		"nobody":                 quotaEntry(nil, set(ProducerByteRate, 1)),
		"another type":           quotaEntry(of("planet", ""), set(ProducerByteRate, 1)),
		"a type twice":           quotaEntry(of("user", "a", "user", "b"), set(ProducerByteRate, 1)),
		"an empty name":          quotaEntry([]quotaPart{{Type: "user", Name: &empty}}, set(ProducerByteRate, 1)),
		"an address and a user":  quotaEntry(of("user", "bob", "ip", ""), set(ConnectionCreationRate, 1)),
		"an address and a id":    quotaEntry(of("client-id", "bob", "ip", ""), set(ConnectionCreationRate, 1)),
		"no address":             quotaEntry([]quotaPart{{Type: "ip", Name: &bob}}, set(ConnectionCreationRate, 1)),
		"another key":            quotaEntry(of("user", "bob"), set("speed", 1)),
		"the key of an address":  quotaEntry(of("user", "bob"), set(ConnectionCreationRate, 1)),
		"a user's, of addresses": quotaEntry(of("ip", "10.0.0.1"), set(ProducerByteRate, 1)),
		"zero":                   quotaEntry(of("user", "bob"), set(ProducerByteRate, 0)),
		"below zero":             quotaEntry(of("user", "bob"), set(RequestPercentage, -1)),
		"no number":              quotaEntry(of("user", "bob"), set(RequestPercentage, math.NaN())),
		"infinite":               quotaEntry(of("user", "bob"), set(RequestPercentage, math.Inf(1))),
		"half a byte":            quotaEntry(of("user", "bob"), set(ProducerByteRate, 1.5)),
		"more than an int64":     quotaEntry(of("user", "bob"), set(ConsumerByteRate, 1e19)),
		"more than an int32":     quotaEntry(of("ip", "10.0.0.1"), set(ConnectionCreationRate, 1<<31)),
		"a key twice":            quotaEntry(of("user", "bob"), set(ProducerByteRate, 1), set(ProducerByteRate, 2)),
		"the second of two":      quotaEntry(of("user", "bob"), set(ConsumerByteRate, 1), set(ProducerByteRate, -1)),
	} {
		assert.Equal(t, []int16{kerr.InvalidRequest.Code}, alter(bad), name)
	}
	assert.Equal(t, want, j.img.Quotas)
	assert.Equal(t, []int16{0, kerr.InvalidRequest.Code}, alter(
		quotaEntry(of("ip", "::1"), set(ConnectionCreationRate, 1<<31-1)),
		quotaEntry(of("ip", "::1"), set(ConnectionCreationRate, 7)),
	), "an entity that is repeated")
	want[QuotaEntity{IP: QuotaName{Has: true, Name: "::1"}}] = map[string]float64{ConnectionCreationRate: 1<<31 - 1}
	assert.Equal(t, want, j.img.Quotas)

	validate = true
	assert.Equal(t, []int16{0}, alter(quotaEntry(of("user", "bob"), set(ProducerByteRate, 1))))
	validate = false
	assert.Equal(t, want, j.img.Quotas, "it was only asked")

	assert.Equal(t, []int16{0, 0}, alter(
		quotaEntry(of("user", "alice"), set(ProducerByteRate, 1000), quotaOp{Key: RequestPercentage, Remove: true}),
		quotaEntry(of("ip", ""), quotaOp{Key: ConnectionCreationRate, Remove: true}, quotaOp{Key: "never there", Remove: true}),
	))
	delete(want[QuotaEntity{User: alice}], RequestPercentage)
	delete(want, QuotaEntity{IP: everybody})
	assert.Equal(t, want, j.img.Quotas)
	assert.Equal(t, []int16{0}, alter(quotaEntry(of("user", "alice"), set(ProducerByteRate, 1000)))) // handle checks that there are no records of it
	before := len(j.img.Records())
	assert.Equal(t, []int16{0}, alter(quotaEntry(of("user", "alice"), set(ProducerByteRate, 1001))))
	assert.Len(t, j.img.Records(), before)
}

// Records that no controller writes are refused rather than kept.
func TestQuotaRecordsThatCannotBe(t *testing.T) {
	user := QuotaEntity{User: QuotaName{Has: true, Name: "u"}}
	for name, r := range map[string]*QuotaRecord{
		"nobody":             {Key: ProducerByteRate, Value: 1},
		"absent, with name":  {Entity: QuotaEntity{User: QuotaName{Name: "u"}, ClientID: user.User}, Key: ProducerByteRate, Value: 1},
		"default, with name": {Entity: QuotaEntity{User: QuotaName{Has: true, Default: true, Name: "u"}}, Key: ProducerByteRate, Value: 1},
		"without name":       {Entity: QuotaEntity{User: QuotaName{Has: true}}, Key: ProducerByteRate, Value: 1},
		"another key":        {Entity: user, Key: "speed", Value: 1},
		"zero":               {Entity: user, Key: ProducerByteRate},
	} {
		_, _, err := Empty().Apply(0, 1, []Record{r})
		assert.Error(t, err, name)
	}
	_, _, err := Empty().Apply(0, 1, []Record{&QuotaRecord{Entity: user, Key: ProducerByteRate, Value: 1}})
	require.NoError(t, err)
}
