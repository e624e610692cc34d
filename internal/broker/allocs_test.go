//go:build !race

package broker

import (
	"math"
	"testing"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
)

// TestAllocationsPerRequest are the ceilings of what a request on the hot paths allocates, whatever its number of records.
func TestAllocationsPerRequest(t *testing.T) {
	h := newHarness(t, 1, nil)
	h.create(1, "t", 1, 1, "flush.messages", never)
	d := newDirect(h.nodes[1])
	records := sized(t, 100, 100)
	d.fill(t, records, 8)
	produce := produceRequest("t", 0, 1, records)
	if got := testing.AllocsPerRun(500, func() { drop(d.call(produce)) }); got > 1 {
		t.Errorf("produce allocates %v times", got)
	}
	fetch := fetchRequest("t", 0, 2)
	if got := testing.AllocsPerRun(500, func() { drop(d.call(fetch)) }); got > 1 {
		t.Errorf("fetch allocates %v times", got)
	}

	// Nor do quotas cost any.
	d.info = transport.ConnInfo{Identity: transport.Identity{Principal: transport.Anonymous, Peer: true}}
	everybody := ""
	h.setQuota(&everybody, nil, controller.ProducerByteRate, math.MaxInt32)
	h.setQuota(&everybody, nil, controller.ConsumerByteRate, math.MaxInt32)
	if got := testing.AllocsPerRun(500, func() { drop(d.call(produce)) }); got > 1 {
		t.Errorf("produce with a quota allocates %v times", got)
	}
	if got := testing.AllocsPerRun(500, func() { drop(d.call(fetch)) }); got > 1 {
		t.Errorf("fetch with a quota allocates %v times", got)
	}
	if n := len(h.nodes[1].used.of); n != 2 {
		t.Errorf("%d quotas were used", n)
	}
}
