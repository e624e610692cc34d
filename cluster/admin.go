package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Admin creates, changes and describes topics of a cluster through any client: of a node (Node.Client) or over the network. It works against any Kafka cluster.
// Every method returns when the change is committed in the cluster's metadata; errors are *AdminError with Kafka's error inside.
type Admin struct{ client *transport.Client }

// NewAdmin returns an Admin that uses client and does not close it.
func NewAdmin(client *transport.Client) *Admin { return &Admin{client: client} }

// AdminError is a refused admin request.
type AdminError struct {
	Op   string // what was asked for: "create topic", …
	Name string // on what
	Err  error  // *kerr.Error where a node answered
	Text string // the node's explanation, perhaps empty
}

// Error names operation, object, Kafka's error and the node's explanation.
func (e *AdminError) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("%s %q: %v: %s", e.Op, e.Name, e.Err, e.Text)
	}
	return fmt.Sprintf("%s %q: %v", e.Op, e.Name, e.Err)
}

// Unwrap returns the cause: kerr.TopicAlreadyExists and the like.
func (e *AdminError) Unwrap() error { return e.Err }

// TopicSpec describes a topic to create.
type TopicSpec struct {
	Name              string
	Partitions        int32             // 0 means the cluster's default
	ReplicationFactor int16             // 0 means the cluster's default
	Configs           map[string]string // under Kafka's names
	Assignment        [][]int32         // replicas of each partition; Partitions and ReplicationFactor must be 0 then
}

// CreateTopic creates a topic. errors.Is(err, kerr.TopicAlreadyExists) if it is there already.
func (a *Admin) CreateTopic(ctx context.Context, t TopicSpec) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = timeoutMillis(ctx)
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Name, -1, -1
	if t.Partitions != 0 {
		rt.NumPartitions = t.Partitions
	}
	if t.ReplicationFactor != 0 {
		rt.ReplicationFactor = t.ReplicationFactor
	}
	for i, replicas := range t.Assignment {
		ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		ra.Partition, ra.Replicas = int32(i), slices.Clone(replicas)
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, ra)
	}
	for k, v := range t.Configs {
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = k, &v
		rt.Configs = append(rt.Configs, rc)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := request[*kmsg.CreateTopicsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "create topic", Name: t.Name, Err: err}
	}
	for _, r := range resp.Topics {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return &AdminError{Op: "create topic", Name: t.Name, Err: err, Text: deref(r.ErrorMessage)}
		}
	}
	return nil
}

// DeleteTopic deletes a topic; its files go soon after. errors.Is(err, kerr.UnknownTopicOrPartition) if there is none.
func (a *Admin) DeleteTopic(ctx context.Context, name string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = timeoutMillis(ctx)
	req.TopicNames = []string{name}
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = &name
	req.Topics = append(req.Topics, rt)
	resp, err := request[*kmsg.DeleteTopicsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "delete topic", Name: name, Err: err}
	}
	for _, r := range resp.Topics {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return &AdminError{Op: "delete topic", Name: name, Err: err, Text: deref(r.ErrorMessage)}
		}
	}
	return nil
}

// CreatePartitions grows a topic to total partitions. Records with keys go to other partitions from then on: data does not move.
func (a *Admin) CreatePartitions(ctx context.Context, topic string, total int32) error {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = timeoutMillis(ctx)
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, total
	req.Topics = append(req.Topics, rt)
	resp, err := request[*kmsg.CreatePartitionsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "create partitions of", Name: topic, Err: err}
	}
	for _, r := range resp.Topics {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return &AdminError{Op: "create partitions of", Name: topic, Err: err, Text: deref(r.ErrorMessage)}
		}
	}
	return nil
}

