package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// compareLogs holds the files of all replicas against each other, byte for byte: nodes are closed, and all replicas were in sync.
func (w *World) compareLogs() {
	first, owner := map[string][]record.Batch{}, map[string]int32{}
	for _, n := range w.nodes {
		dirs, err := n.disk.ReadDir("data")
		if err != nil {
			w.problem("list the logs of node %d: %v", n.id, err)
			continue
		}
		for _, d := range dirs {
			if !d.IsDir() || strings.HasPrefix(d.Name(), "__cluster_metadata") || strings.HasSuffix(d.Name(), "-delete") || strings.HasSuffix(d.Name(), "-stray") {
				continue
			}
			b, err := batches(n.disk, "data/"+d.Name())
			if err != nil {
				w.problem("%s of node %d: %v", d.Name(), n.id, err)
				continue
			}
			if owner[d.Name()] == 0 {
				first[d.Name()], owner[d.Name()] = b, n.id
				continue
			}
			compare := equalBytes
			if strings.HasPrefix(d.Name(), keyedTopic+"-") {
				compare = equalViews
			}
			if err := compare(first[d.Name()], b); err != nil {
				w.problem("%s: nodes %d and %d differ: %v", d.Name(), owner[d.Name()], n.id, err)
			}
		}
	}
}

// equalBytes compares two logs where both have something: one may have given up more at its beginning, and what was not committed yet may be in one of them alone.
func equalBytes(a, b []record.Batch) error {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	from := max(a[0].BaseOffset(), b[0].BaseOffset())
	behind := func(b record.Batch) bool { return b.BaseOffset() >= from }
	i, j := slices.IndexFunc(a, behind), slices.IndexFunc(b, behind)
	if i < 0 || j < 0 {
		return nil
	}
	a, b = a[i:], b[j:]
	for n := range min(len(a), len(b)) {
		if !bytes.Equal(a[n], b[n]) {
			return fmt.Errorf("batch at %d, and at %d", a[n].BaseOffset(), b[n].BaseOffset())
		}
	}
	return nil
}

// equalViews compares what two compacted logs say of each key, up to where both go: a key that has no value, or whose tombstone has gone, counts as not there.
func equalViews(a, b []record.Batch) error {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	end, keys := min(a[len(a)-1].NextOffset(), b[len(b)-1].NextOffset()), map[string]string{}
	x, err := viewOf(a, end)
	if err != nil {
		return err
	}
	y, err := viewOf(b, end)
	if err != nil {
		return err
	}
	maps.Copy(keys, x)
	maps.Copy(keys, y)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if y[key] != x[key] {
			return fmt.Errorf("key %q is %q, and %q, up to %d", key, x[key], y[key], end)
		}
	}
	return nil
}

func viewOf(batches []record.Batch, end int64) (map[string]string, error) {
	view := map[string]string{}
	for _, b := range batches {
		for r, err := range b.All() {
			switch {
			case err != nil:
				return nil, err
			case r.Offset >= end:
			case r.Value == nil:
				delete(view, string(r.Key))
			default:
				view[string(r.Key)] = fmt.Sprintf("%s at %d", r.Value, r.Offset)
			}
		}
	}
	return view, nil
}

// batches are the batches of a log.
func batches(disk *vfs.Mem, dir string) (all []record.Batch, err error) {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // sorted, as base offsets are
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		f, err := disk.Open(dir+"/"+e.Name(), vfs.ReadOnly)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		b := make([]byte, size)
		if err == nil && size > 0 {
			_, err = f.ReadAt(b, 0)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
		for len(b) >= 12 {
			n := 12 + int(binary.BigEndian.Uint32(b[8:]))
			if n == 12 { // written ahead
				break
			}
			if n > len(b) {
				return nil, fmt.Errorf("%s ends within a batch", e.Name())
			}
			all = append(all, record.Batch(b[:n]))
			b = b[n:]
		}
	}
	return all, nil
}
