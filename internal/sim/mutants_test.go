package sim_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	mutate  = flag.String("sim.mutants", "", "mutants that TestMutants builds and hunts, by name and separated by commas; all: every one")
	patient = flag.Duration("sim.patience", time.Minute, "how long a mutant is hunted, beside the building of it")
)

// mutant is a known kind of mistake: one change of one file. The code is changed in a copy, by go build's overlay; nothing of it is in the package.
type mutant struct {
	name, rule, file, from, to string
	faults                     string // to hunt it with, separated by commas; none: what seeds draw
}

// The catalogue. Rules are: S2 acknowledge what is synced, everywhere; R1 drop what is of an older epoch; R2 truncate by epochs; R4 the high watermark is the minimum over all who may be elected, and stands still
// below the minimum in sync; R5 join the ISR only with everything; R7 who lost something leaves; R9 only what is committed acts; R10 votes are durable; T1 duplicates are known.
var mutants = []mutant{
	{"ack-before-sync", "S2", "replication/machine/leader.go", "	if m.settings.Synced {\n		return m.syncedEnd\n	}\n", "", "power-all,torn-all,slow-disk"},
	{"confirm-before-sync", "S2", "replication/follow.go", "		wait.until = o.LogEndOffset\n", "		wait.until = 0\n", ""},
	{"fetch-of-any-epoch", "R1", "replication/machine/machine.go", "	case epoch >= 0 && epoch < m.state.LeaderEpoch:\n		return EpochFenced\n	case epoch >= 0 && epoch > m.state.LeaderEpoch:\n		return EpochUnknown\n", "", "cut-to,stall,power,kill"},
	{"truncate-to-high-watermark", "R2", "replication/follow.go", "	to := machine.TruncateTo(machine.EpochEnd{Epoch: epoch, End: end, Known: true}, own, o.LogEndOffset)\n", "	to := o.HighWatermark\n", "kill,kill-all,isolate"},
	{"no-truncation", "R2", "replication/machine/follower.go", "		case own.Epoch < lastFetchedEpoch, own.End < fetchOffset:\n			return FetchDiverging\n", "", ""},
	{"high-watermark-of-committed-isr", "R4", "replication/machine/leader.go", "f.Offset < hw && (f.InMaximal || m.mayJoin(f, now))", "f.Offset < hw && f.InISR", "cut-to,isolate,kill,latency"},
	{"high-watermark-below-minimum", "R4", "replication/machine/leader.go", "	if len(m.state.ISR) < m.minISR() {\n		return\n	}\n", "", ""},
	{"join-without-high-watermark", "R5", "replication/machine/isr.go", "p.InISR || p.Offset < m.hw || p.Offset < m.epochStart || now", "p.InISR || now", ""},
	{"lossy-stays-eligible", "R7", "internal/controller/machine/election.go", "			c.lossy = []int32{id}\n", "", "wipe,kill,isolate"},
	{"unclean-election", "R8", "internal/controller/machine/election.go", "	if c.election == unclean {\n		for", "	{\n		for", ""},
	{"vote-not-synced", "R10", "internal/controller/storage.go", "return q.write(s.fs, s.dir, !s.alone)", "return q.write(s.fs, s.dir, false)", ""},
	{"duplicates-appended", "T1", "log/producerstate.go", "if old, ok := e.duplicate(b); ok {", "if old, ok := e.duplicate(b); ok && false {", "reset,cut-to,stall"},
}

// change returns the file with the mistake in it.
func (m mutant) change(t *testing.T) string {
	text, err := os.ReadFile(filepath.Join("..", "..", m.file))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), m.from), "%s: the code has changed: %s has to be written anew", m.name, m.file)
	return strings.Replace(string(text), m.from, m.to, 1)
}

// The catalogue fits the code.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		assert.False(t, names[m.name], m.name)
		names[m.name] = true
		_, err := parser.ParseFile(token.NewFileSet(), m.file, m.change(t), parser.AllErrors)
		assert.NoError(t, err, m.name)
	}
}

// Each known mistake is found by some seed: go test ./internal/sim -run TestMutants$ -sim.mutants=all -timeout=1h
func TestMutants(t *testing.T) {
	if *mutate == "" {
		t.Skip("-sim.mutants says which")
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(*mutate, ",") {
		wanted[name] = true
	}
	for _, m := range mutants {
		if wanted["all"] || wanted[m.name] {
			t.Run(m.name, m.hunt)
		}
	}
}

func (m mutant) hunt(t *testing.T) {
	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	require.NoError(t, os.WriteFile(changed, []byte(m.change(t)), 0o644))
	file, err := filepath.Abs(filepath.Join("..", "..", m.file))
	require.NoError(t, err)
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, text, 0o644))
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	begun := time.Now()
	out, err = exec.CommandContext(t.Context(), program, "-test.run=^TestSim$", "-sim.seeds=1000", "-sim.only="+m.faults, fmt.Sprintf("-sim.hunt=%v", *patient), "-test.timeout=5m").CombinedOutput()
	found := ""
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, foundPrefix); ok {
			found = strings.TrimSpace(rest)
			break
		}
	}
	if found == "" && err != nil { // it did not get so far as to tell
		found = "the program ended: " + lastLine(string(out))
	}
	require.NotEmpty(t, found, "%s (%s) was not found in %v", m.name, m.rule, *patient)
	t.Logf("%-32s %-3s found in %4.0f s: %s", m.name, m.rule, time.Since(begun).Seconds(), found)
}

// foundPrefix begins the line that TestSim prints in a hunt.
const foundPrefix = "found: "

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
