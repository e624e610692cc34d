package controller

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// storage is raft's stable storage: the metadata log, quorum-state and the checkpoints. It belongs to the controller's goroutine.
//
//	log start            dummy   first                          last
//	    |------------------|-------|--- entries raft can read -----|
//	                    checkpoint somewhere at or behind dummy
//
// Raft wants to know the term of the entry before the first one it can read. Without compaction that is index 0, term 0; behind a compacted prefix the log's own first
// entry serves, or the checkpoint if the log is empty.
type storage struct {
	fs   vfs.FS
	dir  string
	log  *log.Log
	self int32

	levels *machine.Levels

	founders   []int32       // who founded the quorum; none if this node came later
	foundLevel int16         // of the metadata of a cluster that is founded; 0 if the node does not know what the other founders know
	initial    *pb.ConfState // the members as of the checkpoint, or of the founding
	alone      bool          // nobody but this node is a member, now or by what the log still may bring
	commit     uint64        // what quorum-state says is committed: the members that took effect here are of no later entry
	changed    bool          // as far as the checkpoint and the log know, the members are not those of the founding
	registered []Broker      // by records in the log, committed or not: where nodes may be found

	hard  *pb.HardState // as it was at the start
	dummy entryID
	last  uint64 // index of the last entry

	// cache holds the newest entries up to last, without a gap, cacheBytes of data in all.
	cache      []*pb.Entry
	cacheBytes int

	// image is what is applied; a snapshot for a follower is made of it.
	image func() *Image

	checkpointEnd int64 // offset behind the newest checkpoint; 0 without
	sinceBytes    int64 // bytes of log behind it

	err error // the first that raft met when it read

	builder *record.Builder
	reader  record.Reader
	value   []byte
}

// entryID names an entry.
type entryID struct{ index, term uint64 }

// maxCacheBytes is how much of the newest entries is kept in memory for followers and for applying.
const (
	maxCacheBytes   = 1 << 20
	maxCacheEntries = 4096
)

// offsetOf is the offset in the metadata log of the entry with that index.
func offsetOf(index uint64) int64 { return int64(index) - 1 }

// openStorage opens the log and everything beside it and brings them in line with each other after a crash. It returns the image of the newest checkpoint.
func openStorage(c Config) (s *storage, img *Image, err error) {
	l, err := log.Open(c.Dir, log.Config{
		FS: c.FS, Logger: c.Logger, SegmentBytes: c.SegmentBytes, SegmentAge: 100 * 365 * 24 * time.Hour, TimestampAfterMax: 200 * 365 * 24 * time.Hour,
	})
	if err != nil {
		return nil, nil, err
	}
	s = &storage{fs: c.FS, dir: c.Dir, log: l, self: c.NodeID, levels: c.Levels, builder: record.NewBuilder(record.BuilderConfig{})}
	if img, err = s.recover(c); err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return s, img, nil
}

func (s *storage) recover(c Config) (*Image, error) {
	img, err := loadCheckpoint(s.fs, s.dir, s.levels)
	if err != nil {
		return nil, err
	}
	if img.ClusterID != "" && c.ClusterID != "" && img.ClusterID != c.ClusterID {
		return nil, &ClusterIDError{Dir: c.Dir, Stored: img.ClusterID, Given: c.ClusterID}
	}
	s.checkpointEnd = img.Offset + 1
	if err := s.alignLog(img); err != nil {
		return nil, err
	}
	if img.Quorum != nil {
		s.initial = confState(img.Quorum)
		s.changed = img.Quorum.Version > 0
	}
	s.alone = true
	if err := s.loadEntries(); err != nil {
		return nil, err
	}
	return img, s.loadQuorumState(c)
}

