//go:build !race

package broker

import "testing"

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
}
