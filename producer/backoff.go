package producer

import (
	"time"

	"github.com/insynclog/insync/internal/dice"
)

// Kafka: retry.backoff.ms and retry.backoff.max.ms.
const (
	minBackOff = 100 * time.Millisecond
	maxBackOff = time.Second
)

// backOff returns how long to wait after the n-th failure in a row: doubling, give or take a fifth, so that producers that failed together
// do not come back together. who tells those of one producer apart.
func (p *Producer) backOff(n int, who uint64) time.Duration {
	d := maxBackOff
	if n < 5 {
		d = min(minBackOff<<(n-1), maxBackOff)
	}
	return p.dice.Around(d, 0.2, who, dice.Moment())
}
