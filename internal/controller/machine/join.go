package machine

import (
	"encoding/binary"
	"errors"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyJoin is the private API key of JoinRequest.
const KeyJoin int16 = 32101

// Join (32101), version 0, between nodes only. Body of the request:
//
//	string cluster id, int32 node id, string address, 16 bytes directory id, int8 what for
//
// and of the response:
//
//	int16 error code, string cluster id, int8 state
//
// Strings have a uint16 length in front.

// JoinPurpose says what a JoinRequest is for.
type JoinPurpose int8

// The purposes.
const (
	AskMember  JoinPurpose = iota // whether the node is a member
	Join                          // to become one, as an observer
	Return                        // to come back with an empty directory: whatever vote the id has is another's, who forgot what it voted for
	AskStarted                    // whether the node that is asked has taken part in anything yet; it answers by itself
)

// NodeState is what a node says of itself.
type NodeState int8

// The states.
const (
	StateUnknown NodeState = iota // it does not know yet, or was not asked
	StateEmpty                    // it has no metadata, and has not voted
	StateStarted
)

// JoinRequest asks whether the node belongs to the quorum, or for it to become a part of it. It may be repeated.
//
// Answers: INCONSISTENT_CLUSTER_ID; INVALID_REQUEST without an address, a directory or an id; DUPLICATE_VOTER: a member of that id has another data directory; VOTER_NOT_FOUND: it is not a member, and did
// not want to be; REQUEST_TIMED_OUT: whoever had the id is still there, or a quorum is not; NOT_CONTROLLER. Any node takes it, and passes it on to the active controller.
type JoinRequest struct {
	ClusterID   string // "" = not known
	NodeID      int32
	Addr        string
	DirectoryID log.TopicID
	Purpose     JoinPurpose
}

// JoinResponse answers a JoinRequest.
type JoinResponse struct {
	ErrorCode int16
	ClusterID string
	State     NodeState
}

var (
	_ kmsg.Request  = (*JoinRequest)(nil)
	_ kmsg.Response = (*JoinResponse)(nil)
)

var errMalformedJoin = errors.New("controller: malformed join")

// Key and the methods after it implement kmsg.Request.
func (*JoinRequest) Key() int16                  { return KeyJoin }
func (*JoinRequest) MaxVersion() int16           { return 0 } // MaxVersion is 0.
func (*JoinRequest) SetVersion(int16)            {}           // SetVersion does nothing.
func (*JoinRequest) GetVersion() int16           { return 0 } // GetVersion is 0.
func (*JoinRequest) IsFlexible() bool            { return false }
func (*JoinRequest) ResponseKind() kmsg.Response { return &JoinResponse{} } // ResponseKind is a *JoinResponse.

func putShort(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// takeShort cuts a string off; ok is false if src is too short.
func takeShort(src []byte) (s string, rest []byte, ok bool) {
	if len(src) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(src))
	if len(src)-2 < n {
		return "", nil, false
	}
	return string(src[2 : 2+n]), src[2+n:], true
}

// AppendTo appends the encoded request.
func (r *JoinRequest) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(putShort(dst, r.ClusterID), uint32(r.NodeID))
	return append(append(putShort(dst, r.Addr), r.DirectoryID[:]...), byte(r.Purpose))
}

// ReadFrom decodes a request.
func (r *JoinRequest) ReadFrom(src []byte) error {
	var ok bool
	if r.ClusterID, src, ok = takeShort(src); !ok || len(src) < 4 {
		return errMalformedJoin
	}
	r.NodeID, src = int32(binary.BigEndian.Uint32(src)), src[4:]
	if r.Addr, src, ok = takeShort(src); !ok || len(src) != len(r.DirectoryID)+1 {
		return errMalformedJoin
	}
	copy(r.DirectoryID[:], src)
	if r.Purpose = JoinPurpose(src[len(r.DirectoryID)]); r.Purpose < AskMember || r.Purpose > AskStarted {
		return errMalformedJoin
	}
	return nil
}

// Key and the methods after it implement kmsg.Response.
func (*JoinResponse) Key() int16                { return KeyJoin }
func (*JoinResponse) MaxVersion() int16         { return 0 } // MaxVersion is 0.
func (*JoinResponse) SetVersion(int16)          {}           // SetVersion does nothing.
func (*JoinResponse) GetVersion() int16         { return 0 } // GetVersion is 0.
func (*JoinResponse) IsFlexible() bool          { return false }
func (*JoinResponse) RequestKind() kmsg.Request { return &JoinRequest{} } // RequestKind is a *JoinRequest.

// AppendTo appends the encoded response.
func (r *JoinResponse) AppendTo(dst []byte) []byte {
	return append(putShort(binary.BigEndian.AppendUint16(dst, uint16(r.ErrorCode)), r.ClusterID), byte(r.State))
}

// ReadFrom decodes a response.
func (r *JoinResponse) ReadFrom(src []byte) error {
	if len(src) < 2 {
		return errMalformedJoin
	}
	r.ErrorCode = int16(binary.BigEndian.Uint16(src))
	id, rest, ok := takeShort(src[2:])
	if !ok || len(rest) != 1 || NodeState(rest[0]) < StateUnknown || NodeState(rest[0]) > StateStarted {
		return errMalformedJoin
	}
	r.ClusterID, r.State = id, NodeState(rest[0])
	return nil
}
