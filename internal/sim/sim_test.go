package sim_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/internal/sim"
)

var (
	seeds  = flag.Int("sim.seeds", few(20, 2), "number of seeds that TestSim runs")
	first  = flag.Uint64("sim.first", 1, "the first of them")
	faults = flag.String("sim.faults", "", "file with the faults of the one seed that TestSim or a TestFault runs, a line each, in place of those that it would draw")
	trace  = flag.String("sim.trace", "", "prefix of files that get a line per event")
	verb   = flag.Bool("sim.v", false, "print what happens")
	only   = flag.String("sim.only", "", "faults that TestSim draws from, separated by commas; none: all")
	often  = flag.String("sim.times", "", "how many times as often as usual TestSim has faults come, as disk-fail=10, separated by commas")
	hunt   = flag.Duration("sim.hunt", 0, "TestSim ends with the first seed that fails, or with this time, and says no more than why; 0: it does not")
	shrink = flag.Int("sim.shrink", 60, "how many runs the search for the fewest faults of a seed that failed takes at most; 0: the next seed follows without")
	syncs  = flag.String("sim.sync", "", "when TestSim's records are synced: always, interval, never; none: the seed decides")
	free   = flag.Int("sim.free", few(4, 4), "number of seeds that TestFreely runs")
)

// few is how many there are of something, with the race detector and without.
func few(plain, race int) int {
	if raced {
		return race
	}
	return plain
}

// one makes the schedule of faults come from one processor: see the package's documentation.
func one(t testing.TB) {
	n := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(n) })
}

func run(t *testing.T, c sim.Config, name string) sim.Result {
	var events bytes.Buffer // not a file: a system call is a chance for others to run
	if *trace != "" {
		c.Trace = &events
	}
	r := sim.Run(t, c)
	if *trace != "" {
		require.NoError(t, os.WriteFile(fmt.Sprintf("%s-%d-%s", *trace, c.Seed, name), events.Bytes(), 0o644))
	}
	if *verb {
		fmt.Println(strings.Join(r.Log, "\n"))
	}
	return r
}

// total adds up what runs were.
type total struct {
	virtual time.Duration
	begun   time.Time
	faults  map[sim.Fault]int
	done    map[history.Kind]int // operations of clients that came to a good end
}

func (s *total) add(r sim.Result) {
	if s.faults == nil {
		s.faults, s.done = map[sim.Fault]int{}, map[history.Kind]int{}
	}
	s.virtual += r.Virtual
	for f, n := range r.Faults {
		s.faults[f] += n
	}
	for _, op := range r.History {
		if op.Outcome == history.OK {
			s.done[op.Kind]++
		}
	}
}

func (s *total) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v of virtual time in %v;", s.virtual.Round(time.Second), time.Since(s.begun).Round(time.Second))
	for _, f := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, " %s %d", f, s.faults[f])
	}
	b.WriteString(";")
	for _, k := range slices.Sorted(maps.Keys(s.done)) {
		fmt.Fprintf(&b, " %v %d", k, s.done[k])
	}
	return b.String()
}

// Whatever befalls a cluster, what was acknowledged stays, once and in order, and all is well soon after.
func TestSim(t *testing.T) {
	one(t)
	c := sim.Config{Sync: sim.Sync(*syncs), Length: *length, Schedule: given(t)}
	if c.Schedule != nil {
		*seeds = 1
	}
	for f := range strings.SplitSeq(*only, ",") {
		if f != "" {
			c.Faults = append(c.Faults, sim.Fault(f))
		}
	}
	for x := range strings.SplitSeq(*often, ",") {
		if f, n, ok := strings.Cut(x, "="); ok {
			times, err := strconv.Atoi(n)
			require.NoError(t, err, x)
			if c.Times == nil {
				c.Times = map[sim.Fault]int{}
			}
			c.Times[sim.Fault(f)] = times
		}
	}
	sum := total{begun: time.Now()}
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		c.Seed = seed
		r := run(t, c, "sim")
		sum.add(r)
		if *hunt > 0 && len(r.Problems) > 0 {
			fmt.Printf("%sseed %d: %.200q\n", foundPrefix, seed, r.Problems[0])
			t.FailNow()
		}
		if *hunt > 0 && time.Since(sum.begun) > *hunt {
			fmt.Printf("%d seeds: %v\n", seed-*first+1, &sum)
			return
		}
		if len(r.Problems) > 0 {
			t.Errorf("seed %d:\n%s", seed, strings.Join(r.Problems, "\n"))
			if *shrink == 0 {
				t.Log(repeat(t, c, r, ""))
				continue
			}
			explain(t, c, r)
			break
		}
		if n := seed - *first + 1; n%100 == 0 {
			fmt.Printf("%d seeds: %v\n", n, &sum)
		}
	}
	t.Logf("%d seeds: %v", *seeds, &sum)
	if *seeds >= 20 && *syncs == "" && *only == "" {
		for _, k := range []history.Kind{history.Send, history.Poll, history.Seek, history.Claim, history.Revoke, history.Commit, history.Fetch, history.List, history.Crash, history.Deleted} {
			assert.Greater(t, sum.done[k], 10, "the load does not do %v", k)
		}
	}
}

