package groups

import "unicode/utf16"

// PartitionOf is the partition of __consumer_offsets that a group belongs to: Kafka's abs(hashCode) modulo the number of partitions.
func PartitionOf(group string, partitions int32) int32 {
	h := javaHash(group)
	if h < 0 {
		h = -h
	}
	if h < 0 { // the smallest number has no opposite: Kafka's abs makes it 0
		h = 0
	}
	return h % partitions
}

// javaHash is Java's String.hashCode: over UTF-16 code units, wrapping.
func javaHash(s string) (h int32) {
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); hi != '\uFFFD' {
			h = 31*(31*h+hi) + lo
			continue
		}
		h = 31*h + r
	}
	return h
}
