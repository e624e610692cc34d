package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/log/record"
)

var kill = struct {
	cycles, child int
	dir           string
}{}

func init() {
	flag.IntVar(&kill.cycles, "kill.cycles", 25, "how often the process that writes is killed")
	flag.StringVar(&kill.dir, "kill.dir", "", "where its directory is made: on a real disk; empty is the one for temporary files")
	flag.IntVar(&kill.child, "kill.child", -1, "of the test itself: be the process that is killed, in this cycle")
}

const (
	killLogs      = 2
	killProducers = 3
)

var killConfig = Config{SegmentBytes: 64 << 10, IndexIntervalBytes: 512, SegmentIndexBytes: 4096}

// killNote is what the child tells the parent, through a pipe: what is in it when the child dies still counts.
type killNote struct {
	Kind     byte // 'a': the record at Offset is acknowledged; 's': the log start is being raised to Offset; 'o': the log was opened and ends at Offset; 'c': stopped cleanly
	Log      uint8
	Producer uint16
	Cycle    uint32
	Sequence uint64
	Offset   int64
}

// killValue is the value of a record. It can be told from itself whether it is whole: the head says what the rest is.
func killValue(log, producer int, cycle, sequence uint64) []byte {
	v := make([]byte, 20, 600)
	v[0], v[1] = byte(log), byte(producer)
	binary.BigEndian.PutUint64(v[2:], cycle)
	binary.BigEndian.PutUint64(v[10:], sequence)
	rng := rand.New(rand.NewPCG(cycle<<16|uint64(log)<<8|uint64(producer), sequence))
	for range rng.IntN(500) {
		v = append(v, byte(rng.Uint32()))
	}
	return binary.BigEndian.AppendUint32(v, crc32.ChecksumIEEE(v))
}

// TestKillChild is not a test of its own: TestKillLoop runs it in a process of its own, and kills that.
func TestKillChild(t *testing.T) {
	if kill.child < 0 {
		return
	}
	pipe := os.NewFile(3, "notes")
	defer pipe.Close()
	tell := func(n killNote) {
		b, err := binary.Append(nil, binary.BigEndian, n)
		require.NoError(t, err)
		_, err = pipe.Write(b) // at once: shorter than what a pipe takes whole
		require.NoError(t, err)
	}
	c := &killedWriter{t: t, tell: tell, cycle: uint64(kill.child), stop: make(chan struct{})}
	var err error
	c.d, err = OpenDirectory(kill.dir, DirectoryConfig{NodeID: 1, MaxOpenSegments: 1})
	require.NoError(t, err)
	for i := range killLogs {
		c.logs[i].Log, err = c.d.OpenLog("t", int32(i), TopicID{byte(1 + i)}, killConfig)
		require.NoError(t, err)
		tell(killNote{Kind: 'o', Log: uint8(i), Cycle: uint32(c.cycle), Offset: c.logs[i].Offsets().LogEndOffset})
	}
	var wg sync.WaitGroup
	for i := range killLogs {
		for p := range killProducers {
			wg.Go(func() { c.produce(i, p) })
		}
		wg.Go(func() { c.disturb(i) })
	}
	wg.Go(func() {
		for !c.stopped(7 * time.Millisecond) {
			require.NoError(t, c.d.Checkpoint(context.Background()))
		}
	})
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent wants a clean stop
	close(c.stop)
	wg.Wait()
	require.NoError(t, c.d.Close(int64(c.cycle)))
	tell(killNote{Kind: 'c', Cycle: uint32(c.cycle)})
}

// killedWriter is the child at work.
type killedWriter struct {
	t     *testing.T
	tell  func(killNote)
	cycle uint64
	stop  chan struct{}
	d     *Directory
	logs  [killLogs]struct {
		*Log
		sync.Mutex // the owner's: appends are serialised
	}
}

func (c *killedWriter) stopped(wait time.Duration) bool {
	select {
	case <-c.stop:
		return true
	case <-time.After(wait):
		return false
	}
}

// produce appends records one after the other and tells of each when it is durable.
func (c *killedWriter) produce(i, p int) {
	l := &c.logs[i]
	for seq := uint64(0); !c.stopped(0); seq++ {
		b := record.NewBuilder(record.BuilderConfig{})
		b.SetProducer(int64(c.cycle)<<8|int64(p), 0, int32(seq))
		b.Append(&record.Record{Value: killValue(i, p, c.cycle, seq), Timestamp: testTime})
		out, err := b.Build(nil)
		require.NoError(c.t, err)
		l.Lock()
		a, err := l.Append(out, AppendOptions{})
		l.Unlock()
		require.NoError(c.t, err)
		synced, err := l.Sync()
		require.NoError(c.t, err)
		require.GreaterOrEqual(c.t, synced, a.EndOffset)
		c.tell(killNote{Kind: 'a', Log: uint8(i), Producer: uint16(p), Cycle: uint32(c.cycle), Sequence: seq, Offset: a.BaseOffset})
	}
}

// disturb appends what it takes back, starts epochs, and gives up the oldest.
func (c *killedWriter) disturb(i int) {
	l := &c.logs[i]
	rng := rand.New(rand.NewPCG(c.cycle, uint64(i)))
	for n := uint64(0); !c.stopped(time.Duration(rng.IntN(6)) * time.Millisecond); n++ {
		l.Lock()
		end := l.Offsets().LogEndOffset
		switch rng.IntN(4) {
		case 0, 1:
			for j := range uint64(rng.IntN(4)) {
				b := record.NewBuilder(record.BuilderConfig{})
				b.Append(&record.Record{Value: killValue(i, killProducers, c.cycle, n<<8|j), Timestamp: testTime})
				out, err := b.Build(nil)
				require.NoError(c.t, err)
				_, err = l.Append(out, AppendOptions{})
				require.NoError(c.t, err)
			}
			require.NoError(c.t, l.TruncateTo(end))
		case 2:
			l.SetHighWatermark(l.Offsets().SyncedEndOffset)
		case 3:
			if start := end - 2500; start > l.Offsets().LogStartOffset && start <= l.Offsets().SyncedEndOffset {
				c.tell(killNote{Kind: 's', Log: uint8(i), Offset: start})
				require.NoError(c.t, l.AdvanceLogStart(start))
				_, err := l.DeleteOldSegments()
				require.NoError(c.t, err)
			}
		}
		l.Unlock()
	}
}

