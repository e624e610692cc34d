package interop

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write proof.tsv anew, as far as it is about the clients here")

// proofFile tells which APIs clients have used in tests that passed, in which versions: docs/kafka-compat.md is made of it. Each line has a key, a client and versions; foreign/run.sh
// writes those of its clients, and adds to those of the clients here what it has seen of them, so it is run after -update.
const proofFile = "proof.tsv"

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 && *update {
		if err := uses.write(proofFile); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// proof is which versions of which APIs were used.
type proof map[use]map[int64]bool

type use struct {
	key    int64
	client string
}

// uses is what nodes over TCP have logged of their clients.
var uses = &useLog{seen: proof{}}

// useLog is a node's log of which nothing is kept but what clients used.
type useLog struct {
	mu   sync.Mutex
	seen proof
}

func (l *useLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *useLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *useLog) WithGroup(string) slog.Handler            { return l }

func (l *useLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "api used" {
		return nil
	}
	attrs := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.Resolve()
		return true
	})
	client := clientOf(attrs["software"].String(), attrs["client"].String())
	if client == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := use{attrs["key"].Int64(), client}
	if l.seen[u] == nil {
		l.seen[u] = map[int64]bool{}
	}
	l.seen[u][attrs["api"].Int64()] = true
	return nil
}

// clientOf names a client by how it calls itself; nodes and insync's own clients have no name here.
func clientOf(software, id string) string {
	switch {
	case software == "kgo":
		return "franz-go"
	case software == "sarama":
		return software
	case software == "" && id == "kafka-go":
		return id
	}
	return ""
}

// write puts what was seen in the place of what the file says of the same clients.
func (l *useLog) write(name string) error {
	if run := flag.Lookup("test.run").Value.String(); run != "" {
		return fmt.Errorf("%s is written by a run of all tests, not of %s", name, run)
	}
	all, err := readProof(name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for u := range l.seen {
		maps.DeleteFunc(all, func(old use, _ map[int64]bool) bool { return old.client == u.client })
	}
	maps.Copy(all, l.seen)
	var b bytes.Buffer
	for _, u := range slices.SortedFunc(maps.Keys(all), func(a, b use) int { return cmp.Or(cmp.Compare(a.key, b.key), strings.Compare(a.client, b.client)) }) {
		fmt.Fprintf(&b, "%d\t%s\t%s\n", u.key, u.client, strings.ReplaceAll(strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(all[u]))), "[]"), " ", ","))
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

func readProof(name string) (proof, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p := proof{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: %q: want key, client, versions", name, line)
		}
		key, err := strconv.ParseInt(fields[0], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", name, line, err)
		}
		versions := map[int64]bool{}
		for s := range strings.SplitSeq(fields[2], ",") {
			v, err := strconv.ParseInt(s, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", name, line, err)
			}
			versions[v] = true
		}
		p[use{key, fields[1]}] = versions
	}
	return p, nil
}
