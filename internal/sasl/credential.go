package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// ScramType is Kafka's code of a SCRAM mechanism. The zero value is not a valid one.
type ScramType int8

// The SCRAM mechanisms. Wire format: never reorder.
const (
	UnknownScram ScramType = iota
	ScramSHA256
	ScramSHA512
)

// The bounds of the number of iterations of a SCRAM credential, both inclusive. What a client has to compute for a login grows with it, a second for some million iterations.
const (
	MinIterations = 4096
	MaxIterations = 1_000_000
)

// The longest salt, and the length of those that NewSalt makes, in bytes.
const (
	maxSalt = 1024
	newSalt = 24
)

// String returns the name of the mechanism, as SaslHandshake has it.
func (t ScramType) String() string {
	switch t {
	case ScramSHA256:
		return "SCRAM-SHA-256"
	case ScramSHA512:
		return "SCRAM-SHA-512"
	default:
		return fmt.Sprintf("SCRAM(%d)", int8(t))
	}
}

// Known says whether t is one of the mechanisms. Kafka: UNSUPPORTED_SASL_MECHANISM if not.
func (t ScramType) Known() bool { return t == ScramSHA256 || t == ScramSHA512 }

func (t ScramType) hash() hash.Hash {
	if t == ScramSHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// size of a key, in bytes.
func (t ScramType) size() int { return t.hash().Size() }

func (t ScramType) hmac(key []byte, parts ...string) []byte {
	h := hmac.New(t.hash, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// CredentialError is a SCRAM credential that must not be stored. It holds nothing of the credential. Kafka: UNACCEPTABLE_CREDENTIAL.
type CredentialError struct{ Reason string }

func (e *CredentialError) Error() string { return "unacceptable SCRAM credential: " + e.Reason }

func unacceptable(format string, args ...any) error {
	return &CredentialError{Reason: fmt.Sprintf(format, args...)}
}

// Credential is what a server knows of a user's password to recognize it: enough to check a proof, not enough to make one, but enough to pretend to be the server. It is immutable; its keys do not show however it
// is printed. The zero value is none.
type Credential struct {
	kind       ScramType
	iterations int
	keys       func() Keys // a function, where no way of printing it reaches; nil in the zero value
}

// Keys are the parts of a credential, as they are stored.
type Keys struct{ Salt, StoredKey, ServerKey []byte }

func makeCredential(t ScramType, iterations int, k Keys) Credential {
	return Credential{t, iterations, func() Keys { return k }}
}

// NewSalt returns random bytes for a new credential.
func NewSalt() []byte {
	salt := make([]byte, newSalt)
	rand.Read(salt) // which never fails
	return salt
}

// MakeCredential puts a stored credential together. It copies the keys. Errors: *CredentialError.
func MakeCredential(t ScramType, iterations int, k Keys) (Credential, error) {
	switch {
	case !t.Known():
		return Credential{}, unacceptable("unknown SCRAM mechanism %d", int8(t))
	case iterations < MinIterations:
		return Credential{}, unacceptable("too few iterations: %d, less than %d", iterations, MinIterations)
	case iterations > MaxIterations:
		return Credential{}, unacceptable("too many iterations: %d, more than %d", iterations, MaxIterations)
	case len(k.Salt) == 0:
		return Credential{}, unacceptable("the salt is empty")
	case len(k.Salt) > maxSalt:
		return Credential{}, unacceptable("the salt has %d bytes, more than %d", len(k.Salt), maxSalt)
	case len(k.StoredKey) != t.size() || len(k.ServerKey) != t.size():
		return Credential{}, unacceptable("the keys of %s have %d bytes", t, t.size())
	}
	return makeCredential(t, iterations, k.clone()), nil
}

// FromSaltedPassword makes the credential of a password that a client has salted with the same salt and iterations, as AlterUserScramCredentials sends it (KIP-554). Errors: *CredentialError.
func FromSaltedPassword(t ScramType, iterations int, salt, salted []byte) (Credential, error) {
	if t.Known() && len(salted) != t.size() {
		return Credential{}, unacceptable("the salted password of %s has %d bytes, not %d", t, t.size(), len(salted))
	}
	h := t.hash()
	h.Write(t.hmac(salted, "Client Key"))
	return MakeCredential(t, iterations, Keys{Salt: salt, StoredKey: h.Sum(nil), ServerKey: t.hmac(salted, "Server Key")})
}

// FromPassword makes the credential of a password. It computes for a time that grows with iterations. Errors: *CredentialError.
func FromPassword(t ScramType, iterations int, salt []byte, password string) (Credential, error) {
	salted, err := SaltPassword(t, iterations, salt, password)
	if err != nil {
		return Credential{}, err
	}
	return FromSaltedPassword(t, iterations, salt, salted)
}

// SaltPassword is the client's part of AlterUserScramCredentials (KIP-554): the password itself is not sent. It computes for a time that grows with iterations. Errors: *CredentialError.
func SaltPassword(t ScramType, iterations int, salt []byte, password string) ([]byte, error) {
	if password == "" {
		return nil, unacceptable("the password is empty")
	}
	if _, err := MakeCredential(t, iterations, Keys{salt, make([]byte, t.size()), make([]byte, t.size())}); err != nil {
		return nil, err // before the work
	}
	salted, err := pbkdf2.Key(t.hash, password, salt, iterations, t.size())
	if err != nil {
		return nil, unacceptable("it cannot be computed here") // a rule of FIPS 140, which the error would explain with the lengths of secrets
	}
	return salted, nil
}

// Type returns the mechanism that the credential is for.
func (c Credential) Type() ScramType { return c.kind }

// Iterations returns how often the password is hashed.
func (c Credential) Iterations() int { return c.iterations }

// Keys returns copies of the parts.
func (c Credential) Keys() Keys {
	if c.keys == nil {
		return Keys{}
	}
	return c.keys().clone()
}

// Equal says whether two credentials are the same.
func (c Credential) Equal(o Credential) bool {
	k, l := c.Keys(), o.Keys()
	return c.kind == o.kind && c.iterations == o.iterations && bytes.Equal(k.Salt, l.Salt) && hmac.Equal(k.StoredKey, l.StoredKey) && hmac.Equal(k.ServerKey, l.ServerKey)
}

func (k Keys) clone() Keys {
	return Keys{bytes.Clone(k.Salt), bytes.Clone(k.StoredKey), bytes.Clone(k.ServerKey)}
}
