package producer

import (
	"math/rand/v2"
	"time"
)

// Kafka: retry.backoff.ms and retry.backoff.max.ms.
const (
	minBackOff = 100 * time.Millisecond
	maxBackOff = time.Second
)

// backOff returns how long to wait after the n-th failure in a row: doubling, give or take a fifth, so that producers that failed together
// do not come back together.
func backOff(n int) time.Duration {
	d := maxBackOff
	if n < 5 {
		d = min(minBackOff<<(n-1), maxBackOff)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
