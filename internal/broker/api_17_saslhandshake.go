package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// SaslHandshake (17), versions 0-1, and SaslAuthenticate (36), versions 0-2: the transport's server answers them while a connection logs in. What arrives here came to a connection that need not log in, or has
// logged in already: ILLEGAL_SASL_STATE.
func (b *Broker) saslHandshake(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	resp := r.Message.ResponseKind().(*kmsg.SASLHandshakeResponse)
	resp.ErrorCode = kerr.IllegalSaslState.Code
	reply(transport.Reply{Message: resp})
}

// saslAuthenticate is the other one; see saslHandshake.
func (b *Broker) saslAuthenticate(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	resp := r.Message.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	text := "this connection does not log in"
	resp.ErrorCode, resp.ErrorMessage = kerr.IllegalSaslState.Code, &text
	reply(transport.Reply{Message: resp})
}
