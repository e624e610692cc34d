package controller

import (
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Voters that are gone may still seem to be there: they answered within an election timeout. A change of the votes that counts on one whose disk is lost is the last one: without it those that are left are no majority, and never will
// be. So before the votes change members are asked, and what counts is who has answered since:
//
//	asked for ──> heartbeat with a number to each member ──> answers with the number, of a majority of the voters to come ──> judged
//	                          │ repeated with each tick                              └─ not within an election timeout ──> refused
//
// A disk that is lost between its node's answer and the change's entry is lost by a quorum of the new voters.

// inquiry is what a leader asks its members.
type inquiry struct {
	number  uint64 // of the newest question
	sent    uint64 // of the one that was sent last; less if it is to be repeated
	waiting bool   // a call waits for answers
}

// asking says that members are asked: it is no answer to anybody.
var asking = &kerr.Error{Message: "ASKING", Retriable: true}

// present tells whether a majority of those that are to vote has answered since the change was first looked at: nil, asking, or that too few have.
func (d *driver) present(l *call, voters []uint64, now time.Time) *kerr.Error {
	if l.asked == 0 {
		d.inquiry.number++
		l.asked, l.since = d.inquiry.number, now
	}
	there := 0
	for _, id := range voters {
		if id == d.id || d.contacts[id].number >= l.asked {
			there++
		}
	}
	switch {
	case there > len(voters)/2:
		return nil
	case now.Sub(l.since) > d.campaign.timeout:
		return later("Too few of those that are to vote have answered")
	}
	d.inquiry.waiting = true
	return asking
}

// inquire asks, if somebody waits for it.
func (d *driver) inquire() error {
	q := &d.inquiry
	if !q.waiting || q.sent == q.number {
		return nil
	}
	q.sent = q.number
	var msgs []*pb.Message
	for _, id := range d.members.all() {
		if id != d.id {
			m := here(d.id, id, d.term)
			m.Context = inquiryContext(q.number)
			msgs = append(msgs, m)
		}
	}
	return d.send(msgs)
}

// inquiryContext is what a member gives back with its answer. Raft's own contexts are eight bytes, a number that confirms reads; it reads as many of ours, and takes nothing for confirmed by a zero.
func inquiryContext(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8), number)
}

// inquiryNumber is the number of the question that a message answers; 0 none.
func inquiryNumber(m *pb.Message) uint64 {
	if ctx := m.GetContext(); m.GetType() == pb.MsgHeartbeatResp && len(ctx) == 16 {
		return binary.BigEndian.Uint64(ctx[8:])
	}
	return 0
}
