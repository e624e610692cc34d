package vfs

import (
	"bytes"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
)

const (
	sectorSize = 512      // what a disk writes whole or not at all
	blockSize  = 4 << 10  // what a file occupies
	pageSize   = 64 << 10 // what memory is allotted in

	blocksPerPage = pageSize / blockSize // one bit each in content.blocks
)

// content is the bytes of one file: what the page cache holds, and a journal that leads back to what is on the disk.
//
//	durable ──change──> ──change──> ──change──> current        (pages, size)
//	        <───────────────undo───────────────
//
// Going back instead of keeping a second image makes the common case cheap: an append changes bytes that were zero, so its journal
// entry holds no data, and Sync forgets the journal. It has no lock; node.mu guards it.
//
// Invariant: bytes at and above size are zero in pages, and bytes at and above filled too.
type content struct {
	pages  [][]byte // page i holds [i*pageSize, (i+1)*pageSize); missing bytes at its end are zero
	blocks []uint16 // per page, the blocks that occupy disk
	size   int64
	filled int64
	lent   []bool // pages that a clone has, too: they are copied before they change

	journal []change
	mergeAt int // length of journal at which appends are merged

	// After a failed sync: sectors whose durable content differs from the current one and is not in the journal, because the page
	// cache took them for clean. A later sync writes them only if they were written again.
	stale map[int64][]byte
	// staleSize is the durable size, if staleSized.
	staleSize  int64
	staleSized bool
}

// change is one write or resize since the last sync.
type change struct {
	off, n int64  // the bytes that may have changed
	size   int64  // of the file, before
	old    []byte // content of [off, off+len(old)) before; the rest was zero
	resize bool
	blocks []uint16 // before, if the resize gave some up
}

// readAt copies what the file holds at off and returns how many bytes that were.
func (c *content) readAt(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	c.peek(p, off)
	return len(p)
}

// peek copies bytes without regard to the size.
func (c *content) peek(p []byte, off int64) {
	for len(p) > 0 {
		part := p[:min(int64(len(p)), pageSize-off%pageSize)]
		n := copy(part, c.view(off))
		clear(part[n:])
		p, off = p[len(part):], off+int64(len(part))
	}
}

// view is the rest of off's page, as far as it is there.
func (c *content) view(off int64) []byte {
	i, in := off/pageSize, int(off%pageSize)
	if i >= int64(len(c.pages)) || in >= len(c.pages[i]) {
		return nil
	}
	return c.pages[i][in:]
}

// put stores bytes without regard to size and journal.
func (c *content) put(p []byte, off int64) {
	c.filled = max(c.filled, off+int64(len(p)))
	for len(p) > 0 {
		i, in := off/pageSize, int(off%pageSize)
		n := min(len(p), pageSize-in)
		copy(c.page(i, in+n)[in:], p[:n])
		p, off = p[n:], off+int64(n)
	}
}

// page returns page i with at least n bytes. Small files stay small, as there may be tens of thousands of them; a file of several pages gets whole ones.
func (c *content) page(i int64, n int) []byte {
	for int64(len(c.pages)) <= i {
		c.pages = append(c.pages, nil)
	}
	if p := c.pages[i]; len(p) >= n {
		return c.own(i)
	}
	room := sectorSize
	for room < n {
		room *= 2
	}
	if i > 0 {
		room = pageSize
	}
	p := make([]byte, room)
	copy(p, c.pages[i])
	c.pages[i] = p
	if i < int64(len(c.lent)) {
		c.lent[i] = false
	}
	return p
}

// own returns page i as it is, to be changed.
func (c *content) own(i int64) []byte {
	if i < int64(len(c.lent)) && c.lent[i] {
		c.pages[i] = bytes.Clone(c.pages[i])
		c.lent[i] = false
	}
	return c.pages[i]
}

// zero clears [from, end) without regard to size and journal.
func (c *content) zero(from, end int64) {
	for from < end {
		i, in := from/pageSize, from%pageSize
		n := min(end-from, pageSize-in)
		if i >= int64(len(c.pages)) {
			break
		}
		if p := c.pages[i]; in == 0 && n >= int64(len(p)) {
			c.pages[i] = nil
		} else if in < int64(len(p)) {
			clear(c.own(i)[in:min(in+n, int64(len(p)))])
		}
		from += n
	}
}

// write changes bytes; the blocks are reserved.
func (c *content) write(p []byte, off int64) {
	ch := change{off: off, n: int64(len(p)), size: c.size}
	if off < c.filled {
		ch.old = make([]byte, min(ch.n, c.filled-off))
		c.peek(ch.old, off)
	}
	c.put(p, off)
	c.size = max(c.size, off+ch.n)
	c.record(ch)
}

