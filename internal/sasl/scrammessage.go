package sasl

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The messages of SCRAM (RFC 5802 section 7). They are read here, strictly; a client's library, too, sees them only afterwards: it is lenient in what it reads, and its errors quote what it has read.

type clientFirst struct {
	header, bare         string // the two parts of the message: up to the second comma, that included, and from there on
	authzid, user, nonce string
	tokenAuth            bool // a delegation token (KIP-48) rather than a user
}

// parseClientFirst reads ("n" / "y") "," ["a=" saslname] ",n=" saslname ",r=" nonce *("," extension).
func parseClientFirst(s string) (m clientFirst, reason string) {
	flag, rest, _ := strings.Cut(s, ",")
	authzid, rest, _ := strings.Cut(rest, ",")
	m.bare = rest
	m.header = s[:len(s)-len(rest)]
	user, rest, _ := strings.Cut(rest, ",")
	nonce, extensions, more := strings.Cut(rest, ",")
	var ok bool
	switch {
	case strings.HasPrefix(flag, "p="):
		return m, "channel binding is not supported"
	case flag != "n" && flag != "y":
		return m, "no GS2 header"
	case strings.HasPrefix(user, "m="):
		return m, "mandatory extensions are not supported"
	}
	if authzid != "" {
		if m.authzid, ok = saslName(authzid, "a="); !ok {
			return m, "no authorization id"
		}
	}
	if m.user, ok = saslName(user, "n="); !ok {
		return m, "no user name"
	}
	if m.nonce, ok = nonceOf(nonce); !ok {
		return m, "no nonce"
	}
	if err := CheckUser(m.user); err != nil {
		return m, err.Error()
	}
	if more {
		values, ok := parseExtensions(extensions)
		if !ok {
			return m, "no extensions"
		}
		m.tokenAuth = strings.EqualFold(values["tokenauth"], "true")
	}
	return m, ""
}

type clientFinal struct {
	binding, nonce string
	signed         string // the message up to the comma before the proof, that not included
	proof          []byte
}

// parseClientFinal reads "c=" base64 ",r=" nonce *("," extension) ",p=" base64, the proof having size bytes.
func parseClientFinal(s string, size int) (m clientFinal, reason string) {
	binding, rest, _ := strings.Cut(s, ",")
	nonce, rest, _ := strings.Cut(rest, ",")
	extensions, proof := "", rest
	more := false
	if i := strings.LastIndexByte(rest, ','); i >= 0 {
		extensions, proof, more = rest[:i], rest[i+1:], true
	}
	header, ok := decode64(binding, "c=")
	if !ok {
		return m, "no channel binding"
	}
	if m.nonce, ok = nonceOf(nonce); !ok {
		return m, "no nonce"
	}
	if m.proof, ok = decode64(proof, "p="); !ok || len(m.proof) != size {
		return m, "no proof"
	}
	if more {
		if _, ok = parseExtensions(extensions); !ok {
			return m, "no extensions"
		}
	}
	m.binding, m.signed = string(header), s[:len(s)-len(",")-len(proof)]
	return m, ""
}

type serverFirst struct {
	nonce      string
	iterations int
}

// parseServerFirst reads "r=" nonce ",s=" base64 ",i=" number *("," extension).
func parseServerFirst(s string) (m serverFirst, reason string) {
	nonce, rest, _ := strings.Cut(s, ",")
	salt, rest, _ := strings.Cut(rest, ",")
	iterations, extensions, more := strings.Cut(rest, ",")
	var ok bool
	if m.nonce, ok = nonceOf(nonce); !ok {
		return m, "no nonce"
	}
	if b, ok := decode64(salt, "s="); !ok || len(b) == 0 {
		return m, "no salt"
	}
	digits, ok := strings.CutPrefix(iterations, "i=")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil {
		return m, "no number of iterations"
	}
	if m.iterations = int(n); m.iterations < MinIterations || m.iterations > MaxIterations {
		return m, "too few or too many iterations"
	}
	if more {
		if _, ok = parseExtensions(extensions); !ok {
			return m, "no extensions"
		}
	}
	return m, ""
}

// checkServerFinal reads "v=" base64 *("," extension). An error, "e=", is not distinguished: it says no more than that the login failed.
func checkServerFinal(s string, size int) (reason string) {
	verifier, extensions, more := strings.Cut(s, ",")
	if v, ok := decode64(verifier, "v="); !ok || len(v) != size {
		return "no signature"
	}
	if more {
		if _, ok := parseExtensions(extensions); !ok {
			return "no extensions"
		}
	}
	return ""
}

// saslName reads a name in which =2C is a comma and =3D an equals sign.
func saslName(s, prefix string) (string, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok || s == "" || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
		return "", false
	}
	before, rest, escaped := strings.Cut(s, "=")
	if !escaped {
		return s, true
	}
	var b strings.Builder
	for escaped {
		b.WriteString(before)
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		before, rest, escaped = strings.Cut(rest[2:], "=")
	}
	b.WriteString(before)
	return b.String(), true
}

// nonceOf reads printable ASCII without commas.
func nonceOf(s string) (string, bool) {
	s, ok := strings.CutPrefix(s, "r=")
	for i := range len(s) {
		ok = ok && '!' <= s[i] && s[i] <= '~' && s[i] != ','
	}
	return s, ok && s != ""
}

func decode64(s, prefix string) ([]byte, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok || strings.ContainsAny(s, "\r\n") { // which the decoder would skip
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// parseExtensions reads key=value pairs between commas, of which none may be mandatory ("m=") or come twice.
func parseExtensions(s string) (map[string]string, bool) {
	values := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if _, twice := values[key]; !ok || twice || key == "m" || !letters(key) || value == "" || !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			return nil, false
		}
		values[key] = value
	}
	return values, true
}

func letters(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}
