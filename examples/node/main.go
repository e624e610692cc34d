// Node is the smallest embedding: one durable node in a process of its own, for foreign Kafka clients to connect to.
//
//	go run ./examples/node -id 1 -dir data -listen 127.0.0.1:9092
//
// Three of them make a cluster when each gets the same list:
//
//	-voters 1@127.0.0.1:9092,2@127.0.0.1:9093,3@127.0.0.1:9094
//
// One more becomes part of a cluster that runs, through any of its nodes:
//
//	-id 4 -dir data4 -listen 127.0.0.1:9095 -join 127.0.0.1:9092,127.0.0.1:9093
//
// With users, logins and access control lists, and TLS:
//
//	-users users.txt -peer-secret secret.txt -super admin -tls-cert node.pem -tls-key node.key -tls-roots roots.pem
//
// users.txt has a name and a password in each line; they may log in with PLAIN or SCRAM.
//
// It prints "node 1 ready on 127.0.0.1:9092" when it can take requests. SIGINT and SIGTERM end it after its leaderships were handed over; the library itself never touches signals.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/insynclog/insync/cluster"
)

func main() {
	id := flag.Int("id", 1, "node id")
	dir := flag.String("dir", "", "data directory; in memory if empty")
	listen := flag.String("listen", "127.0.0.1:9092", "address to listen on; port 0 picks one")
	voters := flag.String("voters", "", "members of the metadata quorum as id@host:port,…; this node alone if empty")
	join := flag.String("join", "", "addresses of nodes of a running cluster to become part of, as host:port,…; not with -voters")
	autoCreate := flag.Bool("auto-create", false, "create topics that clients ask for")
	rack := flag.String("rack", "", "where the node stands")
	session := flag.Duration("session-timeout", 0, "how long a node may be silent before its leaderships go to others, if not 9s")
	insecure := flag.Bool("insecure", false, "allow an address beyond loopback without TLS or logins")
	var secure security
	secure.flags(flag.CommandLine)
	verbose := flag.Bool("v", false, "log to standard error")
	debug := flag.Bool("debug", false, "log more, for example which client uses which API")
	flag.Parse()

	c := cluster.Config{NodeID: int32(*id), Dir: *dir, Listen: *listen, AutoCreateTopics: *autoCreate, Rack: *rack, Insecure: *insecure}
	if c.SessionTimeout = *session; c.SessionTimeout > 0 {
		c.HeartbeatInterval = c.SessionTimeout / 4
	}
	if *verbose || *debug {
		var options slog.HandlerOptions
		if *debug {
			options.Level = slog.LevelDebug
		}
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &options))
	}
	if *join != "" {
		c.Join = strings.Split(*join, ",")
	}
	if err := run(c, *voters, &secure); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(c cluster.Config, voters string, secure *security) (err error) {
	if err := secure.apply(&c); err != nil {
		return err
	}
	if c.Voters, err = parseVoters(voters); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	node, err := cluster.Start(ctx, c)
	if err != nil {
		return err
	}
	if err := secure.createUsers(ctx, node); err != nil {
		return errors.Join(err, node.Close())
	}
	fmt.Printf("node %d ready on %s\n", node.ID(), node.Addrs()[0])
	select {
	case <-ctx.Done():
	case <-node.Done():
		return node.Err()
	}
	stop() // a second signal ends the process at once
	handOver, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return node.Shutdown(handOver)
}

// parseVoters reads "1@host:port,2@host:port".
func parseVoters(s string) (voters []cluster.Voter, err error) {
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		id, addr, ok := strings.Cut(part, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil {
			return nil, fmt.Errorf("-voters: %q: want id@host:port", part)
		}
		voters = append(voters, cluster.Voter{ID: int32(n), Addr: addr})
	}
	return voters, nil
}
