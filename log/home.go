package log

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// The other files of a data directory.
const (
	lockFile     = ".lock"
	cleanFile    = ".kafka_cleanshutdown"
	metaFile     = "meta.properties"
	metadataFile = "partition.metadata"
)

// home is what the logs of one data directory share: lock, clean marker and checkpoints.
type home struct {
	fs     vfs.FS
	path   string
	logger *slog.Logger
	lock   io.Closer
	open   *segment.Files // bounds the open ones; nil is no bound

	tight atomic.Bool // no blocks are written ahead

	alone       bool  // of one log, which needs nobody to tell it what is committed
	clean       bool  // the last stop was clean
	brokerEpoch int64 // that the marker held

	boot         string // of the operating system and mount; "" unknown
	restart      Restart
	restartEpoch int64       // that of Restart
	relaxed      atomic.Bool // noted durably
	lost         atomic.Bool // a log is damaged, or ends below what was committed
	state        struct {    // broker-state
		slot                   // taken while it is written
		now        brokerState // as on disk if written, else what a new file would say
		written    bool        // in this life
		distrusted bool        // a sync failed
		over       bool        // nothing is written any more
	}

	write slot // taken by whoever writes checkpoint files

	mu struct {
		sync.Mutex
		points, highs, starts map[partitionKey]int64 // as the next checkpoint will say
		cleaned               map[partitionKey]int64 // where compaction goes on
		stored                storedOffsets          // as the files say
	}
}

// storedOffsets are the checkpoints as last written.
type storedOffsets struct {
	points, highs, starts, cleaned map[partitionKey]int64
}

