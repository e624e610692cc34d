package interop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// trace is what went over the wire about one group.
type trace struct {
	calls    []*call
	commits  [][]*commit      // by partition, in the order in which they were sent
	contacts map[string]*call // by member id: the latest request that proved it alive to the coordinator
	ended    map[string]bool  // member ids that the coordinator no longer knows
	repeats  []repeat
}

// repeat is a record that was processed again.
type repeat struct {
	who       *seat
	when      time.Time
	partition int32
	offset    int64
	last      by    // who had processed it
	away      bool  // it could not be committed, for there was no coordinator
	from      *call // what who was told is committed, the last before it processed the record
	at        int64 // so much
}

// commit is one partition of a request to commit.
type commit struct {
	*call
	offset int64
	err    error // once it is answered
}

func (c *commit) held() bool { return !c.answered.IsZero() && c.err == nil }

// open tells whether the commit may hold or not: it was not answered, or by a coordinator that could not make sure of it.
func (c *commit) open() bool { return c.answered.IsZero() || away(c.err) }

// away tells whether an error means that there is no coordinator here for now.
func away(err error) bool {
	return err == kerr.CoordinatorNotAvailable || err == kerr.NotCoordinator || err == kerr.CoordinatorLoadInProgress || err == kerr.RequestTimedOut
}

// asked notes a request before it goes out.
func (l *ledger) asked(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trace.calls = append(l.trace.calls, c)
	req, ok := c.req.(*kmsg.OffsetCommitRequest)
	if !ok {
		return
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			l.trace.commits[p.Partition] = append(l.trace.commits[p.Partition], &commit{call: c, offset: p.Offset})
		}
	}
}

// told notes an answer and checks it.
func (l *ledger) told(c *call, resp kmsg.Response) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.resp, c.answered = resp, time.Now()
	switch resp := resp.(type) {
	case *kmsg.OffsetCommitResponse:
		l.toldCommit(c, resp)
	case *kmsg.OffsetFetchResponse:
		eachOffset(resp, func(p int32, at int64) { l.checkFetched(c, p, at) })
	}
	l.checkSession(c)
}

func (l *ledger) toldCommit(c *call, resp *kmsg.OffsetCommitResponse) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			i := slices.IndexFunc(l.trace.commits[p.Partition], func(x *commit) bool { return x.call == c })
			m := l.trace.commits[p.Partition][i]
			if m.err = kerr.ErrorForCode(p.ErrorCode); m.err != nil {
				l.noteLocked("%v: commit partition %d at %d: %v", c.seat, p.Partition, m.offset, m.err)
				continue
			}
			if c.seat != nil {
				c.seat.ackedLocked(p.Partition, m.offset)
			}
		}
	}
}

// eachOffset goes through what is committed according to an answer; at is -1 where nothing is.
func eachOffset(resp *kmsg.OffsetFetchResponse, f func(p int32, at int64)) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				f(p.Partition, p.Offset)
			}
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 {
					f(p.Partition, p.Offset)
				}
			}
		}
	}
}

// checkFetched checks that what is fetched was committed, and not replaced before the fetch began: no commit was lost, and no answer is stale. An open commit may hold at any time.
func (l *ledger) checkFetched(f *call, p int32, at int64) {
	commits := l.trace.commits[p]
	replaced := func(after time.Time) *commit {
		for _, c := range commits {
			if c.held() && c.sent.After(after) && c.answered.Before(f.sent) {
				return c
			}
		}
		return nil
	}
	if at < 0 {
		if c := replaced(time.Time{}); c != nil {
			l.errorLocked("partition %d: %v is told that nothing is committed, after %v was told that %d is", p, f.seat, c.seat, c.offset)
		}
		return
	}
	var last *commit
	for _, c := range commits {
		if c.offset != at || c.err != nil && !c.open() {
			continue
		}
		if c.open() || replaced(c.answered) == nil {
			return
		}
		last = c
	}
	if last == nil {
		l.errorLocked("partition %d: %v is told that %d is committed, and nobody has", p, f.seat, at)
		return
	}
	c := replaced(last.answered)
	l.errorLocked("partition %d: %v is told that %d is committed, after %v was told that %d is, %v before it asked", p, f.seat, at, c.seat, c.offset, f.sent.Sub(c.answered))
}

