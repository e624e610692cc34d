package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// A producer snapshot is the producer state in front of the offset in its name. It is two files: Kafka's, which holds the last batch of each
// producer, and one beside it that Kafka ignores, with the batches before that and with the transactions whose marker was not below the high watermark.
// The second names the first by its checksum; alone it means nothing.
//
// The first is written only when everything below its offset has been synced, so that its being there is proof of that.
//
//	%020d.snapshot (Kafka, version 1)
//	+---------+--------+-------+---------------+
//	| version | crc32c | count | count entries |
//	|  int16  | uint32 | int32 |   46 bytes    |
//	+---------+--------+-------+---------------+
//	                   ^ crc covers from here
//	%020d.producers
//	+-------+---------+--------+--------------+-------+-----------------+-------+--------------------+
//	| magic | version | crc32c | snapshot crc | count | count producers | count | count transactions |
//	| "ipsb"|  int16  | uint32 |    uint32    | int32 |                 | int32 |      24 bytes      |
//	+-------+---------+--------+--------------+-------+-----------------+-------+--------------------+
//	                           ^ crc covers from here
const (
	snapshotSuffix  = ".snapshot"
	producersSuffix = ".producers"

	snapshotVersion   = 1
	snapshotHeadBytes = 10
	snapshotEntryLen  = 46

	producersMagic     = "ipsb"
	producersVersion   = 1
	producersHeadBytes = 4 + 2 + 4
	producersBatchLen  = 4 + 4 + 8 + 8
	producersTxnLen    = 8 + 8 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeSnapshot returns Kafka's snapshot file.
//
//	entry: producerId int64, epoch int16, lastSequence int32, lastOffset int64, offsetDelta int32, timestamp int64,
//	       coordinatorEpoch int32, currentTxnFirstOffset int64
func encodeSnapshot(entries []*producerEntry) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, snapshotHeadBytes+len(entries)*snapshotEntryLen)
	b = be.AppendUint16(b, snapshotVersion)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, uint32(len(entries)))
	for _, e := range entries {
		last := producerBatch{lastSequence: noSequence, lastOffset: -1}
		if e.n > 0 {
			last = e.batches[e.n-1]
		}
		b = be.AppendUint64(b, uint64(e.id))
		b = be.AppendUint16(b, uint16(e.epoch))
		b = be.AppendUint32(b, uint32(last.lastSequence))
		b = be.AppendUint64(b, uint64(last.lastOffset))
		b = be.AppendUint32(b, uint32(last.offsetDelta))
		b = be.AppendUint64(b, uint64(e.lastTimestamp))
		b = be.AppendUint32(b, uint32(e.coordinatorEpoch))
		b = be.AppendUint64(b, uint64(e.txnFirst))
	}
	be.PutUint32(b[2:], crc32.Checksum(b[6:], castagnoli))
	return b
}

var errSnapshot = errors.New("malformed producer snapshot")

