package broker

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
)

// A log whose compaction failed is tried again after a while, which doubles from failure to failure. Differs from Kafka, which never tries it again, and says so in its log only.
const (
	cleanerRetryMin = time.Minute
	cleanerRetryMax = time.Hour
)

// cleaner compacts the logs of the topics that say so, one at a time, the dirtiest first. It has a goroutine only while there may be something to do.
type cleaner struct {
	b       *Broker
	running atomic.Bool
	pace    throttle  // of bytes read and written, where the operator has set a limit
	goesOn  time.Time // after the rest

	mu   sync.Mutex
	logs map[*partition]*Cleaning // of those that were compacted, or looked at for it
}

// Cleaning is how far the compaction of a log on this node is.
type Cleaning struct {
	Topic      string
	Partition  int32
	FirstDirty int64   // compacted up to there
	DirtyRatio float64 // as of the last look
	DirtyBytes int64

	Passes        int64
	LastRun       time.Time // end of the last pass; zero: none yet
	LastTook      time.Duration
	ReadBytes     int64
	WrittenBytes  int64
	ReleasedBytes int64 // by which the log became smaller

	Err     error // of the last pass: the log is not compacted until RetryAt
	RetryAt time.Time
	retry   time.Duration
}

func newCleaner(b *Broker) *cleaner { return &cleaner{b: b, logs: map[*partition]*Cleaning{}} }

// Cleanings lists the logs of this node that are compacted, by topic and partition.
func (b *Broker) Cleanings() []Cleaning {
	c := b.cleaner
	c.mu.Lock()
	list := make([]Cleaning, 0, len(c.logs))
	for _, s := range c.logs {
		list = append(list, *s)
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Cleaning) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return list
}

// number is a config of this node's cleaner.
func (c *cleaner) number(img *controller.Image, name string) float64 {
	broker, cluster, static := c.b.brokerConfigs(img)
	return configs.BrokerNumber("log.cleaner."+name, broker, cluster, static)
}

// backoff is how long to wait when there is nothing to compact.
func (c *cleaner) backoff() time.Duration {
	return max(time.Duration(c.number(c.b.metadataImage(), "backoff.ms"))*time.Millisecond, 100*time.Millisecond)
}

// enabled tells whether logs are compacted at all.
func (c *cleaner) enabled() bool {
	return c.b.staticText("log.cleaner.enable") == "true" && c.number(c.b.metadataImage(), "threads") > 0
}

// start begins a round, unless one is under way.
func (c *cleaner) start() {
	if !c.enabled() || !c.running.CompareAndSwap(false, true) {
		return
	}
	if !c.b.spawn(func() {
		defer c.running.Store(false)
		c.round()
	}) {
		c.running.Store(false)
	}
}

// round compacts one log after the other until none is due.
func (c *cleaner) round() {
	var memory log.Compactor // given back when there is nothing left to do
	for {
		img := c.b.metadataImage()
		next, policy := c.dirtiest(img, time.Now())
		if next == nil || c.b.ctx.Err() != nil {
			return
		}
		c.settings(img, &memory)
		c.clean(next, policy, &memory)
	}
}

// settings takes the configs as they are now.
func (c *cleaner) settings(img *controller.Image, m *log.Compactor) {
	threads := max(c.number(img, "threads"), 1)
	m.BufferBytes = max(int64(c.number(img, "dedupe.buffer.size")/threads), 1)
	m.LoadFactor = c.number(img, "io.buffer.load.factor")
	m.ReadBytes = max(int(c.number(img, "io.buffer.size")/threads/2), 4<<10)
	m.Pace = c.wait
	c.pace.set(bytesPerSecond(c.number(img, "io.max.bytes.per.second")), time.Now())
}

// bytesPerSecond is a number of bytes a second, MaxInt64 without limit.
func bytesPerSecond(n float64) int64 {
	if n >= 1<<62 {
		return math.MaxInt64
	}
	return max(int64(n), 1)
}

// cleanerStint is how long a pass works at least before it rests.
const cleanerStint = time.Millisecond

// wait takes n bytes of what may be read and written a second, and tells how long that takes. Without a limit of the operator's a pass rests as long as it works, be it that the processor or the disk takes its time: the other
// half is for those who wait for it.
func (c *cleaner) wait(n int) (time.Duration, error) {
	now := time.Now()
	if c.pace.limited.Load() {
		c.pace.take(n, now)
		return c.pace.debt(now), c.b.ctx.Err()
	}
	if worked := now.Sub(c.goesOn); n > 0 && worked >= cleanerStint {
		c.goesOn = now.Add(worked)
	}
	return c.goesOn.Sub(now), c.b.ctx.Err()
}

