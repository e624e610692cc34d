package broker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
)

// throttle bounds the bytes a second of replicas that catch up (KIP-73), one for each direction. Whoever may take something may take a whole batch, since one is not cut, and the next one waits the longer. The zero value bounds nothing.
type throttle struct {
	limited atomic.Bool // rate is not without limit
	mu      sync.Mutex
	rate    int64 // bytes a second
	level   float64
	at      time.Time
}

// set takes another rate. MaxInt64 is no limit.
func (t *throttle) set(rate int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fillLocked(now)
	t.rate = rate
	t.level = min(t.level, float64(rate))
	t.limited.Store(rate != math.MaxInt64)
}

// fillLocked adds what time has brought, for a second at most.
func (t *throttle) fillLocked(now time.Time) {
	if !t.at.IsZero() {
		t.level = min(t.level+now.Sub(t.at).Seconds()*float64(t.rate), float64(t.rate))
	}
	t.at = now
}

// available is how many bytes may be taken now; none or fewer: the share is used up.
func (t *throttle) available(now time.Time) int {
	if !t.limited.Load() {
		return math.MaxInt32
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fillLocked(now)
	return int(min(t.level, math.MaxInt32))
}

// take notes what was taken.
func (t *throttle) take(n int, now time.Time) {
	if n == 0 || !t.limited.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fillLocked(now)
	t.level -= float64(n)
}

// debt is how long it takes until what was taken is paid for.
func (t *throttle) debt(now time.Time) time.Duration {
	if !t.limited.Load() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fillLocked(now)
	if t.level >= 0 {
		return 0
	}
	return time.Duration(-t.level / float64(t.rate) * float64(time.Second))
}

// setThrottles takes the rates of this node.
func (b *Broker) setThrottles(img *controller.Image) {
	broker, cluster, static := b.brokerConfigs(img)
	now := time.Now()
	b.serving.set(configs.BrokerRate("leader.replication.throttled.rate", broker, cluster, static), now)
	b.catching.set(configs.BrokerRate("follower.replication.throttled.rate", broker, cluster, static), now)
}

// throttled are the replicas of a partition that are.
type throttled struct {
	followers configs.Throttled // served slowly, while this node leads
	here      bool              // this node's fetches slowly
}

func (p *partition) setThrottled(c configs.Topic, node int32) {
	if c.LeaderThrottled == "" && c.FollowerThrottled == "" {
		p.throttled.Store(nil)
		return
	}
	p.throttled.Store(&throttled{followers: c.LeaderThrottled, here: c.FollowerThrottled.Has(p.index, node)})
}
