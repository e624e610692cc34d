package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	if dir := os.Getenv(childEnv); dir != "" {
		exit(runChild(dir))
	}
	var (
		c     = full
		short = flag.Bool("short", false, "every row once, for a moment")
	)
	flag.IntVar(&c.rounds, "rounds", full.rounds, "how often every log does every row")
	flag.DurationVar(&c.durable, "durable", full.durable, "time for one sample of the rows that wait for the disk")
	flag.DurationVar(&c.cached, "cached", full.cached, "time for one sample of the others")
	flag.BoolVar(&c.processor, "cpu", false, "count the processor time of this process instead of the time on the wall, in rows that do not wait for the disk: for a busy machine")
	flag.StringVar(&c.dir, "dir", os.TempDir(), "where the logs are: on the disk that matters")
	flag.StringVar(&c.rows, "rows", "", "only the rows that have this in their title, record size or batch, as \"durably, one\" or \"64 KiB\"; several are separated by commas, and all must be there")
	flag.Parse()
	if *short {
		brief.dir, brief.rows = c.dir, c.rows
		c = brief
	}
	exit(run(c, os.Stdout, os.Stderr))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "storage:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// settings say how much is measured.
type settings struct {
	rounds          int
	cached, durable time.Duration // for a sample
	limit           int64         // bytes written for a sample
	size            int64         // of a log that is opened
	writers         int           // where there are many
	processor       bool          // see meter
	dir             string
	rows            string
}

var (
	full  = settings{rounds: 5, cached: 50 * time.Millisecond, durable: 120 * time.Millisecond, limit: 128 << 20, size: 1 << 30, writers: 64}
	brief = settings{rounds: 1, cached: time.Millisecond, durable: time.Millisecond, limit: 1 << 20, size: 4 << 20, writers: 4}
)

// wants tells whether a row was asked for.
func (c settings) wants(s *section, r *row) bool {
	for word := range strings.SplitSeq(c.rows, ",") {
		if !strings.Contains(s.title+"\n"+r.records+"\n"+r.batch, strings.TrimSpace(word)) {
			return false
		}
	}
	return true
}
