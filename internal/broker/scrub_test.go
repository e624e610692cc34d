package broker

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRangeCodec(t *testing.T) {
	req := &RangeRequest{TopicID: log.TopicID{1, 2, 15: 9}, Partition: 3, Offset: 4711, End: 1 << 40, Bytes: 1 << 20, Complaint: true}
	var back RangeRequest
	require.NoError(t, back.ReadFrom(req.AppendTo(nil)))
	assert.Equal(t, *req, back)
	for cut := range req.AppendTo(nil) {
		require.Error(t, new(RangeRequest).ReadFrom(req.AppendTo(nil)[:cut]))
	}
	resp := &RangeResponse{ErrorCode: 56, Batches: []byte("batches")}
	var got RangeResponse
	require.NoError(t, got.ReadFrom(resp.AppendTo(nil)))
	assert.Equal(t, *resp, got)
	require.Error(t, got.ReadFrom([]byte{1}))
}

// A follower that was sent damaged bytes tells the leader, which looks, and gets them back from a follower. Nobody reads them meanwhile.
func TestComplaintIsLookedInto(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		id := h.create(1, "t", 1, 3)
		lead := h.leader("t", 0)
		for _, v := range []string{"a", "b", "c"} {
			lead.mustProduce("t", 0, v)
		}
		h.isr("t", 0, 3)
		r, ok := lead.Replica("t", 0)
		require.True(t, ok)
		require.NoError(t, lead.disk.Corrupt(r.Log().Dir()+"/00000000000000000000.log", 66, 1)) // in the first batch's records
		resp := call[*RangeResponse](lead, &RangeRequest{TopicID: id, Offset: 0, End: 0, Complaint: true})
		require.Zero(t, resp.ErrorCode)
		time.Sleep(time.Second)
		repairs := lead.Repairs()
		require.Len(t, repairs, 1)
		assert.Equal(t, []int64{0, 1}, []int64{repairs[0].Damage.From, repairs[0].Damage.To})
		assert.False(t, repairs[0].Mended.IsZero())
		got := call[*kmsg.FetchResponse](lead, fetchRequest("t", 0, 0)).Topics[0].Partitions[0]
		assert.Equal(t, []string{"a", "b", "c"}, values(t, got.RecordBatches, 0))
		resp = call[*RangeResponse](lead, &RangeRequest{TopicID: id, Offset: 1, End: 2, Bytes: 100})
		assert.Equal(t, []string{"b"}, values(t, resp.Batches, 1))
		assert.Equal(t, kerr.OffsetNotAvailable.Code, call[*RangeResponse](lead, &RangeRequest{TopicID: id, Offset: 3, End: 4}).ErrorCode)
	})
}

// With no other copy the exact range is told and not served; what lies in front of it and behind it is.
func TestDamageWithoutAnotherCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		id := h.create(1, "t", 1, 1)
		n := h.nodes[1]
		for _, v := range []string{"a", "b", "c"} {
			n.mustProduce("t", 0, v)
		}
		r, ok := n.Replica("t", 0)
		require.True(t, ok)
		size := r.Log().SizeBytes() / 3
		require.NoError(t, n.disk.Corrupt(r.Log().Dir()+"/00000000000000000000.log", size+66, 1))
		fetch := func(offset int64) kmsg.FetchResponseTopicPartition {
			return call[*kmsg.FetchResponse](n, fetchRequest("t", 0, offset)).Topics[0].Partitions[0]
		}
		assert.Equal(t, kerr.KafkaStorageError.Code, fetch(0).ErrorCode, "the first time all of it is read, and found wrong")
		time.Sleep(time.Second)
		require.Len(t, n.Repairs(), 1)
		d := n.Repairs()[0]
		assert.Equal(t, []int64{1, 2, size, size}, []int64{d.Damage.From, d.Damage.To, d.Damage.Position, d.Damage.Bytes})
		assert.True(t, d.Mended.IsZero())
		assert.Equal(t, []string{"a"}, values(t, fetch(0).RecordBatches, 0))
		assert.Equal(t, kerr.KafkaStorageError.Code, fetch(1).ErrorCode)
		assert.Equal(t, []string{"c"}, values(t, fetch(2).RecordBatches, 2))
		assert.Equal(t, kerr.KafkaStorageError.Code, call[*RangeResponse](n, &RangeRequest{TopicID: id, Offset: 1, End: 2, Bytes: 100}).ErrorCode)
		n.mustProduce("t", 0, "d") // the log goes on
		assert.Equal(t, []string{"c", "d"}, values(t, fetch(2).RecordBatches, 2))
	})
}

