package sim_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	hunter                     hunter // none: the simulation
}

// hunter is a test of another package that hunts a mutant in place of the simulation.
type hunter struct {
	dir, run string // the package, from the root of the module, and the pattern of its tests
	args     string // separated by spaces
	tags     string // that the program is built with
}

// mutants is the catalogue.
var mutants = slices.Concat(replicationMutants, storageMutants)

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
	h := m.hunter
	if h.dir == "" {
		h = hunter{dir: "internal/sim", run: "^TestSim$", args: fmt.Sprintf("-sim.seeds=1000 -sim.hunt=%v -sim.only=%s", *patient, m.faults)}
	}
	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	require.NoError(t, os.WriteFile(changed, []byte(m.change(t)), 0o644))
	file, err := filepath.Abs(filepath.Join("..", "..", m.file))
	require.NoError(t, err)
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, text, 0o644))
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-tags="+h.tags, "-overlay="+overlay, "-o", program, "./"+h.dir)
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	begun := time.Now()
	hunting, cancel := context.WithTimeout(t.Context(), 2**patient)
	defer cancel()
	hunt := exec.CommandContext(hunting, program, append([]string{"-test.run=" + h.run, "-test.timeout=5m", "-test.failfast"}, strings.Fields(h.args)...)...)
	hunt.Dir = filepath.Join(root, h.dir)
	out, err = hunt.CombinedOutput()
	found := ""
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, foundPrefix); ok {
			found = strings.TrimSpace(rest)
			break
		}
	}
	if found == "" && err != nil && hunting.Err() == nil {
		found = firstFailure(string(out))
	}
	took := time.Duration(0)
	if hunt.ProcessState != nil {
		took = hunt.ProcessState.UserTime() + hunt.ProcessState.SystemTime()
	}
	require.NotEmpty(t, found, "%s (%s) was not found in %v, %v of them on a processor:\n%s", m.name, m.rule, time.Since(begun).Round(time.Second), took.Round(time.Second), out)
	t.Logf("%-32s %-3s found in %4.0f s, %4.1f s of them on a processor: %s", m.name, m.rule, time.Since(begun).Seconds(), took.Seconds(), found)
}

// foundPrefix begins the line that TestSim prints in a hunt.
const foundPrefix = "found: "

// firstFailure is what the first test that failed said first, or the first line about a panic, or the last line.
func firstFailure(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(strings.TrimSpace(line), "--- FAIL") {
			return strings.Join(strings.Fields(strings.Join(lines[i:min(i+8, len(lines))], " ")), " ")
		}
	}
	return "the program ended: " + lines[len(lines)-1]
}
