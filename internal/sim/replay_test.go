package sim_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/sim"
)

var (
	length  = flag.Duration("sim.length", 0, "for how long faults may begin in TestSim and TestReplay; 0: the seed decides")
	again   = flag.Int("sim.again", 2, "how many processes TestReplay runs the seeds in")
	exactly = flag.Bool("sim.exact", true, "TestReplay has them run with the runtime of internal/sim/exact, and all must be the same; false: with the ordinary one, to count how many are")
	digests = flag.String("sim.digests", "", "TestDigests tells the digests of the seeds, which it runs up or down")
)

// A seed makes the same run each time: in another process, and whatever ran in it before. The programs are built with a runtime that leaves nothing to chance: see internal/sim/exact.
func TestReplay(t *testing.T) {
	if raced {
		t.Skip("the race detector shuffles goroutines")
	}
	program := filepath.Join(t.TempDir(), "sim.test")
	build := []string{"test", "-c", "-vet=off", "-o", program}
	if *exactly {
		overlay, err := exec.Command("go", "run", "./exact").Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && strings.Contains(string(exit.Stderr), "another Go than") {
			t.Skipf("%s", exit.Stderr)
		}
		require.NoError(t, err, "go run ./exact")
		build = append(build, "-overlay="+strings.TrimSpace(string(overlay)))
	}
	command(t, "go", append(build, ".")...)
	told := make([]string, *again)
	t.Run("processes", func(t *testing.T) {
		for i := range told {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				args := []string{
					"-test.run=^TestDigests$", "-test.v", "-sim.digests=" + []string{"up", "down"}[i%2],
					fmt.Sprintf("-sim.first=%d", *first), fmt.Sprintf("-sim.seeds=%d", *seeds), fmt.Sprintf("-sim.length=%v", *length), fmt.Sprintf("-sim.exact=%v", *exactly),
				}
				if *trace != "" {
					args = append(args, fmt.Sprintf("-sim.trace=%s-%d", *trace, i))
				}
				told[i] = command(t, program, args...)
			})
		}
	})
	same := 0
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		runs := map[string]bool{}
		for _, out := range told {
			line, ok := found(out, fmt.Sprintf("seed %d: ", seed))
			require.True(t, ok, "%s", out)
			runs[line] = true
		}
		if len(runs) == 1 {
			same++
		} else if *exactly {
			t.Errorf("seed %d made other runs: %v", seed, runs)
		}
	}
	t.Logf("%d of %d seeds made the same run in %d processes", same, *seeds, *again)
}

// command returns what a program prints. It has to end well.
func command(t *testing.T, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	var complaints strings.Builder
	c.Stderr = &complaints
	out, err := c.Output()
	require.NoError(t, err, "%s %v:\n%s%s", name, args, out, complaints.String())
	return string(out)
}

// found returns the line of out that begins so.
func found(out, prefix string) (string, bool) {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line), true
		}
	}
	return "", false
}

// repeat tells how to make a run that failed again, with the faults of a file or, without, those that the seed draws.
func repeat(t *testing.T, c sim.Config, r sim.Result, file string) string {
	args := fmt.Sprintf("./internal/sim -run '^%s$' -sim.first=%d", t.Name(), c.Seed)
	switch {
	case file != "":
		args += " -sim.faults=" + file
	case *only != "":
		args += " -sim.seeds=1 -sim.only=" + *only
	default:
		args += " -sim.seeds=1"
	}
	if len(c.Times) > 0 && file == "" {
		args += " -sim.times=" + *often
	}
	if c.Sync != "" {
		args += " -sim.sync=" + string(c.Sync)
	}
	if *length != 0 {
		args += fmt.Sprintf(" -sim.length=%v", *length)
	}
	if sim.Exact(t) {
		return fmt.Sprintf("repeat it, with digest %x, by\n\tgo test -overlay=\"$(go run ./internal/sim/exact)\" %s -sim.v", r.Digest, args)
	}
	return fmt.Sprintf("chance was in this run, for it was not built with -overlay=\"$(go run ./internal/sim/exact)\"; repeat it, some times if need be, by\n\tgo test %s -sim.v", args)
}

// TestDigests is what TestReplay has its programs run.
func TestDigests(t *testing.T) {
	if *digests == "" {
		t.Skip("-sim.digests says how")
	}
	one(t)
	require.Equal(t, *exactly, sim.Exact(t))
	for i := range uint64(*seeds) {
		seed := *first + i
		if *digests == "down" {
			seed = *first + uint64(*seeds) - 1 - i
		}
		c := sim.Config{Seed: seed, Length: *length}
		r := run(t, c, "digest")
		fmt.Fprintf(os.Stdout, "seed %d: %d events, digest %x, %v\n", seed, r.Events, r.Digest, r.Virtual)
		if len(r.Problems) > 0 {
			t.Errorf("seed %d:\n%s\n%s", seed, strings.Join(r.Problems, "\n"), strings.Replace(repeat(t, c, r, ""), t.Name(), "TestSim", 1))
		}
	}
}
