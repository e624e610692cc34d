package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

type ctxt = context.Context

// loop reads in the background until the returned function is called, which waits for its end and returns the error that it ended with.
func loop(c *Consumer, d *diary, each func(*record.Record)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		for r, err := range c.Records(ctx) {
			if err != nil {
				failed = err
				return
			}
			d.saw(TopicPartition{r.Topic, r.Partition}, r.Offset)
			each(r)
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		return failed
	}
}

// fill appends n records to each partition, each in a batch of its own.
func fill(t *testing.T, f *fake, n int) {
	for i := range n {
		for _, p := range f.parts {
			p.append(t, batchOptions{}, fmt.Sprint(i))
		}
	}
}

func bothProtocols(t *testing.T, test func(t *testing.T, p Protocol)) {
	for _, p := range []Protocol{ProtocolConsumer, ProtocolClassic} {
		t.Run(p.String(), func(t *testing.T) { test(t, p) })
	}
}

func TestGroupReadsMarksCommitsAndLeaves(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(2)
		fill(t, f, 3)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{Protocol: p})
			stop := loop(c, d, func(r *record.Record) { require.NoError(t, c.MarkProcessed(r)) })
			time.Sleep(time.Second)
			assert.Equal(t, "0:[0 1 2] 1:[0 1 2]", d.all())
			assert.Equal(t, int64(-1), f.coordinator.offset(0), "not yet")
			time.Sleep(5 * time.Second)
			assert.Equal(t, int64(3), f.coordinator.offset(0))
			assert.Equal(t, int64(3), f.coordinator.offset(1))
			s := c.GroupStatus()
			assert.Equal(t, Stable, s.State)
			assert.Equal(t, p, s.Protocol)
			assert.Equal(t, int32(1), s.Coordinator)
			assert.Equal(t, int32(1), s.Generation)
			assert.NotEmpty(t, s.MemberID)
			assert.Equal(t, int64(3), c.Status()[1].Committed)
			time.Sleep(2 * time.Minute) // heartbeats keep it in
			f.change(func() { f.parts[0].append(t, batchOptions{}, "late") })
			time.Sleep(time.Second)
			require.NoError(t, stop())
			require.NoError(t, c.Close())
			assert.Equal(t, "+0 +1 -0 -1", d.String())
			assert.Equal(t, int64(4), f.coordinator.offset(0), "Close commits what is marked")
			assert.Contains(t, f.coordinator.history(), "leave")
			assert.Equal(t, Ended, c.GroupStatus().State)
		})
	})
}

// Nothing is handed out twice, and nothing is left out, when members come and go in good order and mark what they have processed.
func TestOrderlyRebalanceRepeatsNothing(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(4)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			var mu sync.Mutex
			seen := map[string]int{}
			run := func() (*Consumer, *diary, func() error) {
				c, d := memberOf(t, client, Config{Protocol: p})
				return c, d, loop(c, d, func(r *record.Record) {
					mu.Lock()
					seen[fmt.Sprintf("%d/%d", r.Partition, r.Offset)]++
					mu.Unlock()
					time.Sleep(70 * time.Millisecond) // work
					assert.NoError(t, c.MarkProcessed(r))
				})
			}
			c1, d1, stop1 := run()
			for range 40 {
				f.change(func() { fill(t, f, 1) })
				time.Sleep(200 * time.Millisecond)
			}
			c2, d2, stop2 := run()
			for range 40 {
				f.change(func() { fill(t, f, 2) })
				time.Sleep(time.Second)
			}
			require.NoError(t, stop2())
			require.NoError(t, c2.Close())
			time.Sleep(time.Minute)
			require.NoError(t, stop1())
			require.NoError(t, c1.Close())
			moves := map[Protocol][2]string{ProtocolConsumer: {"+0 +1 +2 +3 -1 -3 +1 +3 -0 -1 -2 -3", "+1 +3 -1 -3"}, ProtocolClassic: {"+0 +1 +2 +3 -2 -3 +2 +3 -0 -1 -2 -3", "+2 +3 -2 -3"}}
			assert.Equal(t, moves[p], [2]string{d1.String(), d2.String()})
			assert.Len(t, seen, 4*(40+80))
			for r, n := range seen {
				assert.Equal(t, 1, n, r)
			}
		})
	})
}

