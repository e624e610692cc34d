package groups

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication"
)

func TestCommitAndReload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		r := <-submit(cs, commitOf("g", "orders", 1, ""), "g")
		require.ErrorIs(t, r.err, ErrNotCoordinator)
		serve(t, cs, s)
		mustCommit(t, cs, "g", "orders", 5)
		mustCommit(t, cs, "g", "orders", 7)
		mustCommit(t, cs, "h", "payments", 1)
		mustCommit(t, cs, "", "payments", 2) // the empty id is a group for commits, too
		require.Equal(t, int64(7), offset(t, cs, "g", "orders"))
		before := all(t, cs)

		s.lead([]int32{1}, []int32{1})
		cs.Lead(0, s.epoch, s.replica, topics{})
		await(t, cs, Serving)
		assert.Equal(t, before, all(t, cs))
		st := cs.Status()[0]
		assert.Equal(t, int64(4), st.Load.Entries)
		assert.Equal(t, s.epoch, st.LeaderEpoch)
		assert.NotZero(t, st.LogBytes)

		cs.Lead(0, s.epoch-1, s.replica, topics{}) // news of long ago
		assert.Equal(t, s.epoch, cs.Status()[0].LeaderEpoch)
		cs.Resign(0)
		assert.ErrorIs(t, cs.Read("g", nil), ErrNotCoordinator)
		assert.ErrorIs(t, (<-submit(cs, commitOf("g", "orders", 1, ""), "g")).err, ErrNotCoordinator)
	})
}

// TestManySubmitters: each is answered once, and what comes while a write is under way shares the next.
func TestManySubmitters(t *testing.T) {
	for _, flush := range []int64{1, never} {
		t.Run(fmt.Sprintf("flush=%d", flush), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newStore(t, storeConfig{flush: flush})
				cs := newCoordinators(t)
				serve(t, cs, s)
				const submitters, each = 50, 40
				done := make(chan error, submitters)
				for i := range submitters {
					go func() {
						group := fmt.Sprintf("g%d", i)
						var err error
						for n := range each {
							if r := <-submit(cs, commitOf(group, "orders", int64(n), ""), group); r.err != nil {
								err = r.err
							}
						}
						done <- err
					}()
				}
				for range submitters {
					require.NoError(t, <-done)
				}
				for i := range submitters {
					require.Equal(t, int64(each-1), offset(t, cs, fmt.Sprintf("g%d", i), "orders"))
				}
				require.Equal(t, int64(submitters*each), s.replica.Log().Offsets().LogEndOffset)
				require.Zero(t, cs.Status()[0].Waiting)
			})
		})
	}
}

// TestQueueSharesABatch: what waits for a write is written in one batch.
func TestQueueSharesABatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
		cs := newCoordinators(t)
		cs.Lead(0, s.epoch, s.replica, topics{})
		s.confirm(2)
		await(t, cs, Serving)
		var waiting []<-chan reply
		for i := range 100 {
			waiting = append(waiting, submit(cs, commitOf(fmt.Sprint("g", i), "orders", 1, ""), fmt.Sprint("g", i)))
		}
		synctest.Wait()
		require.Equal(t, int64(1), s.replica.Log().Offsets().LogEndOffset, "the first is being written, the others wait")
		require.Equal(t, 100, cs.Status()[0].Waiting)
		s.confirm(2)
		synctest.Wait()
		require.Len(t, waiting[0], 1)
		require.Empty(t, waiting[1])
		require.Equal(t, int64(100), s.replica.Log().Offsets().LogEndOffset)
		require.Equal(t, -1, int(offset(t, cs, "g1", "orders")), "not committed yet")
		s.confirm(2)
		for _, w := range waiting {
			require.NoError(t, (<-w).err)
		}
		require.Equal(t, 2, batches(t, s))
	})
}

func batches(t testing.TB, s *store) (n int) {
	t.Helper()
	o := s.replica.Log().Offsets()
	sl, err := s.replica.Log().Read(o.LogStartOffset, o.LogEndOffset, 64<<20, true)
	require.NoError(t, err)
	b, err := sl.Append(nil)
	sl.Release()
	require.NoError(t, err)
	for range record.Batches(b) {
		n++
	}
	return n
}

