package main

import (
	"math/rand/v2"
	"time"

	"github.com/insynclog/insync/log/record"
)

// batch is what one append adds: some records, and the same encoded as a producer sends them.
type batch struct {
	values  [][]byte
	encoded record.Batch
	size    int // bytes of all values
}

// stamp is the time of every record, and of every append: reading the clock is not what is measured.
var stamp = time.UnixMilli(1_700_000_000_000)

// lot is a number of batches that are appended in turn, so that what is read back shows its place.
type lot []*batch

// newLot makes batches of n records of size bytes; with n = 0, of as many as fit into limit bytes when encoded.
func newLot(size, n, limit int) lot {
	const several = 4
	random := rand.New(rand.NewPCG(1, uint64(size)))
	l := make(lot, several)
	for i := range l {
		builder := record.NewBuilder(record.BuilderConfig{})
		b := &batch{}
		for {
			value := make([]byte, size)
			for j := range value {
				value[j] = byte(random.Uint32())
			}
			r := record.Record{Value: value, Timestamp: stamp}
			full := len(b.values) == n
			if n == 0 {
				full = len(b.values) > 0 && builder.Size()+builder.AppendSize(&r) > limit
			}
			if full {
				break
			}
			builder.Append(&r)
			b.values = append(b.values, value)
			b.size += size
		}
		encoded, err := builder.Build(nil)
		if err != nil {
			panic(err) // no batch is empty or huge
		}
		b.encoded = encoded
		l[i] = b
	}
	return l
}

// at is the batch of the i-th append.
func (l lot) at(i int) *batch { return l[i%len(l)] }

// value is the record with that number, from 0.
func (l lot) value(number int) []byte {
	n := len(l[0].values)
	return l.at(number / n).values[number%n]
}
