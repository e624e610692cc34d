package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// growing is a quorum that node 1 founds, and that others come to.
type growing struct {
	*quorum
	t     *testing.T
	epoch int64 // of the newest registration of broker 1 that was acknowledged
	life  byte
}

// grow runs f in a bubble, with nodes whose disks are there and who are not started.
func grow(t *testing.T, nodes int, config func(*Config), f func(t *testing.T, g *growing)) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, nodes, func(c *Config) {
			if config != nil {
				config(c)
			}
			if c.NodeID == 1 {
				c.Voters = []int32{1}
			} else {
				c.Voters = nil
			}
		})
		f(t, &growing{quorum: q, t: t})
		q.close()
	})
}

// active is a node that believes to lead, nil without one.
func (g *growing) active() *Controller {
	var ids []int32
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, n := range g.nodes {
		if node, _, ok := n.Leader(); ok && node == id {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return g.nodes[ids[g.rng.IntN(len(ids))]]
}

// try asks whoever leads; the code is 0 when it was done, and known is false if nobody can tell.
func (g *growing) try(req kmsg.Request, patience time.Duration) (code int16, known bool) {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	n := g.active()
	if n == nil {
		time.Sleep(10 * time.Millisecond)
		return kerr.NotController.Code, true
	}
	resp, err := n.Handle(ctx, req)
	if err != nil {
		return -1, false
	}
	switch r := resp.(type) {
	case *JoinResponse:
		code = r.ErrorCode
	case *kmsg.AddRaftVoterResponse:
		code = r.ErrorCode
	case *kmsg.RemoveRaftVoterResponse:
		code = r.ErrorCode
	case *kmsg.UnregisterBrokerResponse:
		code = r.ErrorCode
	case *VotersResponse:
		code = r.ErrorCode
	}
	return code, code != kerr.RequestTimedOut.Code
}

// must asks until it is done.
func (g *growing) must(req kmsg.Request, done ...*kerr.Error) {
	g.t.Helper()
	var code int16
	for range 600 {
		if code, _ = g.try(req, 5*time.Second); code == 0 || slices.ContainsFunc(done, func(e *kerr.Error) bool { return e.Code == code }) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	g.t.Fatalf("%T: code %d", req, code)
}

func joining(id int32) *JoinRequest {
	return &JoinRequest{NodeID: id, Addr: fmt.Sprintf("node%d:1", id), DirectoryID: dirID(id), Purpose: Join, Level: Newest}
}

func adding(id int32) *kmsg.AddRaftVoterRequest {
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.VoterID = id
	return req
}

func removing(id int32) *kmsg.RemoveRaftVoterRequest {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	req.VoterID = id
	return req
}

func voting(ids ...int32) *VotersRequest { return &VotersRequest{Voters: ids} }

func leaving(id int32) *kmsg.UnregisterBrokerRequest {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = id
	return req
}

// write has a registration acknowledged, if it can, and holds it against those before: two quorums that do not know of each other could not keep that order.
func (g *growing) write(patience time.Duration) bool {
	g.t.Helper()
	n := g.active()
	if n == nil {
		return false
	}
	g.life++
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	resp, err := n.Handle(ctx, register(n, 1, g.life, -1))
	if err != nil || resp.(*kmsg.BrokerRegistrationResponse).ErrorCode != 0 {
		return false
	}
	epoch := resp.(*kmsg.BrokerRegistrationResponse).BrokerEpoch
	require.Greater(g.t, epoch, g.epoch)
	g.epoch = epoch
	return true
}

// settle waits until a write goes through, and everybody who belongs to the quorum has it.
func (g *growing) settle() *Quorum {
	g.t.Helper()
	for range 3000 {
		if g.write(5 * time.Second) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	n := g.leader()
	want := n.Image()
	require.Equal(g.t, g.epoch, want.Brokers[1].Epoch, "an acknowledged registration is lost")
	for _, m := range want.Quorum.Members {
		if other := g.nodes[m.ID]; other != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			got, err := other.WaitOffset(ctx, want.Offset)
			cancel()
			require.NoError(g.t, err, "node %d of %v", m.ID, want.Quorum)
			if got.Offset == want.Offset {
				require.True(g.t, got.Equal(want), "node %d differs", m.ID)
			}
		}
	}
	var voters, observers []int32
	for _, v := range n.Status().Voters {
		voters = append(voters, v.ID)
	}
	for _, v := range n.Status().Observers {
		observers = append(observers, v.ID)
	}
	require.Equal(g.t, [][]int32{want.Quorum.Voters(), want.Quorum.Observers()}, [][]int32{voters, observers}, "raft counts as metadata says")
	return want.Quorum
}

// One node becomes three, the first of them goes, and all that are left come back without having been told of each other.
func TestQuorumGrowsAndShrinks(t *testing.T) {
	for _, snapshots := range []int64{0, 300} {
		grow(t, 4, func(c *Config) { c.SnapshotBytes = snapshots }, func(t *testing.T, g *growing) {
			g.start(1)
			for range 20 {
				require.True(t, g.write(time.Second))
			}
			g.start(2, 3)
			g.must(joining(2))
			g.must(joining(3))
			q := g.settle()
			assert.Equal(t, [][]int32{{1}, {2, 3}}, [][]int32{q.Voters(), q.Observers()})
			g.must(adding(2))
			g.must(adding(3))
			assert.Equal(t, []int32{1, 2, 3}, g.settle().Voters())

			g.crash(1, vfs.DropAll)
			assert.Equal(t, []int32{1, 2, 3}, g.settle().Voters(), "two of three go on")
			g.must(removing(1))
			g.must(leaving(1), kerr.BrokerIDNotRegistered)
			assert.Equal(t, []int32{2, 3}, g.leader().Image().Quorum.Voters())
			g.crash(2, vfs.DropAll)
			g.crash(3, vfs.DropAll)
			g.start(2, 3)
			n := g.leader()
			assert.Equal(t, []int32{2, 3}, n.Image().Quorum.Voters())
			g.must(joining(1))
			g.epoch = 0
			g.settle()
			g.start(1) // what it remembers is older than its removal
			assert.Equal(t, []int32{1}, g.settle().Observers())
			g.must(removing(2))
			if g.nodes[2] != nil {
				g.must(leaving(2), kerr.BrokerIDNotRegistered)
			}
			q = g.settle()
			assert.Equal(t, [][]int32{{3}, {1}}, [][]int32{q.Voters(), q.Observers()})
			code, _ := g.try(removing(3), time.Second)
			assert.Equal(t, kerr.InvalidRequest.Code, code)
		})
	}
}

// An observer that does not know yet that it may vote is needed: it must not keep its vote for a leader that is gone.
func TestVoteUnknownToItsOwner(t *testing.T) {
	var q *growing
	var armed atomic.Bool
	grow(t, 2, func(c *Config) {
		if c.NodeID != 1 {
			return
		}
		send := c.Send
		c.Send = func(to int32, msgs [][]byte) {
			if armed.Load() && changesMembers(t, msgs) { // it has answered that it is there, and hears no more
				q.mu.Lock()
				q.cut[[2]int32{1, 2}] = true
				q.mu.Unlock()
			}
			send(to, msgs)
		}
	}, func(t *testing.T, g *growing) {
		q = g
		g.start(1, 2)
		g.must(joining(2))
		g.settle()
		armed.Store(true)
		code, _ := g.try(adding(2), time.Second)
		require.Zero(t, code)
		armed.Store(false)
		g.crash(1, vfs.DropAll)
		g.isolate(2, false)
		g.start(1)
		assert.Empty(t, g.nodes[2].Image().Quorum.Voters()[1:], "it does not know")
		assert.Equal(t, []int32{1, 2}, g.settle().Voters())
	})
}

// changesMembers tells whether raft messages bring an entry that changes the members.
func changesMembers(t *testing.T, msgs [][]byte) bool {
	return slices.ContainsFunc(msgs, func(b []byte) bool {
		m := &pb.Message{}
		require.NoError(t, proto.Unmarshal(b, m))
		return slices.ContainsFunc(m.GetEntries(), func(e *pb.Entry) bool { return e.GetType() == pb.EntryConfChangeV2 })
	})
}

// A voter that is given to somebody who is behind, or taken from those that are needed, waits.
func TestChangesThatWouldStopTheQuorum(t *testing.T) {
	grow(t, 4, nil, func(t *testing.T, g *growing) {
		g.start(1, 2, 3)
		g.must(joining(2))
		g.must(joining(4)) // it is not there
		code, known := g.try(adding(4), time.Second)
		assert.Equal(t, kerr.RequestTimedOut.Code, code)
		assert.False(t, known)
		g.must(joining(3))
		g.must(adding(2))
		g.must(adding(3))
		g.settle()
		leader, _, _ := g.leader().Leader()
		var rest []int32
		for _, id := range []int32{1, 2, 3} {
			if id != leader {
				rest = append(rest, id)
			}
		}
		g.crash(rest[0], vfs.DropAll)
		time.Sleep(2 * time.Second)
		code, _ = g.try(removing(rest[1]), time.Second)
		assert.Equal(t, kerr.RequestTimedOut.Code, code, "the one that is left would wait for one that is down")
		g.must(removing(rest[0]))
		assert.Len(t, g.settle().Voters(), 2)
		assert.True(t, g.write(time.Second))
	})
}

// Who answered just now, and is gone since, does not count: whatever the votes become, those that are left can go on without it, should its disk never come back.
func TestVotesChangeOnlyWithThoseWhoLive(t *testing.T) {
	for name, x := range map[string]struct {
		voters  []int32
		gone    int32
		request kmsg.Request
	}{
		"the other one's vote is taken": {[]int32{1, 2, 3}, 3, removing(2)},
		"two voters become others":      {[]int32{1, 2, 3}, 3, voting(1, 3)},
		"it gets a vote":                {[]int32{1}, 3, adding(3)},
		"it gets one with others":       {[]int32{1}, 3, voting(1, 2, 3, 4)},
	} {
		grow(t, 4, nil, func(t *testing.T, g *growing) {
			g.start(1, 2, 3)
			g.must(joining(2))
			g.must(joining(3))
			if name == "it gets one with others" {
				g.start(4)
				g.must(joining(4))
			}
			g.must(voting(x.voters...))
			g.settle()
			leader, _, _ := g.leader().Leader()
			require.Equal(t, int32(1), leader, name)
			version := g.leader().Image().Quorum.Version
			g.isolate(4, true) // as late
			g.crash(x.gone, vfs.KeepAll)
			code, _ := g.try(x.request, 5*time.Second)
			assert.Equal(t, kerr.RequestTimedOut.Code, code, name)
			assert.True(t, g.write(time.Second), "%s: the others go on", name)
			assert.Equal(t, version, g.leader().Image().Quorum.Version, name)
			g.start(x.gone)
			g.isolate(4, false)
			g.must(x.request)
			g.settle()
		})
	}
}

var memberSeeds = flag.Uint64("members.seeds", 40, "histories of TestMembersAtRandom")

// Nodes come and go, crash, and lose power together, at random: what was acknowledged stays, and there is one truth.
func TestMembersAtRandom(t *testing.T) {
	for seed := range *memberSeeds {
		grow(t, 5, func(c *Config) { c.SnapshotBytes = []int64{0, 400}[seed%2] }, func(t *testing.T, g *growing) {
			rng := rand.New(rand.NewPCG(seed, 9))
			g.start(1, 2, 3, 4, 5)
			for range 60 {
				id := int32(rng.IntN(5) + 1)
				patience := time.Duration(rng.IntN(2000)) * time.Millisecond
				switch rng.IntN(11) {
				case 0, 1:
					g.try(joining(id), patience)
				case 2, 3:
					g.try(adding(id), patience)
				case 4:
					g.try(removing(id), patience)
				case 5:
					g.try(leaving(id), patience)
					g.try(joining(1), patience) // it is whom writes are about
				case 6:
					if g.nodes[id] != nil {
						g.crash(id, []vfs.CrashMode{vfs.DropAll, vfs.KeepAll, vfs.KeepRandom}[rng.IntN(3)])
					} else {
						g.start(id)
					}
				case 7:
					if rng.IntN(4) == 0 {
						for id := range int32(5) {
							if g.nodes[id+1] != nil {
								g.crash(id+1, vfs.DropAll)
							}
						}
					}
					for id := range int32(5) {
						if g.nodes[id+1] == nil && rng.IntN(3) > 0 {
							g.start(id + 1)
						}
					}
				case 8:
					time.Sleep(patience)
				case 9, 10:
					var voters []int32
					for _, i := range rng.Perm(5)[:1+rng.IntN(5)] {
						voters = append(voters, int32(i+1))
					}
					g.try(voting(voters...), patience)
				}
				g.write(time.Second)
			}
			for id := range int32(5) {
				if g.nodes[id+1] == nil {
					g.start(id + 1)
				}
			}
			for range 100 {
				if code, _ := g.try(joining(1), time.Second); code == 0 {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			q := g.settle()
			t.Logf("seed %d: version %d, voters %v, observers %v, epoch %d", seed, q.Version, q.Voters(), q.Observers(), g.epoch)
		})
	}
}

// The voters become others in one change: more, fewer, and all others.
func TestVotersChangeTogether(t *testing.T) {
	grow(t, 6, func(c *Config) { c.SnapshotBytes = 400 }, func(t *testing.T, g *growing) {
		g.start(1, 2, 3, 4, 5, 6)
		for id := int32(2); id <= 6; id++ {
			g.must(joining(id))
		}
		for _, voters := range [][]int32{{1, 2, 3}, {4, 5, 6}, {1, 2, 3, 4, 5}, {1}, {2, 3}, {3, 4}, {5}, {1, 2, 3}} {
			before := g.settle()
			g.must(voting(voters...))
			q := g.settle()
			assert.Equal(t, voters, q.Voters())
			assert.False(t, q.Joint())
			assert.LessOrEqual(t, q.Version, before.Version+2)
			leader, _, _ := g.leader().Leader()
			assert.Contains(t, voters, leader)
		}
	})
}

// A node that stays, one that goes, or one that comes loses power at every operation of its disk while three voters become three others, all but one.
func TestFault_PowerLossWhileVotersChange(t *testing.T) {
	for _, victim := range []int32{1, 2, 4} {
		for i := int64(1); i < 40; i++ {
			grow(t, 5, func(c *Config) { c.SnapshotBytes = 900 }, func(t *testing.T, g *growing) {
				g.start(1, 2, 3, 4, 5)
				for id := int32(2); id <= 5; id++ {
					g.must(joining(id))
				}
				g.must(voting(1, 2, 3))
				g.settle()
				disk := g.disks[victim]
				at := disk.Ops() + i
				var left atomic.Pointer[vfs.Mem]
				disk.SetFault(func(op vfs.Op) error {
					if op.Seq < at || left.Load() != nil {
						return nil
					}
					left.Store(disk.Crash([]vfs.CrashMode{vfs.DropAll, vfs.KeepRandom}[i%2], rand.New(rand.NewPCG(uint64(i), 3))))
					return errors.New("power loss")
				})
				g.try(voting(1, 4, 5), time.Second)
				for range 5 {
					g.write(time.Second)
				}
				if left.Load() != nil {
					g.drop(victim)
					g.disks[victim] = left.Load()
					require.NoError(t, g.tryStart(victim))
				}
				disk.SetFault(nil)
				g.must(voting(1, 4, 5))
				assert.Equal(t, []int32{1, 4, 5}, g.settle().Voters(), "victim %d, operation %d", victim, i)
			})
		}
	}
}

// In the joint phase neither a majority of the old voters nor one of the new is enough.
func TestPartitionInTheJointPhase(t *testing.T) {
	for _, alone := range [][]int32{{1, 2, 3}, {4, 5, 6}} {
		grow(t, 6, nil, func(t *testing.T, g *growing) {
			g.start(1, 2, 3, 4, 5, 6)
			for id := int32(2); id <= 6; id++ {
				g.must(joining(id))
			}
			g.must(voting(1, 2, 3))
			g.settle()
			leader, _, _ := g.leader().Leader()
			away := []int32{4, 5, 6}
			// The old majority commits the joint quorum; what ends it needs the new ones, too, who hear nothing any more.
			cut := func(on bool) {
				g.mu.Lock()
				defer g.mu.Unlock()
				for _, a := range []int32{1, 2, 3} {
					for _, b := range away {
						g.cut[[2]int32{a, b}], g.cut[[2]int32{b, a}] = on, on
					}
				}
			}
			n := g.nodes[leader]

			stop := n.Subscribe(func(d Delta) {
				if n.Image().Quorum.Joint() {
					cut(true)
				}
			})
			g.try(voting(4, 5, 6), time.Second)
			require.True(t, n.Image().Quorum.Joint())
			for range 30 {
				require.False(t, g.write(200*time.Millisecond), "one side of the two decides")
			}
			// Not even by themselves, with their memories gone.
			for _, id := range alone {
				g.crash(id, vfs.DropAll)
				g.start(id)
			}
			for range 30 {
				require.False(t, g.write(200*time.Millisecond), "one side of the two decides, after a start")
			}
			cut(false)
			q := g.settle()
			for q.Joint() {
				q = g.settle()
			}
			assert.Equal(t, []int32{4, 5, 6}, q.Voters())
			stop()
		})
	}
}

// The founder, or the newcomer, loses power at every operation of its disk while the quorum grows from one to three.
func TestFault_PowerLossWhileGrowing(t *testing.T) {
	for _, victim := range []int32{1, 2} {
		for i := int64(1); i < 120; i += 3 {
			grow(t, 3, func(c *Config) { c.SnapshotBytes = 900 }, func(t *testing.T, g *growing) {
				g.start(1)
				for range 3 {
					require.True(t, g.write(time.Second))
				}
				disk := g.disks[victim]
				at := disk.Ops() + i
				var left atomic.Pointer[vfs.Mem]
				disk.SetFault(func(op vfs.Op) error {
					if op.Kind.Changes() && op.Seq == at {
						left.Store(disk.Crash([]vfs.CrashMode{vfs.DropAll, vfs.KeepRandom}[i%2], rand.New(rand.NewPCG(uint64(i), 3))))
					}
					return nil
				})
				revive := func() {
					if v := g.nodes[victim]; left.Load() != nil && (v == nil || v.Err() != nil) {
						g.drop(victim)
						g.disks[victim] = left.Swap(nil)
						require.NoError(t, g.tryStart(victim))
					}
				}
				for _, id := range []int32{2, 3} {
					if err := g.tryStart(id); err != nil {
						require.Equal(t, victim, id, "%v", err)
					}
				}
				for _, req := range []kmsg.Request{joining(2), adding(2), joining(3), adding(3)} {
					done := false
					for j := 0; j < 400 && !done; j++ {
						code, _ := g.try(req, time.Second)
						done = code == 0 || code == kerr.DuplicateVoter.Code
						time.Sleep(20 * time.Millisecond)
						g.write(time.Second)
						revive()
					}
					require.True(t, done, "operation %d, %T", i, req)
				}
				revive()
				disk.SetFault(nil)
				if v := g.nodes[victim]; left.Load() != nil || v == nil || v.Err() != nil {
					time.Sleep(time.Second)
					revive()
				}
				if left.Load() == nil {
					assert.Equal(t, []int32{1, 2, 3}, g.settle().Voters(), "operation %d", i)
				}
				if v := g.nodes[victim]; v != nil && (left.Load() != nil || v.Err() != nil) {
					g.drop(victim)
				}
			})
		}
	}
}

// What a list of voters in the configuration counts for: nothing once the quorum was changed, and everything before.
func TestVotersAreTheFoundersOnly(t *testing.T) {
	grow(t, 3, nil, func(t *testing.T, g *growing) {
		g.start(1, 2)
		g.settle()
		given := func(id int32, voters ...int32) error {
			before := g.config
			defer func() { g.config = before }()
			g.config = func(c *Config) { c.Voters = voters }
			return g.tryStart(id)
		}
		g.crash(1, vfs.DropAll)
		ve, ok := errors.AsType[*VotersError](given(1, 1, 2))
		require.True(t, ok, "nobody has made node 2 a member")
		assert.Equal(t, []int32{1}, ve.Stored)
		g.start(1)
		g.must(joining(2))
		g.must(adding(2))
		g.settle()
		g.crash(1, vfs.DropAll)
		g.crash(2, vfs.DropAll)
		require.NoError(t, given(1, 1, 2, 3))
		require.NoError(t, given(2, 2))
		assert.Equal(t, []int32{1, 2}, g.settle().Voters())
	})
}

// Peers are told of before they are needed, also after a start that knows them from the log alone.
func TestMembersAreIntroduced(t *testing.T) {
	known := map[int32]map[int32]string{}
	grow(t, 2, func(c *Config) {
		known[c.NodeID] = map[int32]string{}
		mine := known[c.NodeID]
		c.Addrs = map[int32]string{1: "node1:1"}
		c.Peer = func(id int32, addr string) { mine[id] = addr }
	}, func(t *testing.T, g *growing) {
		g.start(1, 2)
		g.must(joining(2))
		g.settle()
		synctest.Wait()
		assert.Equal(t, map[int32]map[int32]string{1: {2: "node2:1"}, 2: {1: "host:9091"}}, known)
		g.crash(2, vfs.DropAll)
		g.crash(1, vfs.DropAll)
		g.start(2)
		synctest.Wait()
		assert.Equal(t, "host:9091", known[2][1], "as node 1 registered")
	})
}

// The founder must not remember that it was alone once: it would be a majority by itself.
func TestFounderForgetsThatItWasAlone(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll} {
		grow(t, 3, nil, func(t *testing.T, g *growing) {
			g.start(1, 2, 3)
			for _, req := range []kmsg.Request{joining(2), joining(3), adding(2), adding(3)} {
				g.must(req)
			}
			g.settle()
			g.crash(1, mode)
			g.isolate(1, true)
			g.start(1)
			for range 100 {
				_, _, led := g.nodes[1].Leader()
				require.False(t, led)
				time.Sleep(20 * time.Millisecond)
			}
			g.isolate(1, false)
			g.settle()
		})
	}
}

// A node that is alone again starts as often as it likes, whether its log still tells of others or not.
func TestAloneAgain(t *testing.T) {
	for _, snapshots := range []int64{0, 300} {
		grow(t, 2, func(c *Config) { c.SnapshotBytes = snapshots }, func(t *testing.T, g *growing) {
			g.start(1, 2)
			for _, req := range []kmsg.Request{joining(2), adding(2), removing(2)} {
				g.must(req)
			}
			g.must(leaving(2), kerr.BrokerIDNotRegistered)
			g.settle()
			for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll, vfs.DropAll, vfs.KeepRandom, vfs.DropAll} {
				g.crash(1, mode)
				g.start(1)
				for range 10 {
					require.True(t, g.write(time.Second))
				}
			}
			q := g.settle()
			assert.Equal(t, [][]int32{{1}, nil}, [][]int32{q.Voters(), q.Observers()})
		})
	}
}

// A vote of this node's id counts as its own if its own disk has it, or it founded the quorum: who came back without a disk reads in the log of votes that another one had, and knew of.
func TestWhoseVote(t *testing.T) {
	own, other := dirID(1), dirID(9)
	record := func(dir log.TopicID, voter bool) *machine.Quorum {
		return &machine.Quorum{Version: 1, Members: []machine.Member{{ID: 1, DirectoryID: dir, Voter: voter}, {ID: 2, Voter: true}}}
	}
	for name, x := range map[string]struct {
		quorum   *machine.Quorum
		founders []int32
		want     bool
	}{
		"a founder, before anything is written":     {nil, []int32{1, 2}, true},
		"without a disk, before it has read":        {nil, nil, false},
		"a founder":                                 {record(log.TopicID{}, true), []int32{1, 2}, true},
		"without a disk, the founder's vote":        {record(log.TopicID{}, true), nil, false},
		"an observer of this disk":                  {record(own, false), nil, true},
		"its own vote":                              {record(own, true), nil, true},
		"the vote of another disk":                  {record(other, true), []int32{1, 2}, false},
		"an observer on another disk":               {record(other, false), []int32{1, 2}, false},
		"not a member as far as it has read so far": {&machine.Quorum{Members: []machine.Member{{ID: 2, Voter: true}}}, nil, true},
	} {
		c := &Controller{c: Config{NodeID: 1, DirectoryID: own}}
		c.image.Store(&Image{Quorum: x.quorum})
		d := &driver{c: c, store: &storage{founders: x.founders}}
		assert.Equal(t, x.want, d.mayVote(), name)
	}
}

// What a disk said that is gone says nothing of the one that has its node's id now.
func TestMessagesOfAnotherDisk(t *testing.T) {
	c := &Controller{}
	d := &driver{c: c}
	of := func(from int32, dir log.TopicID) inbound { return inbound{&pb.Message{From: new(raftID(from))}, dir} }
	c.image.Store(&Image{Quorum: &machine.Quorum{Members: []machine.Member{{ID: 1, Voter: true}, {ID: 2, DirectoryID: dirID(2)}}}})
	assert.True(t, d.genuine(of(2, dirID(2))))
	assert.False(t, d.genuine(of(2, dirID(3))))
	assert.True(t, d.genuine(of(1, dirID(3))), "a founder's disk is not known")
	assert.True(t, d.genuine(of(3, dirID(3))), "a member that this node has not heard of yet")
	c.image.Store(&Image{})
	assert.True(t, d.genuine(of(2, dirID(3))))
}
