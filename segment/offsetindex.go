package segment

// warmBytes is how much of an index's end is searched first: most look-ups are there, and touch few pages so.
const warmBytes = 8192

// offsetIndex finds the file position near an offset. See indexFile for its life.
type offsetIndex struct {
	indexFile
}

// lookup returns the last entry whose offset is at most base+rel, and how many bytes further on the next entry is, 0 without; ok is false when there is none.
func (x *offsetIndex) lookup(rel int64) (e offsetEntry, gap int64, ok bool, err error) {
	err = x.view(func(data []byte, n int) {
		i := searchOffsets(data, n, rel)
		if i < 0 {
			return
		}
		e, ok = getOffsetEntry(data[i*offsetEntrySize:]), true
		if i+1 < n {
			gap = max(0, int64(getOffsetEntry(data[(i+1)*offsetEntrySize:]).pos)-int64(e.pos))
		}
	})
	return e, gap, ok, err
}

// lookupPosition returns the last entry whose position is at most pos; ok is false when there is none.
func (x *offsetIndex) lookupPosition(pos int32) (e offsetEntry, ok bool, err error) {
	err = x.view(func(data []byte, n int) {
		lo, hi := 0, n
		for lo < hi {
			mid := (lo + hi) / 2
			if getOffsetEntry(data[mid*offsetEntrySize:]).pos <= pos {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo > 0 {
			e, ok = getOffsetEntry(data[(lo-1)*offsetEntrySize:]), true
		}
	})
	return e, ok, err
}

// searchOffsets returns the number of the last entry whose relative offset is at most rel, or -1.
func searchOffsets(data []byte, n int, rel int64) int {
	lo, hi := 0, n
	if warm := n - warmBytes/offsetEntrySize; warm > 0 {
		if int64(getOffsetEntry(data[warm*offsetEntrySize:]).rel) <= rel {
			lo = warm
		} else {
			hi = warm
		}
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if int64(getOffsetEntry(data[mid*offsetEntrySize:]).rel) <= rel {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// add appends an entry. The caller has made sure that the index is not full and that entries rise.
func (x *offsetIndex) add(e offsetEntry) error {
	return x.append(func(b []byte) { e.put(b) })
}

// truncate keeps the entries whose offset is below base+rel.
func (x *offsetIndex) truncateTo(rel int64) error {
	keep := 0
	if err := x.view(func(data []byte, n int) { keep = searchOffsets(data, n, rel-1) + 1 }); err != nil {
		return err
	}
	return x.truncate(keep)
}

// sound returns the number of entries up to the first that cannot be: not above its predecessor, or at or beyond size.
func (x *offsetIndex) sound(size int64) (good int, err error) {
	err = x.view(func(data []byte, n int) {
		last := offsetEntry{rel: -1, pos: 0}
		for good = 0; good < n; good++ {
			e := getOffsetEntry(data[good*offsetEntrySize:])
			if e.rel <= last.rel || e.pos <= last.pos || int64(e.pos) >= size {
				return
			}
			last = e
		}
	})
	return good, err
}

// last returns the last entry.
func (x *offsetIndex) last() (e offsetEntry, ok bool, err error) {
	err = x.view(func(data []byte, n int) {
		if n > 0 {
			e, ok = getOffsetEntry(data[(n-1)*offsetEntrySize:]), true
		}
	})
	return e, ok, err
}