// cleanMarker is the content of .kafka_cleanshutdown.
type cleanMarker struct {
	Version     int   `json:"version"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

// openHome takes the lock, takes note of the clean marker and removes it durably, and reads the checkpoints.
func openHome(fsys vfs.FS, dir string, logger *slog.Logger) (*home, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, storage("mkdir", dir, err)
	}
	lock, err := fsys.Lock(dir + "/" + lockFile)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%s: %w", dir, ErrDirectoryLocked)
	}
	if err != nil {
		return nil, storage("lock", dir+"/"+lockFile, err)
	}
	h := &home{fs: fsys, path: dir, logger: logger, lock: lock, brokerEpoch: -1}
	if err := h.load(); err != nil {
		return nil, errors.Join(err, h.abandon())
	}
	return h, nil
}

// makeDir makes a directory whose name survives. That it is there already does not mean that its name would.
func makeDir(fsys vfs.FS, dir string) error {
	if err := fsys.MkdirAll(dir); err != nil {
		return storage("mkdir", dir, err)
	}
	return syncDir(fsys, path.Dir(dir))
}

// syncAncestors makes the names of a directory and of those above it durable: any of them may have been made together with it. One that cannot be synced was made by somebody else; and the names of a node's directory and of those above it are
// Directory's business.
func syncAncestors(fsys vfs.FS, dir string) error {
	for parent := path.Dir(dir); ; parent = path.Dir(parent) {
		err := syncDir(fsys, parent)
		if err != nil && (parent == path.Dir(dir) || !vfs.CannotSync(err)) {
			return err
		}
		if parent == path.Dir(parent) {
			return nil
		}
		name := parent + "/" + metaFile
		switch _, err := fsys.Stat(name); {
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist) && !vfs.CannotSync(err):
			return storage("stat", name, err)
		}
	}
}

func (h *home) load() error {
	name := h.path + "/" + cleanFile
	b, err := readSmallFile(h.fs, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return storage("read", name, err)
	default:
		var m cleanMarker
		h.clean = json.Unmarshal(b, &m) == nil && m.Version == 0
		if h.clean {
			h.brokerEpoch = m.BrokerEpoch
		}
		if err := h.fs.Remove(name); err != nil {
			return storage("remove", name, err)
		}
		if err := syncDir(h.fs, h.path); err != nil {
			return err
		}
	}
	if !h.clean {
		// A life before this one may have ended between making a name and syncing it.
		if err := syncAncestors(h.fs, h.path); err != nil {
			return err
		}
		if err := syncDir(h.fs, h.path); err != nil {
			return err
		}
	}
	for _, c := range h.files() {
		m, damaged, err := readOffsetCheckpoint(h.fs, h.path+"/"+c.name)
		if err != nil {
			return err
		}
		if damaged != nil {
			h.logger.Warn("checkpoint is damaged and counts as empty", "path", h.path+"/"+c.name, "err", damaged)
			h.clean = h.clean && c.name == cleanerFile // what the others say has to be found out
		}
		*c.next, *c.stored = m, clone(m)
	}
	return nil
}

// checkpointFile is one of the checkpoints: its next content and its present one.
type checkpointFile struct {
	name         string
	next, stored *map[partitionKey]int64
}

func (h *home) files() [4]checkpointFile {
	return [...]checkpointFile{
		{recoveryPointFile, &h.mu.points, &h.mu.stored.points},
		{logStartFile, &h.mu.starts, &h.mu.stored.starts},
		{highWatermarkFile, &h.mu.highs, &h.mu.stored.highs},
		{cleanerFile, &h.mu.cleaned, &h.mu.stored.cleaned},
	}
}

func clone(m map[partitionKey]int64) map[partitionKey]int64 {
	c := make(map[partitionKey]int64, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// offsets returns what the checkpoints say of a log.
func (h *home) offsets(k partitionKey) (point, start, high int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.points[k], h.mu.starts[k], h.mu.highs[k]
}

// note takes a log's positions for the next checkpoint: that it is durable up to point, which the caller has seen to.
func (h *home) note(l *Log) { h.noteAt(l, l.offsets.load().SyncedEndOffset) }

func (h *home) noteAt(l *Log, point int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// Not before the lock: a log start that was raised and stored meanwhile would be taken back.
	o := l.offsets.load()
	first := (*l.segments.Load())[0].BaseOffset()
	h.mu.points[l.key] = point
	h.mu.highs[l.key] = o.HighWatermark
	if o.LogStartOffset > first {
		h.mu.starts[l.key] = o.LogStartOffset
	} else {
		delete(h.mu.starts, l.key)
	}
}

// noteStart takes a log start offset, which has been raised and published, for the next checkpoint.
func (h *home) noteStart(k partitionKey, start int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.starts[k] = start
}

// cleaned is up to where a log has been compacted, 0 if it was not.
func (h *home) cleaned(k partitionKey) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.cleaned[k]
}

// noteCleaned takes that for the next checkpoint.
func (h *home) noteCleaned(k partitionKey, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.cleaned[k] = offset
}

// lower makes sure, durably, that no checkpoint says more of a log than the given recovery point, which compaction is not beyond either, and log start offset: before a truncation.
func (h *home) lower(k partitionKey, point, start int64) error {
	h.mu.Lock()
	h.mu.points[k] = min(h.mu.points[k], point)
	if h.mu.starts[k] > start {
		h.mu.starts[k] = start
	}
	if h.mu.cleaned[k] > point {
		h.mu.cleaned[k] = point
	}
	h.mu.Unlock()
	// A store that is under way may have taken the values from before, and is not among those stored until it is over.
	h.write.acquire()
	h.mu.Lock()
	stale := h.mu.stored.points[k] > point || h.mu.stored.cleaned[k] > point || h.mu.stored.starts[k] > start
	h.mu.Unlock()
	h.write.release()
	if !stale {
		return nil
	}
	return h.store()
}

// forget removes a deleted log from the checkpoints, durably, so that they say nothing of a later one of the same name.
func (h *home) forget(k partitionKey) error {
	h.mu.Lock()
	for _, c := range h.files() {
		delete(*c.next, k)
	}
	h.mu.Unlock()
	return h.store()
}

// remembers tells whether a checkpoint says something of a log.
func (h *home) remembers(k partitionKey) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.files() {
		_, next := (*c.next)[k]
		if _, stored := (*c.stored)[k]; next || stored {
			return true
		}
	}
	return false
}

// store writes the checkpoints that have changed; durable on return.
func (h *home) store() error {
	h.write.acquire()
	defer h.write.release()
	wrote := false
	for _, c := range h.files() {
		h.mu.Lock()
		next := clone(*c.next)
		same := equal(next, *c.stored)
		h.mu.Unlock()
		if same {
			continue
		}
		keys := make([]partitionKey, 0, len(next))
		for k := range next {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, compareKeys)
		if err := writeSmallFile(h.fs, h.path+"/"+c.name, appendOffsetCheckpoint(nil, keys, next)); err != nil {
			return err
		}
		wrote = true
		h.mu.Lock()
		*c.stored = next
		h.mu.Unlock()
	}
	if !wrote {
		return nil
	}
	return syncDir(h.fs, h.path)
}

func compareKeys(a, b partitionKey) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

func equal(a, b map[partitionKey]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// close writes the checkpoints and the clean marker, and lets the lock go.
func (h *home) close(brokerEpoch int64) error {
	err := h.store()
	if err == nil {
		b, _ := json.Marshal(cleanMarker{BrokerEpoch: brokerEpoch}) // two numbers do marshal
		err = replaceSmallFile(h.fs, h.path+"/"+cleanFile, b)
	}
	return errors.Join(err, h.abandon())
}

// abandon lets the lock go and leaves everything as it is.
func (h *home) abandon() error {
	h.endState()
	return storage("unlock", h.path+"/"+lockFile, h.lock.Close())
}
