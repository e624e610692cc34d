// Quickstart starts a replicated log inside one process, writes every line of its input to it, kills the leader of the busiest partition in the middle, and counts what comes back.
//
//	go run ./examples/quickstart [-nodes 3] [-dir DIR] [-listen] [FILE ...]
//
// It reads the files, or standard input if that is a pipe or a file, or else the Go source files below the current directory. The last line says whether anything was lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	o := options{out: os.Stdout}
	flag.IntVar(&o.nodes, "nodes", 3, "number of nodes")
	flag.StringVar(&o.dir, "dir", "", "data directory; a temporary one, removed at the end, if empty")
	flag.BoolVar(&o.listen, "listen", false, "keep the nodes running at the end, for other Kafka clients, until interrupted")
	flag.BoolVar(&o.memory, "memory", false, "keep the logs in memory instead of in files")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		in, err := openInput(flag.Args())
		if err != nil {
			return err
		}
		defer in.Close()
		o.in = in
		return run(ctx, o)
	}()
	if errors.Is(err, errCount) {
		os.Exit(1) // the last line has said it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// errCount says that the counts do not add up.
var errCount = errors.New("records are missing, doubled or out of order")

// options are the command line.
type options struct {
	nodes  int
	dir    string
	listen bool
	memory bool
	in     io.Reader
	out    io.Writer
}