// A partition that is asked back is given up when the application is done with its record, after OnRevoked and the commit; heartbeats go on meanwhile.
func TestRevocationWaitsForTheApplication(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(2)
		fill(t, f, 5)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			var c1 *Consumer
			c1, d1 := memberOf(t, client, Config{Protocol: p, CommitInterval: time.Hour, OnRevoked: func(ctx ctxt, _ []TopicPartition) {
				f.coordinator.do(func() { f.coordinator.note("OnRevoked") })
				time.Sleep(time.Second)
			}})
			slow := true
			stop1 := loop(c1, d1, func(r *record.Record) {
				if r.Partition == 1 && slow {
					time.Sleep(2 * time.Minute)
					slow = false
				}
				assert.NoError(t, c1.MarkProcessed(r))
			})
			time.Sleep(time.Second)
			c2, d2 := memberOf(t, client, Config{Protocol: p})
			stop2 := loop(c2, d2, func(r *record.Record) { assert.NoError(t, c2.MarkProcessed(r)) })
			time.Sleep(90 * time.Second)
			assert.Equal(t, "+0 +1", d1.String())
			assert.Empty(t, d2.String(), "held")
			time.Sleep(60 * time.Second)
			assert.Equal(t, "+0 +1 -1", d1.String())
			assert.Equal(t, "+1", d2.String())
			assert.NotContains(t, f.coordinator.history(), "expired")
			if p == ProtocolConsumer {
				assert.Regexp(t, "OnRevoked; p1=1; p1 given up", f.coordinator.history())
			}
			require.NoError(t, stop1())
			require.NoError(t, stop2())
			first, second := len(d1.offsets[1]), len(d2.offsets[1])
			assert.Equal(t, 5, first+second, "nothing twice: %v %v", d1.offsets[1], d2.offsets[1])
			require.NoError(t, c1.Close())
			require.NoError(t, c2.Close())
		})
	})
}

// When no heartbeat is answered for the session timeout, the member stops before the coordinator can give its partitions away: its own clock began earlier.
func TestSessionThatEndsOnThisSide(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		fill(t, f, 1)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{Protocol: p, CommitInterval: time.Hour})
			var marked error
			stop := loop(c, d, func(r *record.Record) { marked = c.MarkProcessed(r) })
			time.Sleep(10 * time.Second)
			f.coordinator.do(func() { f.coordinator.deaf = true })
			time.Sleep(30 * time.Second)
			f.change(func() { f.parts[0].append(t, batchOptions{}, "still in the session") })
			time.Sleep(time.Second)
			assert.Equal(t, "0:[0 1]", d.all())
			time.Sleep(15 * time.Second)
			assert.Equal(t, "+0 !0", d.String())
			f.change(func() { f.parts[0].append(t, batchOptions{}, "nobody's") })
			time.Sleep(30 * time.Second)
			assert.Equal(t, "0:[0 1]", d.all(), "nothing is handed out without a session")
			require.NoError(t, marked)
			late := c.MarkProcessed(&record.Record{Topic: "t", Offset: 1})
			var lost *LostError
			require.ErrorAs(t, late, &lost)
			require.ErrorIs(t, late, ErrFenced)
			require.ErrorIs(t, late, ErrSessionExpired)
			assert.Equal(t, []TopicPartition{{"t", 0}}, lost.Partitions)
			assert.Equal(t, int64(1), c.GroupStatus().LateMarks)
			assert.ErrorIs(t, c.GroupStatus().Err, ErrSessionExpired)
			require.ErrorAs(t, c.CommitMarked(t.Context()), &lost, "the marks did not count")
			require.NoError(t, c.CommitMarked(t.Context()), "told once")

			f.coordinator.do(func() { f.coordinator.deaf = false })
			time.Sleep(30 * time.Second)
			assert.Equal(t, "+0 !0 +0", d.String())
			assert.Equal(t, "0:[0 1 0 1 2]", d.all(), "what was not committed comes again")
			require.NoError(t, c.CommitMarked(t.Context()))
			assert.Equal(t, int64(3), f.coordinator.offset(0))
			require.NoError(t, stop())
			require.NoError(t, c.Close())
		})
	})
}

