package log

import (
	"strings"
	"testing"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A batch that does not fit into what a reader has room for is not passed over for a smaller one in the next segment.
func TestReadDoesNotPassOverWhatDoesNotFit(t *testing.T) {
	l, err := Open("orders-0", Config{FS: vfs.NewMem(), SegmentBytes: 600})
	require.NoError(t, err)
	defer l.Close()
	large, small := batchOf(t, strings.Repeat("x", 400)), batchOf(t, strings.Repeat("y", 100))
	for _, b := range []record.Batch{large, small, small, large, small} {
		mustAppend(t, l, b)
	}
	var bases []int64
	for _, s := range *l.segments.Load() {
		bases = append(bases, s.BaseOffset())
	}
	require.Equal(t, []int64{0, 1, 3, 4}, bases)
	for _, c := range []struct {
		offset     int64
		limit      int
		atLeastOne bool
		want       int64 // base offset, -1: nothing
	}{
		{0, len(large), false, 0},
		{0, len(large) - 1, false, -1},
		{0, len(small), false, -1},
		{0, 0, false, -1},
		{0, len(small), true, 0},
		{1, len(small), false, 1},
		{2, len(small), false, 2},
		{3, len(small), false, -1},
		{3, len(small), true, 3},
		{4, len(small), false, 4},
		{4, 0, false, -1},
	} {
		sl, err := l.Read(c.offset, 5, c.limit, c.atLeastOne)
		require.NoError(t, err)
		if c.want < 0 {
			assert.Zero(t, sl.Len(), "%+v", c)
		} else if assert.NotZero(t, sl.Len(), "%+v", c) {
			assert.Equal(t, c.want, sl.Offset, "%+v", c)
		}
		sl.Release()
	}
}
