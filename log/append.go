package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"

	"github.com/insynclog/insync/internal/dice"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// Origin says where a batch to append comes from.
type Origin int8

// The origins.
const (
	FromClient      Origin = iota // checked in full
	FromCoordinator               // may hold control batches
)

// AppendOptions go with a leader's append.
type AppendOptions struct {
	LeaderEpoch int32
	Now         time.Time // the zero time is time.Now
	Origin      Origin
}

// Appended is what an append did.
type Appended struct {
	BaseOffset    int64
	EndOffset     int64 // exclusive; a duplicate's is that of the batch in the log
	LogAppendTime int64 // milliseconds; -1 with CreateTime
	Duplicate     bool  // an idempotent producer's batch that the log already has: nothing was written (KIP-98)
}

// The places in a batch's header that a leader rewrites and record.Batch does not: they are under the CRC, and the CRC is to be taken over two pieces.
const (
	crcAt          = 17
	crcFrom        = 21 // the CRC covers the bytes from here on
	attributesAt   = 21
	maxTimestampAt = 35

	logAppendTimeBit = 1 << 3
)

// Append validates one batch from a client or a coordinator, assigns offsets from LogEndOffset and writes a patched header and the untouched rest.
// b is not changed and not kept. It returns once the bytes are in the page cache; Sync makes them durable. Calls must be serialised by the owner;
// reads may run beside it.
//
// Errors: *record.CorruptError, *record.InvalidError, *record.TimestampError, *record.TooLargeError, *record.UnsupportedCodecError, ErrRecordListTooLarge,
// *SequenceError, *ProducerEpochError, *CoordinatorEpochError, ErrInvalidTxnState, ErrClosed, *FullError (nothing was changed, the log goes on), *StorageError (the log is read-only from then on).
func (l *Log) Append(b record.Batch, o AppendOptions) (Appended, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	now := l.wall(o.Now).UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return Appended{}, err
	}
	largest, err := record.Validate(b, l.validateOptionsLocked(o.Origin, now), &l.mu.reader)
	if err != nil {
		return Appended{}, err
	}
	return l.appendValidLocked(b, false, largest, now, o)
}

// AppendBuilt is Append of the batch that b has built. It takes fewer looks at it, as b can only have built a valid one, and no copy: the batch is written from b's memory, where its header is rewritten
// . A call of b.Batch before it takes encoding and CRC out of the serialised part.
//
// Errors: those of Append and of record.Builder.Build.
func (l *Log) AppendBuilt(b *record.Builder, o AppendOptions) (Appended, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	now := l.wall(o.Now).UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return Appended{}, err
	}
	batch, largest, err := b.ValidateBuilt(l.validateOptionsLocked(o.Origin, now), &l.mu.reader)
	if err != nil {
		return Appended{}, err
	}
	return l.appendValidLocked(batch, true, largest, now, o)
}

// appendValidLocked appends a batch that was validated. ours is one whose header may be rewritten where it is.
func (l *Log) appendValidLocked(b record.Batch, ours bool, largest, now int64, o AppendOptions) (_ Appended, err error) {
	c := &l.mu.config
	if c.Compression.Recode && !b.Control() && b.Codec() != c.Compression.Codec {
		if b, err = l.recodeLocked(b); err != nil {
			return Appended{}, err
		}
		ours = true
	}
	if len(b) > int(c.SegmentBytes) {
		return Appended{}, ErrRecordListTooLarge
	}
	appendTime := int64(-1)
	if c.TimestampType == LogAppendTime {
		appendTime, largest = now, now
	}
	dup, isDup, err := l.mu.producers.check(b, o.Origin)
	if err != nil {
		return Appended{}, err
	}
	if isDup {
		if appendTime >= 0 {
			appendTime = dup.timestamp
		}
		return Appended{BaseOffset: dup.baseOffset(), EndOffset: dup.lastOffset + 1, LogAppendTime: appendTime, Duplicate: true}, nil
	}
	base := l.offsets.end.Load()
	h, head := b[:record.HeaderSize], []byte(nil)
	if !ours {
		h = record.Batch(l.mu.header[:])
		copy(h, b)
		head = h
	}
	l.patchLocked(h, b[record.HeaderSize:], base, o.LeaderEpoch, largest)
	if err := l.makeRoomLocked(h, int64(len(b)), o.Now); err != nil {
		return Appended{}, l.refuse(err)
	}
	if err := l.active().Append(head, b, l.aheadLocked(int64(len(b)))); err != nil {
		return Appended{}, l.refuse(err)
	}
	if err := l.appendedLocked(h, b, int64(len(b))); err != nil {
		return Appended{}, l.fail(err)
	}
	end := h.NextOffset()
	l.advanceLocked(end)
	return Appended{BaseOffset: base, EndOffset: end, LogAppendTime: appendTime}, nil
}

