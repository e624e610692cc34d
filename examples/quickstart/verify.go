package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/insynclog/insync/consumer"
)

// verifier reads everything from the start and compares it, record by record, with the lines that went in.
type verifier struct {
	lines    [][]byte
	progress *progress

	read       int   // records that came back
	distinct   int   // lines that came back unchanged, each counted once
	duplicates int   // lines that came back again
	reordered  int   // records before which a later line of the same partition came
	foreign    int   // records that nobody sent, or whose content changed
	bytes      int64 // of the values
	took       time.Duration
}

func (v *verifier) run(ctx context.Context, c *nodes) error {
	defer v.progress.done()
	began := time.Now()
	want := int64(0) // records below the high watermarks
	ends := map[int32]int64{}
	for id := int32(1); id <= c.last(); id++ {
		for _, r := range c.node(id).Status().Replicas {
			if r.Topic == topic && r.Role == "leader" {
				ends[r.Partition] = r.Offsets.HighWatermark
			}
		}
	}
	for _, end := range ends {
		want += end
	}
	cons, err := consumer.New(consumer.Config{Client: c.node(c.last()).Client(), Topics: []string{topic}})
	if err != nil {
		return err
	}
	defer cons.Close()
	seen := make([]bool, len(v.lines))
	last := make([]int, partitions)
	for i := range last {
		last[i] = -1
	}
	for r, err := range cons.Records(ctx) {
		if err != nil {
			return err
		}
		v.read++
		v.bytes += int64(len(r.Value))
		i, err := strconv.Atoi(string(r.Key))
		switch {
		case err != nil || i < 0 || i >= len(v.lines) || !bytes.Equal(v.lines[i], r.Value):
			v.foreign++
		case seen[i]:
			v.duplicates++
		default:
			seen[i] = true
			v.distinct++
			if i < last[r.Partition] {
				v.reordered++
			}
			last[r.Partition] = i
		}
		v.progress.set(v.read)
		if int64(v.read) == want {
			break
		}
	}
	v.took = time.Since(began)
	return ctx.Err()
}

// printTable prints the partitions as they are at the end.
func (c *nodes) printTable(ctx context.Context, out io.Writer) error {
	t, ok := topicOf(c.node(c.last()))
	if !ok {
		return fmt.Errorf("topic %q is gone", topic)
	}
	ends := map[int32]int64{}
	for id := int32(1); id <= c.last(); id++ {
		for _, r := range c.node(id).Status().Replicas {
			if r.Topic == topic && r.Role == "leader" {
				ends[r.Partition] = r.Offsets.LogEndOffset
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "partition\tleader\tepoch\treplicas\tin sync\tend offset\t")
	for _, p := range t.Partitions {
		fmt.Fprintf(w, "%d\t%d\t%d\t%v\t%v\t%d\t\n", p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, ends[p.Partition])
	}
	return w.Flush()
}