// TestCommitTimeout: a high watermark that stands still answers what is written and what waits; the state has what was written as soon as it is committed.
func TestCommitTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
		cs := newCoordinators(t)
		cs.Lead(0, s.epoch, s.replica, topics{})
		s.confirm(2)
		await(t, cs, Serving)
		began := time.Now()
		written := submit(cs, commitOf("g", "orders", 5, ""), "g")
		time.Sleep(2 * time.Second)
		queued := submit(cs, commitOf("g", "orders", 6, ""), "g")
		require.ErrorIs(t, (<-written).err, ErrNotAvailable)
		assert.Equal(t, testTimeout, time.Since(began))
		require.ErrorIs(t, (<-queued).err, ErrNotAvailable)
		assert.GreaterOrEqual(t, time.Since(began), testTimeout+2*time.Second)
		assert.LessOrEqual(t, time.Since(began), testTimeout+2*time.Second+testTimeout/lookAgain)
		assert.Equal(t, int64(-1), offset(t, cs, "g", "orders"), "reads are answered meanwhile")

		late := submit(cs, commitOf("h", "orders", 7, ""), "h")
		time.Sleep(time.Second)
		s.confirm(2) // what was given up is committed all the same: nobody said that it was not
		synctest.Wait()
		assert.Equal(t, int64(5), offset(t, cs, "g", "orders"))
		s.confirm(2)
		require.NoError(t, (<-late).err)
		assert.Equal(t, int64(5), offset(t, cs, "g", "orders"), "what waited was given up undecided")
		time.Sleep(time.Minute) // the timers find nothing
	})
}

// TestNotEnoughReplicas: nothing is appended, nothing changes, and the coordinator goes on.
func TestNotEnoughReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, isr: []int32{1}, minISR: 2})
		cs := newCoordinators(t)
		serve(t, cs, s)
		r := <-submit(cs, commitOf("g", "orders", 5, ""), "g")
		require.ErrorIs(t, r.err, ErrNotAvailable)
		require.Equal(t, int64(-1), offset(t, cs, "g", "orders"))
		require.Equal(t, Serving, cs.Status()[0].Phase)
		s.replica.SetSettings(replication.Settings{MinInSyncReplicas: 1})
		mustCommit(t, cs, "g", "orders", 6)
	})
}

// TestTooLarge: a batch that the log does not take is refused; those after it are not.
func TestTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		serve(t, cs, s)
		s.replica.Log().SetConfig(log.Config{SegmentBytes: 1000, Compacted: true})
		r := <-submit(cs, commitOf("g", "orders", 5, strings.Repeat("x", 2000)), "g")
		require.ErrorIs(t, r.err, ErrRefused)
		mustCommit(t, cs, "g", "orders", 6)
	})
}

// TestLargeRequestIsWrittenAlone: what waits beside it does not fail with it.
func TestLargeRequestIsWrittenAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
		cs := newCoordinators(t)
		cs.Lead(0, s.epoch, s.replica, topics{})
		s.confirm(2)
		await(t, cs, Serving)
		s.replica.Log().SetConfig(log.Config{SegmentBytes: maxWeight, Compacted: true})
		first := submit(cs, commitOf("a", "orders", 1, ""), "a")
		small := submit(cs, commitOf("b", "orders", 1, ""), "b")
		many := &machine.Commit{Group: "c", Epoch: -1}
		for p := range int32(1000) {
			many.Offsets = append(many.Offsets, machine.CommitOffset{Topic: "orders", Partition: p, Metadata: strings.Repeat("x", 1000)})
		}
		large := submit(cs, many, "c")
		next := submit(cs, commitOf("d", "orders", 1, ""), "d")
		for range 3 {
			s.confirm(2)
			synctest.Wait()
		}
		require.ErrorIs(t, (<-large).err, ErrRefused)
		for _, r := range []<-chan reply{first, small, next} {
			require.NoError(t, (<-r).err)
		}
	})
}

