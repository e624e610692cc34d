package consumer

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	messageRequest  = kmsg.Request
	messageResponse = kmsg.Response
)

const (
	coordinatorBackoffMin = 100 * time.Millisecond
	coordinatorBackoffMax = time.Second
)

// retrying is when to try again after errors in a row.
type retrying struct {
	failures int
	at       time.Time
}

func (r *retrying) failed(now time.Time) {
	r.at = now.Add(min(coordinatorBackoffMin<<min(r.failures, 8), coordinatorBackoffMax))
	r.failures++
}

func (r *retrying) worked() { *r = retrying{} }

// memberConfig is what a machine needs to know of Config.
type memberConfig struct {
	group     string
	instance  string
	rack      string
	topics    []string
	regex     string
	assignor  string
	session   time.Duration
	rebalance time.Duration
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// heartbeats is a member of a KIP-848 group: everything is said by ConsumerGroupHeartbeat, in which null means "as before".
//
//	        join (epoch 0)                     answer
//	left ──────────────────▶ joining ────────────────────▶ member ──┐ heartbeat each interval,
//	  ▲                         ▲                             │  ▲──┘ at once when partitions were given up or taken over
//	  │ leave (-1, -2)          │ fenced, unknown: lost       │
//	  └──── leaving ◀───────────┴─────────────────────────────┘
//
// After a session that ended on this side the member takes leave before it joins again: the coordinator may still think it a member, and would fence an epoch 0.
type heartbeats struct {
	memberConfig
	id       string
	epoch    int32
	interval time.Duration
	beatAt   time.Time
	full     bool // the next one says everything: an answer may have got lost
	busy     bool // one is under way
	reported int  // version of the partitions that the coordinator knows of
	sent     int  // version in the one under way
	retry    retrying
	proved   time.Time // see confirmed
	held     time.Time // since when somebody else has the instance id

	leaving, parked, quitting, done bool
}

func newHeartbeats(c memberConfig, id string) *heartbeats {
	return &heartbeats{memberConfig: c, id: id, full: true}
}

func (h *heartbeats) kind() Protocol            { return ProtocolConsumer }
func (h *heartbeats) confirmed() time.Time      { return h.proved }
func (h *heartbeats) settled() bool             { return h.epoch > 0 }
func (h *heartbeats) gone() bool                { return h.done }
func (h *heartbeats) watched() map[string]int   { return nil }
func (h *heartbeats) shared(time.Time, sharing) {}
func (h *heartbeats) gaveUp(time.Time)          {} // the version tells
func (h *heartbeats) hurry(now time.Time)       { h.beatAt = now }

func (h *heartbeats) member() (string, int32) {
	if h.leaving {
		return h.id, 0
	}
	return h.id, h.epoch
}

func (h *heartbeats) reset(now time.Time, leave, park bool) {
	h.leaving = leave && (h.epoch > 0 || h.leaving)
	if !h.leaving {
		h.epoch = 0
	}
	h.full, h.busy, h.parked, h.beatAt = true, false, park, now
	h.retry.worked()
}

func (h *heartbeats) unpark(now time.Time) { h.parked, h.beatAt = false, now }

func (h *heartbeats) quit(now time.Time) {
	if h.quitting {
		return
	}
	h.quitting = true
	// Also while a join is under way: the coordinator may have let it in already.
	h.leaving = h.leaving || h.epoch > 0 || h.busy
	h.done, h.busy, h.beatAt = !h.leaving, false, now
	h.retry.worked()
}

func (h *heartbeats) next(now time.Time, v view) (messageRequest, time.Time) {
	if h.busy || h.done || h.parked && !h.leaving {
		return nil, time.Time{}
	}
	at := h.beatAt
	if h.epoch > 0 && v.version != h.reported {
		at = now
	}
	if h.retry.at.After(at) {
		at = h.retry.at
	}
	if at.After(now) {
		return nil, at
	}
	h.busy, h.sent, h.beatAt = true, v.version, now.Add(h.interval)
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.InstanceID = h.group, h.id, h.epoch, optional(h.instance)
	if h.leaving {
		req.MemberEpoch = -1
		if h.instance != "" {
			req.MemberEpoch = -2 // it comes back
		}
		return req, time.Time{}
	}
	if h.full {
		req.RackID, req.ServerAssignor = optional(h.rack), optional(h.assignor)
		req.RebalanceTimeoutMillis = int32(h.rebalance.Milliseconds())
		req.SubscribedTopicNames = append([]string{}, h.topics...) // not nil, which means "as before"
		req.SubscribedTopicRegex = optional(h.regex)
	}
	switch {
	case h.epoch == 0:
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	case h.full || v.version != h.reported:
		req.Topics = ownedByID(v.owned)
	}
	return req, time.Time{}
}

// ownedByID lists partitions by topic id; never nil.
func ownedByID(owned []ownedPartition) []kmsg.ConsumerGroupHeartbeatRequestTopic {
	topics := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, o := range owned {
		i := slices.IndexFunc(topics, func(t kmsg.ConsumerGroupHeartbeatRequestTopic) bool { return t.TopicID == o.id })
		if i < 0 {
			t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			t.TopicID = o.id
			i, topics = len(topics), append(topics, t)
		}
		topics[i].Partitions = append(topics[i].Partitions, o.number)
	}
	return topics
}

func (h *heartbeats) answer(now, sent time.Time, _ messageRequest, resp messageResponse, err error) outcome {
	h.busy = false
	if h.leaving {
		return h.tookLeave(now, err)
	}
	r, ok := resp.(*kmsg.ConsumerGroupHeartbeatResponse)
	if err == nil && !ok {
		err = errAnswer
	}
	if err == nil {
		err = codeError(r.ErrorCode, r.ErrorMessage)
	}
	if err != nil {
		return h.failed(now, err)
	}
	if h.regex != "" && r.GetVersion() == 0 {
		return outcome{end: &GroupError{Group: h.group, Err: &unsupportedError{"the coordinator's version of KIP-848 has no regular expressions", kerr.UnsupportedVersion}}}
	}
	h.retry.worked()
	h.full, h.reported, h.proved, h.held = false, h.sent, sent, time.Time{}
	if r.HeartbeatIntervalMillis > 0 {
		h.interval = time.Duration(r.HeartbeatIntervalMillis) * time.Millisecond
	}
	h.beatAt = sent.Add(h.interval)
	if r.MemberID != nil && *r.MemberID != "" {
		h.id = *r.MemberID // version 0: the coordinator gives it
	}
	h.epoch = r.MemberEpoch
	var o outcome
	if r.Assignment != nil {
		o.assigned = &assignment{generation: h.epoch, memberID: h.id}
		for _, t := range r.Assignment.Topics {
			o.assigned.topics = append(o.assigned.topics, assignedTopic{id: t.TopicID, partitions: t.Partitions})
		}
	}
	return o
}

// tookLeave goes on after a leave. Only a coordinator that could not be asked is asked again: any answer means that the membership is over.
func (h *heartbeats) tookLeave(now time.Time, err error) outcome {
	if err != nil && !isUnsupported(err) {
		h.retry.failed(now)
		return outcome{relocate: true, trouble: err}
	}
	h.leaving, h.epoch, h.full, h.beatAt, h.done = false, 0, true, now, h.quitting
	h.retry.worked()
	return outcome{}
}

func (h *heartbeats) failed(now time.Time, err error) outcome {
	h.full = true
	ke, ok := errors.AsType[*kerr.Error](err)
	switch {
	case isUnsupported(err):
		return outcome{unsupported: true, lost: err}
	case !ok, ke == kerr.NotCoordinator, ke == kerr.CoordinatorNotAvailable:
		h.retry.failed(now)
		return outcome{relocate: true, trouble: err}
	case ke == kerr.UnknownMemberID, ke == kerr.FencedMemberEpoch, ke == kerr.GroupIDNotFound && h.epoch > 0:
		h.leaving = ke == kerr.FencedMemberEpoch && h.epoch == 0 // it thinks this id a member
		h.epoch, h.beatAt = 0, now
		if h.leaving {
			h.retry.failed(now)
		}
		return outcome{lost: err}
	case ke == kerr.GroupIDNotFound: // a classic group that may not be converted
		return outcome{unsupported: true, lost: err}
	case ke == kerr.UnreleasedInstanceID:
		// Probably an earlier self that crashed: its session ends it.
		if h.held.IsZero() {
			h.held = now
		}
		if now.Sub(h.held) > h.session+h.session/2 {
			return outcome{end: &InstanceError{Group: h.group, InstanceID: h.instance, Err: err}}
		}
		h.retry.failed(now)
		return outcome{trouble: err}
	case ke == kerr.FencedInstanceID:
		return outcome{end: &InstanceError{Group: h.group, InstanceID: h.instance, Err: err}}
	case ke.Retriable, ke == kerr.UnknownServerError:
		h.retry.failed(now)
		return outcome{trouble: err}
	}
	return outcome{end: &GroupError{Group: h.group, Err: err}}
}

// codeError is the error of a response, with what the node says of it.
func codeError(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || message == nil || *message == "" {
		return err
	}
	return &saidError{err, *message}
}

// saidError is an error code with a node's words.
type saidError struct {
	code error
	text string
}

func (e *saidError) Error() string { return e.text }
func (e *saidError) Unwrap() error { return e.code }

var errAnswer = errors.New("the answer is not one to the question")

func isUnsupported(err error) bool {
	_, ok := errors.AsType[*transport.UnsupportedVersionError](err)
	return ok || errors.Is(err, kerr.UnsupportedVersion)
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.number, b.number))
}
