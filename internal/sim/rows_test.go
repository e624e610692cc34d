package sim_test

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/internal/sim"
)

var each = flag.Int("sim.each", few(2, 1), "number of seeds that each TestFault runs")

// row runs seeds with nothing but one row's faults.
func row(t *testing.T, c sim.Config, faults ...sim.Fault) {
	t.Helper()
	one(t)
	c.Faults = faults
	if c.Length == 0 {
		c.Length = 8 * time.Second
	}
	if c.Schedule = given(t); c.Schedule != nil {
		*each = 1
	}
	injected := map[sim.Fault]int{}
	for c.Seed = *first; c.Seed < *first+uint64(*each); c.Seed++ {
		r := run(t, c, t.Name())
		for f, n := range r.Faults {
			injected[f] += n
		}
		acked := 0
		for _, op := range r.History {
			if op.Kind == history.Send && op.Outcome == history.OK {
				acked++
			}
		}
		assert.Greater(t, acked, 20, "seed %d", c.Seed)
		if len(r.Problems) > 0 {
			t.Errorf("seed %d: %q", c.Seed, r.Problems)
			explain(t, c, r)
			return
		}
	}
	if c.Schedule != nil {
		return
	}
	t.Log(injected)
	if *each < 2 { // one seed need not have all of them
		require.NotEmpty(t, injected)
		return
	}
	for _, f := range faults {
		require.NotZero(t, injected[f], "%s", f)
	}
	require.Len(t, injected, len(faults))
}

func TestFault_F01_Kill(t *testing.T) { row(t, sim.Config{}, sim.Kill) }

func TestFault_F02_KillAll(t *testing.T) { row(t, sim.Config{}, sim.KillAll) }

func TestFault_F03_PowerLossOfOneNode(t *testing.T) { row(t, sim.Config{}, sim.Power, sim.Torn) }

func TestFault_F04_PowerLossOfAllNodes(t *testing.T) {
	row(t, sim.Config{}, sim.PowerAll, sim.TornAll)
}

func TestFault_F19_SlowDisks(t *testing.T) { row(t, sim.Config{}, sim.SlowDisk) }

func TestFault_F21_Split(t *testing.T) { row(t, sim.Config{}, sim.Split, sim.Isolate, sim.Cut) }

func TestFault_F22_OneWay(t *testing.T) { row(t, sim.Config{}, sim.CutTo) }

func TestFault_F23_RingsAndBridges(t *testing.T) {
	row(t, sim.Config{Nodes: 5}, sim.Ring, sim.Bridge)
}

// Segments come late, in bursts, and again after they were lost; requests come twice, out of order, and connections break.
func TestFault_F24_LateLostAndDoubled(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Group: true}.Load}, sim.Lossy, sim.Double, sim.Reset)
}

func TestFault_F25_ConnectionsReset(t *testing.T) { row(t, sim.Config{}, sim.Reset) }

func TestFault_F26_LinksComeAndGo(t *testing.T) {
	row(t, sim.Config{}, sim.Cut, sim.CutTo, sim.Latency, sim.Stall)
}

// Nothing depends on the wall clock but the times of records.
func TestFault_F27_WrongClocks(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Group: true}.Load}, sim.Clock, sim.Kill)
}

func TestFault_F28_Pause(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Group: true}.Load}, sim.Pause)
}

// A leader is cut off from the other nodes, and clients still reach it.
func TestFault_F29_LeaderWithoutFollowers(t *testing.T) { row(t, sim.Config{}, sim.Split) }

// Halves, bridges and nodes alone leave controllers without a majority, which others replace.
func TestFault_F30_ControllerWithoutMajority(t *testing.T) {
	row(t, sim.Config{Nodes: 5}, sim.Split, sim.Bridge, sim.Isolate)
}

func TestFault_F31_NobodyAnswers(t *testing.T) { row(t, sim.Config{}, sim.Stall) }

func TestFault_F35_RestartStorm(t *testing.T) { row(t, sim.Config{}, sim.Storm) }

func TestFault_F36_ReplicasMoveMeanwhile(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Operator: true}.Load}, sim.Kill, sim.Torn, sim.Cut)
}

func TestFault_F37_VotersComeAndGo(t *testing.T) {
	row(t, sim.Config{}, sim.Unvote, sim.Cut, sim.Isolate, sim.Torn)
}

func TestFault_F38_CoordinatorMoves(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Group: true}.Load}, sim.Kill, sim.Stop, sim.Isolate)
}

func TestFault_F40_TopicMadeAnew(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Churn: true}.Load}, sim.Kill, sim.Torn, sim.Cut)
}

// Nodes stop in order one after the other, and then are killed one after the other.
func TestFault_F33_RollingRestart(t *testing.T) {
	one(t)
	nodes := few(3, 1)
	c := sim.Config{Seed: 2, Nodes: 3, Length: time.Duration(4+12*nodes) * time.Second}
	for i := range 2 * nodes {
		a := sim.Action{At: time.Duration(i) * 6 * time.Second, For: time.Second, Fault: sim.Stop, Node: int32(i%3 + 1)}
		if i >= nodes {
			a.Fault = sim.Kill
		}
		c.Schedule = append(c.Schedule, a)
	}
	r := run(t, c, t.Name())
	assert.Empty(t, r.Problems)
	assert.Equal(t, map[sim.Fault]int{sim.Stop: nodes, sim.Kill: nodes}, r.Faults)
}

// What a leader has acknowledged by itself stays while it leads, whatever power is lost.
func TestAcknowledgedByTheLeaderAlone(t *testing.T) {
	row(t, sim.Config{Story: sim.Cast{Ones: true}.Load}, sim.Power, sim.PowerAll, sim.SlowDisk)
}
