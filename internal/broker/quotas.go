package broker

import (
	"math"
	"strings"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
)

// quotas are the bytes a second that clients may produce and consume (KIP-13, KIP-55): the rules of one image of the metadata.
type quotas struct {
	rules map[controller.QuotaEntity]map[string]float64
	used  *quotaUse
}

// quotaUse is what clients used of their quotas. It outlasts the rules: who used up the old one has to wait for the new one, too.
type quotaUse struct {
	mu    sync.Mutex
	of    map[quotaKey]*usage
	swept time.Time
}

// quotaKey is whose use is counted together: that of a user, of a client id, or of both.
type quotaKey struct {
	quota          string
	user, clientID string // "" where the rule is not about it
}

// The samples of Kafka: quota.window.num of quota.window.size.seconds.
const (
	quotaSamples = 11
	quotaSample  = time.Second
)

// quotaIdle is when the use of whoever sends nothing any more is forgotten: client ids are made at will.
const quotaIdle = time.Hour

// newQuotas takes an image's rules; nil without any.
func newQuotas(img *controller.Image, used *quotaUse) *quotas {
	if len(img.Quotas) == 0 {
		return nil
	}
	return &quotas{rules: img.Quotas, used: used}
}

// limit finds the rule for a client, the most particular one, in the order of KIP-55, and whose use it counts. A client without an id has none by its id.
func (q *quotas) limit(quota, user, clientID string) (rate float64, k quotaKey, ok bool) {
	all := controller.QuotaName{Has: true, Default: true}
	u, c := controller.QuotaName{Has: true, Name: user}, controller.QuotaName{Has: true, Name: clientID}
	both, users, clients := quotaKey{quota, user, clientID}, quotaKey{quota, user, ""}, quotaKey{quota, "", clientID}
	for _, r := range [...]struct {
		e controller.QuotaEntity
		k quotaKey
	}{
		{controller.QuotaEntity{User: u, ClientID: c}, both},
		{controller.QuotaEntity{User: u, ClientID: all}, both},
		{controller.QuotaEntity{User: u}, users},
		{controller.QuotaEntity{User: all, ClientID: c}, both},
		{controller.QuotaEntity{User: all, ClientID: all}, both},
		{controller.QuotaEntity{User: all}, users},
		{controller.QuotaEntity{ClientID: c}, clients},
		{controller.QuotaEntity{ClientID: all}, clients},
	} {
		if r.e.ClientID.Has && clientID == "" {
			continue
		}
		if rate, ok := q.rules[r.e][quota]; ok {
			return rate, r.k, true
		}
	}
	return 0, quotaKey{}, false
}

// spend counts n bytes of a connection's client, and returns how long it has to wait for its rate to be within bounds again. The answer says so, and after it the connection waits.
func (q *quotas) spend(quota string, c *transport.ConnInfo, clientID string, n int, now time.Time) time.Duration {
	rate, k, ok := q.limit(quota, quotaUser(c), clientID)
	if !ok {
		return 0
	}
	x := q.used
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sweepLocked(now)
	u := x.of[k]
	if u == nil {
		u = &usage{}
		x.of[k] = u
	}
	u.add(float64(n), now)
	return u.excess(rate, now)
}

// sweepLocked forgets those who are gone.
func (x *quotaUse) sweepLocked(now time.Time) {
	switch {
	case x.of == nil:
		x.of, x.swept = make(map[quotaKey]*usage), now
	case now.Sub(x.swept) >= quotaIdle:
		x.swept = now
		for k, u := range x.of {
			if now.Sub(u.samples[u.current].last) >= quotaIdle {
				delete(x.of, k)
			}
		}
	}
}

// usage is a sum over sliding samples, counted as Kafka does: one sample more than there are, for the one that reaches into the time that is looked at.
type usage struct {
	samples [quotaSamples + 1]struct {
		start, last time.Time // zero: it is not used
		n           float64
	}
	current int
}

// add counts n.
func (u *usage) add(n float64, now time.Time) {
	s := &u.samples[u.current]
	if !s.start.IsZero() && now.Sub(s.start) >= quotaSample {
		u.current = (u.current + 1) % len(u.samples)
		s = &u.samples[u.current]
		s.start = time.Time{}
	}
	if s.start.IsZero() {
		s.start, s.n = now, 0
	}
	s.n += n
	s.last = now
}

// excess is how long the rate has to stay silent until it is what it may be: if O is the rate over a time of W and T what it may be, X in O*W/(W+X) = T. W is never shorter than all samples but
// the last, so that a beginner is not held to what it did in its first moments.
func (u *usage) excess(rate float64, now time.Time) time.Duration {
	sum, oldest := 0.0, now
	for i := range u.samples {
		s := &u.samples[i]
		switch {
		case s.start.IsZero():
		case now.Sub(s.last) >= quotaSamples*quotaSample:
			s.start = time.Time{}
		default:
			sum += s.n
			if s.start.Before(oldest) {
				oldest = s.start
			}
		}
	}
	elapsed := now.Sub(oldest)
	if full := elapsed / quotaSample; full < quotaSamples-1 {
		elapsed += (quotaSamples - 1 - full) * quotaSample
	}
	wait := (sum/rate - elapsed.Seconds()) * 1000
	if wait <= 0 {
		return 0
	}
	return time.Duration(math.Round(min(wait, math.MaxInt32))) * time.Millisecond
}

// quotaUser is the name by which quotas know a user.
func quotaUser(c *transport.ConnInfo) string {
	return strings.TrimPrefix(c.Identity.Principal, "User:")
}

// quotasFor returns the quotas that may be about a connection, nil if none is: there are none, it is a call within the process, or it is from another node. Where nobody logs in a node is known from
// nobody, and a client as everybody is. Without quotas it is one load.
func (b *Broker) quotasFor(c *transport.ConnInfo) *quotas {
	q := b.quotas.Load()
	if q == nil || c == nil || c.Direct || c.Identity.Peer && c.Identity.Principal != transport.Anonymous {
		return nil
	}
	return q
}

// maxMute is how long a connection is not read at most. Kafka would take it for idle then: connections.max.idle.ms. A client that has gone is not noticed before.
const maxMute = 10 * time.Minute

// mute has no more of a connection's requests taken for that long. What is under way is still answered.
func mute(c *transport.ConnInfo, d time.Duration) {
	if d > 0 {
		c.Mute(min(d, maxMute))
	}
}

// mostFetched is the most that a consumer's fetch may have: what is more than a quota gives in all its samples would always have to wait.
func (b *Broker) mostFetched(c *transport.ConnInfo, clientID string) int {
	q := b.quotasFor(c)
	if q == nil {
		return maxFetchBytes
	}
	rate, _, ok := q.limit(controller.ConsumerByteRate, quotaUser(c), clientID)
	if !ok {
		return maxFetchBytes
	}
	return int(min(rate*(quotaSamples-1)*quotaSample.Seconds(), maxFetchBytes))
}
