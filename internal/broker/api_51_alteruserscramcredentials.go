package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterUserScramCredentials (51), version 0: forwarded to the active controller, which checks and answers; see there (KIP-554). When it is answered this node knows the new credentials, the others soon after.
// The name of nodes among themselves is UNACCEPTABLE_CREDENTIAL.
func (b *Broker) alterScram(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.AlterUserSCRAMCredentialsRequest)
	var reserved []string
	for i := range req.Upsertions {
		if req.Upsertions[i].Name == peerUser {
			reserved = scramUsers(&req)
		}
	}
	var resp *kmsg.AlterUserSCRAMCredentialsResponse
	var got any
	err := error(&configError{kerr.UnacceptableCredential, ErrReservedUser.Error()})
	if reserved == nil {
		got, err = b.forward(ctx, &req, millis(adminTimeout))
	}
	if err == nil {
		resp = got.(*kmsg.AlterUserSCRAMCredentialsResponse)
		b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasScram(img, &req, resp) })
	} else {
		resp = kmsg.NewPtrAlterUserSCRAMCredentialsResponse()
		for _, user := range scramUsers(&req) {
			o := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			o.User, o.ErrorCode, o.ErrorMessage = user, codeOf(err), messageOf(err)
			resp.Results = append(resp.Results, o)
		}
	}
	reply(transport.Reply{Message: resp})
}

// hasScram tells whether metadata has what was altered.
func hasScram(img *controller.Image, req *kmsg.AlterUserSCRAMCredentialsRequest, resp *kmsg.AlterUserSCRAMCredentialsResponse) bool {
	done := map[string]bool{}
	for i := range resp.Results {
		done[resp.Results[i].User] = resp.Results[i].ErrorCode == 0
	}
	for i := range req.Deletions {
		d := &req.Deletions[i]
		if _, ok := img.Scram[controller.ScramUser{Name: d.Name, Mechanism: sasl.ScramType(d.Mechanism)}]; ok && done[d.Name] {
			return false
		}
	}
	for i := range req.Upsertions {
		u := &req.Upsertions[i]
		if !done[u.Name] {
			continue
		}
		want, err := sasl.FromSaltedPassword(sasl.ScramType(u.Mechanism), int(u.Iterations), u.Salt, u.SaltedPassword)
		if have, ok := img.Scram[controller.ScramUser{Name: u.Name, Mechanism: sasl.ScramType(u.Mechanism)}]; err == nil && (!ok || !have.Equal(want)) {
			return false
		}
	}
	return true
}

// scramCredential looks a user up for a login. On a node that is starting it waits for metadata, as requests do.
func (b *Broker) scramCredential(t sasl.ScramType, user string) (sasl.Credential, bool) {
	if b.image.Load() == nil {
		wait := time.NewTimer(joinPatience)
		defer wait.Stop()
		select {
		case <-b.joined:
		case <-b.ctx.Done():
		case <-wait.C:
		}
	}
	c, ok := b.metadataImage().Scram[controller.ScramUser{Name: user, Mechanism: t}]
	return c, ok
}
