package broker

import (
	"bytes"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func named(name string) controller.QuotaName { return controller.QuotaName{Has: true, Name: name} }

var everybody = controller.QuotaName{Has: true, Default: true}

// KIP-55: the most particular rule counts, and says whose use is counted together.
func TestQuotaPrecedence(t *testing.T) {
	order := []struct {
		e    controller.QuotaEntity
		want quotaKey
	}{
		{controller.QuotaEntity{User: named("u"), ClientID: named("c")}, quotaKey{"q", "u", "c"}},
		{controller.QuotaEntity{User: named("u"), ClientID: everybody}, quotaKey{"q", "u", "c"}},
		{controller.QuotaEntity{User: named("u")}, quotaKey{"q", "u", ""}},
		{controller.QuotaEntity{User: everybody, ClientID: named("c")}, quotaKey{"q", "u", "c"}},
		{controller.QuotaEntity{User: everybody, ClientID: everybody}, quotaKey{"q", "u", "c"}},
		{controller.QuotaEntity{User: everybody}, quotaKey{"q", "u", ""}},
		{controller.QuotaEntity{ClientID: named("c")}, quotaKey{"q", "", "c"}},
		{controller.QuotaEntity{ClientID: everybody}, quotaKey{"q", "", "c"}},
	}
	for i := range order {
		rules := map[controller.QuotaEntity]map[string]float64{
			{IP: named("::1")}: {"q": 1}, {IP: everybody}: {"q": 1},
			{User: named("v")}: {"q": 1}, {ClientID: named("d")}: {"q": 1}, {User: named("v"), ClientID: named("c")}: {"q": 1}, {User: named("u"), ClientID: named("d")}: {"q": 1},
			{User: named("c")}: {"q": 1}, {ClientID: named("u")}: {"q": 1},
		}
		for j := i; j < len(order); j++ {
			rules[order[j].e] = map[string]float64{"q": float64(100 + j), "other": 1}
		}
		q := newQuotas(&controller.Image{Quotas: rules}, &quotaUse{})
		rate, k, ok := q.limit("q", "u", "c")
		require.True(t, ok)
		assert.EqualValues(t, 100+i, rate)
		assert.Equal(t, order[i].want, k)
		_, _, ok = q.limit("none", "u", "c")
		assert.False(t, ok)

		// Without a client id only what is about users is about it.
		wantRate, wantOK := 0.0, false
		for j := len(order) - 1; j >= i; j-- {
			if !order[j].e.ClientID.Has {
				wantRate, wantOK = float64(100+j), true
			}
		}
		rate, k, ok = q.limit("q", "u", "")
		assert.Equal(t, wantOK, ok, i)
		assert.Equal(t, wantRate, rate, i)
		if ok {
			assert.Equal(t, quotaKey{"q", "u", ""}, k)
		}
	}
	assert.Nil(t, newQuotas(&controller.Image{}, &quotaUse{}))
}

func TestQuotaOfWhom(t *testing.T) {
	b := &Broker{}
	anybody := transport.Identity{Principal: transport.Anonymous, Peer: true} // where nobody logs in
	assert.Nil(t, b.quotasFor(&transport.ConnInfo{Identity: anybody}), "there are none")
	b.quotas.Store(newQuotas(&controller.Image{Quotas: map[controller.QuotaEntity]map[string]float64{{User: everybody}: {controller.ProducerByteRate: 1}}}, &b.used))
	assert.NotNil(t, b.quotasFor(&transport.ConnInfo{Identity: anybody}))
	assert.NotNil(t, b.quotasFor(&transport.ConnInfo{Identity: transport.Identity{Principal: "User:alice"}}))
	assert.Nil(t, b.quotasFor(&transport.ConnInfo{Identity: anybody, Direct: true}))
	assert.Nil(t, b.quotasFor(nil))
	assert.Nil(t, b.quotasFor(&transport.ConnInfo{Identity: transport.Identity{Principal: "User:" + peerUser, Peer: true}}), "a node that logged in")
	assert.Equal(t, "alice", quotaUser(&transport.ConnInfo{Identity: transport.Identity{Principal: "User:alice"}}))
}

func TestUsage(t *testing.T) {
	now := time.Unix(1000, 0)
	spend := func(u *usage, n float64) time.Duration {
		u.add(n, now)
		return u.excess(100, now)
	}
	var u usage
	assert.Zero(t, spend(&u, 1000), "what ten samples give is free at first")
	assert.Equal(t, time.Second, spend(&u, 100))
	now = now.Add(1500 * time.Millisecond)
	assert.Equal(t, 500*time.Millisecond, u.excess(100, now), "a second that passed takes the place of one that was given")
	assert.Equal(t, 600*time.Millisecond, spend(&u, 10))
	assert.Equal(t, 10_000*time.Second+600*time.Millisecond, spend(&u, 1e6), "without bound")

	// A sample counts as long as its last use is in the time that is looked at, and all of it from its start.
	u = usage{}
	spend(&u, 600)
	now = now.Add(900 * time.Millisecond)
	spend(&u, 600)
	now = now.Add(10500 * time.Millisecond)
	assert.Equal(t, 600*time.Millisecond, u.excess(100, now), "1200 in 11.4 s")
	now = now.Add(500 * time.Millisecond)
	assert.Zero(t, u.excess(1, now), "all is forgotten")

	// Kafka's sample of a time that is over is not taken up again.
	u = usage{}
	spend(&u, 5000)
	now = now.Add(11 * time.Second)
	assert.Zero(t, spend(&u, 1000))
	assert.Equal(t, 10*time.Millisecond, spend(&u, 1))

	// Whoever waits as told gets what it may have: 1000 at once, and 100 a second from then on.
	for _, n := range []float64{1, 50, 500} {
		u = usage{}
		sent, began := 0.0, now
		for now.Sub(began) < 10*time.Minute {
			sent += n
			now = now.Add(spend(&u, n) + 5*time.Millisecond)
		}
		assert.InEpsilon(t, 100, (sent-1000)/now.Sub(began).Seconds(), 0.02, n)
	}
	assert.Equal(t, time.Duration(math.MaxInt32)*time.Millisecond, func() time.Duration { u.add(1e300, now); return u.excess(1, now) }())
}

func TestQuotaUseIsForgotten(t *testing.T) {
	q := newQuotas(&controller.Image{Quotas: map[controller.QuotaEntity]map[string]float64{{ClientID: everybody}: {"q": 1}}}, &quotaUse{})
	now, u := time.Unix(1000, 0), &transport.ConnInfo{}
	for i := range 100 {
		q.spend("q", u, strconv.Itoa(i), 1, now)
	}
	q.spend("q", u, "1", 1, now.Add(quotaIdle/2))
	q.spend("q", u, "new", 1, now.Add(quotaIdle))
	assert.Len(t, q.used.of, 2)
}

func (h *harness) setQuota(user, clientID *string, key string, value float64) {
	h.t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	add := func(kind string, name *string) {
		if name == nil {
			return
		}
		e := kmsg.NewAlterClientQuotasRequestEntryEntity()
		if e.Type = kind; *name != "" {
			e.Name = name
		}
		entry.Entity = append(entry.Entity, e)
	}
	add("user", user)
	add("client-id", clientID)
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value, op.Remove = key, value, value == 0
	entry.Ops = append(entry.Ops, op)
	req.Entries = append(req.Entries, entry)
	require.Zero(h.t, call[*kmsg.AlterClientQuotasResponse](h.nodes[1], req).Entries[0].ErrorCode)
}

// quotaClient is a client that pays no heed to how long it is told to wait.
type quotaClient struct {
	*transport.Client
	t      *testing.T
	topic  log.TopicID // of "t"
	offset int64       // to fetch
}

func (h *harness) client(t *testing.T, id string) *quotaClient {
	t.Helper()
	c, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{h.addr(1)}, Network: h.net.Host("client-" + id), ClientID: id, RequestTimeout: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &quotaClient{Client: c, t: t, topic: h.nodes[1].metadataImage().Topics["t"].ID}
}

func (c *quotaClient) produce(records []byte) (n int, throttle time.Duration) {
	c.t.Helper()
	req := produceRequest("t", 0, -1, records)
	req.Topics[0].TopicID = c.topic
	resp, err := c.Request(c.t.Context(), transport.AnyNode, req)
	require.NoError(c.t, err)
	r := resp.(*kmsg.ProduceResponse)
	require.Zero(c.t, r.Topics[0].Partitions[0].ErrorCode)
	return len(records), millis(r.ThrottleMillis)
}

func (c *quotaClient) fetch(max int32, wait time.Duration) (n int, throttle time.Duration) {
	c.t.Helper()
	req := fetchRequest("t", 0, c.offset)
	req.Topics[0].TopicID = c.topic
	req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes, req.MinBytes, req.MaxWaitMillis = max, max, 1, int32(wait.Milliseconds())
	resp, err := c.Request(c.t.Context(), transport.AnyNode, req)
	require.NoError(c.t, err)
	r := resp.(*kmsg.FetchResponse)
	p := r.Topics[0].Partitions[0]
	require.Zero(c.t, p.ErrorCode)
	for b := record.Batch(p.RecordBatches); len(b) > 0; {
		head, rest, err := record.Split(b)
		require.NoError(c.t, err)
		c.offset, b = head.LastOffset()+1, rest
	}
	return len(p.RecordBatches), millis(r.ThrottleMillis)
}

// rate runs something again and again, for a while.
func rate(d time.Duration, once func() (int, time.Duration)) (perSecond float64, throttled bool) {
	n, began := 0, time.Now()
	for time.Since(began) < d {
		more, wait := once()
		n += more
		throttled = throttled || wait > 0
		time.Sleep(5 * time.Millisecond)
	}
	return float64(n) / time.Since(began).Seconds(), throttled
}

// TestQuotas has clients produce and consume over the network as fast as they are let. What is free at first goes round in the samples for a minute.
func TestQuotas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		h.create(1, "t", 1, 1)
		b := batch(t, string(bytes.Repeat([]byte("x"), 2000)))
		const most, settle = 100_000, 75 * time.Second
		slow, fast := h.client(t, "slow"), h.client(t, "fast")
		produce := func(c *quotaClient) func() (int, time.Duration) {
			return func() (int, time.Duration) { return c.produce(b) }
		}
		id, everyone, anonymous := "slow", "", "ANONYMOUS"
		h.setQuota(nil, &id, controller.ProducerByteRate, most)
		got, _ := rate(settle, produce(slow))
		assert.InEpsilon(t, most, got, 0.15)
		got, throttled := rate(time.Minute, produce(slow))
		assert.InEpsilon(t, most, got, 0.05)
		assert.True(t, throttled)
		got, throttled = rate(5*time.Second, produce(fast))
		assert.Greater(t, got, 3.5*most)
		assert.False(t, throttled)
		h.setQuota(nil, &id, controller.ProducerByteRate, 2*most)
		_, _ = rate(settle, produce(slow))
		got, _ = rate(time.Minute, produce(slow))
		assert.InEpsilon(t, 2*most, got, 0.05)
		h.setQuota(nil, &id, controller.ProducerByteRate, 0)
		got, throttled = rate(5*time.Second, produce(slow))
		assert.Greater(t, got, 3.5*most)
		assert.False(t, throttled)

		// Nobody logs in: everybody is ANONYMOUS, and counted together.
		fetch := func(c *quotaClient) func() (int, time.Duration) {
			return func() (int, time.Duration) { return c.fetch(2*int32(len(b)), 0) }
		}
		h.setQuota(&everyone, nil, controller.ConsumerByteRate, most)
		_, _ = rate(settle, fetch(fast))
		got, throttled = rate(time.Minute, fetch(fast))
		assert.InEpsilon(t, most, got, 0.05)
		assert.True(t, throttled)
		n, throttle := slow.fetch(50_000, 0)
		assert.Positive(t, n)
		assert.Positive(t, throttle, "its user used up the quota")
		h.setQuota(&anonymous, nil, controller.ConsumerByteRate, 2*most)
		_, _ = rate(settle, fetch(fast))
		got, _ = rate(time.Minute, fetch(fast))
		assert.InEpsilon(t, 2*most, got, 0.05)
	})
}