// alignLog starts the log anew behind the checkpoint if it does not reach it or differs from it there: a crash came between the
// installation of a leader's snapshot and the end of the log that it replaces.
func (s *storage) alignLog(img *Image) error {
	end := s.checkpointEnd
	o := s.log.Offsets()
	if end == 0 {
		if o.LogStartOffset > 0 {
			return s.corrupt(o.LogStartOffset, errors.New("the log does not begin at 0 and there is no checkpoint"))
		}
		return nil
	}
	switch {
	case o.LogEndOffset < end:
	case o.LogStartOffset > end:
		return s.corrupt(o.LogStartOffset, fmt.Errorf("the log begins behind the checkpoint at %d", end))
	case o.LogStartOffset < end:
		entries, err := s.read(end-1, end, 1)
		if err != nil {
			return err
		}
		if entries[0].GetTerm() == uint64(img.Epoch) {
			return nil
		}
	default:
		return nil
	}
	if err := s.log.TruncateFullyAndStartAt(end); err != nil {
		return err
	}
	_, err := s.log.Sync()
	return err
}

// loadEntries reads the log behind the checkpoint, checking every batch, and fills the cache.
func (s *storage) loadEntries() error {
	o := s.log.Offsets()
	s.last = uint64(o.LogEndOffset)
	switch {
	case o.LogStartOffset == 0:
		s.dummy = entryID{}
	case o.LogStartOffset == s.checkpointEnd: // nothing of what the checkpoint holds is left, as after a leader's snapshot
		img, err := loadCheckpoint(s.fs, s.dir, s.levels)
		if err != nil {
			return err
		}
		s.dummy = entryID{uint64(img.Offset + 1), uint64(img.Epoch)}
	default:
		first, err := s.read(o.LogStartOffset, o.LogStartOffset+1, 1)
		if err != nil {
			return err
		}
		s.dummy = entryID{first[0].GetIndex(), first[0].GetTerm()}
	}
	for at := max(s.checkpointEnd, offsetOf(s.dummy.index)+1); at < o.LogEndOffset; {
		entries, err := s.read(at, o.LogEndOffset, maxCacheBytes)
		if err != nil {
			return err
		}
		for _, e := range entries {
			s.keep(e)
			s.look(e)
			s.sinceBytes += int64(len(e.GetData()) + record.HeaderSize)
		}
		at = offsetOf(entries[len(entries)-1].GetIndex()) + 1
	}
	return nil
}

// look notes what an entry says of members, before it is known whether the entry is committed. What cannot be read is found out when it is applied.
func (s *storage) look(e *pb.Entry) {
	records, err := recordsOf(e, s.levels)
	if err != nil {
		return
	}
	for _, r := range records {
		switch r := r.(type) {
		case *machine.QuorumRecord:
			s.alone = s.alone && newMembership(confState(&r.Quorum)).alone(raftID(s.self))
			if s.changed = s.changed || r.Version > 0; r.Version == 0 {
				s.founders = r.Voters()
			}
		case *machine.RegisterBroker:
			s.registered = append(s.registered, r.Broker)
		}
	}
}

// loadQuorumState brings back term and vote, and holds the list of voters against the stored one, unless the members have changed since.
func (s *storage) loadQuorumState(c Config) error {
	name := path.Join(s.dir, quorumStateFile)
	lastTerm, err := s.Term(s.last)
	if err != nil {
		return err
	}
	q, ok, err := readQuorumState(s.fs, s.dir)
	if len(c.Voters) == 1 || c.Founds == nil {
		s.foundLevel = c.Levels.Highest()
	}
	if untouched := s.last == 0 && (!ok || q.LeaderEpoch == 0 && q.VotedID < 0); err == nil && untouched && len(c.Voters) > 1 && c.Founds != nil {
		founds, level, err := c.Founds()
		if err != nil {
			return err
		}
		s.foundLevel = level
		if ok = false; !founds { // written anew in any case
			c.Voters = nil
		}
	}
	switch {
	case ok:
		s.founders = q.voters()
	case s.founders == nil: // nor does the log say
		s.founders = c.Voters
	}
	if s.initial == nil {
		s.initial = s.foundation()
	}
	s.alone = s.alone && newMembership(s.initial).alone(raftID(s.self))
	alone := s.alone
	if _, damaged := errors.AsType[*log.CorruptError](err); damaged && alone {
		ok, err = false, nil // it holds no vote, and is written without a sync
	}
	switch {
	case err != nil:
		return err
	case !ok && s.last > 0 && !alone:
		return &log.CorruptError{Path: name, Offset: -1, Err: errors.New("the file is missing beside a metadata log with entries")}
	case !s.changed && len(c.Voters) > 0 && len(s.founders) > 0 && !slices.Equal(s.founders, c.Voters):
		return &VotersError{Path: name, Stored: s.founders, Given: c.Voters}
	case ok && !alone && uint64(q.LeaderEpoch) < lastTerm:
		return &log.CorruptError{Path: name, Offset: -1, Err: fmt.Errorf("term %d is older than that of the last entry, %d", q.LeaderEpoch, lastTerm)}
	case ok && q.AppliedOffset > int64(s.last):
		return &log.CorruptError{Path: name, Offset: -1, Err: fmt.Errorf("entries up to %d are committed, the log ends at %d", q.AppliedOffset, s.last)}
	}
	if ok {
		s.commit = uint64(q.AppliedOffset)
	}
	vote := uint64(0)
	if ok && q.VotedID >= 0 && !alone {
		vote = raftID(q.VotedID)
	}
	s.hard = &pb.HardState{Term: new(max(uint64(q.LeaderEpoch), lastTerm)), Vote: &vote, Commit: new(max(uint64(s.checkpointEnd), s.commit))}
	if !ok {
		return s.writeQuorumState(s.hard)
	}
	return nil
}

