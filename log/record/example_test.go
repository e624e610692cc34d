package record_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/insynclog/insync/log/record"
)

// A batch is built, gets its place in a log, and is read.
func Example() {
	b := record.NewBuilder(record.BuilderConfig{Codec: record.Zstd})
	for _, city := range []string{"Oslo", "Lima", "Kyiv"} {
		b.Append(&record.Record{Key: []byte("city"), Value: []byte(city), Timestamp: time.UnixMilli(1_700_000_000_000)})
	}
	bytes, err := b.Build(nil)
	if err != nil {
		log.Fatal(err)
	}

	batch, _, err := record.Split(bytes)
	if err != nil {
		log.Fatal(err)
	}
	batch.PutBaseOffset(100) // what a leader does: no byte under the checksum changes
	batch.PutLeaderEpoch(7)

	for r, err := range batch.All() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d epoch %d: %s=%s\n", r.Offset, r.LeaderEpoch, r.Key, r.Value)
	}
	// Output:
	// 100 epoch 7: city=Oslo
	// 101 epoch 7: city=Lima
	// 102 epoch 7: city=Kyiv
}

// A Reader keeps its memory from batch to batch; a record is kept by cloning it.
func ExampleReader() {
	b := record.NewBuilder(record.BuilderConfig{})
	b.Append(&record.Record{Value: []byte("first")})
	b.Append(&record.Record{Value: []byte("second")})
	fetched, err := b.Build(nil)
	if err != nil {
		log.Fatal(err)
	}

	var r record.Reader
	var last record.Record
	for batch, err := range record.Batches(fetched) {
		if err != nil {
			log.Fatal(err)
		}
		if err := r.Reset(batch, 0); err != nil {
			log.Fatal(err)
		}
		for r.Next() {
			last = r.Record().Clone()
		}
		if err := r.Err(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%s\n", last.Value)
	// Output: second
}

// A leader refuses what breaks its topic's rules, and says which record it was.
func ExampleValidate() {
	b := record.NewBuilder(record.BuilderConfig{})
	b.Append(&record.Record{Key: []byte("k"), Value: []byte("v")})
	b.Append(&record.Record{Value: []byte("no key")})
	batch, err := b.Build(nil)
	if err != nil {
		log.Fatal(err)
	}

	var scratch record.Reader
	_, err = record.Validate(batch, record.ValidateOptions{MaxBytes: 1 << 20, RequireKeys: true}, &scratch)
	if invalid, ok := errors.AsType[*record.InvalidError](err); ok {
		fmt.Println(invalid.Index, err)
	}
	// Output: 1 record: invalid record 1: no key, in a compacted topic
}
