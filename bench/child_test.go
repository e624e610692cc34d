package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
)

// A broker under test runs in a process of its own, so that its CPU time can be told from the client's: this test binary, started again.
const (
	childEnv    = "INSYNC_BENCH_BROKER"
	childDirEnv = "INSYNC_BENCH_DIR"
)

// child is such a process, as its parent sees it. It ends when its standard input does.
type child struct {
	cmd  *exec.Cmd
	addr string
	ask  func() (time.Duration, error)
	stop func() error
}

// startChild starts a broker of a kind, "insync" or "null/<record bytes>"; or "sink", which takes whatever comes; or "attack/<connections>/<address>", which is none: it answers with the number of connections that it made.
func startChild(kind, dir string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+kind, childDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	c := &child{cmd: cmd}
	c.stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	c.ask = func() (time.Duration, error) {
		if _, err := fmt.Fprintln(in, "cpu"); err != nil {
			return 0, err
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		return time.Duration(ns), err
	}
	addr, err := lines.ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.addr = strings.TrimSpace(addr)
	return c, nil
}

// runChild is the child's main: it says where it listens, then answers each line with the CPU time that it has used, in nanoseconds.
func runChild(kind, dir string) error {
	if what, ok := strings.CutPrefix(kind, "attack/"); ok {
		return runAttack(what)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if kind == "sink" {
		go sink(l)
	} else if size, ok := strings.CutPrefix(kind, "null/"); ok {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		batch, err := encode(max(1, (64<<10-record.HeaderSize)/(n+8)), n)
		if err != nil {
			return err
		}
		broker := newNullBroker(l.Addr().(*net.TCPAddr), batch)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go broker.serve(c) // ends with its connection
			}
		}()
	} else {
		node, err := cluster.Start(context.Background(), cluster.Config{Dir: dir, Listener: l, Topic: pageCache})
		if err != nil {
			return err
		}
		defer node.Kill()
		if err := createTopic(node); err != nil {
			return err
		}
	}
	fmt.Println(l.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(cpuTime().Nanoseconds())
	}
	return nil
}
