package log

import (
	"errors"
	"io/fs"
)

// ScrubFiles checks meta.properties and the checkpoints on disk against what is in memory, and writes those again that differ. It returns their names. Error: *StorageError.
func (d *Directory) ScrubFiles() (rebuilt []string, err error) {
	h := d.home
	name := h.path + "/" + metaFile
	d.identity.acquire()
	d.mu.Lock()
	meta := d.mu.meta
	d.mu.Unlock()
	b, err := readSmallFile(d.fs, name)
	m, bad := parseMeta(b)
	if err != nil || bad != nil || m != meta {
		rebuilt = append(rebuilt, name)
		err = replaceSmallFile(d.fs, name, meta.encode())
	}
	d.identity.release()
	if err != nil {
		return rebuilt, err
	}
	again, err := h.scrub()
	return append(rebuilt, again...), err
}

// scrub is ScrubFiles for the checkpoints.
func (h *home) scrub() (rebuilt []string, err error) {
	h.write.acquire()
	for _, c := range h.files() {
		name := h.path + "/" + c.name
		h.mu.Lock()
		want := clone(*c.stored)
		h.mu.Unlock()
		b, err := readSmallFile(h.fs, name)
		if errors.Is(err, fs.ErrNotExist) && len(want) == 0 {
			continue
		}
		got, bad := parseOffsetCheckpoint(b)
		if err == nil && bad == nil && equal(got, want) {
			continue
		}
		rebuilt = append(rebuilt, name)
		h.mu.Lock()
		*c.stored = map[partitionKey]int64{{topic: "\x00"}: 0} // unlike anything, so that store writes
		h.mu.Unlock()
	}
	h.write.release()
	if len(rebuilt) == 0 {
		return nil, nil
	}
	h.logger.Warn("checkpoints are written anew: they were damaged", "files", rebuilt)
	return rebuilt, h.store()
}
