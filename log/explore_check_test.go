package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// check compares a log that has just been opened with the model, and lets the model be what is there. whole says that no record that was appended may be missing.
func (m *logModel) check(l *Log, whole bool) error {
	o := l.Offsets()
	if o.LogStartOffset > o.LastStableOffset || o.LastStableOffset > o.HighWatermark || o.HighWatermark > o.LogEndOffset || o.SyncedEndOffset != o.LogEndOffset {
		return fmt.Errorf("positions %+v", o)
	}
	kept, err := m.checkBatches(l, o)
	if err != nil {
		return err
	}
	must := m.synced
	if whole {
		must = m.end()
	}
	if must = min(must, m.floor); o.LogEndOffset < must {
		return fmt.Errorf("ends at %d, %d was acknowledged", o.LogEndOffset, must)
	}
	if o.HighWatermark < min(m.highLow, o.LogEndOffset) || o.HighWatermark > max(m.high, o.LogStartOffset) {
		return fmt.Errorf("high watermark %d is outside [%d, %d]", o.HighWatermark, m.highLow, m.high)
	}
	m.batches = slices.Clone(kept)
	if len(kept) == 0 {
		m.origin = o.LogEndOffset
	}
	m.synced, m.startLow, m.startHigh = o.LogEndOffset, o.LogStartOffset, o.LogStartOffset
	m.highLow, m.high = 0, max(m.high, o.HighWatermark)
	m.calm()
	if err := m.checkNothingBehind(l, o); err != nil {
		return err
	}
	return m.checkDerived(l, o)
}

// checkBatches compares the batches from the log start on, byte for byte, and returns those of the model that are there or lie below the start.
func (m *logModel) checkBatches(l *Log, o Offsets) (kept []record.Batch, err error) {
	got, err := readFrom(l, o)
	if err != nil {
		return nil, err
	}
	written := m.written()
	n := 0
	for n < len(written) && written[n].NextOffset() <= o.LogStartOffset {
		n++
	}
	first := n
	for b, err := range record.Batches(got) {
		switch {
		case err != nil:
			return nil, err
		case n == len(written):
			return nil, fmt.Errorf("a batch at %d that was never written", b.BaseOffset())
		case m.compacted:
			continue
		case !bytes.Equal(b, written[n]):
			return nil, fmt.Errorf("batch at %d is not the one that was written at %d", b.BaseOffset(), written[n].BaseOffset())
		}
		n++
	}
	if m.compacted {
		for n < len(written) && written[n].NextOffset() <= o.LogEndOffset {
			n++
		}
		if err := checkView(got, written[first:n]); err != nil {
			return nil, err
		}
	}
	empty := o.LogStartOffset == o.LogEndOffset
	end := m.origin
	if n > 0 {
		end = written[n-1].NextOffset()
	}
	switch {
	case m.restart >= 0 && empty && (o.LogStartOffset == m.restart || o.LogStartOffset == 0):
		return nil, nil // without its beginning nothing of it counts
	case o.LogStartOffset < m.startLow || o.LogStartOffset > m.startHigh:
		if !empty || o.LogStartOffset != m.origin {
			return nil, fmt.Errorf("starts at %d, which is outside [%d, %d]", o.LogStartOffset, m.startLow, m.startHigh)
		}
	}
	if n == first && empty && end != o.LogEndOffset {
		return nil, nil // what was not synced is gone, and the start was raised above it
	}
	if end != o.LogEndOffset {
		return nil, fmt.Errorf("ends at %d, its batches at %d", o.LogEndOffset, end)
	}
	return written[:n], nil
}

// checkView compares batches that may have been compacted with what was written: every record is one of those, and every key has its last value, if that is not a tombstone.
func checkView(got []byte, written []record.Batch) error {
	type stored struct{ key, value string }
	all, last := map[int64]stored{}, map[string]int64{}
	for _, b := range written {
		for r, err := range b.All() {
			if err != nil {
				return err
			}
			all[r.Offset] = stored{string(r.Key), fmt.Sprint(r.Value != nil, string(r.Value))}
			last[string(r.Key)] = r.Offset
			if r.Value == nil {
				delete(last, string(r.Key))
			}
		}
	}
	for b, err := range record.Batches(got) {
		if err != nil {
			return err
		}
		for r, err := range b.All() {
			if err != nil {
				return err
			}
			if have := (stored{string(r.Key), fmt.Sprint(r.Value != nil, string(r.Value))}); all[r.Offset] != have {
				return fmt.Errorf("record %d is %q, want %q", r.Offset, have, all[r.Offset])
			}
			if last[string(r.Key)] == r.Offset {
				delete(last, string(r.Key))
			}
		}
	}
	if len(last) > 0 {
		return fmt.Errorf("the last values of keys are gone: %v", last)
	}
	return nil
}

