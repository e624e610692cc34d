package log_test

import (
	"context"
	"fmt"
	"os"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

// A log on its own: open, append, make durable, iterate, close.
func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "log")
	defer os.RemoveAll(dir)

	l, err := log.Open(dir+"/events-0", log.Config{})
	if err != nil {
		panic(err)
	}
	defer l.Close()
	l.AppendRecords(record.Record{Value: []byte("one")}, record.Record{Value: []byte("two")})
	l.Sync()
	for r, err := range l.Records(context.Background(), 0) {
		fmt.Println(r.Offset, string(r.Value), err)
	}
	// Output:
	// 0 one <nil>
	// 1 two <nil>
}