// TestLostLeadership: in the middle of a write everything outstanding is answered, once.
func TestLostLeadership(t *testing.T) {
	for _, how := range []string{"resign", "newer epoch", "replica finds out", "close", "append finds out"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
				cs := newCoordinators(t)
				cs.Lead(0, s.epoch, s.replica, topics{})
				s.confirm(2)
				await(t, cs, Serving)
				var waiting []<-chan reply
				add := func() {
					g := fmt.Sprint("g", len(waiting))
					waiting = append(waiting, submit(cs, commitOf(g, "orders", 5, ""), g))
				}
				if how == "append finds out" {
					s.apply(2, []int32{1, 2}, []int32{1, 2})
				}
				for range 10 {
					add()
				}
				synctest.Wait()
				switch how {
				case "resign":
					cs.Resign(0)
				case "newer epoch":
					s.lead([]int32{1, 2}, []int32{1, 2})
					cs.Lead(0, s.epoch, s.replica, topics{})
				case "replica finds out":
					s.apply(2, []int32{1, 2}, []int32{1, 2})
				case "close":
					cs.Close()
				}
				for _, w := range waiting {
					require.ErrorIs(t, (<-w).err, ErrNotCoordinator)
				}
				if how == "newer epoch" {
					// The batch is in the log, and is committed under the new epoch: it is state then.
					synctest.Wait()
					require.Equal(t, Loading, cs.Status()[0].Phase)
					require.ErrorIs(t, cs.Read("g0", nil), ErrLoading)
					require.ErrorIs(t, cs.ReadAll(nil), ErrLoading)
					require.ErrorIs(t, (<-submit(cs, commitOf("g", "orders", 5, ""), "g")).err, ErrLoading)
					require.NoError(t, (<-submit(cs, &machine.Heartbeat{Group: "g"}, "g")).err, "loading is no reason to rebalance")
					s.confirm(2)
					await(t, cs, Serving)
					require.Equal(t, int64(5), offset(t, cs, "g0", "orders"))
					require.Equal(t, int64(-1), offset(t, cs, "g1", "orders"))
				}
			})
		})
	}
}

// TestHandedOver: while another may be the coordinator already this one tells nothing, and decides nothing; it goes on when it is not, and so does its loading. Who steps down does so up to an epoch.
func TestHandedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
		cs := newCoordinators(t)
		s.confirm(2)
		serve(t, cs, s)
		done := submit(cs, commitOf("g", "orders", 5, ""), "g")
		synctest.Wait()
		s.confirm(2)
		require.NoError(t, (<-done).err)
		mark := func(partitionEpoch int32, to ...int32) {
			_, err := s.replica.Apply(replication.State{Leader: 1, LeaderEpoch: s.epoch, PartitionEpoch: partitionEpoch, Replicas: []int32{1, 2}, ISR: []int32{1, 2}, HandOver: to}, time.Now())
			require.NoError(t, err)
		}
		mark(s.epoch+1, 2)
		require.True(t, s.replica.HandedOver())
		require.ErrorIs(t, cs.Read("g", nil), ErrLoading)
		require.ErrorIs(t, cs.ReadAll(nil), ErrLoading)
		require.ErrorIs(t, (<-submit(cs, commitOf("g", "orders", 6, ""), "g")).err, ErrLoading)
		r := <-submit(cs, &machine.Heartbeat{Group: "g"}, "g")
		require.NoError(t, r.err, "no reason to rebalance")
		require.Nil(t, r.result)

		other := newCoordinators(t) // that begins to load meanwhile
		other.Lead(0, s.epoch, s.replica, topics{})
		synctest.Wait()
		require.Equal(t, Loading, other.Status()[0].Phase)
		mark(s.epoch + 2)
		await(t, other, Serving)
		require.Equal(t, int64(5), offset(t, other, "g", "orders"))
		require.Equal(t, int64(5), offset(t, cs, "g", "orders"))

		cs.StepDown(0, s.epoch-1)
		require.Equal(t, int64(5), offset(t, cs, "g", "orders"))
		cs.StepDown(0, s.epoch)
		require.ErrorIs(t, cs.Read("g", nil), ErrNotCoordinator)
		cs.StepDown(0, s.epoch)
	})
}

// TestMetadataWhileWriting: deleted topics lose their offsets, also when the news comes in the middle of a write.
func TestMetadataWhileWriting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
		cs := newCoordinators(t)
		cs.Lead(0, s.epoch, s.replica, topics{})
		s.confirm(2)
		await(t, cs, Serving)
		w := submit(cs, commitOf("g", "orders", 5, ""), "g")
		cs.SetMetadata(topics{}, []string{"orders"})
		s.confirm(2)
		require.NoError(t, (<-w).err)
		synctest.Wait()
		require.Equal(t, int64(5), offset(t, cs, "g", "orders"))
		s.confirm(2)
		synctest.Wait()
		require.Equal(t, int64(-1), offset(t, cs, "g", "orders"))
	})
}

