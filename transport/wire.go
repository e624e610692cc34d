package transport

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// API keys that this package treats specially.
const (
	keyProduce             int16 = 0
	keyFetch               int16 = 1
	keyJoinGroup           int16 = 11
	keySyncGroup           int16 = 14
	keySaslHandshake       int16 = 17
	keyApiVersions         int16 = 18
	keySaslAuthenticate    int16 = 36
	keyAlterPartition      int16 = 56
	keyBrokerRegistration  int16 = 62
	keyBrokerHeartbeat     int16 = 63
	keyAllocateProducerIDs int16 = 67
	// keyPrivate is the first key that Kafka does not use: nodes talk to each other with it.
	keyPrivate int16 = 32000
)

// requestHeader is what stands before a request's body.
type requestHeader struct {
	key, version int16
	correlation  int32
}

// requestHeaderBytes is the size of the part of a request header that all versions share.
const requestHeaderBytes = 8

var errBadHeader = errors.New("malformed request header")

// parseRequestHeader reads the part of the header that all versions share and returns the rest.
func parseRequestHeader(b []byte) (h requestHeader, rest []byte, err error) {
	if len(b) < requestHeaderBytes {
		return h, nil, errBadHeader
	}
	h.key = int16(binary.BigEndian.Uint16(b))
	h.version = int16(binary.BigEndian.Uint16(b[2:]))
	h.correlation = int32(binary.BigEndian.Uint32(b[4:]))
	return h, b[requestHeaderBytes:], nil
}

// parseHeaderTail reads the client id, an old string even in flexible headers, and the tags of a flexible header. last saves the copy of a client id that did not change.
func parseHeaderTail(b []byte, flexible bool, last string) (clientID string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, errBadHeader
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n < -1 || n > len(b) {
		return "", nil, errBadHeader
	}
	if n > 0 {
		if clientID = last; string(b[:n]) != last {
			clientID = string(b[:n])
		}
		b = b[n:]
	}
	if flexible {
		if b, err = skipTags(b); err != nil {
			return "", nil, err
		}
	}
	return clientID, b, nil
}

var errBadTags = errors.New("malformed tagged fields")

// skipTags passes over a section of tagged fields.
func skipTags(b []byte) ([]byte, error) {
	count, b, ok := uvarint(b)
	if !ok || count > uint32(len(b))/2 { // a tag takes two bytes at least
		return nil, errBadTags
	}
	for range count {
		var size uint32
		if _, b, ok = uvarint(b); !ok {
			return nil, errBadTags
		}
		if size, b, ok = uvarint(b); !ok || uint64(size) > uint64(len(b)) {
			return nil, errBadTags
		}
		b = b[size:]
	}
	return b, nil
}

// uvarint reads an unsigned varint of at most 32 bits.
func uvarint(b []byte) (uint32, []byte, bool) {
	v, n := binary.Uvarint(b[:min(len(b), 5)])
	if n <= 0 || v > 1<<32-1 {
		return 0, nil, false
	}
	return uint32(v), b[n:], true
}

// appendRequest adds a request frame. What it refers to (a produce request's records) must stay until the buffer was flushed.
func appendRequest(fb *frameBuffer, req kmsg.Request, correlation int32, clientID string) {
	at, size := fb.begin()
	b := fb.b
	b = binary.BigEndian.AppendUint16(b, uint16(req.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(req.GetVersion()))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = binary.BigEndian.AppendUint16(b, uint16(len(clientID)))
	b = append(b, clientID...)
	if req.IsFlexible() {
		b = append(b, 0) // no tags
	}
	if p, ok := req.(*kmsg.ProduceRequest); ok && p.Version >= 3 {
		fb.b = b
		appendProduce(fb, p)
	} else {
		fb.b = req.AppendTo(b)
	}
	fb.end(at, size)
}

// appendResponse adds a response frame. files are Reply.Files.
func appendResponse(fb *frameBuffer, resp kmsg.Response, correlation int32, files [][]FileRange) {
	at, size := fb.begin()
	fb.b = binary.BigEndian.AppendUint32(fb.b, uint32(correlation))
	if resp.IsFlexible() && resp.Key() != keyApiVersions { // its reader does not know yet what we speak
		fb.b = append(fb.b, 0)
	}
	if f, ok := resp.(*kmsg.FetchResponse); ok && f.Version >= 4 {
		appendFetch(fb, f, files)
	} else {
		fb.b = resp.AppendTo(fb.b)
	}
	fb.end(at, size)
}

// parseResponseHeader reads a response's correlation id and returns the rest.
func parseResponseHeader(b []byte) (correlation int32, rest []byte, err error) {
	if len(b) < 4 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}