func (l *Log) validateOptionsLocked(origin Origin, now int64) record.ValidateOptions {
	c := &l.mu.config
	o := record.ValidateOptions{
		RequireKeys:     c.Compacted,
		CheckTimestamps: c.TimestampType == CreateTime && origin == FromClient, // a coordinator's are of this node
		NowMillis:       now,
		BeforeMaxMillis: math.MaxInt64,
		AfterMaxMillis:  c.TimestampAfterMax.Milliseconds(),
		AllowControl:    origin == FromCoordinator,
	}
	if c.TimestampBeforeMax > 0 {
		o.BeforeMaxMillis = c.TimestampBeforeMax.Milliseconds()
	}
	if origin == FromClient {
		o.MaxBytes = c.MaxBatchBytes
	}
	return o
}

// patchLocked makes h, a batch's header, that which the log stores: offset, leader epoch, and where the topic or the records say so the max timestamp, with a
// CRC to match, which covers the records too.
func (l *Log) patchLocked(h record.Batch, records []byte, base int64, epoch int32, largest int64) {
	h.PutBaseOffset(base)
	h.PutLeaderEpoch(epoch)
	stamp := l.mu.config.TimestampType == LogAppendTime && !h.Control()
	if !stamp && h.Control() || !stamp && h.MaxTimestamp() == largest {
		return
	}
	if stamp {
		binary.BigEndian.PutUint16(h[attributesAt:], uint16(h.Attributes()|logAppendTimeBit))
	}
	binary.BigEndian.PutUint64(h[maxTimestampAt:], uint64(largest))
	sum := crc32.Checksum(h[crcFrom:record.HeaderSize], castagnoli)
	sum = crc32.Update(sum, castagnoli, records)
	binary.BigEndian.PutUint32(h[crcAt:], sum)
}

// appendedLocked takes a batch that is in the active segment into what is derived from the log. h is its header as stored, b the batch as given, of which only the
// records count.
func (l *Log) appendedLocked(h, b record.Batch, size int64) error {
	l.mu.changed = true
	if l.mu.sinceProof += size; l.mu.sinceProof >= proofBytes {
		l.more.Store(true)
	}
	l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
	if h.ProducerID() < 0 {
		return nil
	}
	stored := h
	if h.Control() {
		// A marker is 78 bytes: its records have to be read, at the offset that it has now.
		stored = append(append(record.Batch(nil), h...), b[record.HeaderSize:]...)
	}
	if ended, ok := l.mu.producers.update(stored); ok && ended.abort {
		l.namesMadeLocked() // the transaction index may be new
		return l.active().AddAborted(ended.aborted())
	}
	return nil
}

// advanceLocked publishes a new end of the log.
func (l *Log) advanceLocked(end int64) {
	o := l.offsets.load()
	o.LogEndOffset = end
	if l.home.alone {
		o.HighWatermark = end // there is nobody to wait for
		l.mu.producers.raiseHighWatermark(end)
	}
	l.publishLocked(o)
}