// A member that hears nothing tells its application of the loss before the coordinator may give the partitions away, whatever it is waiting for: here for the commit of a partition that it gives up.
func TestLossIsToldInTime(t *testing.T) {
	for _, mode := range []CommitMode{AtLeastOnce, AtMostOnce, External} {
		t.Run([...]string{"at least once", "at most once", "external"}[mode], func(t *testing.T) {
			bothProtocols(t, func(t *testing.T, p Protocol) { lossIsToldInTime(t, p, mode) })
		})
	}
}

func lossIsToldInTime(t *testing.T, p Protocol, mode CommitMode) {
	f := newFakeGroup(3)
	fill(t, f, 3)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		config := Config{Protocol: p, Commit: mode, CommitInterval: time.Hour, SessionTimeout: 10 * time.Second}
		f.coordinator.session = config.SessionTimeout
		loads := 0
		if mode == External {
			config.LoadOffsets = func(ctx ctxt, _ Claim) (map[TopicPartition]int64, error) {
				if loads++; loads > 1 {
					<-ctx.Done() // the application's store hangs
				}
				return nil, ctx.Err()
			}
		}
		var told, ends time.Time
		deafen := func(ctxt, []TopicPartition) {
			f.coordinator.do(func() { // says no word from here on
				f.coordinator.deaf = true
				ends = f.coordinator.members[0].seen.Add(f.coordinator.session)
			})
		}
		config.OnRevoked = deafen
		config.OnLost = func(ctxt, []TopicPartition) { f.coordinator.do(func() { told = time.Now() }) }
		c1, d1 := memberOf(t, client, config)
		stop1 := loop(c1, d1, func(r *record.Record) { _ = c1.MarkProcessed(r) })
		time.Sleep(time.Second)
		assert.Equal(t, "+0 +1 +2", d1.String())
		c2, d2 := memberOf(t, client, Config{Protocol: p, SessionTimeout: 10 * time.Second, CommitInterval: time.Hour})
		stop2 := loop(c2, d2, func(*record.Record) {})
		time.Sleep(time.Minute)
		var early time.Duration
		f.coordinator.do(func() {
			require.NotZero(t, told, "%s", d1)
			early = ends.Sub(told)
		})
		assert.Regexp(t, `^\+0 \+1 \+2 (-\d )+(!\d ?)+$`, d1.String())
		assert.Len(t, strings.Fields(d1.String()), 6, "each is given up or lost")
		assert.GreaterOrEqual(t, early, config.SessionTimeout/20, "the application has time to let go")
		assert.Less(t, early, config.SessionTimeout/2, "not long before")
		f.coordinator.do(func() { f.coordinator.deaf = false })
		require.NoError(t, stop1())
		require.NoError(t, stop2())
		require.NoError(t, c1.Kill())
		require.NoError(t, c2.Kill())
	})
}

// A callback that waits for what its context ends does not keep the loss from the application.
func TestLossEndsTheOtherCallbacks(t *testing.T) {
	f := newFakeGroup(1)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		var cause error
		c, d := memberOf(t, client, Config{SessionTimeout: 10 * time.Second, OnAssigned: func(ctx ctxt, _ []TopicPartition) {
			f.coordinator.do(func() { f.coordinator.deaf = true })
			<-ctx.Done()
			f.coordinator.do(func() { cause = ctx.Err() })
		}})
		stop := loop(c, d, func(*record.Record) {})
		time.Sleep(9*time.Second + time.Millisecond)
		assert.Equal(t, "+0 !0", d.String())
		f.coordinator.do(func() { require.ErrorIs(t, cause, context.Canceled) })
		require.NoError(t, stop())
		require.NoError(t, c.Kill())
	})
}

