package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/insynclog/insync/internal/vfs"
)

// scrubEvery is how often everything is read that is stored, in seeds that do. Between two scrubs, and for as long as one may take, damage stays.
const scrubEvery = 5 * time.Second

// drawRot adds up to three of Rot to a schedule of which the seed had decided everything before there was such a fault.
func drawRot(p *plan, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x707))
	for range rng.IntN(4) {
		p.schedule = append(p.schedule, Action{
			At: time.Duration(rng.Int64N(int64(p.length))).Truncate(time.Microsecond), Fault: Rot, Node: int32(1 + rng.IntN(p.nodes)), Seed: rng.Uint64N(1 << 20),
		})
	}
	slices.SortStableFunc(p.schedule, func(a, b Action) int { return cmp.Compare(a.At, b.At) })
}

// rot changes a byte in a segment that a node has rolled, where all others are well: theirs may be the only copies until it is found. It is always the same node of a run, for the next one's copy might be of the same batch.
func (w *World) rot(n *node, rng *rand.Rand) {
	if w.rotten != nil {
		n = w.rotten
	}
	var names []string
	dirs, _ := n.disk.ReadDir("data")
	for _, d := range dirs {
		if !d.IsDir() || strings.HasPrefix(d.Name(), "__cluster_metadata") || strings.HasSuffix(d.Name(), "-delete") || strings.HasSuffix(d.Name(), "-stray") || strings.HasPrefix(d.Name(), soleTopic+"-") {
			continue // or has no other copy
		}
		files, _ := n.disk.ReadDir("data/" + d.Name())
		var logs []string
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".log") {
				logs = append(logs, "data/"+d.Name()+"/"+f.Name())
			}
		}
		names = append(names, logs[:max(0, len(logs)-1)]...)
	}
	if len(names) == 0 || !w.mayLose(n) {
		return
	}
	name := names[rng.IntN(len(names))]
	size, err := sizeOf(n.disk, name)
	if err != nil || size == 0 {
		return
	}
	at := rng.Int64N(size)
	if err := n.disk.Corrupt(name, at, byte(1+rng.IntN(255))); err != nil {
		w.problem("rot: %v", err)
	}
	w.rotten = n
	w.event("node %d: byte %d of %s changes", n.id, at, name)
}

func sizeOf(disk *vfs.Mem, name string) (int64, error) {
	info, err := disk.Stat(name)
	if err != nil {
		return 0, fmt.Errorf("size: %w", err)
	}
	return info.Size(), nil
}
