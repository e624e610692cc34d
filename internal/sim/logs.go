package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/insynclog/insync/internal/vfs"
)

// compareLogs holds the files of all replicas against each other, byte for byte: nodes are closed, and all replicas were in sync.
func (w *World) compareLogs() {
	first, owner := map[string][]byte{}, map[string]int32{}
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
			// What was not committed yet may be on one of them alone.
			if a := first[d.Name()]; !bytes.HasPrefix(a, b) && !bytes.HasPrefix(b, a) {
				at := 0
				for at < min(len(a), len(b)) && a[at] == b[at] {
					at++
				}
				w.problem("%s: nodes %d and %d differ from byte %d of %d and %d on", d.Name(), owner[d.Name()], n.id, at, len(a), len(b))
			}
		}
	}
}

// batches are the batches of a log that starts at its first segment, in one piece.
func batches(disk *vfs.Mem, dir string) (all []byte, err error) {
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
			all = append(all, b[:n]...)
			b = b[n:]
		}
	}
	return all, nil
}