// AppendReplicated writes batches as the leader sent them, verbatim, after checking CRC, offset continuity and epochs. data may end with a partial batch, which is ignored.
// Batches whose leader epoch is above maxEpoch are dropped with everything after them (KAFKA-18723). data is not kept. The same ownership and serialisation as Append.
// With nothing to append BaseOffset and EndOffset are LogEndOffset.
//
// Errors: *record.CorruptError, *AppendOffsetError, *AppendEpochError, ErrRecordListTooLarge (batches in front of the bad one have been appended), ErrClosed, *FullError (likewise), *StorageError.
func (l *Log) AppendReplicated(data []byte, maxEpoch int32) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.offsets.end.Load()
	a := Appended{BaseOffset: end, EndOffset: end, LogAppendTime: -1}
	if err := l.usable(); err != nil {
		return a, err
	}
	// An epoch that this replica led without appending anything is no part of the log's history: the leader elected after it may have records of an earlier epoch to send.
	l.epochs.truncateEnd(end)
	run := replicatedRun{l: l, end: end, epoch: math.MinInt32}
	if e, ok := l.epochs.latest(); ok {
		run.epoch = e.epoch
	}
	var bad error
	for rest := data; len(rest) > 0; {
		b, next, err := record.Split(rest)
		if errors.Is(err, record.ErrPartial) {
			break
		}
		if err == nil && b.LeaderEpoch() > maxEpoch {
			break
		}
		if err == nil {
			err = run.check(b)
		}
		if err == nil {
			err = run.add(b, data[len(data)-len(rest):])
		}
		if err != nil {
			bad = err
			break
		}
		rest = next
	}
	if err := run.flush(); err != nil {
		bad = err
	}
	if run.written > 0 {
		a.BaseOffset, a.EndOffset = run.first, run.flushedEnd
		l.advanceLocked(run.flushedEnd)
	}
	if _, disk := errors.AsType[*StorageError](bad); disk {
		return a, l.fail(bad)
	}
	return a, bad
}

// replicatedRun gathers batches that go into the active segment with one write.
type replicatedRun struct {
	l     *Log
	end   int64 // where the next batch may start
	epoch int32 // that of the last batch

	data []byte // the batches gathered: a prefix of what add was given first
	size int

	first      int64 // base offset of the first batch written
	written    int
	flushedEnd int64
}

// check tells whether b may follow.
func (r *replicatedRun) check(b record.Batch) error {
	if err := b.CheckCRC(); err != nil {
		return err
	}
	switch {
	case b.BaseOffset() < r.end:
		return &AppendOffsetError{BaseOffset: b.BaseOffset(), LogEndOffset: r.end}
	case b.LastOffsetDelta() < 0 || b.BaseOffset() > math.MaxInt64-1-int64(b.LastOffsetDelta()):
		return &record.CorruptError{BaseOffset: b.BaseOffset(), Reason: "impossible last offset delta"}
	case b.LeaderEpoch() < r.epoch:
		return &AppendEpochError{BaseOffset: b.BaseOffset(), Epoch: b.LeaderEpoch(), Known: r.epoch}
	case len(b) > math.MaxInt32:
		return ErrRecordListTooLarge
	}
	return nil
}

