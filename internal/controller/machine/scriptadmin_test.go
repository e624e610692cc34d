package machine

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The commands of TestScripts for admin requests beyond topics, and how their answers are shown.

// named splits "topic-3".
func (s *script) named(word string) (topic string, n int32) {
	at := strings.LastIndexByte(word, '-')
	return word[:at], s.int32(word[at+1:])
}

func (s *script) elect(words []string) kmsg.Request {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version = 2
	switch words[0] {
	case "preferred":
	case "unclean":
		req.ElectionType = electUnclean
	default:
		req.ElectionType = 7
	}
	for _, w := range words[1:] {
		topic, n := s.named(w)
		rt := kmsg.NewElectLeadersRequestTopic()
		rt.Topic, rt.Partitions = topic, []int32{n}
		req.Topics = append(req.Topics, rt)
	}
	return req
}

func (s *script) answerAdmin(resp kmsg.Response) {
	line := func(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }
	switch r := resp.(type) {
	case *kmsg.ElectLeadersResponse:
		if r.ErrorCode != 0 {
			line("%s", code(r.ErrorCode, nil))
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				line("%s-%d: %s", t.Topic, p.Partition, code(p.ErrorCode, p.ErrorMessage))
			}
		}
	default:
		s.t.Fatalf("no way to show a %T", resp)
	}
}