// dirtiest is the log to compact next by Kafka's rule: of those that are due the one with the largest share that was not compacted; nil if none is.
func (c *cleaner) dirtiest(img *controller.Image, now time.Time) (best *partition, policy log.CompactionPolicy) {
	var ratio float64
	seen, confs := map[*partition]bool{}, map[*controller.Topic]configs.Topic{}
	for _, p := range c.b.replicas.all() {
		t := img.TopicIDs[p.id]
		if p.replica == nil || t == nil {
			continue
		}
		conf, known := confs[t]
		if !known {
			conf = c.b.effective(img, t)
			confs[t] = conf
		}
		if !conf.CleanupCompact || p.replica.Log().Err() != nil {
			continue
		}
		seen[p] = true
		pol := log.CompactionPolicy{MinDirtyRatio: conf.MinCleanableDirtyRatio, MinLag: conf.MinCompactionLag, MaxLag: conf.MaxCompactionLag, DeleteRetention: conf.DeleteRetention}
		if pol.MaxLag == math.MaxInt64 {
			pol.MaxLag = 0 // no limit
		}
		at, err := p.replica.Log().Cleanable(pol, now)
		if errors.Is(err, log.ErrClosed) {
			continue
		}
		if held := c.looked(p, at, err, now); held || err != nil || !at.Due(pol) {
			continue
		}
		if best == nil || at.Ratio() > ratio {
			best, policy, ratio = p, pol, at.Ratio()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.logs {
		if !seen[p] {
			delete(c.logs, p)
		}
	}
	return best, policy
}

// looked takes down what a look at a log has shown. held: it is left alone for now, because its compaction failed.
func (c *cleaner) looked(p *partition, at log.Cleanable, err error, now time.Time) (held bool) {
	c.mu.Lock()
	s := c.logs[p]
	if s == nil {
		s = &Cleaning{Topic: p.topic, Partition: p.index}
		c.logs[p] = s
	}
	held = now.Before(s.RetryAt)
	if err == nil {
		s.FirstDirty, s.DirtyRatio, s.DirtyBytes = at.FirstDirty, at.Ratio(), at.DirtyBytes
	}
	c.mu.Unlock()
	if err != nil && !held {
		c.failed(p, err, now)
	}
	return held
}

// clean makes one pass.
func (c *cleaner) clean(p *partition, policy log.CompactionPolicy, memory *log.Compactor) {
	began := time.Now()
	c.goesOn = began
	done, err := p.replica.Compact(memory, policy, began)
	if c.b.ctx.Err() != nil || errors.Is(err, log.ErrClosed) {
		return
	}
	now := time.Now()
	c.mu.Lock()
	if s := c.logs[p]; s != nil {
		s.Passes++
		s.LastRun, s.LastTook = now, now.Sub(began)
		s.ReadBytes += done.ReadBytes
		s.WrittenBytes += done.WrittenBytes
		s.ReleasedBytes += done.BytesBefore - done.BytesAfter
		if err == nil {
			s.FirstDirty, s.Err, s.RetryAt, s.retry = done.EndOffset, nil, time.Time{}, 0
		}
	}
	c.mu.Unlock()
	if err != nil {
		c.failed(p, err, now)
		return
	}
	c.b.noteChange()
	c.b.logger.Info("log compacted", "topic", p.topic, "partition", p.index, "from", done.FirstDirty, "to", done.EndOffset, "bytes_before", done.BytesBefore, "bytes_after", done.BytesAfter,
		"records", done.Records, "kept", done.RecordsKept, "took", now.Sub(began), "interrupted", done.Interrupted)
}

// failed leaves a log alone for a while, and says so.
func (c *cleaner) failed(p *partition, err error, now time.Time) {
	c.mu.Lock()
	s := c.logs[p]
	if s == nil {
		s = &Cleaning{Topic: p.topic, Partition: p.index}
		c.logs[p] = s
	}
	s.retry = min(max(2*s.retry, cleanerRetryMin), cleanerRetryMax)
	s.Err, s.RetryAt = err, now.Add(s.retry)
	at := s.RetryAt
	c.mu.Unlock()
	c.b.logger.Error("log is not compacted", "topic", p.topic, "partition", p.index, "retry_at", at, "error", err)
	if f := c.b.c.Events.CompactionFailed; f != nil {
		f(p.topic, p.index, err)
	}
}
