package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Reason says why a group does not read a partition, or that it does.
type Reason int8

// The reasons, the more basic ones first: of several that hold the first is told.
const (
	Reading         Reason = iota // it is assigned, and there is something to read
	UnknownTopic                  // there is no such topic, or it has no such partition
	NoLeader                      // nobody serves the partition
	Unreachable                   // its leader did not answer
	OutOfRange                    // the committed offset is not in the log: below its start (retention) or above its end (data was lost)
	NoMembers                     // nobody is in the group
	NotAssigned                   // no member has it: none subscribes to the topic, or its leader's assignor left it out
	Rebalancing                   // its next owner waits for the present one to give it up, or the group is not stable
	Paused                        // its member has paused it and said so: insync's consumers do when they commit what is marked
	OpenTransaction               // all that is there belongs to, or lies behind, a transaction that is not ended
	AtEnd                         // everything is read
)

var reasonTexts = map[Reason]string{
	Reading: "is being read", UnknownTopic: "does not exist", NoLeader: "has no leader", Unreachable: "has a leader that does not answer", OutOfRange: "has an offset that is not in the log",
	NoMembers: "is in a group without members", NotAssigned: "is not assigned", Rebalancing: "is changing hands", Paused: "is paused", OpenTransaction: "waits for a transaction to end", AtEnd: "is read to its end",
}

// String is the reason as the end of a sentence that begins with the partition.
func (r Reason) String() string {
	if s, ok := reasonTexts[r]; ok {
		return s
	}
	return fmt.Sprintf("Reason(%d)", int8(r))
}

// Explanation says why a partition of a group is being read or not.
type Explanation struct {
	Group     string
	State     string // of the group
	Partition GroupPartition
	Reason    Reason
	Next      string // the member that is about to have the partition, if another one than Partition.Member; "" none
}

// pausedNote is the text with a committed offset that tells that a member has paused the partition; package consumer writes it.
func pausedNote(memberID string) string { return "paused by " + memberID }

// String is a sentence.
func (e Explanation) String() string {
	p := &e.Partition
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", p.TopicPartition, e.Reason)
	switch e.Reason {
	case Reading, AtEnd, Paused, OpenTransaction:
		fmt.Fprintf(&b, ": member %s, committed %d, end %d", p.Member, p.Committed, p.End)
		if p.Stable != p.End {
			fmt.Fprintf(&b, ", last stable offset %d", p.Stable)
		}
		if p.Lag > 0 {
			fmt.Fprintf(&b, ", lag %d", p.Lag)
			if p.LagTime > 0 {
				fmt.Fprintf(&b, " (%v)", p.LagTime.Round(time.Millisecond))
			}
		}
	case OutOfRange:
		fmt.Fprintf(&b, ": committed %d, the log is [%d, %d)", p.Committed, p.Start, p.End)
	case Rebalancing:
		fmt.Fprintf(&b, ": group %s, from %q to %q", e.State, p.Member, e.Next)
	case NotAssigned, NoMembers:
		fmt.Fprintf(&b, ": group %s, lag %d", e.State, p.Lag)
	}
	if p.Err != nil {
		fmt.Fprintf(&b, ": %v", p.Err)
	}
	return b.String()
}

// Explain says why a group reads a partition or does not.
func (a *Admin) Explain(ctx context.Context, group, topic string, partition int32) (Explanation, error) {
	g, err := a.Group(ctx, group)
	if err != nil {
		return Explanation{}, err
	}
	tp := TopicPartition{topic, partition}
	e := Explanation{Group: group, State: g.State}
	if i := slices.IndexFunc(g.Partitions, func(p GroupPartition) bool { return p.TopicPartition == tp }); i >= 0 {
		e.Partition = g.Partitions[i]
	} else {
		e.Partition = GroupPartition{TopicPartition: tp, Committed: -1, Start: -1, End: -1, Stable: -1, Lag: -1}
		a.measure(ctx, &e.Partition)
	}
	for _, m := range g.Members {
		if slices.Contains(m.Target, tp) && m.ID != e.Partition.Member {
			e.Next = m.ID
		}
	}
	e.Reason = reason(&g, &e)
	return e, nil
}

func reason(g *GroupStatus, e *Explanation) Reason {
	p := &e.Partition
	switch {
	case errors.Is(p.Err, kerr.UnknownTopicOrPartition), errors.Is(p.Err, kerr.UnknownTopicID), errors.Is(p.Err, kerr.InvalidTopicException):
		return UnknownTopic
	case errors.Is(p.Err, kerr.LeaderNotAvailable):
		return NoLeader
	case p.Committed >= 0 && p.Start >= 0 && (p.Committed < p.Start || p.End >= 0 && p.Committed > p.End):
		return OutOfRange
	case p.Err != nil:
		return Unreachable
	case len(g.Members) == 0:
		return NoMembers
	case e.Next != "", p.Member == "" && g.State != "Stable":
		return Rebalancing
	case p.Member == "":
		return NotAssigned
	case p.Metadata == pausedNote(p.Member):
		return Paused
	case p.Lag > 0:
		return Reading
	case p.Stable < p.End:
		return OpenTransaction
	}
	return AtEnd
}