// AlterTopicConfigs sets topic configs under Kafka's names; a nil value removes the topic's own setting.
func (a *Admin) AlterTopicConfigs(ctx context.Context, topic string, configs map[string]*string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for k, v := range configs {
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Name, rc.Value, rc.Op = k, v, kmsg.IncrementalAlterConfigOpSet
		if v == nil {
			rc.Op = kmsg.IncrementalAlterConfigOpDelete
		}
		rr.Configs = append(rr.Configs, rc)
	}
	req.Resources = append(req.Resources, rr)
	resp, err := request[*kmsg.IncrementalAlterConfigsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "alter configs of topic", Name: topic, Err: err}
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return &AdminError{Op: "alter configs of topic", Name: topic, Err: err, Text: deref(r.ErrorMessage)}
		}
	}
	return nil
}

// TopicConfigs returns the effective configs of a topic under Kafka's names.
func (a *Admin) TopicConfigs(ctx context.Context, topic string) (map[string]string, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	rr := kmsg.NewDescribeConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, rr)
	resp, err := request[*kmsg.DescribeConfigsResponse](ctx, a, req)
	if err != nil {
		return nil, &AdminError{Op: "describe configs of topic", Name: topic, Err: err}
	}
	configs := map[string]string{}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return nil, &AdminError{Op: "describe configs of topic", Name: topic, Err: err, Text: deref(r.ErrorMessage)}
		}
		for _, c := range r.Configs {
			configs[c.Name] = deref(c.Value)
		}
	}
	return configs, nil
}

// Topic describes one topic.
func (a *Admin) Topic(ctx context.Context, name string) (TopicStatus, error) {
	topics, err := a.topics(ctx, []string{name})
	if err != nil {
		return TopicStatus{}, err
	}
	if len(topics) == 0 {
		return TopicStatus{}, &AdminError{Op: "describe topic", Name: name, Err: kerr.UnknownTopicOrPartition}
	}
	return topics[0], nil
}

// Topics describes all topics.
func (a *Admin) Topics(ctx context.Context) ([]TopicStatus, error) { return a.topics(ctx, nil) }

func (a *Admin) topics(ctx context.Context, names []string) ([]TopicStatus, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	for _, name := range names {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &name
		req.Topics = append(req.Topics, rt)
	}
	resp, err := request[*kmsg.MetadataResponse](ctx, a, req)
	if err != nil {
		return nil, &AdminError{Op: "describe topics", Err: err}
	}
	var topics []TopicStatus
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return nil, &AdminError{Op: "describe topic", Name: deref(t.Topic), Err: err}
		}
		ts := TopicStatus{Name: deref(t.Topic), ID: t.TopicID, Partitions: make([]PartitionStatus, len(t.Partitions))}
		for _, p := range t.Partitions {
			if p.Partition < 0 || int(p.Partition) >= len(t.Partitions) {
				return nil, &AdminError{Op: "describe topic", Name: ts.Name, Err: errors.New("the answer's partitions are not numbered from 0")}
			}
			ts.Partitions[p.Partition] = PartitionStatus{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: -1, Replicas: p.Replicas, ISR: p.ISR}
		}
		topics = append(topics, ts)
	}
	slices.SortFunc(topics, func(a, b TopicStatus) int { return strings.Compare(a.Name, b.Name) })
	return topics, nil
}

// request sends req to a node that answers and asserts the response's type.
func request[R kmsg.Response](ctx context.Context, a *Admin, req kmsg.Request) (R, error) {
	var none R
	node, err := a.client.Controller(ctx)
	if err != nil {
		return none, err
	}
	resp, err := a.client.Request(ctx, node, req)
	if err != nil {
		a.client.Refresh() // whoever is asked next should not be the same
	}
	if e, ok := errors.AsType[*transport.ConnError](err); ok && !e.Sent {
		resp, err = a.client.Request(ctx, transport.AnyNode, req) // any node forwards it
	}
	if err != nil {
		return none, err
	}
	r, ok := resp.(R)
	if !ok {
		return none, fmt.Errorf("the answer is a %T", resp)
	}
	return r, nil
}

// timeoutMillis is the time a node may take, from ctx's deadline; Kafka's clients say 30 s.
func timeoutMillis(ctx context.Context) int32 {
	d := 30 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline))
	}
	return int32(max(d.Milliseconds(), 1))
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