// Whatever tells a member that it has fallen out, it loses what it has, says so, and comes back.
func TestFallsOutAndComesBack(t *testing.T) {
	type fall struct {
		protocol Protocol
		key      int16
		err      *kerr.Error
	}
	for _, tc := range []fall{
		{ProtocolConsumer, 68, kerr.UnknownMemberID},
		{ProtocolConsumer, 68, kerr.FencedMemberEpoch},
		{ProtocolConsumer, 68, kerr.GroupIDNotFound},
		{ProtocolConsumer, 8, kerr.UnknownMemberID},
		{ProtocolClassic, 12, kerr.UnknownMemberID},
		{ProtocolClassic, 12, kerr.IllegalGeneration},
		{ProtocolClassic, 8, kerr.UnknownMemberID},
		{ProtocolClassic, 8, kerr.IllegalGeneration},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			f := newFakeGroup(1)
			fill(t, f, 2)
			inGroup(t, f, func(t *testing.T, client *transport.Client) {
				c, d := memberOf(t, client, Config{Protocol: tc.protocol})
				stop := loop(c, d, func(r *record.Record) {
					if r.Offset == 0 {
						assert.NoError(t, c.MarkProcessed(r))
					}
				})
				time.Sleep(time.Second)
				f.coordinator.do(func() { f.coordinator.script[tc.key] = append(f.coordinator.script[tc.key], tc.err) })
				time.Sleep(20 * time.Second)
				assert.Equal(t, "+0 !0 +0", d.String())
				if tc.key == 8 {
					assert.Equal(t, "0:[0 1 0 1]", d.all())
					require.ErrorIs(t, c.CommitMarked(t.Context()), tc.err)
				}
				assert.Equal(t, Stable, c.GroupStatus().State)
				require.NoError(t, stop())
				require.NoError(t, c.Close())
			})
		})
	}
}

func TestErrorsThatPassAreWaitedOut(t *testing.T) {
	for _, tc := range []struct {
		protocol Protocol
		key      int16
		err      *kerr.Error
	}{
		{ProtocolConsumer, 68, kerr.CoordinatorLoadInProgress},
		{ProtocolConsumer, 68, kerr.CoordinatorNotAvailable},
		{ProtocolConsumer, 68, kerr.NotCoordinator},
		{ProtocolConsumer, 9, kerr.UnstableOffsetCommit},
		{ProtocolConsumer, 9, kerr.StaleMemberEpoch},
		{ProtocolConsumer, 9, kerr.NotCoordinator},
		{ProtocolConsumer, 8, kerr.StaleMemberEpoch},
		{ProtocolConsumer, 8, kerr.CoordinatorLoadInProgress},
		{ProtocolConsumer, 8, kerr.NotCoordinator},
		{ProtocolClassic, 11, kerr.CoordinatorLoadInProgress},
		{ProtocolClassic, 11, kerr.NotCoordinator},
		{ProtocolClassic, 14, kerr.RebalanceInProgress},
		{ProtocolClassic, 12, kerr.NotCoordinator},
		{ProtocolClassic, 8, kerr.RebalanceInProgress},
		{ProtocolClassic, 9, kerr.CoordinatorLoadInProgress},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			f := newFakeGroup(1)
			fill(t, f, 2)
			f.coordinator.script[tc.key] = []*kerr.Error{tc.err, tc.err}
			inGroup(t, f, func(t *testing.T, client *transport.Client) {
				c, d := memberOf(t, client, Config{Protocol: tc.protocol})
				stop := loop(c, d, func(r *record.Record) { assert.NoError(t, c.MarkProcessed(r)) })
				time.Sleep(10 * time.Second)
				require.NoError(t, c.CommitMarked(t.Context()))
				assert.Equal(t, "+0", d.String())
				assert.Equal(t, int64(2), f.coordinator.offset(0))
				require.NoError(t, stop())
				require.NoError(t, c.Close())
				assert.Less(t, f.coordinator.beats+f.coordinator.commits, 20, "not in a busy loop")
			})
		})
	}
}

func TestFollowsTheCoordinator(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		fill(t, f, 2)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{Protocol: p})
			stop := loop(c, d, func(r *record.Record) { assert.NoError(t, c.MarkProcessed(r)) })
			time.Sleep(time.Second)
			f.coordinator.do(func() { f.coordinator.node = 2 })
			require.NoError(t, c.CommitMarked(t.Context()))
			time.Sleep(time.Minute)
			assert.Equal(t, int32(2), c.GroupStatus().Coordinator)
			assert.Equal(t, "+0", d.String())
			assert.Equal(t, int64(2), f.coordinator.offset(0))
			require.NoError(t, stop())
			require.NoError(t, c.Close())
		})
	})
}

