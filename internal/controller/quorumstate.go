package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

// quorumState is the file of that name: Kafka's fields, and a checksum over them. A node that is alone in its quorum does not write its votes: nobody else sees them, and
// its term is that of the last entry in its log. It keeps the file for the list of voters alone, and does not wait for it to be on stable storage.
type quorumState struct {
	ClusterID     string  `json:"clusterId"`
	LeaderID      int32   `json:"leaderId"`
	LeaderEpoch   int64   `json:"leaderEpoch"`   // the term
	VotedID       int32   `json:"votedId"`       // in that term; -1 nobody
	AppliedOffset int64   `json:"appliedOffset"` // entries below it are committed: up to the last that changed who votes, see membership
	CurrentVoters []voter `json:"currentVoters"` // who founded the quorum, as in Kafka's version 0; who votes now is metadata
	DataVersion   int     `json:"data_version"`
	Checksum      string  `json:"checksum"` // xxhash64 of this object with an empty checksum, hexadecimal
}

type voter struct {
	VoterID int32 `json:"voterId"`
}

const quorumStateFile = "quorum-state"

func (q quorumState) encode() ([]byte, error) {
	q.Checksum = ""
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	q.Checksum = strconv.FormatUint(xxhash.Sum64(b), 16)
	return json.Marshal(q)
}

func (q quorumState) voters() []int32 {
	var ids []int32
	for _, v := range q.CurrentVoters {
		ids = append(ids, v.VoterID)
	}
	return ids
}

// readQuorumState returns the stored state; ok is false if there is none. Damage is a *log.CorruptError: the vote cannot be made up again, the node must not run.
func readQuorumState(fsys vfs.FS, dir string) (q quorumState, ok bool, err error) {
	name := path.Join(dir, quorumStateFile)
	b, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return q, false, nil
	}
	if err != nil {
		return q, false, err
	}
	damaged := func(err error) (quorumState, bool, error) {
		return quorumState{}, false, &log.CorruptError{Path: name, Offset: -1, Err: err}
	}
	if err := json.Unmarshal(b, &q); err != nil {
		return damaged(err)
	}
	if q.DataVersion != 0 {
		return damaged(fmt.Errorf("version %d is not known", q.DataVersion))
	}
	want, err := q.encode()
	if err != nil {
		return damaged(err)
	}
	if string(want) != string(b) {
		return damaged(errors.New("checksum does not match"))
	}
	return q, true, nil
}

func (q quorumState) write(fsys vfs.FS, dir string, durable bool) error {
	b, err := q.encode()
	if err != nil {
		return err
	}
	name := path.Join(dir, quorumStateFile)
	if err := replaceFile(fsys, name, b, durable); err != nil || !durable {
		return err
	}
	return diskError("sync", dir, fsys.SyncDir(dir))
}

// tmpSuffix marks a file that is being written; after a crash it means nothing.
const tmpSuffix = ".tmp"

// replaceFile writes a file beside the old one, syncs it if it is to be durable, and renames it: after a crash at any point it is the old or the new one. The name is durable
// after a sync of the directory, which is the caller's. After a *log.FullError the old one is there, and nothing of the new one.
func replaceFile(fsys vfs.FS, name string, b []byte, durable bool) error {
	tmp := name + tmpSuffix
	f, err := fsys.Open(tmp, vfs.Create)
	if err != nil {
		return full(diskError("create", tmp, err))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = full(diskError("write", tmp, err))
	} else {
		err = full(diskError("rename", tmp, fsys.Rename(tmp, name)))
	}
	if isFull(err) {
		if gone := fsys.Remove(tmp); gone != nil {
			return diskError("remove", tmp, gone)
		}
	}
	return err
}

// full makes the error of a disk without space a *log.FullError.
func full(err error) error {
	if e, ok := errors.AsType[*log.StorageError](err); ok && vfs.IsNoSpace(e.Err) {
		return &log.FullError{Path: e.Path, Op: e.Op, Err: e.Err}
	}
	return err
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, diskError("open", name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, diskError("stat", name, err)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) || err != nil && !errors.Is(err, io.EOF) {
		return nil, diskError("read", name, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return b, nil
}

func diskError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &log.StorageError{Path: name, Op: op, Err: err}
}