// killLedger is the parent's.
type killLedger struct {
	acked    [killLogs]map[int64][]byte
	start    [killLogs]int64 // the log may begin here at the latest
	seen     [killLogs]int64 // the end at the last look
	acks     int
	cleanly  bool
	wasClean int
}

// TestKillLoop kills a process that writes, again and again at a random moment, and looks after what it has acknowledged.
func TestKillLoop(t *testing.T) {
	if kill.child >= 0 {
		return
	}
	dir, err := os.MkdirTemp(kill.dir, "kill")
	require.NoError(t, err)
	defer func() {
		if t.Failed() {
			t.Logf("left behind: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	}()
	cycles := kill.cycles
	if raced && cycles == 25 {
		cycles = 5
	}
	k := &killLedger{}
	for i := range k.acked {
		k.acked[i] = map[int64][]byte{}
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	began := time.Now()
	for cycle := range cycles {
		k.run(t, dir, cycle, rng)
		k.verify(t, dir)
	}
	require.Greater(t, k.acks, cycles, "too little is written between the kills")
	t.Logf("%d kills, %d records acknowledged, %d clean stops, in %v", cycles-k.wasClean, k.acks, k.wasClean, time.Since(began).Round(time.Millisecond))
}

// run starts the child, lets it work for a while, and ends it.
func (k *killLedger) run(t *testing.T, dir string, cycle int, rng *rand.Rand) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$", fmt.Sprint("-kill.child=", cycle), "-kill.dir="+dir+"/node")
	cmd.ExtraFiles = []*os.File{w}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	clean := rng.IntN(12) == 0
	// From the first moments, in which it recovers, to some time in.
	wait := time.Duration(rng.Int64N(int64([...]time.Duration{30, 120, 400}[rng.IntN(3)] * time.Millisecond)))
	ended := make(chan error, 1)
	go func() {
		time.Sleep(wait)
		if clean {
			ended <- stdin.Close()
			return
		}
		ended <- cmd.Process.Kill()
	}()
	k.cleanly = false
	for {
		var n killNote
		if err := binary.Read(r, binary.BigEndian, &n); err != nil {
			require.True(t, errors.Is(err, io.EOF), "%v", err)
			break
		}
		k.note(t, n)
	}
	end := <-ended
	err = cmd.Wait() // only then may its output be looked at
	require.NoError(t, end, "%s", out.String())
	if clean {
		require.NoError(t, err, "%s", out.String())
		require.True(t, k.cleanly)
		k.wasClean++
	}
	require.NotContains(t, out.String(), "FAIL", "cycle %d", cycle)
}

func (k *killLedger) note(t *testing.T, n killNote) {
	i := n.Log
	switch n.Kind {
	case 'a':
		require.NotContains(t, k.acked[i], n.Offset, "an offset was given twice")
		k.acked[i][n.Offset] = killValue(int(i), int(n.Producer), uint64(n.Cycle), n.Sequence)
		k.acks++
	case 's':
		k.start[i] = max(k.start[i], n.Offset)
	case 'o':
		require.Equal(t, k.seen[i], n.Offset, "log %d goes on elsewhere than it had ended", i)
	case 'c':
		k.cleanly = true
	default:
		require.Fail(t, "unknown note", "%v", n)
	}
}

// verify opens what the child has left and compares it with the ledger.
func (k *killLedger) verify(t *testing.T, dir string) {
	d, err := OpenDirectory(dir+"/node", DirectoryConfig{NodeID: 1})
	require.NoError(t, err)
	defer d.Abandon()
	clean, _ := d.Clean()
	require.Equal(t, k.cleanly, clean)
	for i := range killLogs {
		l, err := d.OpenLog("t", int32(i), TopicID{byte(1 + i)}, killConfig)
		require.NoError(t, err)
		o := l.Offsets()
		require.LessOrEqual(t, o.LogStartOffset, k.start[i])
		next, sent := o.LogStartOffset, map[string]bool{}
		for r, err := range l.Records(t.Context(), o.LogStartOffset) {
			require.NoError(t, err)
			require.Equal(t, next, r.Offset, "a hole")
			next++
			require.GreaterOrEqual(t, len(r.Value), 24)
			v := killValue(int(r.Value[0]), int(r.Value[1]), binary.BigEndian.Uint64(r.Value[2:]), binary.BigEndian.Uint64(r.Value[10:]))
			require.True(t, bytes.Equal(v, r.Value) && int(v[0]) == i, "record %d of log %d is altered, or another log's", r.Offset, i)
			require.False(t, sent[string(v[:20])], "record %d is there twice", r.Offset)
			sent[string(v[:20])] = true
			if want, ok := k.acked[i][r.Offset]; ok {
				require.Equal(t, want, v, "record %d is another than was acknowledged", r.Offset)
			}
		}
		require.Equal(t, o.LogEndOffset, next)
		for offset := range k.acked[i] {
			if offset < k.start[i] {
				delete(k.acked[i], offset)
			} else {
				require.Less(t, offset, next, "an acknowledged record is gone")
			}
		}
		k.seen[i] = next
	}
}