func TestProtocolIsChosenByWhatTheCoordinatorHas(t *testing.T) {
	for _, missing := range []bool{true, false} {
		f := newFakeGroup(1)
		f.coordinator.no848, f.coordinator.refuse = missing, !missing
		fill(t, f, 1)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{})
			stop := loop(c, d, func(*record.Record) {})
			time.Sleep(5 * time.Second)
			assert.Equal(t, ProtocolClassic, c.GroupStatus().Protocol)
			assert.Equal(t, "0:[0]", d.all())
			require.NoError(t, stop())
			require.NoError(t, c.Close())

			for _, config := range []Config{{Protocol: ProtocolConsumer}, {TopicsRegex: "t.*"}} {
				c, d := memberOf(t, client, config)
				stop := loop(c, d, func(*record.Record) {})
				time.Sleep(time.Second)
				err := stop()
				require.ErrorIs(t, err, errors.ErrUnsupported)
				var ge *GroupError
				require.ErrorAs(t, err, &ge)
				assert.Equal(t, Ended, c.GroupStatus().State)
				require.NoError(t, c.Close())
			}
		})
	}
}

// A crash repeats with AtLeastOnce what was not committed, and loses with AtMostOnce what was not finished.
func TestCrash(t *testing.T) {
	for mode, want := range map[CommitMode]string{AtLeastOnce: "0:[3 4 5 6 7 8 9]", AtMostOnce: "0:[6 7 8 9]"} {
		bothProtocols(t, func(t *testing.T, p Protocol) {
			f := newFakeGroup(1)
			fill(t, f, 1)
			f.parts[0].append(t, batchOptions{}, "1", "2")
			f.parts[0].append(t, batchOptions{}, "3", "4", "5")
			fill(t, f, 4)
			inGroup(t, f, func(t *testing.T, client *transport.Client) {
				c, d := memberOf(t, client, Config{Protocol: p, Commit: mode, CommitInterval: time.Hour})
				n := 0
				for r, err := range c.Records(t.Context()) {
					require.NoError(t, err)
					if mode == AtLeastOnce {
						require.NoError(t, c.MarkProcessed(r))
					}
					if n++; n == 3 && mode == AtLeastOnce {
						require.NoError(t, c.CommitMarked(t.Context()))
					}
					if n == 5 {
						break
					}
				}
				require.NoError(t, c.Kill())
				assert.Equal(t, "+0", d.String(), "nothing is called")
				assert.NotContains(t, f.coordinator.history(), "leave")
				time.Sleep(time.Minute)
				c, d = memberOf(t, client, Config{Protocol: p, Commit: mode})
				stop := loop(c, d, func(*record.Record) {})
				time.Sleep(time.Second)
				assert.Equal(t, want, d.all(), mode)
				require.NoError(t, stop())
				require.NoError(t, c.Close())
			})
		})
	}
}

// In good order AtMostOnce loses nothing: what was committed ahead and not handed out is given back.
func TestAtMostOnceGivesBack(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		f.parts[0].append(t, batchOptions{}, "0", "1", "2", "3")
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			for i, want := range []string{"0:[0 1]", "0:[2 3]"} {
				c, d := memberOf(t, client, Config{Protocol: p, Commit: AtMostOnce})
				for r, err := range c.Records(t.Context()) {
					require.NoError(t, err)
					assert.Equal(t, int64(4), f.coordinator.offset(0), "before it is handed out")
					d.saw(TopicPartition{r.Topic, r.Partition}, r.Offset)
					if r.Offset == int64(2*i+1) {
						break
					}
				}
				require.ErrorIs(t, c.MarkProcessed(&record.Record{}), ErrNotMarked)
				require.NoError(t, c.Close())
				assert.Equal(t, want, d.all())
			}
			assert.Equal(t, int64(4), f.coordinator.offset(0))
		})
	})
}

func TestAtMostOnceHandsOutNothingWhenFenced(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 1)
	f.coordinator.script[8] = []*kerr.Error{kerr.UnknownMemberID}
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		c, d := memberOf(t, client, Config{Commit: AtMostOnce})
		stop := loop(c, d, func(*record.Record) {})
		time.Sleep(10 * time.Second)
		assert.Equal(t, "+0 !0 +0", d.String())
		assert.Equal(t, "0:[0]", d.all(), "once, by the second membership")
		require.NoError(t, stop())
		require.NoError(t, c.Close())
	})
}