// add gathers b, which from begins with, after writing what has been gathered if the segment has no room for both.
func (r *replicatedRun) add(b record.Batch, from []byte) error {
	if r.size > 0 && r.l.active().SizeBytes()+int64(r.size+len(b)) > int64(r.l.mu.config.SegmentBytes) {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if r.size == 0 {
		if err := r.l.makeRoomLocked(b, int64(len(b)), time.Time{}); err != nil {
			return err
		}
		r.data = from
	} else if b.LastOffset()-r.l.active().BaseOffset() > math.MaxInt32 {
		if err := r.flush(); err != nil {
			return err
		}
		return r.add(b, from)
	}
	r.size += len(b)
	r.end, r.epoch = b.NextOffset(), b.LeaderEpoch()
	return nil
}

// flush writes what has been gathered.
func (r *replicatedRun) flush() error {
	if r.size == 0 {
		return nil
	}
	data := r.data[:r.size]
	r.size = 0
	a := r.l.active()
	if err := a.AppendRun(data, r.l.aheadLocked(int64(len(data)))); err != nil {
		return err
	}
	if r.written == 0 {
		r.first = record.Batch(data).BaseOffset()
	}
	r.written += len(data)
	r.flushedEnd = a.EndOffset()
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			return err
		}
		if err := r.l.appendedLocked(b[:record.HeaderSize], b, int64(len(b))); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

// makeRoomLocked rolls the active segment if a batch with the header h and this size must not go into it. now is zero on a follower.
func (l *Log) makeRoomLocked(h record.Batch, size int64, now time.Time) error {
	a := l.active()
	have := a.SizeBytes()
	roll := have > int64(l.mu.config.SegmentBytes)-size || a.IndexFull() || h.LastOffset()-a.BaseOffset() > math.MaxInt32
	if !roll && have > 0 {
		var err error
		if roll, err = l.agedLocked(a, h.MaxTimestamp(), now); err != nil {
			return err
		}
	}
	// An empty segment is only replaced if its base offset is too low.
	if !roll || have == 0 && h.LastOffset()-a.BaseOffset() <= math.MaxInt32 {
		return nil
	}
	base := l.offsets.end.Load()
	base = max(base, a.EndOffset()) // within a run of replicated batches the end is not published yet
	if h.LastOffset()-base > math.MaxInt32 {
		base = h.BaseOffset()
	}
	return l.rollLocked(base)
}

// agedLocked tells whether the segment has reached segment.ms: by the timestamps of its first batch and of the incoming one, or by the clock.
func (l *Log) agedLocked(a *segment.Segment, ts int64, now time.Time) (bool, error) {
	limit := l.mu.config.SegmentAge - l.mu.jitter
	first, ok, err := a.FirstTimestamp()
	if err != nil {
		return false, err
	}
	if ok && first >= 0 && ts >= first {
		return ts-first > limit.Milliseconds(), nil
	}
	if now.IsZero() {
		now = time.Now()
	}
	return now.Sub(a.Created()) > limit, nil
}

// rollLocked seals the active segment and begins another. It syncs nothing: the next Sync does, and writes the producer snapshot that is
// made here.
func (l *Log) rollLocked(base int64) error {
	old := l.active()
	if err := old.Seal(); err != nil {
		return full(err) // it met the full disk before it did anything that cannot be done again
	}
	s, err := segment.Create(l.segmentConfigLocked(), base)
	if err != nil {
		old.Unseal()
		return l.unmade(base, err)
	}
	list := *l.segments.Load()
	if old.SizeBytes() == 0 {
		// Too low a base for what comes, and nothing in it.
		if err := old.Remove(); err != nil {
			return err
		}
		list = list[:len(list)-1]
		defer old.Release()
	} else {
		l.mu.unsynced = append(l.mu.unsynced, old)
	}
	l.mu.pending = append(l.mu.pending, l.mu.producers.encode(base))
	l.mu.sinceProof = 0
	l.mu.changed = true
	l.namesMadeLocked()
	// Last: a sync that sees the new segment also sees that there is more to do.
	list = append(list[:len(list):len(list)], s)
	l.segments.Store(&list)
	l.mu.jitter = jitter(l.mu.config)
	return nil
}

func (l *Log) segmentConfigLocked() segment.Config {
	c := &l.mu.config
	return segment.Config{FS: l.fs, Dir: l.dir, IndexIntervalBytes: c.IndexIntervalBytes, MaxIndexBytes: c.SegmentIndexBytes, Files: l.home.open}
}

// jitter is a random part of segment.jitter.ms, so that not all partitions roll at once.
func jitter(c Config) time.Duration {
	n := min(c.SegmentJitter, c.SegmentAge)
	if n <= 0 {
		return 0
	}
	return time.Duration(dice.Rand().Int64N(int64(n)))
}
