package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeUserScramCredentials (50), version 0: which mechanisms users have credentials of, and with how many iterations; nothing of the keys. Any node answers. No list, or an empty one, asks for all users; a user
// that is not known is RESOURCE_NOT_FOUND, one that is named twice DUPLICATE_RESOURCE.
func (b *Broker) describeScram(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeUserSCRAMCredentialsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	img := b.metadataImage()
	if len(req.Users) == 0 {
		last := ""
		for _, u := range img.ScramUsers() {
			if len(resp.Results) == 0 || u.Name != last {
				last = u.Name
				resp.Results = append(resp.Results, scramResult(img, u.Name))
			}
		}
		reply(transport.Reply{Message: resp})
		return
	}
	times := map[string]int{}
	for i := range req.Users {
		times[req.Users[i].Name]++
	}
	for i := range req.Users {
		name := req.Users[i].Name
		switch n := times[name]; {
		case n == 0: // it had its answer
		case n > 1:
			times[name] = 0
			resp.Results = append(resp.Results, scramProblem(name, kerr.DuplicateResource, "Cannot describe a user twice in one request."))
		default:
			resp.Results = append(resp.Results, scramResult(img, name))
		}
	}
	reply(transport.Reply{Message: resp})
}

func scramResult(img *controller.Image, name string) kmsg.DescribeUserSCRAMCredentialsResponseResult {
	out := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
	out.User = name
	for _, t := range []sasl.ScramType{sasl.ScramSHA256, sasl.ScramSHA512} {
		if c, ok := img.Scram[controller.ScramUser{Name: name, Mechanism: t}]; ok {
			info := kmsg.NewDescribeUserSCRAMCredentialsResponseResultCredentialInfo()
			info.Mechanism, info.Iterations = int8(t), int32(c.Iterations())
			out.CredentialInfos = append(out.CredentialInfos, info)
		}
	}
	if len(out.CredentialInfos) == 0 {
		return scramProblem(name, kerr.ResourceNotFound, "Attempt to describe a user credential that does not exist.")
	}
	return out
}

func scramProblem(name string, e *kerr.Error, text string) kmsg.DescribeUserSCRAMCredentialsResponseResult {
	out := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
	out.User, out.ErrorCode, out.ErrorMessage = name, e.Code, &text
	return out
}
