package history_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/insynclog/insync/internal/history"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each file of testdata has histories: those that break the rule of the file's name, and the nearest that do not. A line "check what it is, options" begins one, "---- verdict rules" ends it.
func TestCheckFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/[CH]*")
	require.NoError(t, err)
	require.Len(t, files, 19)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			verdicts := map[string]bool{}
			for block := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n\n") {
				lines := strings.Split(strings.TrimSpace(block), "\n")
				n := len(lines)
				h, err := history.Read(strings.NewReader(strings.Join(lines[1:n-1], "\n")))
				require.NoError(t, err, lines[0])
				want, ok := strings.CutPrefix(lines[n-1], "---- ")
				require.True(t, ok, lines[n-1])
				r := history.Check(h, options(lines[0]))
				assert.Equal(t, want, strings.Join(append([]string{r.Verdict.String()}, found(r)...), " "), "%s\n%v", lines[0], r)
				verdicts[r.Verdict.String()] = true
				if f := found(r); len(f) > 0 && strings.HasPrefix(file, "testdata/C") {
					name := strings.Replace(filepath.Base(file), "C0", "C", 1)
					assert.Contains(t, f, name)
				}
			}
			assert.True(t, verdicts["anomaly"], "a history that breaks the rule")
			assert.True(t, verdicts["ok"] || filepath.Base(file) == "H1", "a history that does not")
		})
	}
}

func options(line string) (o history.Options) {
	for _, f := range strings.Fields(line) {
		switch p, ok := strings.CutPrefix(f, "plain="); {
		case ok:
			o.Plain = append(o.Plain, p)
		case f == "dense":
			o.Dense = true
		case f == "lossy":
			o.AllowLoss = true
		}
	}
	return o
}

// found are the rules of a report.
func found(r history.Report) (rules []string) {
	for _, a := range r.Anomalies {
		rules = append(rules, a.Rule)
	}
	slices.Sort(rules)
	return rules
}
