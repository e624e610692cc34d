package broker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A producer has gone on in a new epoch; every request of the epochs before comes again, late, several times, in any order and at once, at the leader and at whoever leads after it, also with the sequence that
// would be next. Each is refused, and nothing changes: not the log, and not what is known of the producer. There are no transactions yet, whose requests would have to be refused likewise.
func TestFault_F39_OldProducerEpochs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		rng := rand.New(rand.NewPCG(39, 1))
		const id = 7
		led := map[*testNode]bool{}
		var old [][]byte
		var want []string
		for epoch := int16(0); epoch < 6; epoch++ {
			var sent [][]byte
			next := int32(0)
			send := func() {
				t.Helper()
				v := fmt.Sprintf("%d.%d", epoch, next)
				b := producerBatch(t, id, epoch, next, v)
				require.Zero(t, h.leader("t", 0).produce("t", 0, -1, b).ErrorCode, v)
				want, next, sent = append(want, v), next+1, append(sent, b)
			}
			for range 7 {
				send() // more than the five that are remembered
				leader := h.leader("t", 0)
				led[leader] = true
				before := leader.producers("t", 0).ActiveProducers
				require.Len(t, before, 1)
				var wg sync.WaitGroup
				for range 2 {
					for _, i := range rng.Perm(len(old)) {
						wait := time.Duration(rng.IntN(20)) * time.Millisecond
						wg.Go(func() {
							time.Sleep(wait)
							assert.Equal(t, kerr.InvalidProducerEpoch.Code, leader.produce("t", 0, -1, old[i]).ErrorCode)
						})
					}
				}
				wg.Wait()
				assert.Equal(t, before, leader.producers("t", 0).ActiveProducers)
			}
			if epoch%2 == 1 { // the one that leads next knows the producer from the log, and after its restart from a snapshot
				n := h.leader("t", 0)
				n.stop(epoch%4 == 1)
				require.NoError(t, n.start())
				h.isr("t", 0, 3)
			}
			old = append(old, sent...)
			old = append(old, producerBatch(t, id, epoch, next, "never sent before"))
		}
		assert.Greater(t, len(led), 1, "others have led")
		assert.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}