// resize changes the size and returns how many blocks it gave up.
func (c *content) resize(size int64) (freed int64) {
	ch := change{off: size, size: c.size, resize: true}
	if size < c.filled {
		ch.n = c.filled - size
		ch.old = make([]byte, ch.n)
		c.peek(ch.old, size)
		c.zero(size, c.filled)
		c.filled = size
	}
	if size < c.size {
		before := slices.Clone(c.blocks)
		if freed = c.release(size); freed > 0 {
			ch.blocks = before
		}
	}
	c.size = size
	c.record(ch)
	return freed
}

func (c *content) record(ch change) {
	c.journal = append(c.journal, ch)
	const least = 1 << 14
	if len(c.journal) >= max(c.mergeAt, least) {
		c.mergeAppends()
		c.mergeAt = 2 * len(c.journal)
	}
}

// mergeAppends keeps the journal of a file that is appended to and never synced short. What is lost is only the sight of the moments between the writes.
func (c *content) mergeAppends() {
	merged := c.journal[:0]
	for _, ch := range c.journal {
		if n := len(merged); n > 0 {
			last := &merged[n-1]
			if !last.resize && !ch.resize && last.old == nil && ch.old == nil && last.off+last.n == ch.off {
				last.n += ch.n
				continue
			}
		}
		merged = append(merged, ch)
	}
	c.journal = slices.Clip(merged)
}

// undo goes one change back.
func (c *content) undo(ch change) {
	c.put(ch.old, ch.off)
	c.zero(ch.off+int64(len(ch.old)), ch.off+ch.n)
	c.size = ch.size
	for i, b := range ch.blocks {
		c.blocks[i] |= b
	}
}

func (c *content) undoAll() {
	for _, ch := range slices.Backward(c.journal) {
		c.undo(ch)
	}
	c.journal = nil
}

// synced makes the current content durable, but for what a failed sync left behind.
func (c *content) synced() {
	if c.stale != nil || c.staleSized {
		for s := range c.touched() {
			delete(c.stale, s)
		}
		for _, ch := range c.journal {
			c.staleSized = c.staleSized && ch.size == c.size
		}
	}
	clear(c.journal) // lets old content go
	c.journal, c.mergeAt = c.journal[:0], 0
	const keep = 64
	if cap(c.journal) > keep {
		c.journal = nil
	}
}

// syncFailed makes the page cache believe that it is clean although nothing more is durable than before.
func (c *content) syncFailed() {
	current := c.touched()
	for s := range current {
		current[s] = make([]byte, sectorSize)
		c.peek(current[s], s*sectorSize)
	}
	size := c.size
	c.undoAll()
	if c.stale == nil {
		c.stale = map[int64][]byte{}
	}
	for s, now := range current {
		if _, known := c.stale[s]; !known {
			c.stale[s] = make([]byte, sectorSize)
			c.peek(c.stale[s], s*sectorSize)
		}
		c.put(now, s*sectorSize)
	}
	if !c.staleSized {
		c.staleSize, c.staleSized = c.size, c.size != size
	}
	c.size = size
}

// touched lists the sectors in the journal.
func (c *content) touched() map[int64][]byte {
	t := map[int64][]byte{}
	for _, ch := range c.journal {
		for s := range ch.sectors {
			t[s] = nil
		}
	}
	return t
}

// dropUnsynced goes back to what is durable.
func (c *content) dropUnsynced() {
	c.undoAll()
	for s, old := range c.stale {
		c.put(old, s*sectorSize)
	}
	c.settle(c.staleOr(c.size))
}

func (c *content) staleOr(size int64) int64 {
	if c.staleSized {
		return c.staleSize
	}
	return size
}

// keepRandom goes back to what is durable and then makes some of the changes again. Each sector gets a content that it has had, as a disk
// writes it whole, and independently of the others, so that writes seem torn and reordered; where a lost one grew the file it reads as zero.
// The size is one that the file has had.
func (c *content) keepRandom(rng *rand.Rand) {
	if len(c.journal) == 0 && c.stale == nil && !c.staleSized {
		return
	}
	sizes := []int64{c.size}
	redo := make([][]byte, len(c.journal))
	versions := map[int64]int{} // of each sector, beside the durable one
	for i, ch := range slices.Backward(c.journal) {
		redo[i] = make([]byte, ch.n)
		c.peek(redo[i], ch.off)
		for s := range ch.sectors {
			versions[s]++
		}
		sizes = append(sizes, ch.size)
		c.undo(ch)
	}
	rate := survivalRate(rng)
	for _, s := range slices.Sorted(maps.Keys(c.stale)) {
		if rng.Float64() >= rate {
			c.put(c.stale[s], s*sectorSize)
		}
	}
	if c.staleSized {
		sizes = append(sizes, c.staleSize)
	}
	survive := map[int64]int{} // of each sector, how many changes still
	for i, ch := range c.journal {
		for s, r := range ch.sectors {
			left, drawn := survive[s]
			if !drawn {
				if left = versions[s]; rng.Float64() >= rate {
					left = rng.IntN(left)
				}
			}
			survive[s] = left - 1
			if left > 0 {
				c.put(redo[i][r.from:r.end], ch.off+r.from)
			}
		}
	}
	size := sizes[0]
	if rng.IntN(2) == 0 {
		size = sizes[rng.IntN(len(sizes))]
	}
	c.settle(size)
}