func TestStuckApplicationLeaves(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		fill(t, f, 3)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{Protocol: p, MaxProcessing: time.Minute})
			late := make(chan error, 1)
			first := true
			stop := loop(c, d, func(r *record.Record) {
				time.Sleep(40 * time.Second) // each is fast enough
				if r.Offset == 1 && first {
					first = false
					time.Sleep(40 * time.Second)
				}
				if err := c.MarkProcessed(r); err != nil {
					late <- err
				}
			})
			time.Sleep(110 * time.Second)
			assert.Equal(t, "+0 !0", d.String())
			assert.Contains(t, f.coordinator.history(), "leave")
			assert.Equal(t, NotJoined, c.GroupStatus().State)
			time.Sleep(3 * time.Minute)
			require.ErrorIs(t, <-late, ErrStuck)
			assert.Equal(t, "+0 !0 +0", d.String())
			assert.Equal(t, "0:[0 1 1 2]", d.all())
			require.NoError(t, stop())
			require.NoError(t, c.Close())
		})
	})
}

func TestStaticMember(t *testing.T) {
	f := newFakeGroup(2)
	fill(t, f, 1)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		for range 2 {
			c, d := memberOf(t, client, Config{InstanceID: "i"})
			stop := loop(c, d, func(*record.Record) {})
			time.Sleep(time.Second)
			require.NoError(t, stop())
			require.NoError(t, c.Close())
			assert.Equal(t, "+0 +1 -0 -1", d.String())
		}
		assert.Equal(t, int32(1), f.coordinator.epoch, "no rebalance")
		assert.NotContains(t, f.coordinator.history(), "leave")

		// A crashed predecessor is waited for.
		c, d := memberOf(t, client, Config{InstanceID: "i"})
		stop := loop(c, d, func(*record.Record) {})
		time.Sleep(time.Second)
		require.NoError(t, c.Kill())
		require.NoError(t, stop())
		c, d = memberOf(t, client, Config{InstanceID: "i"})
		stop = loop(c, d, func(*record.Record) {})
		time.Sleep(time.Minute)
		assert.Equal(t, "+0 +1", d.String())

		// One that lives is not.
		other, d2 := memberOf(t, client, Config{InstanceID: "i"})
		stop2 := loop(other, d2, func(*record.Record) {})
		time.Sleep(2 * time.Minute)
		var ie *InstanceError
		require.ErrorAs(t, stop2(), &ie)
		require.NoError(t, other.Close())

		// Somebody has taken its place.
		f.coordinator.do(func() { f.coordinator.script[68] = []*kerr.Error{kerr.FencedInstanceID} })
		time.Sleep(10 * time.Second)
		err := stop()
		require.ErrorAs(t, err, &ie)
		require.ErrorIs(t, err, ErrFenced)
		assert.Equal(t, "+0 +1 !0 !1", d.String())
		_, err = readError(t, c)
		require.ErrorAs(t, err, &ie, "for good")
		require.NoError(t, c.Close())
	})
}

// With Latest, where a partition begins is committed before anything of it is handed out, and a partition that is newer than the member is read whole.
func TestLatest(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		fill(t, f, 5)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{Protocol: p, Start: Latest()})
			stop := loop(c, d, func(*record.Record) {})
			time.Sleep(time.Second)
			assert.Equal(t, int64(5), f.coordinator.offset(0))
			f.change(func() { fill(t, f, 1) })
			time.Sleep(time.Second)
			assert.Equal(t, "0:[5]", d.all())
			f.change(func() {
				f.parts = append(f.parts, &fakePart{leader: 2, replica: -1, ends: map[int32]int64{}})
				f.parts[1].append(t, batchOptions{}, "written before it was noticed")
			})
			if p == ProtocolConsumer { // the coordinator notices; in the classic protocol the leader does
				f.coordinator.do(func() { f.coordinator.epoch++ })
			}
			time.Sleep(11 * time.Minute)
			assert.Equal(t, "0:[5] 1:[0]", d.all())
			require.NoError(t, stop())
			require.NoError(t, c.Kill())
			time.Sleep(time.Minute)
			c, d = memberOf(t, client, Config{Protocol: p, Start: Latest()})
			stop = loop(c, d, func(*record.Record) {})
			time.Sleep(time.Second)
			assert.Equal(t, "0:[5]", d.all(), "not marked, so it comes again")
			require.NoError(t, stop())
			require.NoError(t, c.Close())
		})
	})
}

func TestRegexFindsNamesByID(t *testing.T) {
	f := newFakeGroup(2)
	fill(t, f, 1)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		c, d := memberOf(t, client, Config{TopicsRegex: "^t$"})
		stop := loop(c, d, func(*record.Record) {})
		time.Sleep(time.Second)
		assert.Equal(t, "0:[0] 1:[0]", d.all())
		require.NoError(t, stop())
		require.NoError(t, c.Close())
	})
}

