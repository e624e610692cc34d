package controller

import (
	"errors"
	"fmt"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

type progress = tracker.Progress

// ready does what raft has decided, in the order that keeps its promises: nothing that says "I have stored this" or "I have voted" leaves before it is true.
func (d *driver) ready() error {
	rd := d.node.Ready()
	msgs := rd.Messages
	if d.leading && !d.newVote(rd.HardState) {
		// A leader's entries may go out while its own disk works (Ongaro's thesis, 10.2.1): it counts itself only after its own sync.
		var early []*pb.Message
		early, msgs = split(msgs)
		if err := d.send(early); err != nil {
			return err
		}
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := d.patiently(func() error { return d.install(rd.Snapshot) }); err != nil {
			return err
		}
	}
	if d.newVote(rd.HardState) {
		if err := d.patiently(func() error { return d.store.saveVote(rd.HardState) }); err != nil {
			return err
		}
		d.store.hard = rd.HardState
		if v := rd.HardState.GetVote(); v != 0 && v != d.id {
			d.campaign.voted(time.Now())
		}
	}
	if err := d.patiently(func() error { return d.store.append(rd.Entries) }); err != nil {
		return err
	}
	if d.leading && d.store.last > d.lastIndex {
		return fmt.Errorf("controller: entry %d stored, %d expected", d.store.last, d.lastIndex)
	}
	if err := d.send(msgs); err != nil {
		return err
	}
	if err := d.apply(rd.CommittedEntries); err != nil {
		return err
	}
	d.confirm(rd.ReadStates)
	d.node.Advance(rd)
	return d.checkpoint(time.Now())
}

// newVote tells whether term or vote differ from what is stored. The commit index alone need not be stored: it comes back from the leader; what follow needs of it, it stores.
func (d *driver) newVote(h *pb.HardState) bool {
	return h != nil && !raft.IsEmptyHardState(h) && (h.GetTerm() != d.store.hard.GetTerm() || h.GetVote() != d.store.hard.GetVote())
}

// split takes out the messages that promise nothing about this node's disk.
func split(msgs []*pb.Message) (early, late []*pb.Message) {
	for _, m := range msgs {
		switch m.GetType() {
		case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
			early = append(early, m)
		default:
			late = append(late, m)
		}
	}
	return early, late
}

// install takes a leader's snapshot in place of entries that the leader does not have any more.
func (d *driver) install(snap *pb.Snapshot) error {
	img, err := decodeCheckpoint(snap.GetData(), d.c.c.Levels)
	if err == nil && (uint64(img.Offset)+1 != snap.GetMetadata().GetIndex() || uint64(img.Epoch) != snap.GetMetadata().GetTerm()) {
		err = fmt.Errorf("it ends at %d (%d)", img.Offset+1, img.Epoch)
	}
	if err != nil {
		return fmt.Errorf("snapshot at entry %d from the leader: %w", snap.GetMetadata().GetIndex(), err)
	}
	if err := d.checkCluster(img); err != nil {
		return err
	}
	if err := d.store.install(img, snap.GetData()); err != nil {
		return err
	}
	d.enroll(newMembership(snap.GetMetadata().GetConfState()), time.Now())
	d.introduce(img, nil)
	d.publish(img, machine.Diff(d.c.image.Load(), img))
	return nil
}

// apply brings committed entries into the image, all at once, and answers who waits for them.
func (d *driver) apply(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	u := machine.Begin(d.c.image.Load())
	landed := false
	var quorums []*machine.Quorum
	for _, e := range entries {
		records, err := recordsOf(e, d.c.c.Levels)
		if err != nil {
			return d.unreadable(e, err)
		}
		for _, r := range records {
			if q, ok := r.(*machine.QuorumRecord); ok {
				quorums = append(quorums, &q.Quorum)
			}
		}
		if err := u.Apply(offsetOf(e.GetIndex()), int32(e.GetTerm()), records); err != nil {
			return d.unreadable(e, err)
		}
		if f := d.flight; f != nil && f.index == e.GetIndex() {
			if f.term != e.GetTerm() {
				return fmt.Errorf("controller: entry %d has term %d, %d expected", f.index, e.GetTerm(), f.term)
			}
			landed = true
			if f.members && e.GetType() != pb.EntryConfChangeV2 {
				d.refused()
				landed = false
			}
		}
	}
	img, delta := u.Finish()
	if err := d.checkCluster(img); err != nil {
		return err
	}
	if err := d.follow(quorums, entries[len(entries)-1].GetIndex()); err != nil {
		return err
	}
	if delta.Quorum {
		d.introduce(img, d.c.image.Load().Quorum)
		d.describe() // whoever is answered, or sees the image, finds these members in Status
	}
	d.publish(img, delta)
	if landed {
		f := d.flight
		d.flight = nil
		d.land(f)
	}
	return nil
}

// refused ends a flight that raft has put an empty entry in the place of: it holds another change for unfinished.
func (d *driver) refused() {
	f := d.flight
	d.flight, d.machine = nil, nil // what the machine has seen was not decided
	for _, l := range f.calls {
		l.answer(machine.Refuse(l.req, kerr.RequestTimedOut), nil)
	}
}

// recordsOf decodes an entry: what changes the members carries its records along.
func recordsOf(e *pb.Entry, levels *machine.Levels) ([]machine.Record, error) {
	data := e.GetData()
	if e.GetType() == pb.EntryConfChangeV2 {
		cc := &pb.ConfChangeV2{}
		if err := proto.Unmarshal(data, cc); err != nil {
			return nil, err
		}
		data = cc.GetContext()
	}
	if len(data) == 0 {
		return nil, nil
	}
	return levels.DecodeRecords(data)
}

func (d *driver) unreadable(e *pb.Entry, err error) error {
	if errors.Is(err, machine.ErrUnknownRecord) {
		return fmt.Errorf("metadata log at offset %d: %w", offsetOf(e.GetIndex()), err)
	}
	return &log.CorruptError{Path: d.store.dir, Offset: offsetOf(e.GetIndex()), Err: err}
}

func (d *driver) checkCluster(img *Image) error {
	if want := d.c.c.ClusterID; want != "" && img.ClusterID != "" && img.ClusterID != want {
		return &ClusterIDError{Dir: d.store.dir, Stored: img.ClusterID, Given: want}
	}
	return nil
}

// publish makes an image visible and tells the subscribers.
func (d *driver) publish(img *Image, delta Delta) {
	d.c.image.Store(img)
	d.c.changed()
	kept := d.subscribers[:0]
	for _, s := range d.subscribers {
		if !s.gone.Load() {
			s.fn(delta)
			kept = append(kept, s)
		}
	}
	clear(d.subscribers[len(kept):])
	d.subscribers = kept
}
