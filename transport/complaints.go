package transport

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// complaints is a log of what connections did wrong. It says a few things a second: whoever is attacked has better uses for its disk.
type complaints struct {
	mu      sync.Mutex
	second  time.Time
	said    int
	skipped int
}

const complaintsPerSecond = 10

func (c *complaints) log(l *slog.Logger, level slog.Level, msg string, args ...any) {
	if !l.Enabled(context.Background(), level) {
		return
	}
	c.mu.Lock()
	now := time.Now()
	if now.Sub(c.second) >= time.Second {
		c.second, c.said = now, 0
	}
	c.said++
	say := c.said <= complaintsPerSecond
	skipped := c.skipped
	if say {
		c.skipped = 0
	} else {
		c.skipped++
	}
	c.mu.Unlock()
	if !say {
		return
	}
	if skipped > 0 {
		args = append(args, "skipped", skipped)
	}
	l.Log(context.Background(), level, msg, args...)
}
