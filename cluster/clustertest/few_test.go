package clustertest_test

// few is how many there are of something, with the race detector and without. The detector is after what goroutines share, and one history of a kind shows most of that.
func few(plain, race uint64) uint64 {
	if raced {
		return race
	}
	return plain
}
