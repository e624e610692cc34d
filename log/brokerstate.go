package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
)

// stateFile remembers, beside the clean marker, what tells a crash that lost nothing from one that may have.
const stateFile = "broker-state"

// Restart says how the life of a directory before this one ended, as far as its replicas care: whether one of them may lack a record that it had confirmed.
type Restart int8

// The kinds of restarts.
const (
	// Lossy: a record that was confirmed may be missing. Also what a new directory says.
	Lossy Restart = iota
	// Rebooted: there was no clean stop, and the operating system is not known to be the one of that life; but every log confirmed only what was synced, and no sync failed. Nothing that was confirmed is lost,
	// unless the disk is an older copy of itself, which only a comparison with others can tell.
	Rebooted
	// Crashed: there was no clean stop, but the process alone ended, and no sync failed. Nothing that was confirmed is lost.
	Crashed
	// Clean: the last stop was clean.
	Clean
)

// String is the name in lower case.
func (r Restart) String() string {
	switch r {
	case Clean:
		return "clean"
	case Crashed:
		return "crashed"
	case Rebooted:
		return "rebooted"
	default:
		return "lossy"
	}
}

// brokerState is the content of broker-state.
type brokerState struct {
	Version     int    `json:"version"`
	DirectoryID string `json:"directoryId"`
	BrokerEpoch int64  `json:"brokerEpoch"` // under which nothing that was confirmed is lost; -1 none
	Incarnation string `json:"incarnation"` // under which a registration was asked for that is not confirmed, "" none
	Boot        string `json:"boot"`        // of the operating system and mount when it was written; see vfs.FS
	Relaxed     bool   `json:"relaxed"`     // since the last clean stop a log confirmed what was not synced
}

// encode returns two lines: the state, and the CRC-32C of the first.
func (s brokerState) encode() []byte {
	b, _ := json.Marshal(s) // numbers and strings do marshal
	return appendSum(append(b, '\n'))
}

func appendSum(b []byte) []byte { return fmt.Appendf(b, "%08x\n", crc32.Checksum(b, castagnoli)) }

var errState = errors.New("malformed " + stateFile)

func parseState(b []byte) (s brokerState, err error) {
	n := bytes.IndexByte(b, '\n') + 1
	line := b[:n:n]
	if !bytes.Equal(appendSum(line), b) {
		return s, errState
	}
	if json.Unmarshal(line, &s) != nil || s.Version != 0 {
		return brokerState{}, errState
	}
	return s, nil
}

// loadState finds out what kind of restart this is. It writes nothing.
func (h *home) loadState(id TopicID) error {
	h.boot, h.restart = h.fs.BootID(h.path), Lossy
	h.state.now = brokerState{DirectoryID: id.String(), BrokerEpoch: -1, Boot: h.boot}
	name := h.path + "/" + stateFile
	b, err := readSmallFile(h.fs, name)
	var s brokerState
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return storage("read", name, err)
	default:
		var bad error
		if s, bad = parseState(b); bad != nil {
			h.logger.Warn("broker state is damaged: a crash counts as one that lost records", "path", name, "err", bad)
			s = brokerState{BrokerEpoch: -1}
		}
	}
	now := &h.state.now
	switch {
	case h.clean:
		h.restart, now.BrokerEpoch = Clean, h.brokerEpoch
		if s.DirectoryID == now.DirectoryID {
			now.Incarnation = s.Incarnation
		}
	case s.DirectoryID != now.DirectoryID || s.BrokerEpoch < 0:
	case !s.Relaxed || s.Boot == h.boot && h.boot != "":
		h.restart, now.BrokerEpoch, now.Relaxed, now.Incarnation = Rebooted, s.BrokerEpoch, s.Relaxed, s.Incarnation
		if s.Boot == h.boot && h.boot != "" {
			h.restart = Crashed
		}
	}
	h.restartEpoch = now.BrokerEpoch
	// After a lossy restart no epoch is claimed until there is another: the file as it is says so under any boot but that of its writing, and whatever is written before a registration has none.
	return nil
}

// changeState writes the state with a change, unless it makes none; durable on return. After a failed sync the state claims nothing any more.
func (h *home) changeState(f func(*brokerState)) error {
	h.state.acquire()
	defer h.state.release()
	if h.state.over {
		return ErrClosed
	}
	next := h.state.now
	f(&next)
	next.Boot = h.boot
	if h.state.distrusted {
		next.BrokerEpoch = -1
	}
	if h.state.written && next == h.state.now {
		return nil
	}
	if err := replaceSmallFile(h.fs, h.path+"/"+stateFile, next.encode()); err != nil {
		return err
	}
	h.state.now, h.state.written = next, true
	return nil
}

// distrust notes that a sync failed. What the page cache shows from then on may not be on the disk, and the next life could not tell: it has to be a lossy restart. It does what the disk still
// allows.
func (h *home) distrust() {
	if h.alone {
		return
	}
	h.state.acquire()
	first := !h.state.distrusted && !h.state.over
	h.state.distrusted = true
	h.state.release()
	if !first {
		return
	}
	if err := h.changeState(func(*brokerState) {}); err != nil {
		// The page cache is the one that lies, and it is gone after a power loss: that the file goes from it, synced or not, is enough.
		err = errors.Join(err, h.fs.Remove(h.path+"/"+stateFile))
		h.logger.Error("cannot note that a sync failed", "path", h.path+"/"+stateFile, "err", err)
	}
}

// endState refuses later changes: the directory may be another's from here on.
func (h *home) endState() {
	h.state.acquire()
	defer h.state.release()
	h.state.over = true
}

// Restart tells how the life before this one ended, and the broker epoch under which every record that was confirmed is still there: -1 after a lossy one. A controller that knows the node by
// another epoch has seen a later life of it, and must take the restart as lossy.
func (d *Directory) Restart() (kind Restart, brokerEpoch int64) {
	return d.home.restart, d.home.restartEpoch
}

// Lost tells whether a log that has been opened belies Restart: it is damaged, or ends below its last known high watermark.
func (d *Directory) Lost() bool { return d.home.lost.Load() }

// Incarnation names the life that is about to be registered. A crash may come when the controller has registered it and this node does not know yet under which epoch; such a life has done nothing, and the next
// one goes on in its name, so that the controller need not take it for one that came in between and is gone with what it confirmed. After a lossy restart the name is always new. Errors: ErrClosed, *StorageError.
func (d *Directory) Incarnation() (id TopicID, err error) {
	if d.home.restart == Lossy {
		return newUUID(), nil
	}
	err = d.home.changeState(func(s *brokerState) {
		if id, err = ParseTopicID(s.Incarnation); err != nil || s.Incarnation == "" {
			id = newUUID()
			s.Incarnation = id.String()
		}
	})
	return id, err
}

// SetBrokerEpoch remembers the epoch of the present registration, durable on return, so that a crash under it need not be lossy. It is for before the registration is used. Errors: ErrClosed, *StorageError.
func (d *Directory) SetBrokerEpoch(epoch int64) error {
	return d.home.changeState(func(s *brokerState) { s.BrokerEpoch, s.Incarnation = epoch, "" })
}

// NoteRelaxed remembers until the next clean stop that a log confirms records before they are synced, so that a power loss is a lossy restart. It is durable on return, and for before the first such append;
// later calls cost nothing. Errors: ErrClosed, *StorageError.
func (d *Directory) NoteRelaxed() error {
	if d.home.relaxed.Load() {
		return nil
	}
	if err := d.home.changeState(func(s *brokerState) { s.Relaxed = true }); err != nil {
		return err
	}
	d.home.relaxed.Store(true)
	return nil
}
