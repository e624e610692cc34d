package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/internal/vfs"
)

// SealSuffix is that of the side file of a sealed segment. Kafka passes over files that it does not know.
const SealSuffix = ".seal"

// SealFile says what the files of a sealed segment hold, so that a block that went elsewhere, an older state of a block, and a batch that is whole but is not the one that was written are known for what they are.
//
//	+-------+---------+--------+---------+-----------+------------+------------+---------+--------+----------+-------------------+
//	| magic | version | crc32c | topicId | partition | baseOffset | nextOffset | batches |  size  | xxhash64 | 3 x size xxhash64 |
//	| "ipsl"|  int16  | uint32 |  uuid   |   int32   |   int64    |   int64    |  int64  | int64  |  uint64  | of the indexes    |
//	+-------+---------+--------+---------+-----------+------------+------------+---------+--------+----------+-------------------+
//	                            ^ crc covers from here
type SealFile struct {
	TopicID     [16]byte
	Partition   int32
	Base, Next  int64
	Batches     int64
	Log         FileSum
	OffsetIndex FileSum
	TimeIndex   FileSum
	TxnIndex    FileSum
}

// FileSum is a file's size in bytes, -1 if there is none, and its xxhash64.
type FileSum struct {
	Size int64
	Hash uint64
}

const (
	sealMagic   = "ipsl"
	sealVersion = 1
	sealCRCFrom = 4 + 2 + 4
	sealBytes   = sealCRCFrom + 16 + 4 + 3*8 + 4*16
)

var errSeal = errors.New("malformed seal")

// Encode returns the file.
func (f SealFile) Encode() []byte {
	be := binary.BigEndian
	b := append(make([]byte, 0, sealBytes), sealMagic...)
	b = be.AppendUint16(b, sealVersion)
	b = be.AppendUint32(b, 0)
	b = append(b, f.TopicID[:]...)
	b = be.AppendUint32(b, uint32(f.Partition))
	for _, v := range []int64{f.Base, f.Next, f.Batches} {
		b = be.AppendUint64(b, uint64(v))
	}
	for _, s := range []FileSum{f.Log, f.OffsetIndex, f.TimeIndex, f.TxnIndex} {
		b = be.AppendUint64(b, uint64(s.Size))
		b = be.AppendUint64(b, s.Hash)
	}
	be.PutUint32(b[6:], crc32.Checksum(b[sealCRCFrom:], castagnoli))
	return b
}

// ParseSealFile is the reverse of Encode.
func ParseSealFile(b []byte) (f SealFile, err error) {
	be := binary.BigEndian
	switch {
	case len(b) != sealBytes || string(b[:4]) != sealMagic:
		return f, fmt.Errorf("%w: %d bytes", errSeal, len(b))
	case be.Uint16(b[4:]) != sealVersion:
		return f, fmt.Errorf("%w: version %d", errSeal, be.Uint16(b[4:]))
	case crc32.Checksum(b[sealCRCFrom:], castagnoli) != be.Uint32(b[6:]):
		return f, fmt.Errorf("%w: wrong crc", errSeal)
	}
	b = b[sealCRCFrom:]
	copy(f.TopicID[:], b)
	f.Partition = int32(be.Uint32(b[16:]))
	b = b[20:]
	for _, v := range []*int64{&f.Base, &f.Next, &f.Batches} {
		*v, b = int64(be.Uint64(b)), b[8:]
	}
	for _, s := range []*FileSum{&f.Log, &f.OffsetIndex, &f.TimeIndex, &f.TxnIndex} {
		s.Size, s.Hash, b = int64(be.Uint64(b)), be.Uint64(b[8:]), b[16:]
	}
	return f, nil
}

// SumIndexes takes the sums of the index files of a sealed segment, as they are on disk. Error: *StorageError.
func (s *Segment) SumIndexes(f *SealFile) error {
	sums := [...]*FileSum{&f.OffsetIndex, &f.TimeIndex, &f.TxnIndex}
	for i, suffix := range []string{OffsetIndexSuffix, TimeIndexSuffix, TxnIndexSuffix} {
		sum := sums[i]
		name := s.cfg.Dir + "/" + FileName(s.base, suffix) + s.cfg.Suffix
		b, err := readFile(s.cfg.FS, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			*sum = FileSum{Size: -1}
		case err != nil:
			return storage("read", name, err)
		default:
			*sum = FileSum{Size: int64(len(b)), Hash: xxhash.Sum64(b)}
		}
	}
	return nil
}

// ReadSealFile reads the seal of the segment; ok is false if there is none, bad says what is wrong with one that is. Error: *StorageError.
func ReadSealFile(fsys vfs.FS, dir string, base int64) (f SealFile, ok bool, bad, err error) {
	name := dir + "/" + FileName(base, SealSuffix)
	b, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil, nil
	}
	if err != nil {
		return f, false, nil, storage("read", name, err)
	}
	if f, bad = ParseSealFile(b); bad == nil && f.Base != base {
		bad = fmt.Errorf("%w: of the segment %d", errSeal, f.Base)
	}
	return f, true, bad, nil
}
