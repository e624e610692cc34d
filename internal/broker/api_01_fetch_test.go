package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// one returns the only partition of an answer.
func one(t testing.TB, resp *kmsg.FetchResponse) *kmsg.FetchResponseTopicPartition {
	t.Helper()
	require.Zero(t, resp.ErrorCode)
	require.Len(t, resp.Topics, 1)
	require.Len(t, resp.Topics[0].Partitions, 1)
	return &resp.Topics[0].Partitions[0]
}

// later serves a fetch and hands out its answer when it comes.
func (n *testNode) later(ctx context.Context, req *kmsg.FetchRequest) <-chan *kmsg.FetchResponse {
	got := make(chan *kmsg.FetchResponse, 1)
	n.Serve(ctx, &transport.Request{Message: req, Conn: &transport.ConnInfo{Direct: true}}, func(r transport.Reply) {
		got <- r.Message.(*kmsg.FetchResponse)
	})
	return got
}

func TestFetchChecks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		id := h.create(1, "t", 1, 1)
		n := h.leader("t", 0)
		other := h.nodes[3-n.id]
		n.mustProduce("t", 0, "a", "b")

		req := func(version int16, offset int64, edit ...func(*kmsg.FetchRequest)) *kmsg.FetchRequest {
			r := fetchRequest("t", 0, offset)
			r.Version = version
			if version >= 13 {
				r.Topics[0].Topic, r.Topics[0].TopicID = "", id
			}
			for _, e := range edit {
				e(r)
			}
			return r
		}
		epoch := func(e int32) func(*kmsg.FetchRequest) {
			return func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = e }
		}
		topic := func(name string) func(*kmsg.FetchRequest) {
			return func(r *kmsg.FetchRequest) { r.Topics[0].Topic = name }
		}
		for _, c := range []struct {
			name string
			node *testNode
			req  *kmsg.FetchRequest
			want *kerr.Error
		}{
			{"all", n, req(12, 0), nil},
			{"oldest version", n, req(4, 0), nil},
			{"newest version", n, req(18, 0), nil},
			{"at the end", n, req(12, 2), nil},
			{"this epoch", n, req(12, 0, epoch(0)), nil},
			{"above the end", n, req(12, 3), kerr.OffsetOutOfRange},
			{"below the start", n, req(12, -1), kerr.OffsetOutOfRange},
			{"newer epoch", n, req(12, 0, epoch(1)), kerr.UnknownLeaderEpoch},
			{"unknown topic", n, req(12, 0, topic("x")), kerr.UnknownTopicOrPartition},
			{"unknown partition", n, req(12, 0, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 5 }), kerr.UnknownTopicOrPartition},
			{"unknown id", n, req(13, 0, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = log.TopicID{9} }), kerr.UnknownTopicID},
			{"not here", other, req(12, 0), kerr.NotLeaderForPartition},
		} {
			p := one(t, call[*kmsg.FetchResponse](c.node, c.req))
			require.NotNil(t, p.RecordBatches, "%s: never null", c.name)
			if c.want != nil {
				assert.Equal(t, c.want, kerr.ErrorForCode(p.ErrorCode), c.name)
				assert.Equal(t, int64(-1), p.HighWatermark, c.name)
				assert.Empty(t, p.RecordBatches, c.name)
				continue
			}
			assert.NoError(t, kerr.ErrorForCode(p.ErrorCode), c.name)
			assert.Equal(t, int64(2), p.HighWatermark, c.name)
			assert.Equal(t, int64(0), p.LogStartOffset, c.name)
			assert.Equal(t, int32(-1), p.PreferredReadReplica, c.name)
			assert.Nil(t, p.AbortedTransactions, "read_uncommitted has none")
			if off := c.req.Topics[0].Partitions[0].FetchOffset; off == 0 {
				assert.Equal(t, []string{"a", "b"}, values(t, p.RecordBatches, 0), c.name)
			}
		}
		p := one(t, call[*kmsg.FetchResponse](n, req(12, 0, func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 })))
		assert.NotNil(t, p.AbortedTransactions, "read_committed always has a list")

		t.Log("KIP-951: the leader is named from version 16 on")
		for v := int16(15); v <= 17; v++ {
			resp := call[*kmsg.FetchResponse](other, req(v, 0))
			p := one(t, resp)
			require.Equal(t, kerr.NotLeaderForPartition.Code, p.ErrorCode)
			if v < 16 {
				assert.Equal(t, int32(-1), p.CurrentLeader.LeaderID)
				assert.Empty(t, resp.Brokers)
				continue
			}
			assert.Equal(t, n.id, p.CurrentLeader.LeaderID)
			require.Len(t, resp.Brokers, 1)
			assert.Equal(t, n.id, resp.Brokers[0].NodeID)
		}
	})
}

func TestFetchLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 3, 1)
		big := strings.Repeat("x", 1000)
		for p := range int32(3) {
			n.mustProduce("t", p, big)
			n.mustProduce("t", p, big)
		}
		size := len(batch(t, big))
		ask := func(maxBytes, partitionMax int) (counts []int) {
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MinBytes, req.MaxBytes = 12, 1, int32(maxBytes)
			for p := range int32(3) {
				addFetch(req, "t", log.TopicID{}, p, 0)
				req.Topics[p].Partitions[0].PartitionMaxBytes = int32(partitionMax)
			}
			resp := call[*kmsg.FetchResponse](n, req)
			require.Len(t, resp.Topics, 1, "neighbours share a topic")
			require.Len(t, resp.Topics[0].Partitions, 3, "a full answer has all partitions")
			for _, p := range resp.Topics[0].Partitions {
				counts = append(counts, len(p.RecordBatches)/size)
			}
			return counts
		}
		assert.Equal(t, []int{2, 2, 2}, ask(1<<20, 1<<20))
		assert.Equal(t, []int{1, 1, 1}, ask(1<<20, size))
		assert.Equal(t, []int{2, 1, 0}, ask(3*size, 1<<20))
		assert.Equal(t, []int{1, 0, 0}, ask(10, 1<<20), "the first batch always comes")
		assert.Equal(t, []int{1, 0, 0}, ask(1<<20, 10), "but only the first")
	})
}

func TestFetchWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 2, 1)
		req := func(minBytes, wait int32) *kmsg.FetchRequest {
			r := fetchRequest("t", 0, 0)
			r.MinBytes, r.MaxWaitMillis = minBytes, wait
			return r
		}
		began := time.Now()
		assert.Empty(t, one(t, call[*kmsg.FetchResponse](n, req(1, 700))).RecordBatches)
		assert.Equal(t, 700*time.Millisecond, time.Since(began), "until the time is over")

		began = time.Now()
		got := n.later(t.Context(), req(1, 60_000))
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("answered without data")
		default:
		}
		n.mustProduce("t", 1, "elsewhere")
		synctest.Wait()
		assert.Empty(t, got, "another partition does not matter")
		n.mustProduce("t", 0, "a")
		assert.Equal(t, []string{"a"}, values(t, one(t, <-got).RecordBatches, 0))
		assert.Less(t, time.Since(began), time.Second)

		t.Log("until there are enough bytes, over several appends")
		size := int32(len(batch(t, "a")))
		got = n.later(t.Context(), req(3*size, 60_000))
		n.mustProduce("t", 0, "b")
		synctest.Wait()
		assert.Empty(t, got)
		n.mustProduce("t", 0, "c")
		assert.Equal(t, []string{"a", "b", "c"}, values(t, one(t, <-got).RecordBatches, 0))

		t.Log("an error does not wait")
		bad := req(1, 60_000)
		addFetch(bad, "nowhere", log.TopicID{}, 0, 0)
		bad.Topics[0].Partitions[0].FetchOffset = 3
		resp := <-n.later(t.Context(), bad)
		require.Len(t, resp.Topics, 2)
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Topics[1].Partitions[0].ErrorCode)

		t.Log("nothing asked for is answered at once")
		none := req(1, 60_000)
		none.Topics = nil
		assert.Empty(t, (<-n.later(t.Context(), none)).Topics)

		t.Log("the end of the connection ends the wait")
		ctx, cancel := context.WithCancel(t.Context())
		end := req(1, 60_000)
		end.Topics[0].Partitions[0].FetchOffset = 3
		began = time.Now()
		got = n.later(ctx, end)
		cancel()
		<-got
		assert.Less(t, time.Since(began), time.Second)

		t.Log("so does the deletion of the topic")
		got = n.later(t.Context(), end)
		synctest.Wait()
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.Version, del.TopicNames, del.TimeoutMillis = 5, []string{"t"}, 5000
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](n, del).Topics[0].ErrorCode)
		code := one(t, <-got).ErrorCode
		assert.Contains(t, []int16{kerr.UnknownTopicOrPartition.Code, kerr.NotLeaderForPartition.Code}, code)
		assert.Less(t, time.Since(began), time.Second)
	})
}

func TestFetchEndsWithTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		r := fetchRequest("t", 0, 0)
		r.MaxWaitMillis = 3_600_000
		got := n.later(t.Context(), r)
		began := time.Now()
		n.stop(true)
		<-got
		assert.Less(t, time.Since(began), time.Second)
	})
}

