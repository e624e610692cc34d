package machine

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"
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

func (s *script) reassign(d *datadriven.TestData) kmsg.Request {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version = 1
	for _, a := range d.CmdArgs {
		if a.Key == "factor" {
			req.AllowReplicationFactorChange = false
			continue
		}
		topic, n := s.named(a.Key)
		rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		rt.Topic = topic
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		rp.Partition = n
		if v := strings.Join(a.Vals, ","); v != "cancel" {
			rp.Replicas = append([]int32{}, s.ids(v)...)
		}
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	return req
}

func (s *script) reassignments(words []string) kmsg.Request {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	for _, w := range words {
		topic, n := s.named(w)
		rt := kmsg.NewListPartitionReassignmentsRequestTopic()
		rt.Topic, rt.Partitions = topic, []int32{n}
		req.Topics = append(req.Topics, rt)
	}
	return req
}

// replacing is the same as an AlterConfigs request.
func replacing(from *kmsg.IncrementalAlterConfigsRequest) kmsg.Request {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.ValidateOnly = from.ValidateOnly
	for _, r := range from.Resources {
		rr := kmsg.NewAlterConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		for _, c := range r.Configs {
			if c.Name == "" {
				continue // no line at all
			}
			rc := kmsg.NewAlterConfigsRequestResourceConfig()
			rc.Name, rc.Value = c.Name, c.Value
			rr.Configs = append(rr.Configs, rc)
		}
		req.Resources = append(req.Resources, rr)
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
	case *kmsg.AlterPartitionAssignmentsResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				line("%s-%d: %s", t.Topic, p.Partition, code(p.ErrorCode, p.ErrorMessage))
			}
		}
	case *kmsg.ListPartitionReassignmentsResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				line("%s-%d replicas=%v adding=%v removing=%v", t.Topic, p.Partition, ids(p.Replicas), ids(p.AddingReplicas), ids(p.RemovingReplicas))
			}
		}
	case *kmsg.AlterConfigsResponse:
		for _, t := range r.Resources {
			line("%s", code(t.ErrorCode, t.ErrorMessage))
		}
	case *kmsg.UnregisterBrokerResponse:
		line("%s", code(r.ErrorCode, r.ErrorMessage))
	default:
		s.t.Fatalf("no way to show a %T", resp)
	}
}
