package broker

import (
	"math/bits"
	"sync"
)

// Sizes of pooled buffers: powers of two between these. Larger ones are left to the garbage collector.
const (
	minBufferBits = 12 // 4 KiB
	maxBufferBits = 23 // 8 MiB
)

// buffers are the pools of what fetches read into, by size.
type buffers struct {
	pools [maxBufferBits - minBufferBits + 1]sync.Pool
}

func bufferClass(n int) int {
	return max(bits.Len(uint(max(n, 1)-1)), minBufferBits) - minBufferBits
}

// get returns an empty buffer with room for n bytes.
func (b *buffers) get(n int) *[]byte {
	class := bufferClass(n)
	if class >= len(b.pools) {
		buf := make([]byte, 0, n)
		return &buf
	}
	if buf, ok := b.pools[class].Get().(*[]byte); ok {
		*buf = (*buf)[:0]
		return buf
	}
	buf := make([]byte, 0, 1<<(class+minBufferBits))
	return &buf
}

// put takes a buffer back. Nobody may use its bytes any more.
func (b *buffers) put(buf *[]byte) {
	class := bufferClass(cap(*buf))
	if class >= len(b.pools) || cap(*buf) != 1<<(class+minBufferBits) {
		return
	}
	poison((*buf)[:cap(*buf)])
	b.pools[class].Put(buf)
}
