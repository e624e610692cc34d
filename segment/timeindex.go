package segment

// timeIndex finds the offset near a timestamp. See indexFile for its life.
type timeIndex struct {
	indexFile
}

// lookup returns the last entry whose timestamp is at most ts; ok is false when there is none.
func (x *timeIndex) lookup(ts int64) (e timeEntry, ok bool, err error) {
	err = x.view(func(data []byte, n int) {
		lo, hi := 0, n
		for lo < hi {
			mid := (lo + hi) / 2
			if getTimeEntry(data[mid*timeEntrySize:]).ts <= ts {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo > 0 {
			e, ok = getTimeEntry(data[(lo-1)*timeEntrySize:]), true
		}
	})
	return e, ok, err
}

// lookupOffset returns the last entry whose offset is below base+rel; ok is false when there is none.
func (x *timeIndex) lookupOffset(rel int64) (e timeEntry, ok bool, err error) {
	err = x.view(func(data []byte, n int) {
		if i := searchTimesByOffset(data, n, rel-1); i >= 0 {
			e, ok = getTimeEntry(data[i*timeEntrySize:]), true
		}
	})
	return e, ok, err
}

// searchTimesByOffset returns the number of the last entry whose relative offset is at most rel, or -1.
func searchTimesByOffset(data []byte, n int, rel int64) int {
	lo, hi := 0, n
	for lo < hi {
		mid := (lo + hi) / 2
		if int64(getTimeEntry(data[mid*timeEntrySize:]).rel) <= rel {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// add appends an entry. The caller has made sure that the index is not full and that entries rise.
func (x *timeIndex) add(e timeEntry) error {
	return x.append(func(b []byte) { e.put(b) })
}

// truncateTo keeps the entries whose offset is below base+rel.
func (x *timeIndex) truncateTo(rel int64) error {
	keep := 0
	if err := x.view(func(data []byte, n int) { keep = searchTimesByOffset(data, n, rel-1) + 1 }); err != nil {
		return err
	}
	return x.truncate(keep)
}

// sound returns the number of entries up to the first that does not rise in timestamp and offset.
func (x *timeIndex) sound() (good int, err error) {
	err = x.view(func(data []byte, n int) {
		for good = 0; good < n; good++ {
			e := getTimeEntry(data[good*timeEntrySize:])
			if e.rel < 0 || e.ts < 0 {
				return
			}
			if good == 0 {
				continue
			}
			if p := getTimeEntry(data[(good-1)*timeEntrySize:]); e.ts <= p.ts || e.rel < p.rel {
				return
			}
		}
	})
	return good, err
}

// last returns the last entry.
func (x *timeIndex) last() (e timeEntry, ok bool, err error) {
	err = x.view(func(data []byte, n int) {
		if n > 0 {
			e, ok = getTimeEntry(data[(n-1)*timeEntrySize:]), true
		}
	})
	return e, ok, err
}
