package machine

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyVoters is the private API key of VotersRequest.
const KeyVoters int16 = 32102

// Voters (32102), version 0. Body of the request:
//
//	string cluster id, int32 timeout in milliseconds, uint16 count, count int32 node ids
//
// and of the response:
//
//	int16 error code, string error message
//
// Strings have a uint16 length in front.

// VotersRequest asks that exactly those nodes vote in the metadata quorum. It may be repeated: that they vote already is no error. KIP-853 has nothing like it.
//
// Answers: INCONSISTENT_CLUSTER_ID; INVALID_REQUEST for nobody, or a node named twice; REQUEST_TIMED_OUT: a node does not follow the log, or lags, too few are there, or another change is in its joint phase;
// NOT_CONTROLLER.
type VotersRequest struct {
	ClusterID     string // "" = any
	TimeoutMillis int32  // how long the sender waits for nodes that have not caught up
	Voters        []int32
}

// VotersResponse answers a VotersRequest.
type VotersResponse struct {
	ErrorCode    int16
	ErrorMessage string
}

var (
	_ kmsg.Request  = (*VotersRequest)(nil)
	_ kmsg.Response = (*VotersResponse)(nil)
)

var errMalformedVoters = errors.New("controller: malformed voters")

// Key and the methods after it implement kmsg.Request.
func (*VotersRequest) Key() int16                  { return KeyVoters }
func (*VotersRequest) MaxVersion() int16           { return 0 } // MaxVersion is 0.
func (*VotersRequest) SetVersion(int16)            {}           // SetVersion does nothing.
func (*VotersRequest) GetVersion() int16           { return 0 } // GetVersion is 0.
func (*VotersRequest) IsFlexible() bool            { return false }
func (*VotersRequest) ResponseKind() kmsg.Response { return &VotersResponse{} } // ResponseKind is a *VotersResponse.

// AppendTo appends the encoded request.
func (r *VotersRequest) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(putShort(dst, r.ClusterID), uint32(r.TimeoutMillis))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Voters)))
	for _, id := range r.Voters {
		dst = binary.BigEndian.AppendUint32(dst, uint32(id))
	}
	return dst
}

// ReadFrom decodes a request.
func (r *VotersRequest) ReadFrom(src []byte) error {
	var ok bool
	if r.ClusterID, src, ok = takeShort(src); !ok || len(src) < 6 {
		return errMalformedVoters
	}
	n := int(binary.BigEndian.Uint16(src[4:]))
	r.TimeoutMillis, src = int32(binary.BigEndian.Uint32(src)), src[6:]
	if len(src) != 4*n {
		return errMalformedVoters
	}
	r.Voters = nil
	for ; len(src) > 0; src = src[4:] {
		r.Voters = append(r.Voters, int32(binary.BigEndian.Uint32(src)))
	}
	return nil
}

// Key and the methods after it implement kmsg.Response.
func (*VotersResponse) Key() int16                { return KeyVoters }
func (*VotersResponse) MaxVersion() int16         { return 0 } // MaxVersion is 0.
func (*VotersResponse) SetVersion(int16)          {}           // SetVersion does nothing.
func (*VotersResponse) GetVersion() int16         { return 0 } // GetVersion is 0.
func (*VotersResponse) IsFlexible() bool          { return false }
func (*VotersResponse) RequestKind() kmsg.Request { return &VotersRequest{} } // RequestKind is a *VotersRequest.

// AppendTo appends the encoded response.
func (r *VotersResponse) AppendTo(dst []byte) []byte {
	return putShort(binary.BigEndian.AppendUint16(dst, uint16(r.ErrorCode)), r.ErrorMessage)
}

// ReadFrom decodes a response.
func (r *VotersResponse) ReadFrom(src []byte) error {
	if len(src) < 2 {
		return errMalformedVoters
	}
	r.ErrorCode = int16(binary.BigEndian.Uint16(src))
	text, rest, ok := takeShort(src[2:])
	if !ok || len(rest) != 0 {
		return errMalformedVoters
	}
	r.ErrorMessage = text
	return nil
}
