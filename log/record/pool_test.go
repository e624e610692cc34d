package record

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Builders and Readers of many goroutines share the pools of codecs, and nothing else: what one compresses never shows up
// with another.
func TestPools_Concurrent(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var r Reader
			rs := sample(100 + 50*g)
			for i := range 30 {
				b := NewBuilder(BuilderConfig{Codec: codecs[(i+g)%len(codecs)]})
				for j := range rs {
					b.Append(&rs[j])
				}
				out, err := b.Build(nil)
				if !assert.NoError(t, err) || !assert.NoError(t, r.Reset(out, 0)) {
					return
				}
				n := 0
				for ; r.Next(); n++ {
					if !assert.Equal(t, rs[n], r.Record().Clone()) {
						return
					}
				}
				assert.NoError(t, r.Err())
				assert.Len(t, rs, n)
			}
		})
	}
	wg.Wait()
}
