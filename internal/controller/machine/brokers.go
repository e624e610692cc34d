package machine

import (
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session is what the active controller remembers of a broker's heartbeats. It is not in the metadata log.
type session struct {
	epoch          int64
	contact        time.Time
	metadataOffset int64     // the last that the broker has applied; -1 unknown
	shutdownOffset int64     // of the records that moved its leaderships away; -1 if it does not shut down
	slowSince      time.Time // when it said first that its disk is slow; zero: it does not
	heard          bool      // from the broker itself, by this controller
	leavesAt       time.Time // when a broker that shuts down is to give its leaderships up in any case; zero if it does not shut down
	ends           map[logKey]LogEnd
	stepsDown      bool  // when it is asked to: it is not of an older version
	resumedOffset  int64 // of metadata when it came back after silence, or was fenced as it wanted: until it has applied that much it may take itself for the leader of what others lead by now
}

func (m *Machine) live(br *Broker, now time.Time) bool {
	s := m.sessions[br.ID]
	return s != nil && s.epoch == br.Epoch && now.Before(s.contact.Add(m.c.SessionTimeout))
}

// register answers BrokerRegistration.
//
// A new incarnation gets the offset of the record as its epoch, and starts fenced. What its replicas still are depends on PreviousBrokerEpoch: if it
// is the epoch of the registration that is replaced, the broker vouches that no replica lost a record that it had confirmed (a clean stop, or a process crash
// under the rules for which restarts are lossy); it is treated as a fenced one, which stays eligible where the ISR became too small, and what it led gets another leader
// epoch, so that no epoch is led by two lives. Where the operating system is another than then, it leads only if enough others have told that they do not have more. Anything else, -1, another directory and one that had failed included, is a lossy restart: the broker leaves every ISR and ELR and can only come back by fetching from a leader (KIP-966).
//
// Differs from Kafka: a new incarnation with the same data directory replaces one whose session is still live at once. The directory is locked by the process
// that uses it, so the old process is gone, and an application that restarts within the session timeout need not wait for its end.
func (b *Batch) register(req *kmsg.BrokerRegistrationRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.BrokerRegistrationResponse)
	resp.BrokerEpoch = -1
	deny := func(e *kerr.Error) kmsg.Response {
		resp.ErrorCode = e.Code
		return resp
	}
	img := b.d.img
	if req.ClusterID != img.ClusterID {
		return deny(kerr.InconsistentClusterID)
	}
	if _, ok := img.Quorum.Member(req.BrokerID); !ok && img.Quorum != nil {
		return deny(kerr.BrokerIDNotRegistered) // it was removed, or has not joined yet
	}
	dir, ok := b.directory(req)
	if !ok || req.BrokerID < 0 {
		return deny(kerr.InvalidRegistration)
	}
	br := Broker{
		ID: req.BrokerID, Epoch: b.offset, Incarnation: req.IncarnationID, DirectoryID: dir, Addr: address(req.Listeners), Fenced: true,
	}
	if br.Known = b.registeredLevel(req); b.tooOld(br.Known) {
		setLevel(resp, img.Level)
		return deny(kerr.UnsupportedVersion)
	}
	if req.Rack != nil {
		br.Rack = *req.Rack
	}
	old := img.Brokers[br.ID]
	switch {
	case old == nil:
	case old.Incarnation == br.Incarnation:
		// The same process asks again: the answer got lost, or its address changed. It keeps epoch and state.
		br.Epoch, br.Fenced, br.InControlledShutdown, br.SlowDisk = old.Epoch, old.Fenced, old.InControlledShutdown, old.SlowDisk
		b.touch(br.ID, br.Epoch)
		if br != *old {
			b.add(&RegisterBroker{br})
		}
		resp.BrokerEpoch = br.Epoch
		return resp
	case old.Epoch == b.offset, b.m.live(old, b.now) && old.DirectoryID != dir, slices.Contains(b.m.replaced[br.ID], br.Incarnation):
		return deny(kerr.DuplicateBrokerRegistration)
	default:
		how := silent
		switch {
		case req.PreviousBrokerEpoch != old.Epoch || old.DirectoryOffline || old.DirectoryID != dir:
			how = lossy
		case wasRebooted(req):
			how = rebooted
		}
		if b.restart(br.ID, how) {
			return deny(kerr.CoordinatorLoadInProgress)
		}
		b.replace(old)
	}
	b.add(&RegisterBroker{br})
	b.m.sessions[br.ID] = &session{epoch: br.Epoch, contact: b.now, metadataOffset: -1, shutdownOffset: -1, heard: true}
	resp.BrokerEpoch = br.Epoch
	return resp
}

