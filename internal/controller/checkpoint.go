package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

// A checkpoint is an image in a file, named like Kafka's metadata snapshots by the offset behind its last entry and that entry's epoch:
//
//	%020d-%010d.checkpoint
//
//	 0  8  magic "insync\x00c"
//	 8  4  version 1
//	12  4  reserved, 0
//	16  8  end offset (exclusive)
//	24  8  epoch
//	32  8  length of the records in bytes
//	40  …  the image as records, encoded as an entry of the metadata log
//	 …  8  xxhash64 of everything before it
//
// Integers are big-endian.
const (
	checkpointMagic   = "insync\x00c"
	checkpointVersion = 1
	checkpointHeader  = 40
	checkpointSuffix  = ".checkpoint"
)

func checkpointName(end, epoch int64) string {
	return fmt.Sprintf("%020d-%010d%s", end, epoch, checkpointSuffix)
}

func encodeCheckpoint(img *Image) []byte {
	b := make([]byte, checkpointHeader, 4096)
	copy(b, checkpointMagic)
	binary.BigEndian.PutUint32(b[8:], checkpointVersion)
	binary.BigEndian.PutUint64(b[16:], uint64(img.Offset+1))
	binary.BigEndian.PutUint64(b[24:], uint64(img.Epoch))
	b = machine.EncodeRecords(b, img.Records())
	binary.BigEndian.PutUint64(b[32:], uint64(len(b)-checkpointHeader))
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

func decodeCheckpoint(b []byte, levels *machine.Levels) (*Image, error) {
	if len(b) < checkpointHeader+8 || string(b[:8]) != checkpointMagic {
		return nil, errors.New("not a checkpoint")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != checkpointVersion {
		return nil, fmt.Errorf("checkpoint version %d is not known", v)
	}
	body, sum := b[:len(b)-8], binary.BigEndian.Uint64(b[len(b)-8:])
	if xxhash.Sum64(body) != sum || binary.BigEndian.Uint64(b[32:]) != uint64(len(body)-checkpointHeader) {
		return nil, errors.New("checksum does not match")
	}
	end, epoch := int64(binary.BigEndian.Uint64(b[16:])), int64(binary.BigEndian.Uint64(b[24:]))
	if end <= 0 || epoch < 0 || epoch > 1<<31-1 {
		return nil, fmt.Errorf("end offset %d, epoch %d", end, epoch)
	}
	records, err := levels.DecodeRecords(body[checkpointHeader:])
	if err != nil {
		return nil, err
	}
	img, _, err := machine.Empty().Apply(end-1, int32(epoch), records)
	return img, err
}

func writeCheckpoint(fsys vfs.FS, dir string, img *Image, b []byte) error {
	if err := replaceFile(fsys, path.Join(dir, checkpointName(img.Offset+1, int64(img.Epoch))), b, true); err != nil {
		return err
	}
	return diskError("sync", dir, fsys.SyncDir(dir))
}

// loadCheckpoint returns the image of the newest checkpoint, the empty one if there is none. A damaged checkpoint is a *log.CorruptError: an older one could be behind
// what this node has voted for, so the node must not run; nothing is deleted. One that a newer version wrote is a machine.ErrUnknownRecord.
func loadCheckpoint(fsys vfs.FS, dir string, levels *machine.Levels) (*Image, error) {
	names, err := listCheckpoints(fsys, dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return machine.Empty(), nil
	}
	name := names[len(names)-1]
	b, err := readFile(fsys, path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	img, err := decodeCheckpoint(b, levels)
	if err == nil && checkpointName(img.Offset+1, int64(img.Epoch)) != name {
		err = fmt.Errorf("it is the checkpoint %s", checkpointName(img.Offset+1, int64(img.Epoch)))
	}
	if errors.Is(err, machine.ErrUnknownRecord) {
		return nil, fmt.Errorf("%s: %w", path.Join(dir, name), err)
	}
	if err != nil {
		return nil, &log.CorruptError{Path: path.Join(dir, name), Offset: -1, Err: err}
	}
	return img, nil
}

// listCheckpoints returns the names of the checkpoints, oldest first.
func listCheckpoints(fsys vfs.FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, diskError("list", dir, err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), checkpointSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil // ReadDir is in lexical order, which is that of the offsets
}

// removeCheckpoints removes all but the one named.
func removeCheckpoints(fsys vfs.FS, dir, keep string) error {
	names, err := listCheckpoints(fsys, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != keep {
			if err := fsys.Remove(path.Join(dir, name)); err != nil {
				return diskError("remove", path.Join(dir, name), err)
			}
		}
	}
	return nil
}