func (s *storage) writeQuorumState(h *pb.HardState) error {
	q := quorumState{LeaderID: -1, LeaderEpoch: int64(h.GetTerm()), VotedID: nodeID(h.GetVote()), AppliedOffset: int64(s.commit)}
	for _, id := range s.founders {
		q.CurrentVoters = append(q.CurrentVoters, voter{id})
	}
	return q.write(s.fs, s.dir, !s.alone)
}

// expectOthers makes quorum-state durable before the log tells of anybody else: from then on its loss means that a vote may be lost.
func (s *storage) expectOthers() error {
	if !s.alone {
		return nil
	}
	s.alone = false // writes it durably
	err := s.writeQuorumState(s.hard)
	s.alone = isFull(err)
	return err
}

// saveVote makes term and vote durable.
func (s *storage) saveVote(h *pb.HardState) error {
	if s.alone {
		return nil // see quorumState
	}
	return s.writeQuorumState(h)
}

// append writes entries to the log, which replaces what it holds from the first one's index on, and returns when they are durable. After a *log.FullError some of them may be in the log, and it may be called again.
func (s *storage) append(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	for len(entries) > 0 && entries[0].GetIndex() <= s.last { // an attempt before this one has written it: term and index name one entry
		if term, err := s.Term(entries[0].GetIndex()); err != nil || term != entries[0].GetTerm() {
			break
		}
		entries = entries[1:]
	}
	if len(entries) == 0 {
		_, err := s.log.Sync()
		return err
	}
	if first := entries[0].GetIndex(); first <= s.last {
		if err := s.log.TruncateTo(offsetOf(first)); err != nil {
			return err
		}
		s.forget(first)
		s.last = first - 1
	}
	for _, e := range entries {
		if e.GetIndex() != s.last+1 {
			return fmt.Errorf("metadata log %s: entry %d after %d", s.dir, e.GetIndex(), s.last)
		}
		if err := s.write(e); err != nil {
			return err
		}
		s.last++
		s.keep(e)
	}
	_, err := s.log.Sync()
	return err
}

// write appends one entry as a batch of one record, whose value is a byte for the entry's type and its data.
func (s *storage) write(e *pb.Entry) error {
	s.value = append(append(s.value[:0], byte(e.GetType())), e.GetData()...)
	s.builder.Reset()
	s.builder.Append(&record.Record{Value: s.value})
	size := int64(s.builder.Size())
	a, err := s.log.AppendBuilt(s.builder, log.AppendOptions{LeaderEpoch: int32(e.GetTerm()), Origin: log.FromCoordinator})
	if err == nil && a.BaseOffset != offsetOf(e.GetIndex()) {
		err = fmt.Errorf("metadata log %s: entry %d was written at offset %d", s.dir, e.GetIndex(), a.BaseOffset)
	}
	if err == nil {
		s.sinceBytes += size
	}
	if cap(s.value) > maxCacheBytes {
		s.builder, s.value = record.NewBuilder(record.BuilderConfig{}), nil
	}
	return err
}