// memberOf is the member id that a request is from, and the error of its answer.
func memberOf(c *call) (id string, err error) {
	switch req := c.req.(type) {
	case *kmsg.HeartbeatRequest:
		if resp, ok := c.resp.(*kmsg.HeartbeatResponse); ok {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		return req.MemberID, err
	case *kmsg.SyncGroupRequest:
		if resp, ok := c.resp.(*kmsg.SyncGroupResponse); ok {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		return req.MemberID, err
	case *kmsg.JoinGroupRequest:
		if resp, ok := c.resp.(*kmsg.JoinGroupResponse); ok {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		return req.MemberID, err
	case *kmsg.ConsumerGroupHeartbeatRequest:
		if resp, ok := c.resp.(*kmsg.ConsumerGroupHeartbeatResponse); ok {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		return req.MemberID, err
	case *kmsg.OffsetCommitRequest:
		if resp, ok := c.resp.(*kmsg.OffsetCommitResponse); ok && len(resp.Topics) > 0 && len(resp.Topics[0].Partitions) > 0 {
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		return req.MemberID, err
	}
	return "", nil
}

// checkSession checks that the coordinator gives up only members that it has not heard of for the length of a session. It has heard of a member after the request was sent that it answered, and gave it up
// before it answered that it does not know it.
func (l *ledger) checkSession(c *call) {
	id, err := memberOf(c)
	if id == "" || c.seat == nil {
		return
	}
	if err == kerr.UnknownMemberID {
		last := l.trace.contacts[id]
		if last == nil || l.trace.ended[id] {
			return
		}
		l.trace.ended[id] = true
		silent := c.answered.Sub(last.sent)
		if l.goodbye(c.seat, id) {
			return
		}
		l.noteLocked("%v is no member any more, at most %v after it was last heard:%s", c.seat, silent.Round(time.Millisecond), l.membership(id, last.sent))
		if silent < l.session && !l.cut {
			l.errorLocked("%v (%s) was given up at most %v after it was heard, its session is %v", c.seat, id, silent, l.session)
		}
		return
	}
	if err != nil {
		return
	}
	switch req := c.req.(type) {
	case *kmsg.HeartbeatRequest, *kmsg.SyncGroupRequest: // not a join: members whose round has not come to its end are gone with the coordinator
	case *kmsg.ConsumerGroupHeartbeatRequest:
		if req.MemberEpoch < 0 {
			return
		}
	default:
		return
	}
	if last := l.trace.contacts[id]; last == nil || last.sent.Before(c.sent) {
		l.trace.contacts[id] = c
	}
}

// membership is what was asked for a member since then.
func (l *ledger) membership(id string, since time.Time) string {
	var b strings.Builder
	for _, c := range l.trace.calls {
		if of, err := memberOf(c); of == id && !c.sent.Before(since) {
			fmt.Fprintf(&b, "\n    %s to %s: %s: %v", l.at(c.sent), l.at(c.answered), kmsg.NameForKey(c.req.Key()), err)
		}
	}
	return b.String()
}

// at is a time for people.
func (l *ledger) at(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.3fs", t.Sub(l.began).Seconds())
}

// goodbye tells whether a member has left, or been removed.
func (l *ledger) goodbye(s *seat, id string) bool {
	return slices.ContainsFunc(l.trace.calls, func(c *call) bool {
		switch req := c.req.(type) {
		case *kmsg.LeaveGroupRequest:
			return req.MemberID == id || slices.ContainsFunc(req.Members, func(m kmsg.LeaveGroupRequestMember) bool {
				return m.MemberID == id || m.InstanceID != nil && *m.InstanceID == s.instance
			})
		case *kmsg.ConsumerGroupHeartbeatRequest:
			return req.MemberID == id && req.MemberEpoch < 0
		}
		return false
	})
}

// start is the latest answer to a member about what is committed in a partition, and the offset in it.
func (l *ledger) start(s *seat, p int32) (from *call, at int64) {
	for _, c := range slices.Backward(l.trace.calls) {
		resp, ok := c.resp.(*kmsg.OffsetFetchResponse)
		if !ok || c.seat != s {
			continue
		}
		eachOffset(resp, func(q int32, o int64) {
			if q == p {
				from, at = c, max(o, 0)
			}
		})
		if from != nil {
			return from, at
		}
	}
	return nil, 0
}

// again notes that a record is processed again.
func (l *ledger) again(s *seat, p int32, offset int64, last by) {
	from, at := l.start(s, p)
	// A client may find out later than whoever looks that the coordinator is back.
	gone := l.outages > 0 && last.when.After(l.left.Add(-l.session)) && (l.away || last.when.Before(l.back.Add(l.session/2)))
	l.trace.repeats = append(l.trace.repeats, repeat{who: s, when: time.Now(), partition: p, offset: offset, last: last, away: gone, from: from, at: at})
}

// why finds out why a record was processed again, when all is known: what became of the commit of whoever processed it before, and how that member lost the partition. It is unexplained if neither a death, nor an
// administrator, nor the coordinator's absence, nor the end of a session had a part in it: a member that gives a partition up in order commits it first.
func (l *ledger) why(r *repeat) (cause string, explained bool) {
	switch {
	case r.from == nil:
		return "it was never told where to start", false
	case r.at > r.offset:
		return "it started before what it was told", false
	}
	outcome, away := l.outcome(r)
	fate, explained := l.fate(r, r.last.who)
	if !explained && r.last.when.After(r.from.answered) { // it was the other's by then, if that one had not lost it without knowing
		if f, ok := l.fate(r, r.who); ok {
			fate, explained = f+" and not aware of it", true
		}
	}
	if away && !explained {
		fate, explained = "coordinator away", true
	}
	return outcome + ", " + fate, explained
}

// outcome is what became of the commit of whoever processed a record before, and whether that was for want of a coordinator.
func (l *ledger) outcome(r *repeat) (outcome string, gone bool) {
	if r.last.when.After(r.from.answered) {
		return "processed when it was somebody else's", false
	}
	outcome = "not committed"
	for _, c := range l.trace.commits[r.partition] {
		if c.seat != r.last.who || c.offset <= r.offset || c.sent.After(r.from.answered) {
			continue
		}
		switch {
		case c.answered.IsZero():
			outcome, gone = "commit not answered", true
		case c.err != nil:
			outcome, gone = "commit refused with "+c.err.(*kerr.Error).Message, away(c.err)
		case c.answered.Before(r.from.sent):
			return "commit replaced by a later one of less", false
		default:
			outcome = "committed while the other asked"
		}
	}
	return outcome, gone
}

// fate is how one of the two who processed a record lost the partition, and whether that is why it could not commit, or went on.
func (l *ledger) fate(r *repeat, who *seat) (fate string, explained bool) {
	switch {
	case who.killed && !who.died.After(r.when):
		return "killed", true
	case r.away:
		return "coordinator away", true
	}
	fate = "lost without an error"
	for _, c := range l.trace.calls {
		if c.seat != who || c.answered.IsZero() || c.answered.Before(r.last.when.Add(-l.session/2)) || c.answered.After(r.when.Add(l.session)) {
			continue
		}
		id, err := memberOf(c)
		switch {
		case id == "" || err == nil:
		case err == kerr.UnknownMemberID && l.goodbye(who, id):
			return "removed", true
		case err == kerr.UnknownMemberID:
			return "session ended", true
		case err == kerr.FencedInstanceID, err == kerr.UnreleasedInstanceID:
			return "fenced", true
		case away(err):
			return "coordinator away", true
		default:
			fate = "lost after " + err.(*kerr.Error).Message
		}
	}
	if strings.HasSuffix(who.kind, "autocommit") {
		return "autocommit", true // kgo commits what an earlier poll gave, also when it leaves in order: the last one's records are processed again
	}
	return fate, false
}

// causes counts repeats by why, and those that are unexplained, with evidence of some of each.
func (l *ledger) causes() (counts map[string]int, unexplained int, evidence []string) {
	counts = map[string]int{}
	for i := range l.trace.repeats {
		cause, explained := l.why(&l.trace.repeats[i])
		if !explained {
			unexplained++
			cause = "UNEXPLAINED: " + cause
		}
		if counts[cause]++; counts[cause] <= 2 {
			r := &l.trace.repeats[i]
			evidence = append(evidence, fmt.Sprintf("partition %d offset %d: %v repeated at %s what %v had processed at %s, %s:%s", r.partition, r.offset, r.who, l.at(r.when), r.last.who, l.at(r.last.when), cause, l.history(r)))
		}
	}
	return counts, unexplained, evidence
}

// history is what was committed and told about a partition around a repeat.
func (l *ledger) history(r *repeat) string {
	var b strings.Builder
	for _, c := range l.trace.calls {
		if c.sent.Before(r.last.when.Add(-time.Second)) || c.sent.After(r.when) {
			continue
		}
		if resp, ok := c.resp.(*kmsg.OffsetFetchResponse); ok && c.seat != nil {
			eachOffset(resp, func(q int32, o int64) {
				if q == r.partition {
					fmt.Fprintf(&b, "\n    %s to %s: %v is told %d", l.at(c.sent), l.at(c.answered), c.seat, o)
				}
			})
		}
		for _, m := range l.trace.commits[r.partition] {
			if m.call == c {
				fmt.Fprintf(&b, "\n    %s to %s: %v commits %d: %v", l.at(c.sent), l.at(c.answered), c.seat, m.offset, m.err)
			}
		}
	}
	return b.String()
}