func parseSnapshot(b []byte) ([]*producerEntry, error) {
	be := binary.BigEndian
	if len(b) < snapshotHeadBytes {
		return nil, fmt.Errorf("%w: %d bytes", errSnapshot, len(b))
	}
	if v := be.Uint16(b); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d", errSnapshot, v)
	}
	if crc32.Checksum(b[6:], castagnoli) != be.Uint32(b[2:]) {
		return nil, fmt.Errorf("%w: wrong crc", errSnapshot)
	}
	count := int(int32(be.Uint32(b[6:])))
	b = b[snapshotHeadBytes:]
	if count < 0 || len(b) != count*snapshotEntryLen {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", errSnapshot, count, len(b))
	}
	entries := make([]*producerEntry, 0, count)
	for ; len(b) > 0; b = b[snapshotEntryLen:] {
		e := &producerEntry{
			id:               int64(be.Uint64(b)),
			epoch:            int16(be.Uint16(b[8:])),
			lastTimestamp:    int64(be.Uint64(b[26:])),
			coordinatorEpoch: int32(be.Uint32(b[34:])),
			txnFirst:         int64(be.Uint64(b[38:])),
		}
		last := producerBatch{
			lastSequence: int32(be.Uint32(b[10:])), lastOffset: int64(be.Uint64(b[14:])),
			offsetDelta: int32(be.Uint32(b[22:])), timestamp: e.lastTimestamp,
		}
		if last.lastOffset >= 0 {
			e.batches[0], e.n = last, 1
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// encodeProducers returns the side file for a snapshot file: for each producer with more than one batch its id, the number of batches and all but the last.
//
//	producer: producerId int64, count int8, count times lastSequence int32, offsetDelta int32, lastOffset int64, timestamp int64
//	transaction: producerId int64, firstOffset int64, lastOffset int64
//
// It is nil only for a log without producers: a snapshot that has some and no side file is known not to be whole.
func encodeProducers(entries []*producerEntry, unreplicated []txnRange, snapshot []byte) []byte {
	be := binary.BigEndian
	b := append([]byte(producersMagic), 0, producersVersion, 0, 0, 0, 0)
	b = be.AppendUint32(b, crc32.Checksum(snapshot, castagnoli))
	b = be.AppendUint32(b, 0)
	count := 0
	for _, e := range entries {
		if e.n < 2 {
			continue
		}
		count++
		b = be.AppendUint64(b, uint64(e.id))
		b = append(b, byte(e.n-1))
		for _, p := range e.batches[:e.n-1] {
			b = be.AppendUint32(b, uint32(p.lastSequence))
			b = be.AppendUint32(b, uint32(p.offsetDelta))
			b = be.AppendUint64(b, uint64(p.lastOffset))
			b = be.AppendUint64(b, uint64(p.timestamp))
		}
	}
	if len(entries)+len(unreplicated) == 0 {
		return nil
	}
	b = be.AppendUint32(b, uint32(len(unreplicated)))
	for _, t := range unreplicated {
		b = be.AppendUint64(b, uint64(t.producer))
		b = be.AppendUint64(b, uint64(t.first))
		b = be.AppendUint64(b, uint64(t.last))
	}
	be.PutUint32(b[14:], uint32(count))
	be.PutUint32(b[6:], crc32.Checksum(b[producersHeadBytes:], castagnoli))
	return b
}

// snapshotState is what a snapshot says.
type snapshotState struct {
	entries      []*producerEntry
	unreplicated []txnRange
	whole        bool // with all remembered batches, not only the last ones
}

var errSideFile = fmt.Errorf("%w: side file is not of this snapshot", errSnapshot)

// parseProducers puts the batches of a side file in front of those of the snapshot that it belongs to.
func parseProducers(st *snapshotState, side, snapshot []byte) error {
	be := binary.BigEndian
	if len(side) < producersHeadBytes+8 || string(side[:4]) != producersMagic || be.Uint16(side[4:]) != producersVersion ||
		crc32.Checksum(side[producersHeadBytes:], castagnoli) != be.Uint32(side[6:]) ||
		be.Uint32(side[10:]) != crc32.Checksum(snapshot, castagnoli) {
		return errSideFile
	}
	byID := make(map[int64]*producerEntry, len(st.entries))
	for _, e := range st.entries {
		byID[e.id] = e
	}
	b := side[producersHeadBytes+8:]
	for range be.Uint32(side[14:]) {
		if len(b) < 9 {
			return errSideFile
		}
		e, n := byID[int64(be.Uint64(b))], int(b[8])
		b = b[9:]
		if e == nil || e.n != 1 || n >= cachedBatches || len(b) < n*producersBatchLen {
			return errSideFile
		}
		e.batches[n] = e.batches[0]
		for i := range n {
			e.batches[i] = producerBatch{
				lastSequence: int32(be.Uint32(b)), offsetDelta: int32(be.Uint32(b[4:])),
				lastOffset: int64(be.Uint64(b[8:])), timestamp: int64(be.Uint64(b[16:])),
			}
			b = b[producersBatchLen:]
		}
		e.n = n + 1
	}
	if len(b) < 4 || int64(len(b)-4) != int64(be.Uint32(b))*producersTxnLen {
		return errSideFile
	}
	for b = b[4:]; len(b) > 0; b = b[producersTxnLen:] {
		st.unreplicated = append(st.unreplicated, txnRange{
			producer: int64(be.Uint64(b)), first: int64(be.Uint64(b[8:])), last: int64(be.Uint64(b[16:])),
		})
	}
	return nil
}

// restore takes over the entries of a snapshot, without the producers that have expired.
func (p *producerState) restore(st snapshotState, before int64) {
	clear(p.entries)
	p.open, p.unreplicated = p.open[:0], append(p.unreplicated[:0], st.unreplicated...)
	for _, e := range st.entries {
		if e.txnFirst < 0 && e.lastTimestamp < before {
			continue
		}
		p.entries[e.id] = e
		if e.txnFirst >= 0 {
			p.open = append(p.open, txnRange{producer: e.id, first: e.txnFirst})
		}
	}
	slices.SortFunc(p.open, byFirst)
}

// snapshotFiles is an encoded snapshot that waits to be written.
type snapshotFiles struct {
	offset         int64
	snapshot, side []byte
}

func (p *producerState) encode(offset int64) snapshotFiles {
	entries := p.sorted()
	s := encodeSnapshot(entries)
	return snapshotFiles{offset: offset, snapshot: s, side: encodeProducers(entries, p.unreplicated, s)}
}

// writeSide writes the side file, if there is one. It comes before the snapshot: a crash in between may leave the snapshot alone, which is known not to
// be whole.
func (f snapshotFiles) writeSide(fsys vfs.FS, dir string) (wrote bool, err error) {
	if f.side == nil {
		return false, nil
	}
	return true, writeSmallFile(fsys, dir+"/"+segment.FileName(f.offset, producersSuffix), f.side)
}

// readSnapshot reads a snapshot with its side file. bad is what is wrong with it, if it cannot be used. Without a side file that belongs to it
// (it is Kafka's, or a crash came between the two) it is not whole.
func readSnapshot(fsys vfs.FS, dir string, offset int64) (st snapshotState, bad, err error) {
	name := dir + "/" + segment.FileName(offset, snapshotSuffix)
	b, err := readSmallFile(fsys, name)
	if err != nil {
		return snapshotState{}, nil, storage("read", name, err)
	}
	if st.entries, bad = parseSnapshot(b); bad != nil {
		return snapshotState{}, bad, nil
	}
	name = dir + "/" + segment.FileName(offset, producersSuffix)
	side, err := readSmallFile(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		st.whole = len(st.entries) == 0
		return st, nil, nil
	case err != nil:
		return snapshotState{}, nil, storage("read", name, err)
	case parseProducers(&st, side, b) != nil:
		st = snapshotState{}
		st.entries, bad = parseSnapshot(b)
		return st, bad, nil
	}
	st.whole = true
	return st, nil, nil
}