func readFrom(l *Log, o Offsets) ([]byte, error) {
	var out []byte
	for from := o.LogStartOffset; from < o.LogEndOffset; {
		sl, err := l.Read(from, math.MaxInt64, 1<<20, true)
		if err != nil {
			return nil, err
		}
		if sl.Len() == 0 {
			return nil, fmt.Errorf("nothing at %d, below the end %d", from, o.LogEndOffset)
		}
		at := len(out)
		out, err = sl.Append(out)
		sl.Release()
		if err != nil {
			return nil, err
		}
		for b, err := range record.Batches(out[at:]) {
			if err == nil {
				err = b.CheckCRC()
			}
			if err != nil {
				return nil, fmt.Errorf("at %d: %w", from, err)
			}
			from = b.NextOffset()
		}
	}
	return out, nil
}

// checkNothingBehind reads at the end and behind it.
func (m *logModel) checkNothingBehind(l *Log, o Offsets) error {
	sl, err := l.Read(o.LogEndOffset, math.MaxInt64, 1<<20, true)
	if err != nil || sl.Len() > 0 {
		sl.Release()
		return fmt.Errorf("%d bytes behind the end: %w", sl.Len(), err)
	}
	sl, err = l.Read(o.LogEndOffset+1, math.MaxInt64, 1<<20, true)
	if _, ok := errors.AsType[*OffsetOutOfRangeError](err); !ok {
		sl.Release()
		return fmt.Errorf("a read behind the end: %w", err)
	}
	return nil
}

// checkDerived compares epochs, producers and transactions with what follows from the batches.
func (m *logModel) checkDerived(l *Log, o Offsets) error {
	fresh := newProducerState()
	var aborted []AbortedTxn
	for _, b := range m.batches {
		if c, ok := fresh.update(b); ok && c.abort && b.LastOffset() >= o.LogStartOffset {
			aborted = append(aborted, AbortedTxn{c.producer, c.first})
		}
		if at := max(b.BaseOffset(), o.LogStartOffset); at < b.NextOffset() {
			if epoch, ok := l.EpochAt(at); !ok || epoch != b.LeaderEpoch() {
				return fmt.Errorf("offset %d has leader epoch %d (%v), want %d", at, epoch, ok, b.LeaderEpoch())
			}
		}
	}
	last := epochEntry{-1, -1}
	for _, e := range l.epochs.entries() {
		if e.epoch <= last.epoch || e.start <= last.start || e.start >= o.LogEndOffset {
			return fmt.Errorf("leader epochs %v of a log that ends at %d", l.epochs.entries(), o.LogEndOffset)
		}
		last = e
	}
	want, got := fresh.sorted(), l.mu.producers.sorted()
	if len(want) != len(got) {
		return fmt.Errorf("%d producers, want %d", len(got), len(want))
	}
	for i := range want {
		a, b := *want[i], *got[i]
		a.batches, b.batches = trimmed(&a), trimmed(&b)
		if a != b {
			return fmt.Errorf("producer %+v, want %+v", b, a)
		}
	}
	if !slices.Equal(fresh.open, l.mu.producers.open) {
		return fmt.Errorf("open transactions %v, want %v", l.mu.producers.open, fresh.open)
	}
	list, err := l.AbortedTxns(nil, o.LogStartOffset, math.MaxInt64)
	if err != nil {
		return err
	}
	if !slices.Equal(list, aborted) {
		return fmt.Errorf("aborted transactions %v, want %v", list, aborted)
	}
	return m.checkTimes(l, o)
}