// sessionFetch is a request of a consumer's session.
func sessionFetch(id, epoch int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes, req.MaxBytes, req.SessionID, req.SessionEpoch = 12, 1, 1<<20, id, epoch
	return req
}

// seen renders an answer: "t/0=a,b t/1!3 t/2".
func seen(t testing.TB, resp *kmsg.FetchResponse) string {
	t.Helper()
	var out []string
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			s := fmt.Sprintf("%s/%d", topic.Topic, p.Partition)
			if p.ErrorCode != 0 {
				s += fmt.Sprintf("!%d", p.ErrorCode)
			}
			if len(p.RecordBatches) > 0 {
				s += "=" + strings.Join(values(t, p.RecordBatches, 0), ",")
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

func TestKIP227_IncrementalFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 4, 1)
		n.mustProduce("t", 1, "a")
		req := sessionFetch(0, 0)
		for p := range int32(3) {
			addFetch(req, "t", log.TopicID{}, p, 0)
		}
		resp := call[*kmsg.FetchResponse](n, req)
		require.Equal(t, "t/0 t/1=a t/2", seen(t, resp), "the first answer has all")
		id := resp.SessionID
		require.Positive(t, id)
		epoch := int32(0)
		ask := func(edit ...func(*kmsg.FetchRequest)) string {
			epoch++
			req := sessionFetch(id, epoch)
			for _, e := range edit {
				e(req)
			}
			resp := call[*kmsg.FetchResponse](n, req)
			require.Zero(t, resp.ErrorCode)
			require.Equal(t, id, resp.SessionID)
			return seen(t, resp)
		}
		at := func(p int32, offset int64) func(*kmsg.FetchRequest) {
			return func(r *kmsg.FetchRequest) { addFetch(r, "t", log.TopicID{}, p, offset) }
		}
		forget := func(p int32) func(*kmsg.FetchRequest) {
			return func(r *kmsg.FetchRequest) {
				r.ForgottenTopics = append(r.ForgottenTopics, kmsg.FetchRequestForgottenTopic{Topic: "t", Partitions: []int32{p}})
			}
		}
		wait := func(r *kmsg.FetchRequest) { r.MaxWaitMillis = 60_000 }

		assert.Equal(t, "t/1=a", ask(), "data that was not acknowledged by a new offset comes again")
		assert.Equal(t, "", ask(at(1, 1)), "no news")
		n.mustProduce("t", 0, "b")
		assert.Equal(t, "t/0=b", ask(), "an idle partition has data")
		n.mustProduce("t", 2, "c")
		assert.Equal(t, "t/2=c", ask(at(0, 1)))
		assert.Equal(t, "", ask(at(2, 1)))

		t.Log("partitions come in turns")
		for p := range int32(3) {
			n.mustProduce("t", p, fmt.Sprint("x", p))
		}
		few := func(r *kmsg.FetchRequest) { r.MaxBytes = 10 }
		var turns []string
		for i := range 6 {
			s := ask(few)
			turns = append(turns, s)
			_ = i
		}
		assert.Equal(t, []string{"t/0=x0", "t/1=x1", "t/2=x2", "t/0=x0", "t/1=x1", "t/2=x2"}, turns)
		assert.Equal(t, "", ask(at(0, 2), at(1, 2), at(2, 2)))

		t.Log("a forgotten partition is silent")
		assert.Equal(t, "", ask(forget(1)))
		n.mustProduce("t", 1, "y")
		assert.Equal(t, "", ask())
		assert.Equal(t, "t/1=y", ask(at(1, 2)), "until it is added again")
		assert.Equal(t, "", ask(at(1, 3)))

		t.Log("an error is said again until it heals, and the healing is said too")
		assert.Equal(t, "t/3!1", ask(at(3, 7)))
		assert.Equal(t, "t/3!1", ask())
		assert.Equal(t, "t/3", ask(at(3, 0)))
		assert.Equal(t, "", ask())

		t.Log("a parked one is woken")
		epoch++
		parked := sessionFetch(id, epoch)
		wait(parked)
		began := time.Now()
		got := n.later(t.Context(), parked)
		synctest.Wait()
		require.Empty(t, got)
		n.mustProduce("t", 2, "z")
		assert.Equal(t, "t/2=z", seen(t, <-got))
		assert.Less(t, time.Since(began), time.Second)

		t.Log("while one is under way another is refused; a full fetch takes its place")
		assert.Equal(t, "", ask(at(2, 3)))
		epoch++
		parked = sessionFetch(id, epoch)
		wait(parked)
		got = n.later(t.Context(), parked)
		assert.Equal(t, kerr.InvalidFetchSessionEpoch.Code, call[*kmsg.FetchResponse](n, sessionFetch(id, epoch+1)).ErrorCode)
		began = time.Now()
		full := sessionFetch(id, 0)
		addFetch(full, "t", log.TopicID{}, 0, 2)
		resp = call[*kmsg.FetchResponse](n, full)
		assert.Equal(t, "t/0", seen(t, resp))
		assert.NotEqual(t, id, resp.SessionID)
		<-got
		assert.Less(t, time.Since(began), time.Second, "its wait has ended")
		assert.Equal(t, kerr.FetchSessionIDNotFound.Code, call[*kmsg.FetchResponse](n, sessionFetch(id, epoch+1)).ErrorCode)

		t.Log("wrong epoch and mixed kinds of names")
		id = resp.SessionID
		assert.Equal(t, kerr.InvalidFetchSessionEpoch.Code, call[*kmsg.FetchResponse](n, sessionFetch(id, 9)).ErrorCode)
		ids := sessionFetch(id, 1)
		ids.Version = 13
		assert.Equal(t, kerr.FetchSessionTopicIDError.Code, call[*kmsg.FetchResponse](n, ids).ErrorCode)
	})
}

func TestFetchSessionSeesRecreatedTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		first := h.create(1, "t", 1, 1)
		n.mustProduce("t", 0, "a")
		byName, byID := sessionFetch(0, 0), sessionFetch(0, 0)
		addFetch(byName, "t", log.TopicID{}, 0, 1)
		byID.Version = 13
		addFetch(byID, "", first, 0, 1)
		nameSession, idSession := call[*kmsg.FetchResponse](n, byName).SessionID, call[*kmsg.FetchResponse](n, byID).SessionID
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.Version, del.TopicNames, del.TimeoutMillis = 5, []string{"t"}, 5000
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](n, del).Topics[0].ErrorCode)
		second := h.create(1, "t", 1, 1)
		require.NotEqual(t, first, second)
		n.mustProduce("t", 0, "b", "c")
		resp := call[*kmsg.FetchResponse](n, sessionFetch(nameSession, 1))
		assert.Equal(t, "t/0=b,c", seen(t, resp))
		req := sessionFetch(idSession, 1)
		req.Version = 13
		assert.Equal(t, kerr.UnknownTopicID.Code, one(t, call[*kmsg.FetchResponse](n, req)).ErrorCode, "an old id never finds the new topic")
	})
}

// A follower that hears of an election before the new leader does is refused. It means that fetch still, and has nothing more to name in its session: the next one counts for the high watermark at once, and not
// only when all of the session is recorded again.
func TestFollowerRefusedBeforeTheElectionCountsAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 4, func(_ int32, c *Config) { c.LagTime = 10 * time.Minute }) // all of a session is recorded again after an eighth of it
		controller, _, _ := h.nodes[1].ctl.Leader()
		ids := slices.DeleteFunc(slices.Clone(h.ids), func(id int32) bool { return id == controller })
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis = 7, 10_000
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "t", -1, -1
		rt.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: ids}}
		req.Topics = append(req.Topics, rt)
		require.Zero(t, call[*kmsg.CreateTopicsResponse](h.nodes[controller], req).Topics[0].ErrorCode)
		old, next, follower := h.leader("t", 0), h.nodes[ids[1]], h.nodes[ids[2]]
		require.Equal(t, ids[0], old.id)
		h.isr("t", 0, 3)
		old.mustProduce("t", 0, "a")

		t.Log("a record that the next leader has and the follower has not named")
		for _, n := range []*testNode{old, next} {
			h.net.SetLink(fmt.Sprint("n", n.id), fmt.Sprint("n", follower.id), transport.Link{Stall: true})
			h.net.SetLink(fmt.Sprint("n", follower.id), fmt.Sprint("n", n.id), transport.Link{Stall: true})
		}
		time.Sleep(time.Second) // fetches under way are over
		require.Zero(t, old.produce("t", 0, 1, batch(t, "b")).ErrorCode)
		r, _ := next.Replica("t", 0)
		h.await(func() bool { return r.Log().Offsets().LogEndOffset == 2 })

		p := partitionOf(next.metadataImage(), "t", 0)
		fetch := sessionFetch(0, 0)
		fetch.ReplicaID = follower.id
		addFetch(fetch, "t", log.TopicID{}, 0, 2)
		want := &fetch.Topics[0].Partitions[0]
		want.CurrentLeaderEpoch, want.LastFetchedEpoch = p.LeaderEpoch+1, p.LeaderEpoch
		resp := call[*kmsg.FetchResponse](next, fetch)
		require.Equal(t, kerr.UnknownLeaderEpoch.Code, one(t, resp).ErrorCode)

		old.stop(false)
		h.await(func() bool { return r.CheckLeader(p.LeaderEpoch+1) == nil })
		require.Contains(t, partitionOf(next.metadataImage(), "t", 0).ISR, follower.id)
		require.Equal(t, int64(1), r.Log().Offsets().HighWatermark)
		again := sessionFetch(resp.SessionID, 1)
		again.ReplicaID = follower.id
		require.Zero(t, one(t, call[*kmsg.FetchResponse](next, again)).ErrorCode)
		require.Equal(t, int64(2), r.Log().Offsets().HighWatermark)
		h.net.Heal()
	})
}

func TestFollowerLearnsHighWatermarkSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		leader := h.leader("t", 0)
		h.isr("t", 0, 3)
		time.Sleep(time.Second)
		leader.mustProduce("t", 0, "a")
		began := time.Now()
		h.await(func() bool {
			for _, id := range h.ids {
				if r, _ := h.nodes[id].Replica("t", 0); r.Log().Offsets().HighWatermark != 1 {
					return false
				}
			}
			return true
		})
		assert.LessOrEqual(t, time.Since(began), 4*followerWake, "and not only after its max wait")
	})
}

func TestKIP392_NearestReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, func(id int32, c *Config) { c.Rack = string(rune('a' + id - 1)) })
		h.create(1, "t", 1, 3)
		leader := h.leader("t", 0)
		h.isr("t", 0, 3)
		leader.mustProduce("t", 0, "v")
		h.await(func() bool {
			for _, id := range h.ids {
				if r, _ := h.nodes[id].Replica("t", 0); r.Log().Offsets().HighWatermark != 1 {
					return false
				}
			}
			return true
		})
		ask := func(n *testNode, rack string, version int16) *kmsg.FetchResponseTopicPartition {
			req := fetchRequest("t", 0, 0)
			req.Version, req.Rack = version, rack
			return one(t, call[*kmsg.FetchResponse](n, req))
		}
		var near *testNode
		for _, id := range h.ids {
			if id != leader.id {
				near = h.nodes[id]
			}
		}
		p := ask(leader, near.c.Rack, 12)
		assert.Equal(t, near.id, p.PreferredReadReplica)
		assert.Empty(t, p.RecordBatches)
		assert.Equal(t, int64(1), p.HighWatermark)
		assert.Equal(t, []string{"v"}, values(t, ask(near, near.c.Rack, 12).RecordBatches, 0), "a follower serves consumers")
		for _, rack := range []string{"", leader.c.Rack, "elsewhere"} {
			p := ask(leader, rack, 12)
			assert.Equal(t, int32(-1), p.PreferredReadReplica, rack)
			assert.NotEmpty(t, p.RecordBatches, rack)
		}
		assert.Equal(t, kerr.NotLeaderForPartition.Code, ask(near, "", 10).ErrorCode, "before version 11 only the leader serves")

		t.Log("a replica that lacks the offset is not chosen")
		h.net.SetLink(fmt.Sprintf("n%d", near.id), fmt.Sprintf("n%d", leader.id), transport.Link{Stall: true})
		time.Sleep(time.Second)
		require.Zero(t, leader.produce("t", 0, 1, batch(t, "w")).ErrorCode)
		req := fetchRequest("t", 0, 2)
		req.Rack = near.c.Rack
		assert.Equal(t, int32(-1), one(t, call[*kmsg.FetchResponse](leader, req)).PreferredReadReplica)
		h.net.Heal()
	})
}

// TestFetchOverTheWire compares what comes through a connection with what comes directly, for every version.
func TestFetchOverTheWire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		id := h.create(1, "t", 1, 1)
		n.mustProduce("t", 0, "a", "b")
		client, err := transport.NewClient(transport.ClientConfig{Network: h.net.Host("client"), Bootstrap: []string{h.addr(1)}})
		require.NoError(t, err)
		defer client.Close()
		req := fetchRequest("t", 0, 0)
		req.Topics[0].TopicID = id
		resp, err := client.Request(t.Context(), transport.AnyNode, req)
		require.NoError(t, err)
		assert.Equal(t, int16(18), resp.GetVersion())
		assert.Equal(t, []string{"a", "b"}, values(t, one(t, resp.(*kmsg.FetchResponse)).RecordBatches, 0))
		for b := range record.Batches(one(t, resp.(*kmsg.FetchResponse)).RecordBatches) {
			assert.NoError(t, b.CheckCRC())
		}
	})
}