// Seek and Pause work on what is assigned, and end with the assignment. Marks follow a Seek back.
func TestSeekAndPauseInAGroup(t *testing.T) {
	f := newFakeGroup(2)
	fill(t, f, 3)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		var c *Consumer
		c, d := memberOf(t, client, Config{OnAssigned: func(ctxt, []TopicPartition) {
			assert.NoError(t, c.Seek("t", 0, AtOffset(1)))
			assert.NoError(t, c.Pause("t", 1))
		}})
		stop := loop(c, d, func(r *record.Record) { assert.NoError(t, c.MarkProcessed(r)) })
		time.Sleep(time.Second)
		assert.Equal(t, "0:[1 2]", d.all())
		require.NoError(t, c.CommitMarked(t.Context()))
		assert.Equal(t, int64(3), f.coordinator.offset(0))
		require.NoError(t, c.Seek("t", 0, Earliest()))
		require.NoError(t, c.MarkProcessed(&record.Record{Topic: "t", Offset: 2}), "of before the Seek: does not count")
		require.NoError(t, c.Resume("t", 1))
		time.Sleep(time.Second)
		assert.Equal(t, "0:[1 2 0 1 2] 1:[0 1 2]", d.all())
		require.NoError(t, c.Seek("t", 0, Earliest()))
		require.NoError(t, stop())
		for r := range c.Records(t.Context()) {
			require.NoError(t, c.MarkProcessed(r))
			break
		}
		require.NoError(t, c.Close())
		assert.Equal(t, int64(1), f.coordinator.offset(0), "the last place marked")
	})
}

// A commit that cannot be delivered does not keep Close for ever.
func TestCloseWithoutCoordinator(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		fill(t, f, 1)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, d := memberOf(t, client, Config{Protocol: p})
			stop := loop(c, d, func(r *record.Record) { assert.NoError(t, c.MarkProcessed(r)) })
			time.Sleep(time.Second)
			f.coordinator.do(func() { f.coordinator.deaf = true })
			require.NoError(t, stop())
			began := time.Now()
			require.NoError(t, c.Close())
			assert.LessOrEqual(t, time.Since(began), 5*time.Second)
			require.ErrorIs(t, c.CommitMarked(t.Context()), ErrFenced)
		})
	})
}

func TestCloseBeforeAndDuringTheJoin(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p Protocol) {
		f := newFakeGroup(1)
		inGroup(t, f, func(t *testing.T, client *transport.Client) {
			c, _ := memberOf(t, client, Config{Protocol: p})
			require.NoError(t, c.CommitMarked(t.Context()))
			require.NoError(t, c.Close())
			c, d := memberOf(t, client, Config{Protocol: p})
			stop := loop(c, d, func(*record.Record) {})
			synctest.Wait()
			require.NoError(t, c.Close())
			require.NoError(t, stop())
			require.NoError(t, c.Close())
		})
	})
}

func TestGroupConfigIsChecked(t *testing.T) {
	_, err := New(Config{Topics: []string{"t"}, InstanceID: "i", Commit: AtMostOnce, OnLost: func(ctxt, []TopicPartition) {}})
	for _, want := range []string{"InstanceID needs a Group", "Commit needs a Group", "OnLost needs a Group"} {
		require.ErrorContains(t, err, want)
	}
	_, err = New(Config{Group: "g", Partitions: map[string][]int32{"t": {0}}, Protocol: 9, Commit: External, SessionTimeout: -1})
	for _, want := range []string{"Partitions are for", "Protocol 9", "LoadOffsets need each other", "SessionTimeout -1ns"} {
		require.ErrorContains(t, err, want)
	}
}

func TestMarksAllocateNothing(t *testing.T) {
	f := newFakeGroup(1)
	fill(t, f, 1)
	inGroup(t, f, func(t *testing.T, client *transport.Client) {
		c, _ := memberOf(t, client, Config{})
		for r, err := range c.Records(t.Context()) {
			require.NoError(t, err)
			assert.Zero(t, testing.AllocsPerRun(100, func() { _ = c.MarkProcessed(r) }))
			break
		}
		require.NoError(t, c.Close())
	})
}
