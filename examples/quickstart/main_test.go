package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuickstart(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			var in strings.Builder
			const lines = 3000
			for i := range lines {
				fmt.Fprintf(&in, "line %d %s\n", i%100, strings.Repeat("x", i%50)) // lines repeat, some are alike
			}
			var out bytes.Buffer
			dir := t.TempDir()
			err := run(t.Context(), options{nodes: nodes, dir: dir, in: strings.NewReader(in.String()), out: &out})
			t.Log(out.String())
			require.NoError(t, err)
			got := strings.Split(strings.TrimSpace(out.String()), "\n")
			require.Equal(t, fmt.Sprintf("sent=%d acked=%d read=%d missing=0 duplicates=0 reordered=0", lines, lines, lines), got[len(got)-1])
			if nodes == 3 {
				require.Contains(t, out.String(), "killed node")
			}
			_, err = os.Stat(dir)
			require.NoError(t, err, "a directory that was named is kept")
		})
	}
}

func TestEmptyInputIsAnError(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), options{nodes: 1, in: strings.NewReader(""), out: &bytes.Buffer{}}), "empty")
}
