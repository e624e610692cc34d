package insync_test

import (
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// faultsTested are the rows of the table of faults in docs/guarantees.md that have a test. A row that got one is added here, so that it does not lose it unnoticed.
const faultsTested = "F01 F02 F03 F04 F05 F06 F07 F08 F09 F10 F11 F12 F13 F14 F15 F17 F18 F19 F20 F21 F22 F23 F24 F25 F26 F27 F28 F29 F30 F31 F32 F33 F34 F35 F36 F37 F38 F39 F40 F41 F42 F43 F44 F45"

const faultRows = 45

var faultTest = regexp.MustCompile(`^TestFault_(F\d\d)_`)

// TestFaultMatrix holds the table of faults against the tests: every test that a row names exists, a row without a name has no test, and no row of faultsTested is without one.
// With -update the names are written anew.
func TestFaultMatrix(t *testing.T) {
	tests := map[string][]string{} // by row, with the package
	for _, s := range load(t) {
		if !s.test() {
			continue
		}
		for _, d := range s.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				if m := faultTest.FindStringSubmatch(f.Name.Name); m != nil {
					tests[m[1]] = append(tests[m[1]], fmt.Sprintf("`%s`: `%s`", s.pkg, f.Name.Name))
				}
			}
		}
	}
	const file, begin, end = "docs/guarantees.md", "<!-- faults -->\n", "<!-- /faults -->"
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(page), begin)
	require.True(t, ok)
	table, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	const missing = "not tested yet"
	var out strings.Builder
	n := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		require.Len(t, cells, 3, line)
		row := strings.TrimSpace(cells[0])
		if !strings.HasPrefix(row, "F") {
			out.WriteString(line)
			continue
		}
		n++
		require.Equal(t, fmt.Sprintf("F%02d", n), row, "the rows are in order, and none is missing")
		have := tests[row]
		slices.Sort(have)
		claimed := slices.Contains(strings.Fields(faultsTested), row)
		if len(have) == 0 && claimed {
			t.Errorf("%s has lost its test", row)
		}
		if *update {
			named := strings.Join(have, ", ")
			if named == "" {
				named = missing
			}
			fmt.Fprintf(&out, "| %s |%s| %s |\n", row, cells[1], named)
			continue
		}
		switch named := strings.TrimSpace(cells[2]); {
		case named == missing && len(have) > 0:
			t.Errorf("%s has tests that its row does not name: go test . -run TestFaultMatrix -update; and add it to faultsTested", row)
		case named != missing:
			for _, name := range strings.Split(named, ", ") {
				if !slices.Contains(have, name) {
					t.Errorf("%s names a test that there is not: %s", row, name)
				}
			}
		}
	}
	require.Equal(t, faultRows, n)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+out.String()+end+after), 0o644))
	}
}

var namedTest = regexp.MustCompile("`([a-z/]+)`: `(Test\\w+)`")

// TestDamagePage holds the tests that docs/damage.md names against those that there are.
func TestDamagePage(t *testing.T) {
	have := map[string]bool{}
	for _, s := range load(t) {
		if !s.test() {
			continue
		}
		for _, d := range s.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				have[s.pkg+" "+f.Name.Name] = true
			}
		}
	}
	page, err := os.ReadFile("docs/damage.md")
	require.NoError(t, err)
	named := namedTest.FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 20)
	for _, m := range named {
		if !have[m[1]+" "+m[2]] {
			t.Errorf("docs/damage.md names a test that there is not: %s of %s", m[2], m[1])
		}
	}
}
