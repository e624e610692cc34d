package producer

import (
	"encoding/binary"

	"github.com/insynclog/insync/log/record"
)

// Partitioner chooses the partition of a record. It is called from many goroutines at once and must not block or keep r.
type Partitioner interface {
	// Partition returns the partition in [0, partitions). A negative number leaves the choice to the producer, as for a record
	// without a key by default; partitions or more is an error of the call that produced r.
	Partition(r *record.Record, partitions int) int
}

// PartitionerFunc is a function as a Partitioner.
type PartitionerFunc func(r *record.Record, partitions int) int

// Partition calls f.
func (f PartitionerFunc) Partition(r *record.Record, partitions int) int { return f(r, partitions) }

// Keyed is the default: records with a key go where KeyPartition says, records without one stick to a partition until
// Config.BatchBytes were produced to it.
type Keyed struct{}

// Partition returns KeyPartition of the key, or -1 without a key.
func (Keyed) Partition(r *record.Record, partitions int) int {
	if r.Key == nil {
		return -1
	}
	return int(KeyPartition(r.Key, partitions))
}

// Manual takes the Partition field of each record as it is. A negative one is an error of the call.
type Manual struct{}

// Partition returns r.Partition.
func (Manual) Partition(r *record.Record, partitions int) int {
	if r.Partition < 0 {
		return partitions // not "choose for me", but a mistake
	}
	return int(r.Partition)
}

// KeyPartition returns the partition in [0, partitions) that the Java client chooses for a key: murmur2 without its sign, modulo
// partitions, which must be positive. An empty key is a key.
func KeyPartition(key []byte, partitions int) int32 {
	return int32(int(murmur2(key)&0x7fffffff) % partitions)
}

// murmur2 is the 32-bit MurmurHash2 with the seed of Kafka's clients.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b)
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
