package sasl

// WithNonce makes the server of a SCRAM mechanism use nonces of the test's.
func WithNonce(m Mechanism, nonce string) Mechanism {
	with := *m.(*scramMechanism)
	with.nonce = func() string { return nonce }
	return &with
}

// WithClientNonce makes a SCRAM client use nonces of the test's.
func WithClientNonce(c Client, nonce string) Client {
	with := *c.(*scramClient)
	with.nonce = func() string { return nonce }
	return &with
}

// Forget makes a SCRAM server believe, in the middle of a login, that there is no such user.
func Forget(x Exchange) { x.(*scramExchange).known = false }