// zeroUnsynced goes back to what is durable but keeps the size: where the file grew it reads as zero.
func (c *content) zeroUnsynced() {
	size := c.size
	c.undoAll()
	for s, old := range c.stale {
		c.put(old, s*sectorSize)
	}
	c.settle(size)
}

// keepBytes makes the current content durable, but for what a failed sync left behind.
func (c *content) keepBytes() {
	size := c.size
	for s, old := range c.stale {
		c.put(old, s*sectorSize)
	}
	c.settle(size)
}

// keepHole makes all changes durable but those of some sectors in a row.
func (c *content) keepHole(rng *rand.Rand) {
	now := c.touched()
	sectors := slices.Sorted(maps.Keys(now))
	for s := range now {
		now[s] = make([]byte, sectorSize)
		c.peek(now[s], s*sectorSize)
	}
	size := c.size
	c.undoAll()
	for s, old := range c.stale {
		c.put(old, s*sectorSize)
	}
	if n := len(sectors); n > 0 {
		from := rng.IntN(n)
		sectors = slices.Delete(sectors, from, from+1+rng.IntN(n-from))
	}
	for _, s := range sectors {
		c.put(now[s], s*sectorSize)
	}
	c.settle(size)
}

// span is a range of a change's bytes.
type span struct{ from, end int64 }

// sectors yields the sectors that a change touches, and which of its bytes lie there.
func (ch *change) sectors(yield func(int64, span) bool) {
	for at := int64(0); at < ch.n; {
		s := (ch.off + at) / sectorSize
		end := min(ch.n, (s+1)*sectorSize-ch.off)
		if !yield(s, span{at, end}) {
			return
		}
		at = end
	}
}

// survivalRate makes crashes that lose nearly nothing as likely as those that lose nearly all: bugs need either.
func survivalRate(rng *rand.Rand) float64 {
	return [...]float64{0.05, 0.5, 0.95}[rng.IntN(3)]
}

// settle makes the content durable with the given size.
func (c *content) settle(size int64) {
	c.zero(size, max(c.filled, size))
	c.size, c.filled = size, min(c.filled, size)
	c.journal, c.stale, c.staleSized = nil, nil, false
	c.release(size)
}

// reserve marks the blocks under [off, off+n) as occupied, as long as grab grants them, and returns how many bytes of the range have blocks now.
func (c *content) reserve(off, n int64, grab func(blocks int64) bool) int64 {
	end := off + n
	for at := off; at < end; {
		i := at / pageSize
		stop := min(end, (i+1)*pageSize)
		for int64(len(c.blocks)) <= i {
			c.blocks = append(c.blocks, 0)
		}
		first, last := at%pageSize/blockSize, (stop-1)%pageSize/blockSize
		missing := uint16(1<<(last+1)-1<<first) &^ c.blocks[i]
		if missing == 0 || grab(int64(bits.OnesCount16(missing))) {
			c.blocks[i] |= missing
			at = stop
			continue
		}
		for b := first; b <= last; b++ {
			if bit := uint16(1) << b; c.blocks[i]&bit == 0 {
				if !grab(1) {
					return max(i*pageSize+b*blockSize, off) - off
				}
				c.blocks[i] |= bit
			}
		}
		at = stop
	}
	return n
}

// release gives up the blocks above size and returns how many they were.
func (c *content) release(size int64) int64 {
	freed := int64(0)
	keep := (size + blockSize - 1) / blockSize
	for i := len(c.blocks) - 1; i >= 0 && int64(i+1)*blocksPerPage > keep; i-- {
		mask := ^uint16(0)
		if from := keep - int64(i)*blocksPerPage; from > 0 {
			mask <<= from
		}
		freed += int64(bits.OnesCount16(c.blocks[i] & mask))
		c.blocks[i] &^= mask
	}
	return freed
}

// occupied counts the blocks.
func (c *content) occupied() int64 {
	n := 0
	for _, b := range c.blocks {
		n += bits.OnesCount16(b)
	}
	return int64(n)
}

// hole finds the first block under [0, size) that occupies no disk, or returns -1.
func (c *content) hole(size int64) int64 {
	for b := int64(0); b*blockSize < size; b++ {
		if i := b / blocksPerPage; i >= int64(len(c.blocks)) || c.blocks[i]&(1<<(b%blocksPerPage)) == 0 {
			return b * blockSize
		}
	}
	return -1
}

// clone copies what may change, the pages when they do; the old bytes in journal and stale never do.
func (c *content) clone() content {
	c.lent = make([]bool, len(c.pages))
	for i := range c.lent {
		c.lent[i] = true
	}
	d := *c
	d.pages, d.lent = slices.Clone(c.pages), slices.Clone(c.lent)
	d.blocks = slices.Clone(c.blocks)
	d.journal = slices.Clone(c.journal)
	d.stale = maps.Clone(c.stale)
	return d
}