// The same with goroutines that run freely, on all processors: what TestSim cannot see are races, and what comes of them is not repeated by a seed.
func TestFreely(t *testing.T) {
	for seed := range uint64(*free) {
		if r := run(t, sim.Config{Seed: 1_000_000 + seed, Length: 15 * time.Second}, "free"); len(r.Problems) > 0 {
			t.Errorf("seed %d:\n%s\n%s", 1_000_000+seed, strings.Join(r.Problems, "\n"), strings.Join(r.Log, "\n"))
		}
	}
}

// given are the faults of the file that -sim.faults names, or nil.
func given(t *testing.T) []sim.Action {
	if *faults == "" {
		return nil
	}
	text, err := os.ReadFile(*faults)
	require.NoError(t, err)
	return schedule(t, string(text))
}

func schedule(t *testing.T, text string) []sim.Action {
	list := []sim.Action{}
	for line := range strings.Lines(text) {
		a, err := sim.ParseAction(line)
		require.NoError(t, err)
		list = append(list, a)
	}
	return list
}

// What once went wrong: a comment, a line with seed and nodes, and the faults.
func TestRegressions(t *testing.T) {
	one(t)
	files, err := filepath.Glob("testdata/*.faults")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(text), "\n")
		head, list, _ := strings.Cut(rest, "\n")
		c := sim.Config{Sync: sim.SyncAlways}
		_, err = fmt.Sscanf(head, "seed %d nodes %d", &c.Seed, &c.Nodes)
		require.NoError(t, err, file)
		c.Schedule = schedule(t, list)
		assert.Empty(t, run(t, c, filepath.Base(file)).Problems, file)
	}
}

// explain tells how to repeat a run that failed, with as few faults as can be.
func explain(t *testing.T, c sim.Config, r sim.Result) {
	t.Logf("what happened:\n%s", strings.Join(r.Log, "\n"))
	tries := *shrink
	if *faults != "" {
		tries = 0 // somebody looks for a mistake, with faults that are few enough
	}
	c, r = sim.Shrink(t, c, r, tries)
	var lines []string
	for _, a := range c.Schedule {
		lines = append(lines, a.String())
	}
	file := fmt.Sprintf("%s/insync-sim-%d", os.TempDir(), c.Seed)
	assert.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644))
	var ops bytes.Buffer
	assert.NoError(t, history.Write(&ops, r.History))
	assert.NoError(t, os.WriteFile(file+".history", ops.Bytes(), 0o644))
	t.Logf("it fails as well with these faults alone:\n%s\n%s\nthe history of its clients is in %s.history\nwhat happened then:\n%s",
		strings.Join(lines, "\n"), repeat(t, c, r, file), file, strings.Join(r.Log, "\n"))
}

// Acknowledgements from the page cache do not survive a loss of power everywhere: the harness finds that, and shrinks it to little more than that fault.
func TestFindsWhatIsLost(t *testing.T) {
	if raced {
		t.Skip("many runs: without the race detector")
	}
	one(t)
	for seed := uint64(1); ; seed++ {
		require.LessOrEqual(t, seed, uint64(60), "nothing found")
		c := sim.Config{Seed: seed, Sync: sim.SyncAlways, Length: 15 * time.Second, Node: func(c *cluster.Config) { c.Topic.FlushMessages = -1 }}
		r := run(t, c, "lazy")
		if len(r.Problems) == 0 {
			continue
		}
		short, r := sim.Shrink(t, c, r, 40)
		t.Logf("seed %d: %q\nby %v", seed, r.Problems[0], short.Schedule)
		assert.NotEmpty(t, short.Schedule, "nothing is lost without a fault")
		assert.LessOrEqual(t, len(short.Schedule), 6)
		assert.True(t, slices.ContainsFunc(short.Schedule, func(a sim.Action) bool {
			return slices.Contains([]sim.Fault{sim.Power, sim.Torn, sim.PowerAll, sim.TornAll, sim.Storm, sim.DiskFail}, a.Fault)
		}), "only a loss of power takes what was not synced")
		return
	}
}

// What the clients of Load note is enough to tell if one value of all is not there at the end.
func TestHistoryTellsOfOneLostValue(t *testing.T) {
	one(t)
	r := run(t, sim.Config{Seed: 5, Length: 10 * time.Second}, "history")
	require.Empty(t, r.Problems)
	require.Equal(t, history.Good, history.Check(r.History, history.Options{Dense: true}).Verdict)
	i := slices.IndexFunc(r.History, func(op history.Op) bool { return op.Kind == history.Send && op.Outcome == history.OK })
	require.GreaterOrEqual(t, i, 0)
	lost := r.History[i].Items[0]
	without := slices.DeleteFunc(slices.Clone(r.History), func(op history.Op) bool {
		return op.Kind == history.Poll && op.Final && slices.Contains(op.Items, lost)
	})
	require.Len(t, without, len(r.History)-2, "two readers at the end")
	got := history.Check(without, history.Options{Dense: true})
	assert.True(t, slices.ContainsFunc(got.Anomalies, func(a history.Anomaly) bool { return a.Rule == "C2" || a.Rule == "C1" }), "%v", got)
}

func TestActionText(t *testing.T) {
	for _, a := range sim.Schedule(7) {
		got, err := sim.ParseAction(a.String())
		require.NoError(t, err)
		require.Equal(t, a, got)
	}
	for _, bad := range []string{"", "1s 1s kill", "x 1s kill 1 2 3", "1s x kill 1 2 3", "1s 1s murder 1 2 3"} {
		_, err := sim.ParseAction(bad)
		require.Error(t, err, "%q", bad)
	}
}
