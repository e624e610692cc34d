package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	hostileConns    = flag.Int("hostile.conns", 400, "connections of TestHostile; 10000 is what the README tells of")
	hostileDuration = flag.Duration("hostile.duration", 3*time.Second, "how long TestHostile lasts; 60s is what the README tells of")
)

// TestHostile has one good client produce while others attack the same broker, in a process of its own, from a third one: slow bytes, half frames, counts that lie, garbage. It tells latencies and memory; the only thing that fails it is an
// error of the good client.
func TestHostile(t *testing.T) {
	c, err := startChild("insync", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}()
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{c.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	batch := batchBytes(t, 1<<10, 100)

	quiet := goodClient(t, client, batch, *hostileDuration)
	before := residentMemory(c.cmd.Process.Pid)
	t.Logf("quiet:        %v, memory %d MiB", quiet, before>>20)

	// Limit: the same attack on a process that only accepts and reads, which costs the machine what it costs.
	other, err := startChild("sink", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.stop(); err != nil {
			t.Error(err)
		}
	}()
	under := func(target string) (latencies, int64) {
		attackers, err := startChild(fmt.Sprintf("attack/%d/%s", *hostileConns, target), "")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(min(*hostileDuration/4, 5*time.Second)) // until they are all there
		l := goodClient(t, client, batch, *hostileDuration)
		made, err := attackers.ask()
		if err := errors.Join(err, attackers.stop()); err != nil {
			t.Fatal(err)
		}
		return l, int64(made)
	}
	limit, made := under(other.addr)
	t.Logf("limit:        %v, others are attacked: %d hostile connections at once, %d in all", limit, *hostileConns, made)
	attacked, made := under(c.addr)
	after := residentMemory(c.cmd.Process.Pid)
	t.Logf("under attack: %v, memory %d MiB (+%d), %d hostile connections at once, %d in all", attacked, after>>20, (after-before)>>20, *hostileConns, made)
}

// sink takes connections and what they send.
func sink(l net.Listener) {
	room := make(chan struct{}, 4096)
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case room <- struct{}{}:
			go func() { // ends with its connection
				_, _ = io.Copy(io.Discard, nc)
				nc.Close()
				<-room
			}()
		default:
			nc.Close()
		}
	}
}

// runAttack is the attackers' process: as many connections as it is told, until its standard input ends. It is not to win a race for the processor, which is the same here.
func runAttack(what string) error {
	conns, addr, _ := strings.Cut(what, "/")
	n, err := strconv.Atoi(conns)
	if err != nil {
		return err
	}
	beNice()
	ctx, cancel := context.WithCancel(context.Background())
	a := &attack{addr: addr}
	for i := range n {
		a.wg.Go(func() { a.run(ctx, i) })
	}
	fmt.Println(addr)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(a.made.Load())
	}
	cancel()
	a.wg.Wait()
	return nil
}

// TestIdleConnections tells what a connection costs a broker that asked for something once and then waits.
func TestIdleConnections(t *testing.T) {
	const conns = 4000
	c, err := startChild("insync", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}()
	before := residentMemory(c.cmd.Process.Pid)
	ask := []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff} // ApiVersions
	for i := range conns {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(i/200), 1+byte(i%200))}}
		nc, err := d.DialContext(t.Context(), "tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write(ask); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAtLeast(nc, make([]byte, 64), 12); err != nil {
			t.Fatal(err)
		}
	}
	after := residentMemory(c.cmd.Process.Pid)
	t.Logf("%d connections: memory %d MiB, %d before: %d bytes each", conns, after>>20, before>>20, (after-before)/conns)
}

// latencies are percentiles of one client's requests.
type latencies struct {
	n        int
	p50, p99 time.Duration
}

func (l latencies) String() string {
	return fmt.Sprintf("%d requests, p50 %v, p99 %v", l.n, l.p50.Round(time.Microsecond), l.p99.Round(time.Microsecond))
}

// goodClient produces a small batch every few milliseconds.
func goodClient(t *testing.T, client *transport.Client, batch []byte, d time.Duration) latencies {
	t.Helper()
	info, err := client.Topic(t.Context(), "t", false)
	if err != nil {
		t.Fatal(err)
	}
	node := info.Partitions[0].Leader
	var all []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = 1, 10_000
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic, topic.TopicID = "t", info.ID
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = batch
		topic.Partitions = append(topic.Partitions, p)
		req.Topics = append(req.Topics, topic)
		start := time.Now()
		resp, err := client.Request(t.Context(), node, req)
		if err != nil {
			t.Fatal(err)
		}
		if code := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
			t.Fatalf("produce: error code %d", code)
		}
		all = append(all, time.Since(start))
		time.Sleep(2 * time.Millisecond)
	}
	slices.Sort(all)
	return latencies{len(all), all[len(all)/2], all[len(all)*99/100]}
}

// attack is many connections that mean no good.
type attack struct {
	addr string
	wg   sync.WaitGroup
	made atomic.Int64
}

// run is one of them, again and again.
func (a *attack) run(ctx context.Context, i int) {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	// Of many hosts: a limit for one is easily met.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(i/200), 1+byte(i%200))}}
	for ctx.Err() == nil {
		nc, err := d.DialContext(ctx, "tcp", a.addr)
		if err != nil {
			pause(ctx, time.Second)
			continue
		}
		a.made.Add(1)
		stop := context.AfterFunc(ctx, func() { nc.Close() })
		_ = a.act(ctx, nc, rng, i%4) // it ends the way it ends
		stop()
		nc.Close()
		pause(ctx, time.Duration(rng.IntN(5000))*time.Millisecond)
	}
}

// act does one kind of harm until the connection ends.
func (a *attack) act(ctx context.Context, nc net.Conn, rng *rand.Rand, kind int) error {
	claim := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	var first []byte
	switch kind {
	case 0: // slow bytes of an honest frame
		first = claim(1000)
	case 1: // half of a large frame
		first = append(claim(16<<20), make([]byte, 1+rng.IntN(64<<10))...)
	case 2: // a metadata request with more topics than there are bytes
		b := []byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}
		first = append(claim(uint32(len(b))), b...)
	default:
		first = make([]byte, 200)
		for i := range first {
			first[i] = byte(rng.Uint32())
		}
		first[0], first[1] = 0, 0
	}
	if _, err := nc.Write(first); err != nil {
		return err
	}
	if kind >= 2 {
		one := make([]byte, 1)
		_, err := nc.Read(one)
		return err
	}
	for {
		if !pause(ctx, time.Duration(500+rng.IntN(1000))*time.Millisecond) { // not all at once: they are not one program
			return nil
		}
		if _, err := nc.Write([]byte{0}); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
