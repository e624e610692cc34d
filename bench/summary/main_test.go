package main

import (
	"strings"
	"testing"
)

func TestSummaryPairsMedians(t *testing.T) {
	in := `goos: linux
BenchmarkA/x=1/insync-2   	 10	 5 ns/op	 90 records/s	 2.5 cpu-s/Mrecord
BenchmarkA/x=1/limit-2   	 10	 5 ns/op	 100 records/s
BenchmarkA/x=1/insync-2   	 10	 5 ns/op	 70 records/s	 3.5 cpu-s/Mrecord
BenchmarkB/insync-2   	 10	 5 ns/op	 12345 p50-µs
PASS
`
	want := `| benchmark | unit | insync | limit | ratio | runs |
|---|---|---:|---:|---:|---:|
| A/x=1 | records/s | 80.0 | 100 | 0.80 | 2 |
| A/x=1 | cpu-s/Mrecord | 3.0 |  |  | 2 |
| B | p50-µs | 12 k |  |  | 1 |
`
	var out strings.Builder
	if err := summarize(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
