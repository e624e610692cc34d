package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
)

// rolls has segments follow each other within a run, so that there is something to give up.
var rolls = map[string]string{"min.insync.replicas": "2", "segment.ms": "500"}

// prune writes to a topic whose records are deleted all the time, and reads it: what was not deleted is there, and what was deleted is not missed.
func (l *load) prune(host string, rng *rand.Rand) {
	w := l.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	admin := cluster.NewAdmin(client)
	t := *l.pruned
	for life := 0; ; life++ {
		last := w.Over()
		s := l.newSession(fmt.Sprintf("%s.%d", host, life), client, rng)
		if s == nil {
			return
		}
		for n := rng.IntN(60); n > 0 && !w.Over(); n-- {
			s.send(&t, int32(rng.IntN(len(t.Partitions))), rng.IntN(200))
			time.Sleep(w.pace(time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))))
		}
		s.close()
		if last {
			l.readFinally(client, &t)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		part := int32(rng.IntN(len(t.Partitions)))
		if end, err := l.endOf(ctx, client, host, &t, part, false); err == nil && end > 0 {
			l.deleteRecords(ctx, admin, host, &t, part, 1+rng.Int64N(end))
		}
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), w.pace(time.Second))
		left := rng.IntN(200)
		l.read(ctx, client, fmt.Sprintf("%s-reader.%d", host, life), &t, habits{}, func(int32, int64) bool { left--; return left < 0 || w.Over() })
		cancel()
	}
}

// deleteRecords has a partition begin at an offset. Once that was answered nobody is given what lies below: the operation is noted for those who look for what is missing, and the offset for those who read.
func (l *load) deleteRecords(ctx context.Context, admin *cluster.Admin, process string, t *cluster.TopicStatus, part int32, to int64) {
	op := history.Op{Process: process, Kind: history.Deleted, Place: place(t, part), To: to}
	id := l.rec.Begin(op)
	_, err := admin.DeleteRecords(ctx, map[cluster.TopicPartition]int64{{Topic: t.Name, Partition: part}: to})
	if err != nil {
		op.Outcome, op.Err = history.Info, err.Error()
	}
	l.rec.End(id, op)
	l.w.event("%s: delete the records of %s-%d below %d: %v", process, t.Name, part, to, err)
}
