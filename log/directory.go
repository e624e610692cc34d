package log

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// metadataLogName is the directory of the log that is not one of a topic's partitions.
const metadataLogName = "__cluster_metadata-0"

// The suffixes of partition directories on their way out.
const (
	deleteSuffix = "-delete"
	straySuffix  = "-stray"
)

// closers is how many logs are closed, or checkpointed, at once.
const closers = 16

// DirectoryConfig sets up a Directory.
type DirectoryConfig struct {
	FS     vfs.FS // nil = the operating system's
	NodeID int32
	Logger *slog.Logger // nil = silent

	// MaxOpenSegments bounds how many segments have their files open at a time, each a descriptor and up to two mappings. More are open while they are all in use, or have writes that were not
	// synced. 0 is half of the descriptors that the process may have, at most 8192: two mappings each are a quarter of what Linux allows a process by default. Negative is no bound.
	MaxOpenSegments int
}

// Directory is a node's data directory: identity (meta.properties), lock, clean-shutdown marker, checkpoints and one sub-directory per log. Its
// methods are safe for concurrent use, but for one partition only one at a time.
type Directory struct {
	home    *home
	fs      vfs.FS
	ballast *ballast

	mu struct {
		sync.Mutex
		meta   metaProperties
		logs   map[partitionKey]*Log
		closed bool
	}
	identity slot // taken while meta.properties is written
	written  time.Time
}

// OpenDirectory opens or creates a node's data directory. It takes the lock, reads or creates meta.properties (directory.id is created here; cluster.id later, see SetClusterID),
// reads the clean-shutdown marker and removes it durably, finds out how the last life ended (see Restart), and reads the checkpoints. Logs are opened one by one.
// Errors: ErrDirectoryLocked, *IdentityError (another node's directory), *ForeignDirectoryError (files that are neither ours nor Kafka's), *CorruptError (meta.properties), *StorageError.
func OpenDirectory(path string, c DirectoryConfig) (*Directory, error) {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	written, err := checkNotForeign(c.FS, path)
	if err != nil {
		return nil, err
	}
	h, err := openHome(c.FS, path, c.Logger)
	if err != nil {
		return nil, err
	}
	h.open = openSegments(c.MaxOpenSegments)
	d := &Directory{home: h, written: written}
	if d.ballast, err = openBallast(c.FS, path); err != nil {
		return nil, errors.Join(err, h.abandon())
	}
	h.fs = sparingFS{drawingFS{c.FS, d.ballast, besidesBatchesDraw}, h.open}
	d.fs = h.fs
	d.mu.logs = map[partitionKey]*Log{}
	if err := d.identify(c.NodeID); err != nil {
		return nil, errors.Join(err, h.abandon())
	}
	if err := h.loadState(d.mu.meta.directoryID); err != nil {
		return nil, errors.Join(err, h.abandon())
	}
	if err := d.removeDeleted(); err != nil {
		return nil, errors.Join(err, h.abandon())
	}
	return d, nil
}

// maxOpenSegments is the largest bound that is not asked for.
const maxOpenSegments = 8192

func openSegments(limit int) *segment.Files {
	switch {
	case limit < 0:
		return nil
	case limit > 0:
		return segment.NewFiles(limit)
	}
	limit = maxOpenSegments
	if n := vfs.MaxDescriptors(); n > 0 {
		limit = int(min(int64(limit), n/2))
	}
	return segment.NewFiles(limit)
}

// OpenSegments is how many segments have their files open now; 0 without a bound.
func (d *Directory) OpenSegments() int {
	if d.home.open == nil {
		return 0
	}
	return d.home.open.Open()
}

