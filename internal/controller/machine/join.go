package machine

import (
	"encoding/binary"
	"errors"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyJoin is the private API key of JoinRequest.
const KeyJoin int16 = 32101

// Join (32101), versions 0 and 1, between nodes only. Body of the request:
//
//	string cluster id, int32 node id, string address, 16 bytes directory id, int8 what for, from version 1 on int16 level
//
// and of the response:
//
//	int16 error code, string cluster id, int8 state, from version 1 on int16 level
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
// not want to be; UNSUPPORTED_VERSION: it is too old for the metadata; REQUEST_TIMED_OUT: whoever had the id is still there, or a quorum is not; NOT_CONTROLLER. Any node takes it, and passes it on to the active controller.
type JoinRequest struct {
	ClusterID   string // "" = not known
	NodeID      int32
	Addr        string
	DirectoryID log.TopicID
	Purpose     JoinPurpose
	Level       int16 // of the metadata, up to which the node knows it; 0: it did not say

	version int16
}

// JoinResponse answers a JoinRequest.
type JoinResponse struct {
	Level     int16 // up to which the node that was asked knows metadata; with UNSUPPORTED_VERSION that of the metadata; 0: it did not say
	ErrorCode int16
	ClusterID string
	State     NodeState

	version int16
}

var (
	_ kmsg.Request  = (*JoinRequest)(nil)
	_ kmsg.Response = (*JoinResponse)(nil)
)

var errMalformedJoin = errors.New("controller: malformed join")

// Key and the methods after it implement kmsg.Request.
func (*JoinRequest) Key() int16                    { return KeyJoin }
func (*JoinRequest) MaxVersion() int16             { return 1 }         // MaxVersion is 1.
func (r *JoinRequest) SetVersion(v int16)          { r.version = v }    // SetVersion sets the version to encode or decode.
func (r *JoinRequest) GetVersion() int16           { return r.version } // GetVersion returns it.
func (*JoinRequest) IsFlexible() bool              { return false }
func (r *JoinRequest) ResponseKind() kmsg.Response { return &JoinResponse{version: r.version} } // ResponseKind is a *JoinResponse of the same version.

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

func levelBytes(version int16) int {
	if version >= 1 {
		return 2
	}
	return 0
}

// takeLevel reads the level at the end of a message, 0 if it is not there.
func takeLevel(src []byte) int16 {
	if len(src) < 2 {
		return 0
	}
	return int16(binary.BigEndian.Uint16(src))
}

// AppendTo appends the encoded request.
func (r *JoinRequest) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(putShort(dst, r.ClusterID), uint32(r.NodeID))
	dst = append(append(putShort(dst, r.Addr), r.DirectoryID[:]...), byte(r.Purpose))
	if r.version >= 1 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(r.Level))
	}
	return dst
}

// ReadFrom decodes a request.
func (r *JoinRequest) ReadFrom(src []byte) error {
	var ok bool
	if r.ClusterID, src, ok = takeShort(src); !ok || len(src) < 4 {
		return errMalformedJoin
	}
	r.NodeID, src = int32(binary.BigEndian.Uint32(src)), src[4:]
	if r.Addr, src, ok = takeShort(src); !ok || len(src) != len(r.DirectoryID)+1+levelBytes(r.version) {
		return errMalformedJoin
	}
	r.Level = takeLevel(src[len(r.DirectoryID)+1:])
	copy(r.DirectoryID[:], src)
	if r.Purpose = JoinPurpose(src[len(r.DirectoryID)]); r.Purpose < AskMember || r.Purpose > AskStarted {
		return errMalformedJoin
	}
	return nil
}

// Key and the methods after it implement kmsg.Response.
func (*JoinResponse) Key() int16                  { return KeyJoin }
func (*JoinResponse) MaxVersion() int16           { return 1 }         // MaxVersion is 1.
func (r *JoinResponse) SetVersion(v int16)        { r.version = v }    // SetVersion sets the version to encode or decode.
func (r *JoinResponse) GetVersion() int16         { return r.version } // GetVersion returns it.
func (*JoinResponse) IsFlexible() bool            { return false }
func (r *JoinResponse) RequestKind() kmsg.Request { return &JoinRequest{version: r.version} } // RequestKind is a *JoinRequest of the same version.

// AppendTo appends the encoded response.
func (r *JoinResponse) AppendTo(dst []byte) []byte {
	dst = append(putShort(binary.BigEndian.AppendUint16(dst, uint16(r.ErrorCode)), r.ClusterID), byte(r.State))
	if r.version >= 1 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(r.Level))
	}
	return dst
}

// ReadFrom decodes a response.
func (r *JoinResponse) ReadFrom(src []byte) error {
	if len(src) < 2 {
		return errMalformedJoin
	}
	r.ErrorCode = int16(binary.BigEndian.Uint16(src))
	id, rest, ok := takeShort(src[2:])
	if !ok || len(rest) != 1+levelBytes(r.version) || NodeState(rest[0]) < StateUnknown || NodeState(rest[0]) > StateStarted {
		return errMalformedJoin
	}
	r.ClusterID, r.State, r.Level = id, NodeState(rest[0]), takeLevel(rest[1:])
	return nil
}
