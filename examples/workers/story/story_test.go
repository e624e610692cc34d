package story

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	const records = 4000
	var out bytes.Buffer
	err := Run(t.Context(), Options{Workers: 4, Records: records, Out: &out})
	t.Log(out.String())
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var missing, repeated, produced, processed int
	_, err = fmt.Sscanf(lines[len(lines)-1], "produced=%d processed>=%d missing=%d repeated=%d", &produced, &processed, &missing, &repeated)
	require.NoError(t, err)
	require.Equal(t, []int{records, records, 0}, []int{produced, processed, missing})
}

func TestTooFewWorkers(t *testing.T) {
	require.Error(t, Run(t.Context(), Options{Workers: 2, Records: 1000, Out: &bytes.Buffer{}}))
}