// checkNotForeign refuses a directory that holds files but no meta.properties: it is somebody else's. What a start that was interrupted leaves is ours. It returns the time of the newest file.
func checkNotForeign(fsys vfs.FS, path string) (written time.Time, err error) {
	entries, err := fsys.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return written, nil
	}
	if err != nil {
		return written, storage("list", path, err)
	}
	other, ours := "", false
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !e.IsDir() && info.ModTime().After(written) { // one that is gone by now says nothing
			written = info.ModTime()
		}
		switch e.Name() {
		case metaFile:
			ours = true
		case lockFile, metaFile + tmpSuffix, "lost+found", metadataLogName:
		default:
			if other == "" {
				other = e.Name()
			}
		}
	}
	if other != "" && !ours {
		return written, &ForeignDirectoryError{Path: path, Found: other}
	}
	return written, nil
}

// LastWritten is when a life of the node before this one wrote a file of the directory for the last time (checkpoints, the marker of a clean stop), by the wall clock of then; zero without such a file.
func (d *Directory) LastWritten() time.Time { return d.written }

// SetTight tells whether the disk is so full that the logs should write no blocks ahead of their ends.
func (d *Directory) SetTight(tight bool) { d.home.tight.Store(tight) }

// Path is the directory's name as given to OpenDirectory.
func (d *Directory) Path() string { return d.home.path }

// Space returns the size in bytes of the disk that the directory is on, and how many of them can still be written. Error: *StorageError.
func (d *Directory) Space() (total, free int64, err error) {
	total, free, err = d.home.fs.Space(d.home.path)
	return total, free, storage("space", d.home.path, err)
}

// ID is directory.id: made when the directory was, so that a wiped one is known as new.
func (d *Directory) ID() TopicID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.meta.directoryID
}

// ClusterID is cluster.id, "" until known.
func (d *Directory) ClusterID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.meta.clusterID
}