// replace remembers an incarnation that is over. What it has sent may still arrive, or arrive again: it would take the place of the life that is, which the broker would then seem to have come back from with an older disk.
func (b *Batch) replace(old *Broker) {
	const most = 20 // far more than start while a request is on its way
	list := append(b.m.replaced[old.ID], old.Incarnation)
	b.m.replaced[old.ID] = list[max(0, len(list)-most):]
}

// directory returns the broker's data directory; ok is false if there is none, if it is an id that Kafka reserves, or if another broker has it.
func (b *Batch) directory(req *kmsg.BrokerRegistrationRequest) (id log.TopicID, ok bool) {
	if len(req.LogDirs) != 1 {
		return id, false
	}
	id = req.LogDirs[0]
	if reserved := id; reserved[15] < 100 {
		reserved[15] = 0
		if reserved == (log.TopicID{}) {
			return id, false
		}
	}
	for _, other := range b.d.img.Brokers {
		if other.ID != req.BrokerID && other.DirectoryID == id {
			return id, false
		}
	}
	return id, true
}

func address(listeners []kmsg.BrokerRegistrationRequestListener) string {
	if len(listeners) == 0 {
		return ""
	}
	return net.JoinHostPort(listeners[0].Host, strconv.Itoa(int(listeners[0].Port)))
}

func (b *Batch) touch(id int32, epoch int64) *session {
	s := b.m.sessions[id]
	if s == nil || s.epoch != epoch {
		s = &session{epoch: epoch, metadataOffset: -1, shutdownOffset: -1, resumedOffset: b.d.img.Offset}
		b.m.sessions[id] = s
	}
	s.contact, s.heard = b.now, true
	return s
}

// heartbeat answers BrokerHeartbeat and moves the broker through its life:
//
//	FENCED ── caught up, wants no fence ──> UNFENCED ── wants shutdown, leads ──> CONTROLLED_SHUTDOWN ──> SHUTDOWN_NOW
//	   ^────── wants fence ────────────────────┘  └───── wants shutdown, leads nothing ─────────────────────^
//
// Before it is in controlled shutdown a broker hands over what others can lead, for as long as that may take: see handover.go. What is left is recalled: then it serves nobody any more, and wants the fence.
// A broker in controlled shutdown may go when it leads nothing and every active broker has applied the records that say so.
func (b *Batch) heartbeat(req *kmsg.BrokerHeartbeatRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
	resp.IsFenced = true
	br := b.d.img.Brokers[req.BrokerID]
	switch {
	case br == nil:
		resp.ErrorCode = kerr.BrokerIDNotRegistered.Code
		return resp
	case br.Epoch != req.BrokerEpoch:
		resp.ErrorCode = kerr.StaleBrokerEpoch.Code
		return resp
	}
	s := b.touch(br.ID, br.Epoch)
	s.metadataOffset = req.CurrentMetadataOffset
	var from []Leadership
	from, s.stepsDown = steppedDown(req)
	b.noteLevel(req)
	if slices.Contains(req.OfflineLogDirs, [16]byte(br.DirectoryID)) && !br.DirectoryOffline {
		b.leave(departures{br.ID: silent})
		b.add(&BrokerChange{ID: br.ID, Epoch: br.Epoch, DirectoryOffline: Set})
	}
	for _, l := range from {
		b.stepDown(b.d.img.Brokers[br.ID], l)
	}
	resp.IsCaughtUp = req.CurrentMetadataOffset >= max(br.Epoch, s.resumedOffset)
	if !req.WantShutdown {
		s.leavesAt = time.Time{}
	}
	recalled := false
	switch {
	case req.WantShutdown:
		resp.ShouldShutdown, recalled = b.shutDown(br, s, req.WantFence)
	case req.WantFence && !br.Fenced:
		b.fence(br)
	case !req.WantFence && br.Fenced && resp.IsCaughtUp && !br.InControlledShutdown:
		// One in controlled shutdown was told to go; a late heartbeat does not bring it back, a new registration does.
		b.unfence(br)
	}
	slow := b.noteSlowDisk(s, req)
	b.compare(s, logEnds(req))
	answerRecall(resp, append(slow, b.recalled(br.ID)...), recalled)
	resp.IsFenced = b.d.img.Brokers[br.ID].Fenced
	b.raiseInternal()
	return resp
}