// fillUp commits long texts to a few hundred groups, so many bytes, and returns what there is then.
func fillUp(t *testing.T, cs *Coordinators, bytes int) map[string]int64 {
	t.Helper()
	text := strings.Repeat("x", 4000)
	mustCommit(t, cs, "", "orders", 1) // the empty id comes first, and is a group
	mustCommit(t, cs, "h", "orders", 2)
	for i := range bytes / len(text) {
		group := fmt.Sprint("g", i%300)
		r := <-submit(cs, commitOf(group, "orders", int64(i), text), group)
		require.NoError(t, r.err)
	}
	synctest.Wait()
	return all(t, cs)
}

// TestRewrite: a log of many commits to few keys stays short, and tells the same.
func TestRewrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		serve(t, cs, s)
		want := fillUp(t, cs, 24<<20)
		st := cs.Status()[0]
		require.NotZero(t, st.Rewrites)
		require.Less(t, st.LogBytes, int64(8<<20), "of 24 MiB")
		require.Len(t, want, 302)
		require.NotZero(t, s.replica.Log().Offsets().LogStartOffset)

		s.lead([]int32{1}, []int32{1})
		cs.Lead(0, s.epoch, s.replica, topics{})
		await(t, cs, Serving)
		require.Equal(t, want, all(t, cs))
		require.Less(t, cs.Status()[0].Load.Bytes, int64(8<<20))
	})
}

// TestRewriteInterrupted: a chunk that cannot be written is written when writes succeed again; until then the log begins where it did.
func TestRewriteInterrupted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, isr: []int32{1}})
		c := newCoordinators(t).c
		var cs *Coordinators
		interrupted := 0
		c.Changed = func() {
			sh := cs.mu.shards[0]
			sh.mu.Lock()
			w := sh.mu.rewrite
			sh.mu.Unlock()
			if w.chunk.there && w.size > 0 && interrupted == 0 { // in the middle
				interrupted++
				s.replica.SetSettings(replication.Settings{MinInSyncReplicas: 2})
			}
		}
		cs, err := New(c)
		require.NoError(t, err)
		defer cs.Close()
		serve(t, cs, s)
		text := strings.Repeat("x", 4000)
		i := 0
		for ; interrupted == 0; i++ {
			group := fmt.Sprint("g", i%300)
			r := <-submit(cs, commitOf(group, "orders", int64(i), text), group)
			require.NoError(t, r.err)
			synctest.Wait()
		}
		require.ErrorIs(t, (<-submit(cs, commitOf("g", "orders", 1, ""), "g")).err, ErrNotAvailable)
		synctest.Wait()
		require.Zero(t, s.replica.Log().Offsets().LogStartOffset)
		require.Zero(t, cs.Status()[0].Rewrites)
		want := all(t, cs)
		require.Equal(t, want, loaded(t, cs, s), "what a crash would leave here")
		s.replica.SetSettings(replication.Settings{MinInSyncReplicas: 1})
		mustCommit(t, cs, "g1", "orders", 1<<40)
		synctest.Wait()
		require.NotZero(t, cs.Status()[0].Rewrites)
		require.NotZero(t, s.replica.Log().Offsets().LogStartOffset)
		want["g1/orders-0"] = 1 << 40
		require.Equal(t, want, all(t, cs))
		require.Equal(t, want, loaded(t, cs, s))
	})
}

// loaded is what a load of the log as it is would give.
func loaded(t *testing.T, cs *Coordinators, s *store) map[string]int64 {
	t.Helper()
	l := newLoader(newShard(cs, 0, s.epoch, s.replica, topics{}))
	require.NoError(t, l.run())
	return offsets(l.machine)
}

// TestRewriteTooLarge: where the log does not take a chunk it stays as it is.
func TestRewriteTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		serve(t, cs, s)
		s.replica.Log().SetConfig(log.Config{SegmentBytes: 100_000, Compacted: true})
		fillUp(t, cs, 10<<20)
		require.Zero(t, cs.Status()[0].Rewrites)
		require.Zero(t, s.replica.Log().Offsets().LogStartOffset)
	})
}

