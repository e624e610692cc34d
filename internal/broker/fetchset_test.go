package broker

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A replica wakes whom it found watching after it let go of its lock, which may be a fetch that has been answered since and serves another request by now. The race detector is what fails here.
func TestLateWakeOfAFetchUsedAgain(t *testing.T) {
	op := &fetchOp{b: &Broker{}}
	op.req = kmsg.NewPtrFetchRequest()
	topic := kmsg.NewFetchRequestTopic()
	topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
	op.req.Topics = append(op.req.Topics, topic)
	op.listAlone(1)
	p := &op.parts[0]
	var wg sync.WaitGroup
	for _, wake := range []func(){p.Wake, (*hwWatch)(p).Wake} {
		wg.Go(func() {
			for range 1000 {
				wake()
			}
		})
	}
	for range 1000 {
		op.dropAlone()
		op.listAlone(1)
	}
	wg.Wait()
}
