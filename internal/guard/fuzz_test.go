package guard

import (
	"math/rand/v2"
	"testing"
)

func FuzzRequest(f *testing.F)  { fuzz(f, false) }
func FuzzResponse(f *testing.F) { fuzz(f, true) }

func fuzz(f *testing.F, response bool) {
	each(f, func(k kind, version int16) {
		if k.response == response && (version == 0 || int(version) == int(find(k.table(), k.key).count)-1) {
			fill := filler{rand.New(rand.NewPCG(uint64(version), uint64(k.key))), 2, 4}
			f.Add(k.key, version, fill.encoded(k, version))
		}
	})
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		requireBounded(t, kind{response, key}, version, body, Budget(len(body)))
	})
}
