package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeConfigs (32), versions 1-4: effective configs with their sources.
//
// Behaviour:
//   - Topics: any node answers. Brokers: the node itself answers for its id, another one INVALID_REQUEST; the empty name is the cluster-wide defaults, of which only those that are set are listed.
//     Other resources are INVALID_REQUEST.
//   - No list of keys, or an empty one, asks for all. Unknown keys are left out. Values of sensitive keys are null.
//
// Versions: v1 synonyms · v3 types, documentation on request.
func (b *Broker) describeConfigs(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeConfigsRequest)
	resp := kmsg.NewPtrDescribeConfigsResponse()
	resp.Version = req.Version
	img := b.metadataImage()
	for i := range req.Resources {
		want := &req.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = want.ResourceType, want.ResourceName
		entries, err := b.configsOf(img, want)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = codeOf(err), messageOf(err)
		}
		for j := range entries {
			e := &entries[j]
			if len(want.ConfigNames) > 0 && !slices.Contains(want.ConfigNames, e.Key.Name) {
				continue
			}
			out.Configs = append(out.Configs, describe(e, req))
		}
		resp.Resources = append(resp.Resources, out)
	}
	reply(transport.Reply{Message: resp})
}

// configError is an error with a text of its own.
type configError struct {
	code *kerr.Error
	text string
}

func (e *configError) Error() string { return e.text }
func (e *configError) Unwrap() error { return e.code }

// configsOf lists the configs of one resource.
func (b *Broker) configsOf(img *controller.Image, want *kmsg.DescribeConfigsRequestResource) ([]configs.Entry, error) {
	broker, cluster, static := b.brokerConfigs(img)
	switch want.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if !validTopicName(want.ResourceName) {
			return nil, errInvalidTopic
		}
		t := img.Topics[want.ResourceName]
		if t == nil {
			return nil, kerr.UnknownTopicOrPartition
		}
		return configs.DescribeTopic(t.Configs, broker, cluster, static), nil
	case kmsg.ConfigResourceTypeBroker:
		if want.ResourceName == "" {
			entries := configs.DescribeBroker(nil, cluster, nil)
			return slices.DeleteFunc(entries, func(e configs.Entry) bool { return e.Source != configs.FromClusterDefault }), nil
		}
		if id, err := strconv.ParseInt(want.ResourceName, 10, 32); err != nil || int32(id) != b.c.NodeID {
			return nil, &configError{kerr.InvalidRequest, fmt.Sprintf("unexpected broker id, expected %d or empty string, but received %q", b.c.NodeID, want.ResourceName)}
		}
		return configs.DescribeBroker(broker, cluster, static), nil
	}
	return nil, &configError{kerr.InvalidRequest, fmt.Sprintf("configs of resources of type %s are not kept here", want.ResourceType)}
}

// describe is one entry as the protocol shows it.
func describe(e *configs.Entry, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	sensitive := e.Key.Type == configs.Password
	c.Name, c.ReadOnly, c.IsSensitive = e.Key.Name, e.Key.ReadOnly, sensitive
	c.Source, c.IsDefault, c.ConfigType = kmsg.ConfigSource(e.Source), e.Source == configs.FromDefault, kmsg.ConfigType(e.Key.Type)
	if !sensitive {
		c.Value = &e.Value
	}
	if req.IncludeDocumentation {
		c.Documentation = &e.Key.Doc
	}
	if !req.IncludeSynonyms {
		return c
	}
	for i := range e.Synonyms {
		s := &e.Synonyms[i]
		o := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		o.Name, o.Source = s.Name, kmsg.ConfigSource(s.Source)
		if !sensitive {
			o.Value = &s.Value
		}
		c.ConfigSynonyms = append(c.ConfigSynonyms, o)
	}
	return c
}