// shutDown moves a broker that wants to stop one step on, and tells whether it may go, or has to fence itself first.
func (b *Batch) shutDown(br *Broker, s *session, wantFence bool) (now, recalled bool) {
	switch leads := b.leads(br.ID); {
	case br.Fenced:
		return true, false
	case wantFence:
	case leads && !br.InControlledShutdown && b.handsOver(br, s):
		return false, false
	case leads && !br.InControlledShutdown && s.stepsDown:
		return false, true
	case (leads || b.leaving(br.ID)) && !br.InControlledShutdown:
		b.leave(departures{br.ID: silent})
		b.add(&BrokerChange{ID: br.ID, Epoch: br.Epoch, InControlledShutdown: Set})
		s.shutdownOffset = b.offset
		return false, false
	case leads:
		return false, false
	case s.shutdownOffset > b.lowestActiveOffset():
		return false, false
	}
	b.fence(b.d.img.Brokers[br.ID])
	return true, false
}

func (b *Batch) leads(id int32) bool {
	for _, t := range b.d.img.Topics {
		for _, p := range t.Partitions {
			if p.Leader == id {
				return true
			}
		}
	}
	return false
}

// lowestActiveOffset is how far the slowest active broker has applied the metadata log.
func (b *Batch) lowestActiveOffset() int64 {
	lowest := int64(1<<63 - 1)
	for id, br := range b.d.img.Brokers {
		if s := b.m.sessions[id]; br.Active() && s != nil {
			lowest = min(lowest, s.metadataOffset)
		}
	}
	return lowest
}

// unregister answers UnregisterBroker: a broker that is gone for good is forgotten, and with it an observer of the metadata quorum; a voter remains one, as in Kafka. It leaves every ISR and ELR: should it come back after all, nobody could tell any more what it lost meanwhile.
func (b *Batch) unregister(req *kmsg.UnregisterBrokerRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.UnregisterBrokerResponse)
	br := b.d.img.Brokers[req.BrokerID]
	m, member := b.d.img.Quorum.Member(req.BrokerID)
	observer := member && !m.Voter
	var p problem
	switch {
	case br == nil && !observer:
		p = refuse(kerr.BrokerIDNotRegistered, "Broker ID %d is not currently registered", req.BrokerID)
	case observer && b.d.img.Quorum.Joint():
		p = changing(b.d.img.Quorum)
	case ifUnused(req):
		p = b.used(req.BrokerID)
	}
	if p.code != 0 {
		resp.ErrorCode, resp.ErrorMessage = p.code, p.text()
		return resp
	}
	if observer {
		b.changeQuorum(b.d.img.Quorum.without(req.BrokerID))
	}
	if br == nil {
		return resp
	}
	b.leave(departures{br.ID: gone})
	b.add(&UnregisterBroker{ID: br.ID, Epoch: br.Epoch})
	delete(b.m.sessions, br.ID)
	return resp
}

func (b *Batch) fence(br *Broker) {
	if s := b.m.sessions[br.ID]; s != nil {
		s.resumedOffset = b.offset
	}
	b.leave(departures{br.ID: silent})
	b.add(&BrokerChange{ID: br.ID, Epoch: br.Epoch, Fenced: Set})
}

func (b *Batch) unfence(br *Broker) {
	b.add(&BrokerChange{ID: br.ID, Epoch: br.Epoch, Fenced: Unset})
	b.electLeaderless()
}

// allocateProducerIDs answers AllocateProducerIDs with a block of ids (KIP-730).
func (b *Batch) allocateProducerIDs(req *kmsg.AllocateProducerIDsRequest) kmsg.Response {
	const block = 1000
	resp := req.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
	br := b.d.img.Brokers[req.BrokerID]
	if br == nil || br.Epoch != req.BrokerEpoch {
		resp.ErrorCode = kerr.StaleBrokerEpoch.Code
		return resp
	}
	start := b.d.img.NextProducerID
	if start > 1<<63-1-block {
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp
	}
	b.add(&ProducerIDs{BrokerID: br.ID, BrokerEpoch: br.Epoch, Next: start + block})
	resp.ProducerIDStart, resp.ProducerIDLen = start, block
	return resp
}