// read returns entries from the log in [from, to), at least one, more only up to size bytes of log.
func (s *storage) read(from, to int64, size int) ([]*pb.Entry, error) {
	slice, err := s.log.Read(from, to, size, true)
	if err != nil {
		return nil, err
	}
	defer slice.Release()
	b, err := slice.Append(make([]byte, 0, slice.Len()))
	if err != nil {
		return nil, err
	}
	var entries []*pb.Entry
	for batch, err := range record.Batches(b) {
		if err != nil {
			return nil, s.corrupt(from, err)
		}
		if batch.BaseOffset() != from || batch.NextOffset() != from+1 {
			return nil, s.corrupt(from, fmt.Errorf("found a batch with offsets [%d, %d)", batch.BaseOffset(), batch.NextOffset()))
		}
		e, err := s.parse(batch)
		if err != nil {
			return nil, s.corrupt(from, err)
		}
		entries = append(entries, e)
		from++
	}
	if len(entries) == 0 {
		return nil, s.corrupt(from, errors.New("no entry found"))
	}
	return entries, nil
}

func (s *storage) parse(b record.Batch) (*pb.Entry, error) {
	if err := b.CheckCRC(); err != nil {
		return nil, err
	}
	if err := s.reader.Reset(b, 0); err != nil {
		return nil, err
	}
	if !s.reader.Next() {
		return nil, errors.Join(errors.New("a batch without a record"), s.reader.Err())
	}
	v := s.reader.Record().Value
	if len(v) == 0 || b.LeaderEpoch() < 0 || pb.EntryType(v[0]) != pb.EntryNormal && pb.EntryType(v[0]) != pb.EntryConfChangeV2 {
		return nil, errors.New("not an entry of the metadata log")
	}
	e := &pb.Entry{Term: new(uint64(b.LeaderEpoch())), Index: new(uint64(b.BaseOffset()) + 1), Type: pb.EntryType(v[0]).Enum()}
	if len(v) > 1 {
		e.Data = slices.Clone(v[1:])
	}
	return e, nil
}

func (s *storage) corrupt(offset int64, err error) error {
	return &log.CorruptError{Path: s.dir, Offset: offset, Err: err}
}

func (s *storage) keep(e *pb.Entry) {
	s.cache = append(s.cache, e)
	s.cacheBytes += len(e.GetData())
	if s.cacheBytes <= maxCacheBytes && len(s.cache) <= maxCacheEntries {
		return
	}
	// Half of it goes at once. What is left moves to a new array, because raft has slices of the old one.
	drop := 0
	for (s.cacheBytes > maxCacheBytes/2 || len(s.cache)-drop > maxCacheEntries/2) && drop < len(s.cache)-1 {
		s.cacheBytes -= len(s.cache[drop].GetData())
		drop++
	}
	s.cache = slices.Clone(s.cache[drop:])
}

// forget drops entries from index on.
func (s *storage) forget(index uint64) {
	keep := 0
	for keep < len(s.cache) && s.cache[keep].GetIndex() < index {
		keep++
	}
	for _, e := range s.cache[keep:] {
		s.cacheBytes -= len(e.GetData())
	}
	s.cache = slices.Clone(s.cache[:keep])
}

// install replaces log and checkpoint by a leader's snapshot, durably. The checkpoint comes first: see alignLog.
func (s *storage) install(img *Image, b []byte) error {
	if err := writeCheckpoint(s.fs, s.dir, img, b); err != nil {
		return err
	}
	end := img.Offset + 1
	if err := s.log.TruncateFullyAndStartAt(end); err != nil {
		return err
	}
	if _, err := s.log.Sync(); err != nil {
		return err
	}
	s.cache, s.cacheBytes, s.sinceBytes = nil, 0, 0
	s.last, s.checkpointEnd = uint64(end), end
	s.dummy = entryID{uint64(end), uint64(img.Epoch)}
	return removeCheckpoints(s.fs, s.dir, checkpointName(end, int64(img.Epoch)))
}