// TestForeignEntries: what no coordinator wrote does not keep a partition from being loaded.
func TestForeignEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		serve(t, cs, s)
		mustCommit(t, cs, "g", "orders", 5)
		cs.Resign(0)
		b := record.NewBuilder(record.BuilderConfig{})
		for _, key := range []string{"", "x", "\x00\x01", "\x00\x01\xff\xff", "\x7f\xff", "\x00\x02\x00\x05ab"} {
			b.Append(&record.Record{Key: []byte(key), Value: []byte{0, 99, 1, 2, 3}, Timestamp: time.Now()})
		}
		batch, err := b.Build(nil)
		require.NoError(t, err)
		done := make(chan error, 1)
		s.replica.Append(batch, replication.AppendOptions{Acks: replication.AcksAll, RequiredLeaderEpoch: -1}, func(r replication.AppendResult) { done <- r.Err })
		require.NoError(t, <-done)
		serve(t, cs, s)
		require.Equal(t, int64(5), offset(t, cs, "g", "orders"))
		require.Equal(t, int64(7), cs.Status()[0].Load.Entries)
	})
}

// TestFailedDisk: a write that the disk fails answers everything and ends the coordinator: whether it is in the log is open.
func TestFailedDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := vfs.NewMem()
		s := newStore(t, storeConfig{fs: disk, dir: "data"})
		cs := newCoordinators(t)
		serve(t, cs, s)
		mustCommit(t, cs, "g", "orders", 5)
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return errors.New("the disk is broken")
			}
			return nil
		})
		first, second := submit(cs, commitOf("g", "orders", 6, ""), "g"), submit(cs, commitOf("g", "orders", 7, ""), "g")
		require.ErrorIs(t, (<-first).err, ErrNotCoordinator)
		require.ErrorIs(t, (<-second).err, ErrNotCoordinator)
		await(t, cs, Stopped)
		require.Error(t, cs.Status()[0].Err)
		require.ErrorIs(t, cs.Read("g", nil), ErrNotCoordinator)
		disk.SetFault(nil)
		s.broken = true
	})
}

// TestDamagedLog: a partition whose log is damaged below the high watermark is not served from what is left of it.
func TestDamagedLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := vfs.NewMem()
		s := newStore(t, storeConfig{fs: disk, dir: "data"})
		cs := newCoordinators(t)
		serve(t, cs, s)
		mustCommit(t, cs, "g", "orders", 5)
		mustCommit(t, cs, "g", "orders", 6)
		cs.Resign(0)
		require.NoError(t, disk.Corrupt("data/__consumer_offsets-0/00000000000000000000.log", 70, 1))
		cs.Lead(0, s.epoch, s.replica, topics{})
		await(t, cs, Stopped)
		require.ErrorContains(t, cs.Status()[0].Err, "crc")
		require.ErrorIs(t, cs.Read("g", nil), ErrNotCoordinator)
		s.broken = true
	})
}

// TestTransactionalEntries count when their transaction is committed, from the marker's place on.
func TestTransactionalEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		l := newLoader(newShard(cs, 0, s.epoch, s.replica, topics{}))
		load := func(b record.Batch) { require.NoError(t, l.batch(b)) }
		at := func(group string) int64 {
			o, ok := l.machine.Offset(group, machine.TopicPartition{Topic: "orders"})
			if !ok {
				return -1
			}
			return o.Offset
		}
		load(offsetBatch(t, 7, "g", 5))
		load(offsetBatch(t, 8, "h", 6))
		load(offsetBatch(t, -1, "g", 4))
		require.Equal(t, int64(4), at("g"))
		require.Equal(t, int64(-1), at("h"))
		load(marker(t, 7, record.ControlCommit))
		load(marker(t, 8, record.ControlAbort))
		require.Equal(t, int64(5), at("g"))
		require.Equal(t, int64(-1), at("h"))
		load(marker(t, 8, record.ControlCommit))
		require.Equal(t, int64(-1), at("h"))
	})
}

