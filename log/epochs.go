package log

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// epochsFile is the leader epoch cache of a log on disk, in Kafka's text form: "epoch startOffset" per line.
const epochsFile = "leader-epoch-checkpoint"

// epochEntry says that the records from start on were appended by the leader of epoch, up to the next entry's start.
type epochEntry struct {
	epoch int32
	start int64
}

// epochCache is the history of leader epochs of one log (KIP-101). Both fields rise strictly from entry to entry. The list is immutable: the
// log's writer replaces it, readers take it as it is.
type epochCache struct {
	list  atomic.Pointer[[]epochEntry]
	dirty bool // not on disk as it is; the writer's
}

func (c *epochCache) entries() []epochEntry {
	if l := c.list.Load(); l != nil {
		return *l
	}
	return nil
}

func (c *epochCache) set(l []epochEntry) {
	c.list.Store(&l)
	c.dirty = true
}

// latest returns the last entry.
func (c *epochCache) latest() (epochEntry, bool) {
	l := c.entries()
	if len(l) == 0 {
		return epochEntry{}, false
	}
	return l[len(l)-1], true
}

// assign records that epoch starts at offset, unless it is the current one. Entries of that epoch or a later one, or that start there or later, go.
func (c *epochCache) assign(epoch int32, start int64) {
	if last, ok := c.latest(); ok && last.epoch == epoch || epoch < 0 {
		return
	}
	l := c.entries()
	keep := len(l)
	for keep > 0 && (l[keep-1].epoch >= epoch || l[keep-1].start >= start) {
		keep--
	}
	c.set(append(l[:keep:keep], epochEntry{epoch, start}))
}

// truncateEnd drops the entries that start at end or later.
func (c *epochCache) truncateEnd(end int64) {
	l := c.entries()
	keep := len(l)
	for keep > 0 && l[keep-1].start >= end {
		keep--
	}
	if keep < len(l) {
		c.set(l[:keep:keep])
	}
}

// truncateStart drops the entries that end at start or earlier, and lets the first one that is left begin there.
func (c *epochCache) truncateStart(start int64) {
	l := c.entries()
	i := c.indexAt(start)
	if i < 0 || i == 0 && l[0].start == start {
		return
	}
	l = slices.Clone(l[i:])
	l[0].start = start
	c.set(l)
}

// indexAt returns the number of the entry that offset belongs to, or -1.
func (c *epochCache) indexAt(offset int64) int {
	i, found := slices.BinarySearchFunc(c.entries(), offset, func(e epochEntry, o int64) int {
		switch {
		case e.start < o:
			return -1
		case e.start > o:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	return i
}

// endFor answers OffsetForLeaderEpoch: the largest known epoch at or below epoch, and where it ends. Kafka's rules, in its order.
func (c *epochCache) endFor(epoch int32, logEnd int64) (found int32, end int64, ok bool) {
	l := c.entries()
	if epoch < 0 || len(l) == 0 || epoch > l[len(l)-1].epoch {
		return 0, 0, false
	}
	if epoch == l[len(l)-1].epoch {
		return epoch, logEnd, true
	}
	next := 0 // the first entry above epoch; there is one
	for l[next].epoch <= epoch {
		next++
	}
	if next == 0 {
		return epoch, l[0].start, true // older than all that is known: it ends where the oldest begins
	}
	return l[next-1].epoch, l[next].start, true
}

// encode returns the checkpoint file.
func (c *epochCache) encode() []byte {
	l := c.entries()
	b := appendCheckpointHead(nil, len(l))
	for _, e := range l {
		from := len(b)
		b = strconv.AppendInt(b, int64(e.epoch), 10)
		b = append(b, ' ')
		b = strconv.AppendInt(b, e.start, 10)
		b = append(appendLineSum(b, from), '\n')
	}
	return b
}

// parseEpochs decodes the checkpoint file.
func parseEpochs(b []byte) ([]epochEntry, error) {
	lines, err := checkpointLines(b)
	if err != nil {
		return nil, err
	}
	l := make([]epochEntry, 0, len(lines))
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("%w: %q", errCheckpoint, line)
		}
		epoch, err1 := strconv.ParseInt(f[0], 10, 32)
		start, err2 := strconv.ParseInt(f[1], 10, 64)
		e := epochEntry{int32(epoch), start}
		if err1 != nil || err2 != nil || epoch < 0 || start < 0 {
			return nil, fmt.Errorf("%w: %q", errCheckpoint, line)
		}
		if n := len(l); n > 0 && (l[n-1].epoch >= e.epoch || l[n-1].start >= e.start) {
			return nil, fmt.Errorf("%w: %q does not rise", errCheckpoint, line)
		}
		l = append(l, e)
	}
	return l, nil
}