// SetClusterID stores the cluster's id, durable on return. Error: *IdentityError when another one is stored; *StorageError.
func (d *Directory) SetClusterID(id string) error {
	d.identity.acquire()
	defer d.identity.release()
	d.mu.Lock()
	m := d.mu.meta
	d.mu.Unlock()
	if m.clusterID == id {
		return nil
	}
	if m.clusterID != "" {
		return &IdentityError{Path: d.home.path + "/" + metaFile, Field: "cluster.id", Stored: m.clusterID, Wanted: id}
	}
	m.clusterID = id
	if err := replaceSmallFile(d.fs, d.home.path+"/"+metaFile, m.encode()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.meta = m
	return nil
}

// Clean tells whether the last stop was clean, and the broker epoch that the marker held (-1 without). See Restart.
func (d *Directory) Clean() (clean bool, brokerEpoch int64) { return d.home.clean, d.home.brokerEpoch }

// LogEntry is one partition directory found on disk.
type LogEntry struct {
	Topic     string
	Partition int32
	TopicID   TopicID // zero if partition.metadata is missing
}

func (e LogEntry) key() partitionKey { return partitionKey{e.Topic, e.Partition} }

// Logs lists the partition directories (without __cluster_metadata-0, without those renamed -delete or -stray), by name.
func (d *Directory) Logs() ([]LogEntry, error) {
	return d.Unclaimed(func(string, int32) bool { return false })
}

// Unclaimed lists those of Logs that nobody claims. Of the others nothing is read: OpenLog tells whose they are.
func (d *Directory) Unclaimed(claimed func(topic string, partition int32) bool) ([]LogEntry, error) {
	keys, err := d.list()
	if err != nil {
		return nil, err
	}
	var list []LogEntry
	for _, k := range keys {
		if claimed(k.topic, k.partition) {
			continue
		}
		id, err := d.readTopicID(k)
		if err != nil && !is[*CorruptError](err) { // a damaged one is not known
			return nil, err
		}
		list = append(list, LogEntry{Topic: k.topic, Partition: k.partition, TopicID: id})
	}
	return list, nil
}

func (d *Directory) list() ([]partitionKey, error) {
	entries, err := d.fs.ReadDir(d.home.path)
	if err != nil {
		return nil, storage("list", d.home.path, err)
	}
	var keys []partitionKey
	for _, e := range entries {
		if k, ok := parsePartitionKey(e.Name()); ok && e.IsDir() && e.Name() != metadataLogName {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (d *Directory) dirOf(k partitionKey) string { return d.home.path + "/" + k.String() }

// readTopicID reads partition.metadata; missing is the zero id.
func (d *Directory) readTopicID(k partitionKey) (TopicID, error) {
	name := d.dirOf(k) + "/" + metadataFile
	b, err := readSmallFile(d.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return TopicID{}, nil
	}
	if err != nil {
		return TopicID{}, storage("read", name, err)
	}
	id, err := parseMetadata(b)
	if err != nil {
		return TopicID{}, &CorruptError{Path: name, Err: err}
	}
	return id, nil
}

// OpenLog opens the partition's log, recovering it if the last stop was not clean, or creates it (partition.metadata first, durable). The FS of
// c is the directory's.
//
// A log that has ended, for a write or a sync failed, may be opened again once it is abandoned: it is recovered as after a crash. What the failed sync was to write may be in the page cache alone, so everything from the recovery
// point on is written again. It may still lack what it had confirmed, if its records were confirmed before they were synced: see NoteRelaxed.
//
// Errors: *TopicIDError: the directory belongs to another incarnation of the topic; ErrClosed; *CorruptError; *StorageError. Safe for concurrent use with different partitions.
func (d *Directory) OpenLog(topic string, partition int32, id TopicID, c Config) (*Log, error) {
	k := partitionKey{topic, partition}
	again, err := d.usable(k)
	if err != nil {
		return nil, err
	}
	c.FS = d.fs
	c = c.withDefaults()
	created, err := d.claim(k, id)
	if is[*CorruptError](err) && c.KeepDamaged && id != (TopicID{}) {
		err = d.reidentify(k, id)
	}
	if err != nil {
		return nil, err
	}
	l, err := openLog(d.home, k, d.dirOf(k), c, d.home.clean && !again)
	if err != nil {
		return nil, err
	}
	l.repairs.id = id
	if created || l.mu.newNames {
		// One sync for the names of partition.metadata, which a life before this one may have left unsynced, and of the first segment.
		if err := syncDir(d.fs, l.dir); err != nil {
			l.abandon()
			return nil, err
		}
		l.mu.newNames = false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		l.abandon()
		return nil, ErrClosed
	}
	d.mu.logs[k] = l
	return l, nil
}

var errOpen = errors.New("log: partition is open already")

// usable tells whether a log may be opened, and whether it was before, in this life.
func (d *Directory) usable(k partitionKey) (again bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return false, ErrClosed
	}
	l := d.mu.logs[k]
	if l != nil && !l.closed.Load() {
		return false, errOpen
	}
	return l != nil, nil
}

// claim makes the partition's directory, or checks whose it is. If it wrote the topic id, the name of that file is yet to be made durable.
func (d *Directory) claim(k partitionKey, id TopicID) (created bool, err error) {
	stored, err := d.readTopicID(k)
	if err != nil {
		return false, err
	}
	if stored == id && id != (TopicID{}) {
		return false, nil
	}
	dir := d.dirOf(k)
	if stored != (TopicID{}) && id != (TopicID{}) {
		return false, &TopicIDError{Path: dir, Stored: stored, Want: id}
	}
	if d.home.remembers(k) { // a log of this name was deleted while the disk was full; what is said of it would be taken for this one's
		if _, err := d.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			if err := d.home.forget(k); err != nil {
				return false, err
			}
		} else if err != nil {
			return false, storage("stat", dir, err)
		}
	}
	if err := makeDir(d.fs, dir); err != nil || id == (TopicID{}) {
		return false, err
	}
	return true, writeSmallFile(d.fs, dir+"/"+metadataFile, encodeMetadata(id))
}

// DeleteLog closes l and removes its directory: renamed to -delete first, durable, then removed. Readers keep what they have. After a *FullError it is gone all the same, but checkpoints still speak of it: a new log of that name has
// to wait until they can be written. Other errors: *StorageError.
func (d *Directory) DeleteLog(l *Log) error {
	l.abandon()
	d.mu.Lock()
	if d.mu.logs[l.key] == l {
		delete(d.mu.logs, l.key)
	}
	d.mu.Unlock()
	to, err := d.setAside(l.key, deleteSuffix)
	if to == "" {
		return err
	}
	if err := d.fs.RemoveAll(to); err != nil {
		return storage("remove", to, err)
	}
	return err
}

// SetAside renames a directory that nobody claims to -stray: data is never deleted because metadata is missing. The log must not be open. Errors: as DeleteLog.
func (d *Directory) SetAside(e LogEntry) error {
	_, err := d.setAside(e.key(), straySuffix)
	return err
}

// setAside renames a partition's directory as Kafka does, <topic>-<partition>.<uuid without dashes><suffix>, durably, and takes it out of the checkpoints. That comes first: what they
// say of a log that is gone would be taken for the next one's of that name, which would seem to have lost what was synced. A crash in between leaves a log that is recovered from its files alone.
// On a full disk it is left to the next one of that name, see claim: what frees space must not need any. The *FullError of that comes with the new name.
func (d *Directory) setAside(k partitionKey, suffix string) (to string, err error) {
	late := d.home.forget(k)
	if late != nil && !isFull(late) {
		return "", late
	}
	id := newUUID()
	to = d.dirOf(k) + "." + hex.EncodeToString(id[:]) + suffix
	if err := d.fs.Rename(d.dirOf(k), to); err != nil {
		return "", storage("rename", d.dirOf(k), err)
	}
	if err := syncDir(d.fs, d.home.path); err != nil {
		return "", err
	}
	return to, late
}

// removeDeleted finishes deletions that were interrupted.
func (d *Directory) removeDeleted() error {
	entries, err := d.fs.ReadDir(d.home.path)
	if err != nil {
		return storage("list", d.home.path, err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), deleteSuffix) && strings.Contains(e.Name(), ".") {
			name := d.home.path + "/" + e.Name()
			if err := d.fs.RemoveAll(name); err != nil {
				return storage("remove", name, err)
			}
		}
	}
	return nil
}

// open lists the open logs, by name.
func (d *Directory) open() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	logs := make([]*Log, 0, len(d.mu.logs))
	for _, l := range d.mu.logs {
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b *Log) int { return compareKeys(a.key, b.key) })
	return logs
}