// checkTimes looks two timestamps up: one in the middle, and the largest.
func (m *logModel) checkTimes(l *Log, o Offsets) error {
	if len(m.batches) == 0 || m.compacted || o.LogStartOffset > m.batches[0].BaseOffset() {
		return nil // a batch that holds the log start has records on either side of it
	}
	middle, largest := m.batches[len(m.batches)/2].MaxTimestamp(), int64(-1)
	for _, b := range m.batches {
		largest = max(largest, b.MaxTimestamp())
	}
	first, best := int64(-1), int64(-1) // offsets
	at := int64(-1)
	for _, b := range m.batches {
		if b.MaxTimestamp() < middle || first >= 0 && b.MaxTimestamp() < largest {
			continue
		}
		for r, err := range b.All() {
			if err != nil {
				return err
			}
			ts := r.Timestamp.UnixMilli()
			if ts >= middle && first < 0 {
				first, at = r.Offset, ts
			}
			if ts == largest && best < 0 {
				best = r.Offset
			}
		}
	}
	to, ok, err := l.OffsetForTime(middle, math.MaxInt64)
	if err != nil || !ok || to.Timestamp != at || to.Offset != first {
		return fmt.Errorf("first at or after %d is %+v (%v, %w), want offset %d", middle, to, ok, err, first)
	}
	to, ok, err = l.MaxTimestamp(math.MaxInt64)
	if err != nil || !ok || to.Timestamp != largest || to.Offset != best {
		return fmt.Errorf("largest timestamp is %+v (%v, %w), want %d at %d", to, ok, err, largest, best)
	}
	return nil
}

// checkFiles compares the files of a log that has been closed with what its batches give, and finds files that mean nothing.
func (m *logModel) checkFiles(disk *vfs.Mem) error {
	dir := exploreDir + "/" + m.topic + "-0/"
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return err
	}
	last := int64(-1)
	for _, e := range entries {
		if base, suffix, ok := segment.ParseFileName(e.Name()); ok && suffix == segment.LogSuffix {
			last = max(last, base)
		}
	}
	for _, e := range entries {
		base, suffix, ok := segment.ParseFileName(e.Name())
		switch {
		case ok && suffix == segment.LogSuffix:
			if err := m.checkIndexes(disk, dir, base, base == last); err != nil {
				return err
			}
		case ok && (suffix == segment.OffsetIndexSuffix || suffix == segment.TimeIndexSuffix || suffix == segment.TxnIndexSuffix):
			if _, err := disk.Stat(dir + segment.FileName(base, segment.LogSuffix)); err != nil {
				return fmt.Errorf("index without a log: %s", e.Name())
			}
		case ok && (suffix == snapshotSuffix || suffix == producersSuffix), e.Name() == epochsFile, e.Name() == metadataFile:
		default:
			return fmt.Errorf("file %s is left over", e.Name())
		}
	}
	return nil
}

// checkIndexes compares the indexes of a segment, byte for byte, with those that follow from its batches by the rule of index.interval.bytes. The last one of a log may lack
// a time index of nothing but its largest timestamp.
func (m *logModel) checkIndexes(disk *vfs.Mem, dir string, base int64, last bool) error {
	data, err := readSmallFile(disk, dir+segment.FileName(base, segment.LogSuffix))
	if err != nil {
		return err
	}
	if len(data) == 0 || m.endOf(data) <= m.startLow {
		return nil // its removal was under way: below the log start nobody looks anything up
	}
	var offsets, times []byte
	var since, pos int64
	interval := int64(m.config.withDefaults().IndexIntervalBytes)
	maxTS, maxOffset, entered := int64(-1), int64(-1), int64(-1)
	enter := func() {
		if maxTS > entered {
			times = binary.BigEndian.AppendUint64(times, uint64(maxTS))
			times = binary.BigEndian.AppendUint32(times, uint32(maxOffset-base))
			entered = maxTS
		}
	}
	for b, err := range record.Batches(data) {
		if err != nil {
			return err
		}
		if b.MaxTimestamp() > maxTS {
			maxTS, maxOffset = b.MaxTimestamp(), b.LastOffset()
		}
		if since > interval {
			offsets = binary.BigEndian.AppendUint32(offsets, uint32(b.LastOffset()-base))
			offsets = binary.BigEndian.AppendUint32(offsets, uint32(pos))
			enter()
			since = 0
		}
		since += int64(len(b))
		pos += int64(len(b))
	}
	enter()
	for suffix, want := range map[string][]byte{segment.OffsetIndexSuffix: offsets, segment.TimeIndexSuffix: times} {
		got, err := readSmallFile(disk, dir+segment.FileName(base, suffix))
		short := suffix == segment.TimeIndexSuffix && last && len(offsets) == 0
		if err != nil && (len(want) > 0 && !short || !strings.Contains(err.Error(), "not exist")) {
			return err
		}
		if err != nil && short {
			continue
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s of segment %d is % x, want % x", suffix, base, got, want)
		}
	}
	return nil
}

// endOf is where a segment ends.
func (m *logModel) endOf(data []byte) (end int64) {
	for b, err := range record.Batches(data) {
		if err != nil {
			return math.MaxInt64
		}
		end = b.NextOffset()
	}
	return end
}
