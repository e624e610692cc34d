package log

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// TopicID is a topic's uuid; the zero value is "none".
type TopicID [16]byte

// String is the 22-character base64url form that Kafka prints.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID is the reverse of String.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return TopicID{}, fmt.Errorf("log: %q is no uuid", s)
	}
	return TopicID(b), nil
}

// newUUID makes a random (version 4) uuid whose text does not begin with a dash, as Kafka's do not.
func newUUID() TopicID {
	for {
		var id TopicID
		rand.Read(id[:])
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// encodeMetadata returns the file partition.metadata. Kafka reads two lines; the third is a checksum, for an id that has rotted would look like that of another topic.
func encodeMetadata(id TopicID) []byte {
	b := fmt.Appendf(nil, "version: 0\ntopic_id: %v\n", id)
	return fmt.Appendf(b, "crc32c: %08x\n", crc32.Checksum(b, castagnoli))
}

var errMetadata = errors.New("malformed partition.metadata")

func parseMetadata(b []byte) (TopicID, error) {
	version, text := false, ""
	lines := 0
	for line := range strings.Lines(string(b)) {
		lines++
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch v = strings.TrimSpace(v); k {
		case "version":
			version = v == "0"
		case "topic_id":
			text = v
		}
	}
	id, err := ParseTopicID(text)
	if !version || err != nil {
		return TopicID{}, errMetadata
	}
	if lines > 2 && string(encodeMetadata(id)) != string(b) { // Kafka writes two lines
		return TopicID{}, errMetadata
	}
	return id, nil
}