// Checkpoint writes recovery points, high watermarks and log start offsets of all open logs; the node calls it periodically. Rolled segments that nobody has synced
// are synced first. A log that fails is left out, and its error is among those returned. The end of ctx ends it between two logs, with nothing written and ctx's error: Close, which does the same, need not wait for it.
func (d *Directory) Checkpoint(ctx context.Context) error {
	var errs []error
	for _, l := range d.open() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.checkpoint(); err != nil && !errors.Is(err, ErrClosed) {
			errs = append(errs, err)
		}
	}
	d.home.open.Sweep() // now that more of them are synced
	return errors.Join(append(errs, d.home.store())...)
}

// Close closes all logs in parallel, writes the checkpoints and, if all closed without error, the clean-shutdown marker with brokerEpoch, then lets the lock go.
// Idempotent.
func (d *Directory) Close(brokerEpoch int64) error {
	logs, first := d.shut()
	if !first {
		return nil
	}
	err := closeAll(logs)
	if err == nil {
		var all bool
		if all, err = d.recoveredAll(logs); err == nil && all {
			return d.home.close(brokerEpoch)
		}
	}
	// Without the marker the next start recovers what needs it.
	return errors.Join(err, d.home.store(), d.home.abandon())
}

// shut refuses what comes later.
func (d *Directory) shut() (logs []*Log, first bool) {
	logs = d.open()
	d.mu.Lock()
	defer d.mu.Unlock()
	first = !d.mu.closed
	d.mu.closed = true
	return logs, first
}

