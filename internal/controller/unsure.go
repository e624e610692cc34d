package controller

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.etcd.io/raft/v3"
)

// unsure are answers to heartbeats that count if this node was still the leader when they were taken. A leader that is cut off does not know for up to two election timeouts that it leads no more. A node
// that it told meanwhile that it counts, its own before all, would serve on when the next leader has given its partitions to others. So a majority has to confirm each answer (Ongaro's thesis, 6.4):
// whoever leads next was elected after that, and gives every node a session from then on.
type unsure struct {
	asked   uint64
	calls   []*call
	answers []kmsg.Response
}

// counts tells whether an answer lets a node go on serving.
func (d *driver) counts(resp kmsg.Response) bool {
	r, ok := resp.(*kmsg.BrokerHeartbeatResponse)
	return ok && r.ErrorCode == 0 && !r.IsFenced && !d.members.sole(d.id)
}

// ask sends a round of raft heartbeats for the answers. Those that get lost are repeated with the heartbeats that are due anyway.
func (d *driver) ask(u *unsure) {
	if len(u.calls) == 0 {
		return
	}
	d.asked++
	u.asked = d.asked
	d.unsure = append(d.unsure, u)
	d.node.ReadIndex(binary.BigEndian.AppendUint64(nil, u.asked))
}

// confirm gives the answers that a majority stands behind.
func (d *driver) confirm(states []raft.ReadState) {
	for _, st := range states {
		asked := binary.BigEndian.Uint64(st.RequestCtx)
		for len(d.unsure) > 0 && d.unsure[0].asked <= asked {
			u := d.unsure[0]
			d.unsure = d.unsure[1:]
			for i, l := range u.calls {
				l.answer(u.answers[i], nil)
			}
		}
	}
}

// disown ends the wait of all whose answers cannot be confirmed any more.
func (d *driver) disown(answer func(*call)) {
	for _, u := range d.unsure {
		for _, l := range u.calls {
			answer(l)
		}
	}
	d.unsure = nil
}