// A connection that waited for data waits for its quota as well, and holds up nobody's end.
func TestQuotaMutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		h.create(1, "t", 1, 1)
		id := "reader"
		h.setQuota(nil, &id, controller.ConsumerByteRate, 1000)
		reader, writer := h.client(t, id), h.client(t, "writer")
		b := batch(t, string(bytes.Repeat([]byte("x"), 20_000)))
		done := make(chan time.Duration)
		go func() {
			n, throttle := reader.fetch(1<<20, time.Minute)
			assert.Len(t, b, n)
			done <- throttle
		}()
		time.Sleep(10 * time.Second)
		writer.produce(b)
		writer.produce(b)
		throttle := <-done
		assert.InDelta(t, float64(len(b))/1000-10, throttle.Seconds(), 0.1)
		began := time.Now()
		n, next := reader.fetch(1<<20, 0)
		assert.InDelta(t, throttle.Seconds(), time.Since(began).Seconds(), 0.1)
		assert.Len(t, b, n, "batches are not cut, but there is no more than one")
		assert.Greater(t, next, 5*time.Second)
		began = time.Now()
		gone := make(chan error)
		go func() {
			_, err := reader.Request(t.Context(), 1, fetchRequest("t", 0, 0)) // it has to wait, and then there is nobody
			gone <- err
		}()
		time.Sleep(time.Second)
		h.nodes[1].stop(true)
		assert.Less(t, time.Since(began), 3*time.Second)
		reader.Close()
		assert.Error(t, <-gone)
	})
}