func closeAll(logs []*Log) error {
	var wg sync.WaitGroup
	errs := make([]error, len(logs))
	limit := make(chan struct{}, closers)
	for i, l := range logs {
		limit <- struct{}{}
		wg.Go(func() {
			errs[i] = l.Close()
			if errs[i] == nil {
				errs[i] = l.Err()
			}
			<-limit
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// recoveredAll tells whether every log on disk has ended cleanly: each was opened in this life, or was clean before it.
func (d *Directory) recoveredAll(logs []*Log) (bool, error) {
	if d.home.clean {
		return true, nil
	}
	opened := map[partitionKey]bool{}
	for _, l := range logs {
		opened[l.key] = true
	}
	keys, err := d.list()
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(keys, func(k partitionKey) bool { return !opened[k] }), nil
}

// Abandon closes files and lets the lock go without writing anything: what a crash leaves, for tests and for nodes that can no longer be right.
func (d *Directory) Abandon() {
	logs, first := d.shut()
	if !first {
		return
	}
	for _, l := range logs {
		l.abandon()
	}
	d.home.abandon()
}

// metaProperties is the identity of a data directory.
type metaProperties struct {
	nodeID      int32
	clusterID   string
	directoryID TopicID
}

// encode returns meta.properties in the form of Java's Properties, as Kafka reads it.
func (m metaProperties) encode() []byte {
	var b []byte
	if m.clusterID != "" {
		b = append(b, "cluster.id="+m.clusterID+"\n"...)
	}
	b = append(b, "directory.id="+m.directoryID.String()+"\n"...)
	b = append(b, "node.id="+strconv.Itoa(int(m.nodeID))+"\n"...)
	b = append(b, "version=1\n"...)
	// To Kafka a comment. An identity that has rotted would be somebody else's.
	return fmt.Appendf(b, "%s%08x\n", metaSum, crc32.Checksum(b, castagnoli))
}

// metaSum begins the line with the checksum of meta.properties.
const metaSum = "#crc32c="

var errMeta = errors.New("malformed meta.properties")

func parseMeta(b []byte) (m metaProperties, err error) {
	values := map[string]string{}
	sum := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, metaSum[:2]) {
			sum = line
		}
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			return metaProperties{}, errMeta
		}
		values[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	node, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || values["version"] != "1" {
		return metaProperties{}, errMeta
	}
	m = metaProperties{nodeID: int32(node), clusterID: values["cluster.id"]}
	if id := values["directory.id"]; id != "" {
		if m.directoryID, err = ParseTopicID(id); err != nil {
			return metaProperties{}, errMeta
		}
	}
	if sum != "" && !strings.HasSuffix(string(m.encode()), "\n"+sum+"\n") { // Kafka writes none
		return metaProperties{}, errMeta
	}
	return m, nil
}

// identify reads meta.properties, or writes it for a new directory.
func (d *Directory) identify(nodeID int32) error {
	name := d.home.path + "/" + metaFile
	b, err := readSmallFile(d.fs, name)
	var m metaProperties
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m = metaProperties{nodeID: nodeID}
	case err != nil:
		return storage("read", name, err)
	default:
		if m, err = parseMeta(b); err != nil {
			return &CorruptError{Path: name, Err: err}
		}
		if m.nodeID != nodeID {
			return &IdentityError{Path: name, Field: "node.id", Stored: strconv.Itoa(int(m.nodeID)), Wanted: strconv.Itoa(int(nodeID))}
		}
	}
	if m.directoryID == (TopicID{}) {
		m.directoryID = newUUID() // a new directory, or one from before Kafka had them
		if err := replaceSmallFile(d.fs, name, m.encode()); err != nil {
			return err
		}
	}
	d.mu.meta = m
	return nil
}
