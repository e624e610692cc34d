package groups

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestJavaHash(t *testing.T) {
	for s, want := range map[string]int32{
		"":                   0,
		"a":                  97,
		"hello":              99162322,
		"my-group":           -1906497762,
		"polygenelubricants": math.MinInt32,
		"é":                  233,
		"\U0001F600":         31*0xD83D + 0xDE00, // a surrogate pair
	} {
		assert.Equal(t, want, javaHash(s), "%q", s)
	}
}

func TestPartitionOf(t *testing.T) {
	assert.Equal(t, int32(22), PartitionOf("hello", 50))
	assert.Equal(t, int32(0), PartitionOf("polygenelubricants", 50), "abs of the smallest number is 0")
	assert.Equal(t, int32(0), PartitionOf("anything", 1))
	for _, s := range []string{"", "x", "my-group", "\U0001F600", "polygenelubricants"} {
		p := PartitionOf(s, 7)
		assert.True(t, p >= 0 && p < 7)
	}
}