// What changed before it was sealed, and is whole by its CRC, shows by being different from what the others have.
func TestReplicasAreCompared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		lead := h.leader("t", 0)
		for _, v := range []string{"a", "b", "c"} {
			lead.mustProduce("t", 0, v)
		}
		h.isr("t", 0, 3)
		time.Sleep(time.Second)
		for _, n := range h.nodes {
			r, _ := n.Replica("t", 0)
			require.NoError(t, r.Log().Roll())
		}
		lead.mustProduce("t", 0, "d")
		time.Sleep(10 * time.Second)
		r, _ := lead.Replica("t", 0)
		name := r.Log().Dir() + "/00000000000000000000.log"
		b := []byte(lead.file(name))
		first := record.Batch(b[:len(b)/3])
		first[66] ^= 1 // the value
		binary.BigEndian.PutUint32(first[17:], crc32.Checksum(first[21:], crc32.MakeTable(crc32.Castagnoli)))
		f, err := lead.disk.Open(name, vfs.ReadWrite)
		require.NoError(t, err)
		_, err = f.WriteAt(first, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		lead.Scrub()
		time.Sleep(time.Second)
		require.Len(t, lead.Repairs(), 1)
		assert.False(t, lead.Repairs()[0].Mended.IsZero())
		got := call[*kmsg.FetchResponse](lead, fetchRequest("t", 0, 0)).Topics[0].Partitions[0]
		assert.Equal(t, []string{"a", "b", "c"}, values(t, got.RecordBatches, 0)[:3])
		for _, n := range h.nodes {
			n.Scrub()
		}
		time.Sleep(time.Second)
		require.Len(t, lead.Repairs(), 1, "once")
	})
}

// Logs that are nearly empty are gone through at the same rate as large ones, the first time, when they are sealed and compared, and later.
func TestManyTinyLogsArePaced(t *testing.T) {
	const logs = 60
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, func(_ int32, c *Config) { c.ScrubInterval, c.ScrubRate = -1, 1<<20 })
		h.create(1, "t", logs, 1)
		n := h.nodes[1]
		for p := range int32(logs) {
			h.leader("t", p).mustProduce("t", p, "v")
			r, _ := n.Replica("t", p)
			require.NoError(t, r.Log().Roll())
			n.mustProduce("t", p, "w")
		}
		for range 2 {
			began := time.Now()
			n.Scrub()
			h.await(func() bool { return !n.scrubber.running.Load() })
			took := time.Since(began)
			assert.InDelta(t, float64(logs*scrubLogCost)/(1<<20), took.Seconds(), 0.5)
		}
	})
}

