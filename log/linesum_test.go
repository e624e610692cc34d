package log

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryByteOfSmallTextFilesIsChecked changes each byte of each of Kafka's text files to every other value: what is read is refused, or what was written.
func TestEveryByteOfSmallTextFilesIsChecked(t *testing.T) {
	keys := []partitionKey{{"orders", 0}, {"pay-ments", 12}}
	offsets := map[partitionKey]int64{keys[0]: 4711, keys[1]: 0}
	epochs := []epochEntry{{1, 0}, {5, 120}}
	var c epochCache
	c.set(epochs)
	id := newUUID()
	meta := metaProperties{nodeID: 13, clusterID: "MkU3OEVBNTcwNTJENDM2Qg", directoryID: id}
	files := map[string]struct {
		data []byte
		read func(b []byte) (any, error)
		want any
	}{
		"offsets":            {appendOffsetCheckpoint(nil, keys, offsets), func(b []byte) (any, error) { return parseOffsetCheckpoint(b) }, offsets},
		"epochs":             {c.encode(), func(b []byte) (any, error) { return parseEpochs(b) }, epochs},
		"partition.metadata": {encodeMetadata(id), func(b []byte) (any, error) { return parseMetadata(b) }, id},
		"meta.properties":    {meta.encode(), func(b []byte) (any, error) { return parseMeta(b) }, meta},
	}
	for name, f := range files {
		for at := range f.data {
			for mask := 1; mask < 256; mask++ {
				b := append([]byte(nil), f.data...)
				b[at] ^= byte(mask)
				got, err := f.read(b)
				if err == nil && !assert.ObjectsAreEqual(f.want, got) {
					t.Fatalf("%s with byte %d ^ %#x reads as %v", name, at, mask, got)
				}
			}
		}
		for cut := range f.data {
			got, err := f.read(f.data[:cut])
			if err == nil && !assert.ObjectsAreEqual(f.want, got) {
				t.Fatalf("%s cut to %d bytes reads as %v", name, cut, got)
			}
		}
	}
	// Kafka's own lines have no checksum.
	m, err := parseOffsetCheckpoint([]byte("0\n2\norders 0 4711\npay-ments 12 0\n"))
	require.NoError(t, err)
	assert.Equal(t, offsets, m)
}
