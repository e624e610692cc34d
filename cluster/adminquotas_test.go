package cluster_test

import (
	"testing"

	"github.com/insynclog/insync/cluster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

func TestAdminClientQuotas(t *testing.T) {
	n := start(t, cluster.Config{})
	a := cluster.NewAdmin(n.Client())
	ctx := t.Context()
	type entity = cluster.QuotaEntity
	produce := func(v float64) map[string]float64 { return map[string]float64{cluster.QuotaProducerByteRate: v} }
	alice, everybody := entity{User: "alice"}, entity{User: cluster.QuotaDefault}
	both, address := entity{User: "alice", ClientID: cluster.QuotaDefault}, entity{IP: "10.0.0.1"}
	require.NoError(t, a.AlterClientQuotas(ctx,
		cluster.ClientQuota{QuotaEntity: alice, Values: map[string]float64{cluster.QuotaProducerByteRate: 1000, cluster.QuotaRequestPercentage: 0.5}},
		cluster.ClientQuota{QuotaEntity: everybody, Values: produce(2)},
		cluster.ClientQuota{QuotaEntity: both, Values: produce(3)},
		cluster.ClientQuota{QuotaEntity: address, Values: map[string]float64{cluster.QuotaConnectionCreationRate: 4}},
	))
	found := func(of entity, only bool) map[entity]map[string]float64 {
		t.Helper()
		list, err := a.DescribeClientQuotas(ctx, of, only)
		require.NoError(t, err)
		all := map[entity]map[string]float64{}
		for _, q := range list {
			all[q.QuotaEntity] = q.Values
		}
		require.Len(t, all, len(list), "each once")
		return all
	}
	all := map[entity]map[string]float64{
		alice:     {cluster.QuotaProducerByteRate: 1000, cluster.QuotaRequestPercentage: 0.5},
		everybody: produce(2), both: produce(3), address: {cluster.QuotaConnectionCreationRate: 4},
	}
	assert.Equal(t, all, found(entity{}, false))
	assert.Empty(t, found(entity{}, true))
	assert.Equal(t, map[entity]map[string]float64{alice: all[alice], both: all[both]}, found(alice, false))
	assert.Equal(t, map[entity]map[string]float64{alice: all[alice]}, found(alice, true))
	assert.Equal(t, map[entity]map[string]float64{everybody: all[everybody]}, found(everybody, false))
	assert.Len(t, found(entity{User: cluster.QuotaAny}, false), 3)
	assert.Equal(t, map[entity]map[string]float64{both: all[both]}, found(entity{User: cluster.QuotaAny, ClientID: cluster.QuotaDefault}, true))
	assert.Equal(t, map[entity]map[string]float64{address: all[address]}, found(address, true))

	require.NoError(t, a.AlterClientQuotas(ctx,
		cluster.ClientQuota{QuotaEntity: alice, Values: map[string]float64{cluster.QuotaRequestPercentage: 0, cluster.QuotaConsumerByteRate: 7}},
		cluster.ClientQuota{QuotaEntity: both, Values: produce(0)},
	))
	all[alice] = map[string]float64{cluster.QuotaProducerByteRate: 1000, cluster.QuotaConsumerByteRate: 7}
	delete(all, both)
	assert.Equal(t, all, found(entity{}, false))

	for _, bad := range []cluster.ClientQuota{
		{Values: produce(1)},
		{QuotaEntity: entity{User: cluster.QuotaAny}, Values: produce(1)},
		{QuotaEntity: entity{User: "bob", IP: "10.0.0.1"}, Values: produce(1)},
		{QuotaEntity: entity{User: "bob"}, Values: produce(-1)},
		{QuotaEntity: entity{User: "bob"}, Values: map[string]float64{"speed": 1}},
	} {
		err := a.AlterClientQuotas(ctx, bad)
		require.ErrorIs(t, err, kerr.InvalidRequest, bad.String())
		var ae *cluster.AdminError
		require.ErrorAs(t, err, &ae)
		assert.Equal(t, bad.String(), ae.Name)
		assert.NotEmpty(t, ae.Text)
	}
	_, err := a.DescribeClientQuotas(ctx, entity{User: "bob", IP: "10.0.0.1"}, false)
	require.ErrorIs(t, err, kerr.InvalidRequest)
	assert.Equal(t, all, found(entity{}, false))
}