// A broker that closes ends a scrub within a segment, be it one of all logs or one that somebody waits for: segments that are small cost nothing by the rate, and much by a disk whose syncs are slow.
func TestCloseEndsAScrub(t *testing.T) {
	const segments, sync = 100, 100 * time.Millisecond
	for name, begin := range map[string]func(n *testNode){
		"of all logs":        func(n *testNode) { n.Scrub() },
		"of one that may be": func(n *testNode) { n.scrubber.suspect(n.replicas.get("t", 0), 0) },
	} {
		bubble(t, func(t *testing.T) {
			h := newHarness(t, 1, func(_ int32, c *Config) { c.ScrubInterval = -1 })
			h.create(1, "t", 1, 1)
			n := h.leader("t", 0)
			for range segments {
				n.mustProduce("t", 0, "v")
				r, _ := n.Replica("t", 0)
				require.NoError(t, r.Log().Roll())
			}
			n.mustProduce("t", 0, "v")
			n.disk.SetFault(func(op vfs.Op) error {
				if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir {
					time.Sleep(sync)
				}
				return nil
			})
			begin(n)
			time.Sleep(time.Second)
			require.True(t, n.scrubber.running.Load(), name)
			began := time.Now()
			require.NoError(t, n.Broker.Close())
			assert.LessOrEqual(t, time.Since(began), 5*sync, name)
			n.disk.SetFault(nil)
		})
	}
}

// The first time a rolled segment is read twice, to be checked and to be compared with the other replicas', which read theirs one after the other: all at the rate.
func TestComparingIsPaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, func(_ int32, c *Config) { c.ScrubInterval, c.ScrubRate = -1, 1<<20 })
		h.create(1, "t", 1, 3)
		lead := h.leader("t", 0)
		for range 20 {
			lead.mustProduce("t", 0, strings.Repeat("v", 100<<10))
		}
		h.isr("t", 0, 3)
		time.Sleep(time.Second)
		for _, n := range h.nodes {
			r, _ := n.Replica("t", 0)
			require.NoError(t, r.Log().Roll())
		}
		lead.mustProduce("t", 0, "d")
		time.Sleep(time.Second)
		for _, times := range []float64{4, 1} {
			began := time.Now()
			lead.Scrub()
			h.await(func() bool { return !lead.scrubber.running.Load() })
			assert.InDelta(t, times*20*100/1024, time.Since(began).Seconds(), 0.5)
		}
	})
}

// Whoever asks, a node reads for the comparisons of others at its own rate, for one at a time: those who come meanwhile are told so at once, and one who asks for more than can be read in a session gets no answer but that.
func TestHashingForOthersIsPaced(t *testing.T) {
	const (
		rate   = 1 << 20
		values = 40 // of 100 KiB
	)
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, func(_ int32, c *Config) { c.ScrubInterval, c.ScrubRate = -1, rate })
		h.create(1, "t", 1, 1)
		n := h.leader("t", 0)
		for range values {
			n.mustProduce("t", 0, strings.Repeat("v", 100<<10))
		}
		id := n.metadataImage().Topics["t"].ID
		ask := func(from, end int64) (code int16, took time.Duration) {
			began := time.Now()
			r := call[*RangeResponse](n, &RangeRequest{TopicID: id, Offset: from, End: end, Hash: true})
			return r.ErrorCode, time.Since(began)
		}
		began := time.Now()
		var wg sync.WaitGroup
		var done, refused atomic.Int64
		for range 8 {
			wg.Go(func() {
				for time.Since(began) < 20*time.Second {
					switch code, took := ask(0, 20); code {
					case 0:
						done.Add(1)
					case kerr.ThrottlingQuotaExceeded.Code:
						refused.Add(1)
						assert.Zero(t, took, "nobody waits in line")
					default:
						assert.Fail(t, "answer", "%v", kerr.ErrorForCode(code))
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		bytes := float64(done.Load()) * 20 * (100 << 10)
		assert.LessOrEqual(t, bytes/time.Since(began).Seconds(), 1.05*rate)
		assert.GreaterOrEqual(t, bytes/time.Since(began).Seconds(), 0.8*rate, "nor less")
		assert.Greater(t, refused.Load(), int64(1000))

		n.hashes.pace.rate = rate / 4 // all of it takes 16 s
		code, took := ask(0, values)
		assert.Equal(t, kerr.RequestTimedOut.Code, code)
		assert.Equal(t, n.c.SessionTimeout, took)
		n.hashes.pace.rate = -1
		code, took = ask(0, values)
		assert.Zero(t, code)
		assert.Zero(t, took)
	})
}
