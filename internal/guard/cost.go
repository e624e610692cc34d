package guard

// What decoding allocates, in bytes, never less than Go's allocator hands out: it rounds up, and tests hold these numbers against it.

const (
	pageSize    = 8 << 10
	largest     = 32 << 10 // beyond which memory comes in pages
	pointerCost = 16       // the string header of a nullable string

	firstTagCost = 352 // a map and room for its first group of eight
	smallTags    = 8
	moreTagCost  = 192 // of each entry of a map that doubles: at worst it has just done so
)

// allocated returns what memory for n bytes takes.
func allocated(n int64) int64 {
	switch {
	case n <= 256:
		return (n + 15) &^ 15
	case n <= largest:
		return n + n>>3 + n>>4 + 16 // the next size is at most 18.75 % away; 16: the header of memory with pointers
	}
	return (n + pageSize - 1) &^ (pageSize - 1)
}

// textCost returns what a string of n bytes takes. Those of one byte are not allocated.
func textCost(n int) int64 {
	if n <= 1 {
		return 0
	}
	return allocated(int64(n))
}

// tagCost returns what the n-th unknown tag of a section takes.
func tagCost(n int) int64 {
	switch {
	case n == 1:
		return firstTagCost
	case n <= smallTags:
		return 0
	case n == smallTags+1:
		return (smallTags + 1) * moreTagCost
	}
	return moreTagCost
}
