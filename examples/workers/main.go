// Workers shares 200,000 jobs among the members of a consumer group while members come and go: some are added, one is stopped, one is killed without a word. It shows who has which partitions after each
// change, how long the rebalance took, and at the end that no job was missed and why some were done twice.
//
//	go run ./examples/workers [-workers 4] [-records 200000] [-exactly-once]
//
// With -exactly-once the results and the offsets are kept together in an SQLite database, and nothing is done twice. That needs a database driver, which this module does not depend on: the program then
// runs the one in examples/workers/exactlyonce, a module of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/insynclog/insync/examples/workers/story"
)

func main() {
	o := story.Options{Out: os.Stdout}
	flag.IntVar(&o.Workers, "workers", 4, "number of workers, at least 3")
	flag.IntVar(&o.Records, "records", 200_000, "number of jobs")
	exactlyOnce := flag.Bool("exactly-once", false, "keep results and offsets together in a database")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := story.Run
	if *exactlyOnce {
		run = runExactlyOnce
	}
	err := run(ctx, o)
	if errors.Is(err, story.ErrCount) {
		os.Exit(1) // the last line has said it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}

// runExactlyOnce runs the program with the database driver from the source beside this one.
func runExactlyOnce(ctx context.Context, o story.Options) error {
	dir := filepath.Join("examples", "workers", "exactlyonce")
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return fmt.Errorf("-exactly-once is to be run in the root of the repository: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "run", ".", fmt.Sprintf("-workers=%d", o.Workers), fmt.Sprintf("-records=%d", o.Records))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, o.Out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.Run()
}
