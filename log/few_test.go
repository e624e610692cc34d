package log

// few is how many there are of something, with the race detector and without: what one goroutine does shows the detector nothing new the tenth time.
func few(plain, race uint64) uint64 {
	if raced {
		return race
	}
	return plain
}

// sampled tells whether the i-th run of many is made: under the race detector one in n.
func sampled(i, n int64) bool { return !raced || i%n == 0 }
