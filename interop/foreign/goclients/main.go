// Goclients checks a client that is written in Go against the cluster in BOOTSTRAP:
//
//	goclients franz-go|sarama|kafka-go
//
// The checks are the same for all, over the interface client; each client has a file that implements it. Each check prints "CHECK name result reason", separated by tabs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// patience is how long is waited for anything.
const patience = 40 * time.Second

// A skip says why a check can not be made: most often, that the client has no such call.
type skip string

func (s skip) Error() string { return string(s) }

const noCall = skip("the client has no such call")

// A library is one of the clients. Its name is also how run.sh calls it.
type library struct {
	name, module string
	open         func(login) (client, error)
	// refused is the code of a write to a topic of which nothing is allowed.
	refused int16
}

var libraries = []library{
	{"franz-go", "github.com/twmb/franz-go", openFranz, topicAuthorization},
	{"sarama", "github.com/IBM/sarama", openSarama, topicAuthorization},
	{"kafka-go", "github.com/segmentio/kafka-go", openKafkaGo, unknownTopic}, // it asks for all topics and looks there
}

// A site is a cluster as one client sees it.
type site struct {
	library
	client
	secure bool
	admin  login
	prefix string // of all names, so that runs do not meet

	lastGroup, lastTopic string // of the last check of groups
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: goclients franz-go|sarama|kafka-go")
		os.Exit(2)
	}
	for _, l := range libraries {
		if l.name != os.Args[1] {
			continue
		}
		if err := run(l); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintf(os.Stderr, "goclients: no client %s\n", os.Args[1])
	os.Exit(2)
}

func run(l library) error {
	s := &site{library: l, secure: os.Getenv("MODE") == "secure", prefix: l.name + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36) + "-"}
	s.admin = login{seeds: strings.Split(os.Getenv("BOOTSTRAP"), ",")}
	if s.secure {
		s.admin.roots, s.admin.mechanism = os.Getenv("CA"), "SCRAM-SHA-512"
		s.admin.user, s.admin.password = os.Getenv("SASL_USER"), os.Getenv("SASL_PASSWORD")
	}
	fmt.Printf("VERSION\t%s\n", version(l.module))
	c, err := l.open(s.admin)
	if err != nil {
		return err
	}
	defer c.close()
	s.client = c
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		check("codec-"+codec, func() (string, error) { return s.codec(codec) })
	}
	check("headers", s.headers)
	check("tombstones", s.tombstones)
	check("timestamps", s.timestamps)
	check("idempotent", s.idempotent)
	check("group-kip848", func() (string, error) { return s.group(kip848) })
	check("group-classic", func() (string, error) { return s.group(classic) })
	check("committed", s.committedOffsets)
	check("metadata-all", s.metadataAll)
	check("admin-topics", s.adminTopics)
	check("admin-partitions", s.adminPartitions)
	check("admin-configs", s.adminConfigs)
	check("admin-groups", s.adminGroups)
	check("admin-cluster", s.adminCluster)
	check("admin-records", s.adminRecords)
	check("admin-access", s.ifSecure(s.adminAccess))
	check("login-right", s.ifSecure(s.loginRight))
	check("login-wrong", s.ifSecure(s.loginWrong))
	check("leader-crash", s.leaderCrash)
	check("transactions", func() (string, error) { return "", skip("the broker serves no transactions yet") })
	return nil
}

// version is that of the module in this binary.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return "-"
}

func check(name string, f func() (note string, err error)) {
	note, err := f()
	result := "pass"
	if err != nil {
		result, note = "fail", strings.Join(strings.Fields(err.Error()), " ")
		if _, ok := errors.AsType[skip](err); ok {
			result = "skipped"
		}
	}
	fmt.Printf("CHECK\t%s\t%s\t%s\n", name, result, note)
}

func (s *site) ifSecure(f func() (string, error)) func() (string, error) {
	if s.secure {
		return f
	}
	return func() (string, error) { return "", skip("logins are off") }
}

// await polls until ok, or fails with what was waited for.
func await(what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		done, err := ok()
		if done {
			return nil
		}
		if _, never := errors.AsType[skip](err); never {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%v waiting for: %s (%w)", patience, what, orNothing(err))
		}
	}
}

// within calls f with a context that ends when patience does.
func within[T any](f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return f(ctx)
}

// ctl starts or kills a node.
func ctl(what string, node int32) error {
	out, err := exec.Command(os.Getenv("CTL"), what, strconv.Itoa(int(node))).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %d: %w: %s", what, node, err, out)
	}
	return nil
}