// Followers are no clients.
func TestQuotaFollowers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.create(1, "t", 1, 2)
		everyone := ""
		h.setQuota(nil, &everyone, controller.ConsumerByteRate, 1)
		h.setQuota(&everyone, nil, controller.ConsumerByteRate, 1)
		b := batch(t, string(bytes.Repeat([]byte("x"), 20_000)))
		l := h.leader("t", 0)
		began := time.Now()
		for range 20 {
			require.Zero(t, l.produce("t", 0, -1, b).ErrorCode)
		}
		assert.Less(t, time.Since(began), 10*time.Second)
		h.isr("t", 0, 2)
	})
}

func TestQuotaRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		u, c, all := "u", "c", ""
		h.setQuota(&u, &c, controller.ProducerByteRate, 1)
		h.setQuota(&u, nil, controller.ProducerByteRate, 2)
		h.setQuota(&all, nil, controller.ConsumerByteRate, 3)
		h.await(func() bool { return len(h.nodes[2].metadataImage().Quotas) == 3 })
		type component = kmsg.DescribeClientQuotasRequestComponent
		describe := func(strict bool, cs ...component) *kmsg.DescribeClientQuotasResponse {
			req := kmsg.NewPtrDescribeClientQuotasRequest()
			req.Version, req.Strict, req.Components = 1, strict, cs
			return call[*kmsg.DescribeClientQuotasResponse](h.nodes[2], req)
		}
		assert.Len(t, describe(false).Entries, 3)
		assert.Empty(t, describe(true).Entries)
		assert.Len(t, describe(false, component{EntityType: "user", Match: &u}).Entries, 2)
		strict := describe(true, component{EntityType: "user", Match: &u})
		require.Len(t, strict.Entries, 1)
		assert.Equal(t, []kmsg.DescribeClientQuotasResponseEntryValue{{Key: controller.ProducerByteRate, Value: 2}}, strict.Entries[0].Values)
		assert.Len(t, describe(true, component{EntityType: "user", MatchType: 1}).Entries, 1)
		assert.Len(t, describe(true, component{EntityType: "user", MatchType: 2}).Entries, 2)
		assert.Len(t, describe(true, component{EntityType: "user", MatchType: 2}, component{EntityType: "client-id", Match: &c}).Entries, 1)
		for _, bad := range [][]component{
			{{EntityType: ""}},
			{{EntityType: "user"}},
			{{EntityType: "user", MatchType: 1, Match: &u}},
			{{EntityType: "user", MatchType: 3}},
			{{EntityType: "user", MatchType: 1}, {EntityType: "user", MatchType: 1}},
			{{EntityType: "ip", MatchType: 1}, {EntityType: "user", MatchType: 1}},
		} {
			assert.Equal(t, kerr.InvalidRequest.Code, describe(false, bad...).ErrorCode)
		}
		assert.Equal(t, kerr.UnsupportedVersion.Code, describe(false, component{EntityType: "planet", MatchType: 1}).ErrorCode)

		alter := func(e []kmsg.AlterClientQuotasRequestEntryEntity, op kmsg.AlterClientQuotasRequestEntryOp) int16 {
			req := kmsg.NewPtrAlterClientQuotasRequest()
			req.Entries = []kmsg.AlterClientQuotasRequestEntry{{Entity: e, Ops: []kmsg.AlterClientQuotasRequestEntryOp{op}}}
			return call[*kmsg.AlterClientQuotasResponse](h.nodes[1], req).Entries[0].ErrorCode
		}
		type entity = kmsg.AlterClientQuotasRequestEntryEntity
		type op = kmsg.AlterClientQuotasRequestEntryOp
		user, ip, empty, address := entity{Type: "user", Name: &u}, entity{Type: "ip"}, "", "10.0.0.1"
		for name, bad := range map[string]int16{
			"no entity":       alter(nil, op{Key: controller.ProducerByteRate, Value: 1}),
			"unknown type":    alter([]entity{{Type: "planet"}}, op{Key: controller.ProducerByteRate, Value: 1}),
			"twice":           alter([]entity{user, user}, op{Key: controller.ProducerByteRate, Value: 1}),
			"empty name":      alter([]entity{{Type: "user", Name: &empty}}, op{Key: controller.ProducerByteRate, Value: 1}),
			"ip and user":     alter([]entity{user, ip}, op{Key: "connection_creation_rate", Value: 1}),
			"no address":      alter([]entity{{Type: "ip", Name: &u}}, op{Key: "connection_creation_rate", Value: 1}),
			"unknown key":     alter([]entity{user}, op{Key: "speed", Value: 1}),
			"key of an ip":    alter([]entity{user}, op{Key: "connection_creation_rate", Value: 1}),
			"nothing":         alter([]entity{user}, op{Key: controller.ProducerByteRate, Value: 0}),
			"less than that":  alter([]entity{user}, op{Key: controller.ProducerByteRate, Value: -1}),
			"half a byte":     alter([]entity{user}, op{Key: controller.ProducerByteRate, Value: 0.5}),
			"more than there": alter([]entity{user}, op{Key: controller.ProducerByteRate, Value: 1e300}),
		} {
			assert.Equal(t, kerr.InvalidRequest.Code, bad, name)
		}
		assert.Zero(t, alter([]entity{{Type: "ip", Name: &address}}, op{Key: "connection_creation_rate", Value: 5}))
		assert.Zero(t, alter([]entity{user}, op{Key: "request_percentage", Value: 0.5}))
		assert.Zero(t, alter([]entity{user}, op{Key: "nothing of it", Remove: true}), "what is not there is removed")
	})
}
