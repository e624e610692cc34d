//go:build invariants

package broker

// poison makes the use of a buffer after its release show.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