// offsetBatch is a commit, of a transaction unless the producer is -1.
func offsetBatch(t testing.TB, producer int64, group string, offset int64) record.Batch {
	t.Helper()
	b := record.NewBuilder(record.BuilderConfig{Transactional: producer >= 0})
	e := &entry.Offset{Group: group, Topic: "orders", Offset: offset, LeaderEpoch: -1, ExpiresAt: -1}
	value, _ := e.AppendValue(nil)
	b.Append(&record.Record{Key: e.AppendKey(nil), Value: value, Timestamp: time.Now()})
	b.SetProducer(producer, 0, 0)
	out, err := b.Build(nil)
	require.NoError(t, err)
	return out
}

func marker(t testing.TB, producer int64, kind record.ControlType) record.Batch {
	t.Helper()
	b := record.NewBuilder(record.BuilderConfig{Transactional: true})
	b.Append(&record.Record{Key: []byte{0, 0, 0, byte(kind)}, Value: make([]byte, 6), Timestamp: time.Now()})
	out, err := b.Build(nil)
	require.NoError(t, err)
	out[22] |= 1 << 5 // control
	record.Batch(out).PutProducer(producer, 0, -1)
	return out
}

// TestAlarm: what the machine does by the clock is done without a request.
func TestAlarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		serve(t, cs, s)
		mustCommit(t, cs, "g", "orders", 5)
		time.Sleep(7 * 24 * time.Hour)
		mustCommit(t, cs, "h", "orders", 6)
		time.Sleep(time.Hour)
		assert.Equal(t, map[string]int64{"h/orders-0": 6}, all(t, cs), "the other has expired")
	})
}

// TestPattern: the driver matches names for the machine.
func TestPattern(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{})
		cs := newCoordinators(t)
		serve(t, cs, s)
		pattern := "orders|pay.*"
		r := <-submit(cs, &machine.ConsumerHeartbeat{Group: "g", MemberID: "m", RebalanceTimeout: time.Minute, Regex: &pattern}, "g")
		require.NoError(t, r.err)
		synctest.Wait()
		var found []string
		require.NoError(t, cs.Read("g", func(c *machine.Coordinator) {
			for e := range c.Entries() {
				if r, ok := e.(*entry.Regex); ok {
					require.Equal(t, int64(7), r.Version)
					found = r.Topics
				}
			}
		}))
		assert.Equal(t, []string{"orders", "payments"}, found)
	})
}

// TestClosing: after the owner's end nothing is left unanswered.
func TestClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStore(t, storeConfig{replicas: []int32{1, 2}, minISR: 2})
		o := &owner{}
		c := newCoordinators(t).c
		c.Spawn = o.spawn
		cs, err := New(c)
		require.NoError(t, err)
		cs.Lead(0, s.epoch, s.replica, topics{})
		s.confirm(2)
		await(t, cs, Serving)
		o.close()
		first, second := submit(cs, commitOf("g", "orders", 6, ""), "g"), submit(cs, commitOf("g", "orders", 7, ""), "g")
		s.confirm(2)
		synctest.Wait()
		require.Empty(t, first, "there is nobody to go on")
		cs.Close()
		require.ErrorIs(t, (<-first).err, ErrNotCoordinator)
		require.ErrorIs(t, (<-second).err, ErrNotCoordinator)
		cs.Close()
		cs.Lead(0, s.epoch+1, s.replica, topics{})
		require.Equal(t, Stopped, cs.Status()[0].Phase)
		o.wg.Wait()
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{})
	for _, what := range []string{"NewID", "CommitTimeout", "Partitions", "TopicNames", "Spawn"} {
		assert.ErrorContains(t, err, what)
	}
}

func TestCompilePattern(t *testing.T) {
	for pattern, matches := range map[string]string{"orders": "orders", "ord.*": "orders", "a|orders": "orders", "^orders$": "orders", "(?i)ORDERS": "orders"} {
		re, err := CompilePattern(pattern)
		require.NoError(t, err)
		assert.True(t, re.MatchString(matches), pattern)
		assert.False(t, re.MatchString("x"+matches), pattern)
		assert.False(t, re.MatchString(matches+"\n"), pattern)
	}
	for _, pattern := range []string{"(", "a)(b", "[", "a**", "(?<n", strings.Repeat("a", maxPattern+1), "((a{1000}){1000}){1000}"} {
		_, err := CompilePattern(pattern)
		assert.Error(t, err, pattern)
	}
}
