package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AddVoter gives a node that joined a vote in the metadata quorum (KIP-853), once it has caught up, for which it waits as long as ctx, 30 s at most. ChangeVoters adds several at once; a quorum of an even number
// survives no more than the odd one below it.
//
// errors.Is: kerr.DuplicateVoter if it has one; kerr.RequestTimedOut if it does not follow, lags, or nothing is known.
func (a *Admin) AddVoter(ctx context.Context, id int32) error {
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.VoterID, req.TimeoutMillis, req.AckWhenCommitted = id, timeoutMillis(ctx), true
	resp, err := request[*kmsg.AddRaftVoterResponse](ctx, a, req)
	text := ""
	if err == nil {
		err, text = kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage)
	}
	return memberError("add voter", id, err, text)
}

// RemoveVoter takes a node's vote (KIP-853): it goes on as an observer and a broker. One that is the active controller hands that over first. A majority of the voters that remain has to answer: those that are down are removed first.
// Two voters need each other: if one of them loses its disk the other cannot take it back.
//
// errors.Is: kerr.VoterNotFound if it has none; kerr.InvalidRequest for the last voter; kerr.RequestTimedOut if too few of the voters that would remain are there, or nothing is known.
func (a *Admin) RemoveVoter(ctx context.Context, id int32) error {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	req.VoterID = id
	resp, err := request[*kmsg.RemoveRaftVoterResponse](ctx, a, req)
	text := ""
	if err == nil {
		err, text = kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage)
	}
	return memberError("remove voter", id, err, text)
}

// ChangeVoters makes exactly those nodes vote in the metadata quorum, in one change that never leaves it weaker: while more than one vote changes, a majority of the voters before and one of those after it
// must both agree (raft's joint consensus). So one voter is replaced, one becomes three, or three become three others. It waits as long as ctx, 30 s at most, for nodes that have not caught up. Who loses its
// vote goes on as an observer and a broker; one that is the active controller hands over. The change may be repeated, and one that crashes interrupt is finished by whoever is active controller then. KIP-853
// has nothing like it: other clusters than this package's do not know the request.
//
// errors.Is: kerr.InvalidRequest for nobody, or a node named twice; kerr.RequestTimedOut if a node does not follow, or lags, too few are there, or nothing is known.
func (a *Admin) ChangeVoters(ctx context.Context, voters ...int32) error {
	resp, err := request[*controller.VotersResponse](ctx, a, &controller.VotersRequest{TimeoutMillis: timeoutMillis(ctx), Voters: voters})
	text := ""
	if err == nil {
		err, text = kerr.ErrorForCode(resp.ErrorCode), resp.ErrorMessage
	}
	if err == nil {
		return nil
	}
	return &AdminError{Op: "change voters", Name: fmt.Sprint(voters), Err: err, Text: text}
}

// RemoveNode takes a node out of the cluster: its vote, its registration and its place as an observer. It stops by itself, with ErrRemoved, if it still runs. Nothing happens while it has replicas: Reassign
// them first. It may be repeated; a node that is not there any more is no error.
//
// errors.Is: kerr.InvalidRequest if it has replicas, or the last vote; as RemoveVoter otherwise.
func (a *Admin) RemoveNode(ctx context.Context, id int32) error {
	for {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		req.UnknownTags.Set(controller.TagIfUnused, nil)
		resp, err := request[*kmsg.UnregisterBrokerResponse](ctx, a, req)
		text := ""
		if err == nil {
			err, text = kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage)
		}
		switch {
		case errors.Is(err, kerr.BrokerIDNotRegistered):
			return nil
		case errors.Is(err, kerr.DuplicateVoter): // it votes
			if err := a.RemoveVoter(ctx, id); err != nil && !errors.Is(err, kerr.VoterNotFound) {
				return err
			}
		case !kerr.IsRetriable(err) || !pause(ctx):
			return memberError("remove node", id, err, text)
		}
	}
}

// pause waits a little before a request is repeated; false if ctx ended.
func pause(ctx context.Context) bool {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func memberError(op string, id int32, err error, text string) error {
	if err == nil {
		return nil
	}
	return &AdminError{Op: op, Name: strconv.Itoa(int(id)), Err: err, Text: text}
}