// checkpoint writes the image to a file and lets the log go up to the checkpoint before it: a follower that lags by less needs no snapshot.
func (s *storage) checkpoint(img *Image) error {
	before := s.checkpointEnd
	if err := writeCheckpoint(s.fs, s.dir, img, encodeCheckpoint(img)); err != nil {
		return err
	}
	s.checkpointEnd, s.sinceBytes = img.Offset+1, 0
	if err := removeCheckpoints(s.fs, s.dir, checkpointName(s.checkpointEnd, int64(img.Epoch))); err != nil {
		return err
	}
	if before <= offsetOf(s.dummy.index) {
		return nil
	}
	// The entry at the new start stays in the log for its term.
	first, err := s.read(before, before+1, 1)
	if err != nil {
		return err
	}
	s.log.SetHighWatermark(s.checkpointEnd)
	if err := s.log.AdvanceLogStart(before); err != nil {
		return err
	}
	s.dummy = entryID{first[0].GetIndex(), first[0].GetTerm()}
	// What is below the start is whole in the checkpoint, which is durable. A segment that stays for want of space goes with the next one.
	if _, err := s.log.DeleteOldSegments(); err != nil && !isFull(err) {
		return err
	}
	if len(s.cache) > 0 && s.cache[0].GetIndex() <= s.dummy.index {
		n := min(len(s.cache), int(s.dummy.index-s.cache[0].GetIndex())+1)
		for _, e := range s.cache[:n] {
			s.cacheBytes -= len(e.GetData())
		}
		s.cache = slices.Clone(s.cache[n:])
	}
	return nil
}

// InitialState implements raft.Storage.
func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) {
	return s.hard, s.initial, nil
}

// foundation is the configuration before the first entry.
func (s *storage) foundation() *pb.ConfState {
	cs := &pb.ConfState{}
	for _, id := range s.founders {
		cs.Voters = append(cs.Voters, raftID(id))
	}
	return cs
}

// Entries implements raft.Storage.
func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= s.dummy.index {
		return nil, raft.ErrCompacted
	}
	if hi > s.last+1 {
		return nil, raft.ErrUnavailable
	}
	if len(s.cache) > 0 && lo >= s.cache[0].GetIndex() {
		first := s.cache[0].GetIndex()
		return limit(s.cache[lo-first:hi-first], maxSize), nil
	}
	entries, err := s.read(offsetOf(lo), offsetOf(hi), int(min(maxSize, maxCacheBytes)))
	if err != nil {
		s.err = err
		return nil, err
	}
	return limit(entries, maxSize), nil
}

// limit returns a prefix of at least one entry with at most size bytes of data, capped.
func limit(entries []*pb.Entry, size uint64) []*pb.Entry {
	var total uint64
	n := 0
	for n < len(entries) {
		// An entry's size in a message is its data and up to 24 bytes around it.
		total += uint64(len(entries[n].GetData())) + 24
		if total > size && n > 0 {
			break
		}
		n++
	}
	return entries[:n:n]
}

// Term implements raft.Storage.
func (s *storage) Term(index uint64) (uint64, error) {
	switch {
	case index == s.dummy.index:
		return s.dummy.term, nil
	case index < s.dummy.index:
		return 0, raft.ErrCompacted
	case index > s.last:
		return 0, raft.ErrUnavailable
	}
	if len(s.cache) > 0 && index >= s.cache[0].GetIndex() {
		return s.cache[index-s.cache[0].GetIndex()].GetTerm(), nil
	}
	entries, err := s.read(offsetOf(index), offsetOf(index)+1, 1)
	if err != nil {
		s.err = err
		return 0, err
	}
	return entries[0].GetTerm(), nil
}

// FirstIndex implements raft.Storage.
func (s *storage) FirstIndex() (uint64, error) { return s.dummy.index + 1, nil }

// LastIndex implements raft.Storage.
func (s *storage) LastIndex() (uint64, error) { return s.last, nil }

// Snapshot implements raft.Storage: a checkpoint of what is applied.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	img := s.image()
	if img.Offset < 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	cs := s.foundation()
	if img.Quorum != nil {
		cs = confState(img.Quorum)
	}
	return &pb.Snapshot{
		Data:     encodeCheckpoint(img),
		Metadata: &pb.SnapshotMetadata{ConfState: cs, Index: new(uint64(img.Offset) + 1), Term: new(uint64(img.Epoch))},
	}, nil
}
