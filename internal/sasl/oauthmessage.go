package sasl

import (
	"slices"
	"strings"
)

// bearerMessage is a client's first message (RFC 7628 section 3.1).
type bearerMessage struct {
	authzid, token string
	extensions     map[string]string
}

const (
	separator     = "\x01"
	maxExtensions = 64
)

// parseBearer reads "n," ["a=" saslname] "," 1 *(key "=" value 1) 1, one key being auth and its value a bearer token.
func parseBearer(s string) (m bearerMessage, reason string) {
	flag, rest, _ := strings.Cut(s, ",")
	authzid, rest, ok := strings.Cut(rest, ",")
	if !ok || flag != "n" {
		return m, "no GS2 header" // or one that asks for channel binding
	}
	if authzid != "" {
		if m.authzid, ok = saslName(authzid, "a="); !ok {
			return m, "no authorization id"
		}
	}
	pairs, ok := strings.CutPrefix(rest, separator)
	if !ok {
		return m, "no GS2 header"
	}
	if pairs, ok = strings.CutSuffix(pairs, separator+separator); !ok {
		return m, "no end"
	}
	m.extensions = map[string]string{}
	for pair := range strings.SplitSeq(pairs, separator) {
		key, value, _ := strings.Cut(pair, "=")
		_, twice := m.extensions[key]
		switch {
		case !letters(key) || !bearerValue(value):
			return m, "no key and value"
		case twice:
			return m, "a key comes twice"
		case len(m.extensions) > maxExtensions:
			return m, "too many keys"
		}
		m.extensions[key] = value
	}
	auth, ok := m.extensions["auth"]
	if !ok {
		return m, "no token"
	}
	delete(m.extensions, "auth")
	scheme, token, _ := strings.Cut(auth, " ")
	m.token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "bearer") || !bearerToken(m.token) {
		return m, "no bearer token"
	}
	return m, ""
}

// bearerValue says whether s can be a value: printable ASCII and white space.
func bearerValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return s != ""
}

// bearerToken says whether s has the form of a bearer token (RFC 6750: b64token).
func bearerToken(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if c := s[i]; !letters(s[i:i+1]) && (c < '0' || c > '9') && !strings.Contains("-._~+/", s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

// check says what is wrong with a message that is to be sent.
func (m bearerMessage) check() (reason string) {
	if !bearerToken(m.token) {
		return "no bearer token"
	}
	if m.authzid != "" {
		if err := CheckUser(m.authzid); err != nil {
			return "no authorization id"
		}
	}
	if len(m.extensions) > maxExtensions {
		return "too many keys"
	}
	for key, value := range m.extensions {
		if !letters(key) || key == "auth" || !bearerValue(value) {
			return "no key and value"
		}
	}
	return ""
}

// encode writes a message that check finds nothing wrong with, extensions in order of their keys.
func (m bearerMessage) encode() []byte {
	var b strings.Builder
	b.WriteString("n,")
	if m.authzid != "" {
		b.WriteString("a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.authzid))
	}
	b.WriteString("," + separator + "auth=Bearer " + m.token + separator)
	keys := make([]string, 0, len(m.extensions))
	for key := range m.extensions {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b.WriteString(key + "=" + m.extensions[key] + separator)
	}
	b.WriteString(separator)
	return []byte(b.String())
}
