package bench

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

var (
	partitionCount = flag.Int("partitions", 500, "partitions of TestPartitions; the goals are for 10000")
	partitionIdle  = flag.Duration("partitions.idle", time.Second, "how long TestPartitions watches an idle node")
)

// cost is what the process has of what many partitions could use up.
type cost struct {
	heap, resident, descriptors, goroutines, mappings float64
}

func costs() cost {
	c := cost{heap: heapInUse(), resident: float64(residentMemory(os.Getpid())), goroutines: float64(runtime.NumGoroutine())}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		c.descriptors = float64(len(fds))
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		for _, b := range maps {
			if b == '\n' {
				c.mappings++
			}
		}
	}
	return c
}

func (c cost) since(b cost) string {
	return fmt.Sprintf("%.1f MB of heap, %.1f MB resident, %.0f descriptors, %.0f mappings, %.0f goroutines",
		(c.heap-b.heap)/1e6, (c.resident-b.resident)/1e6, c.descriptors-b.descriptors, c.mappings-b.mappings, c.goroutines-b.goroutines)
}

// countingFS is the system's disk with counters.
type countingFS struct {
	vfs.FS
	opens, stats, lists, reads, readBytes, writes, syncs, dirSyncs, names atomic.Int64
}

func (c *countingFS) Open(name string, mode vfs.OpenMode) (vfs.File, error) {
	c.opens.Add(1)
	f, err := c.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return &countingFile{f, c}, nil
}

func (c *countingFS) ReadDir(name string) ([]os.DirEntry, error) {
	c.lists.Add(1)
	return c.FS.ReadDir(name)
}

func (c *countingFS) Stat(name string) (os.FileInfo, error) {
	c.stats.Add(1)
	return c.FS.Stat(name)
}

func (c *countingFS) MkdirAll(name string) error {
	c.names.Add(1)
	return c.FS.MkdirAll(name)
}

func (c *countingFS) Rename(from, to string) error {
	c.names.Add(1)
	return c.FS.Rename(from, to)
}

func (c *countingFS) SyncDir(name string) error {
	c.dirSyncs.Add(1)
	return c.FS.SyncDir(name)
}

func (c *countingFS) reset() {
	for _, n := range []*atomic.Int64{&c.opens, &c.stats, &c.lists, &c.reads, &c.readBytes, &c.writes, &c.syncs, &c.dirSyncs, &c.names} {
		n.Store(0)
	}
}

func (c *countingFS) String() string {
	return fmt.Sprintf("%d opens, %d lists, %d reads of %.1f kB, %d writes, %d mkdirs and renames, %d syncs of files and %d of directories",
		c.opens.Load(), c.lists.Load(), c.reads.Load(), float64(c.readBytes.Load())/1e3, c.writes.Load(), c.names.Load(), c.syncs.Load(), c.dirSyncs.Load())
}

type countingFile struct {
	vfs.File
	c *countingFS
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	f.c.reads.Add(1)
	n, err := f.File.ReadAt(p, off)
	f.c.readBytes.Add(int64(n))
	return n, err
}

func (f *countingFile) WriteAt(p []byte, off int64) (int, error) {
	f.c.writes.Add(1)
	return f.File.WriteAt(p, off)
}

func (f *countingFile) Sync() error {
	f.c.syncs.Add(1)
	return f.File.Sync()
}

// TestPartitions measures what many partitions of one node cost: to create, to write to once, to open after a clean stop, and while nothing happens.
func TestPartitions(t *testing.T) {
	n := *partitionCount
	scale := max(0.1, float64(n)/10_000)
	dir := t.TempDir()
	disk := &countingFS{FS: vfs.OS()}
	before := costs()
	start := func() *cluster.Node {
		t.Helper()
		node, err := cluster.Start(t.Context(), cluster.Config{Dir: dir, FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	node := start()
	defer func() { node.Kill() }()

	disk.reset()
	began := time.Now()
	if err := cluster.NewAdmin(node.Client()).CreateTopic(t.Context(), cluster.TopicSpec{Name: "many", Partitions: int32(n)}); err != nil {
		t.Fatal(err)
	}
	waitLeaders(t, node, n)
	t.Logf("create %d partitions: %v; %v", n, time.Since(began).Round(time.Millisecond), disk)
	t.Logf("created: %v", costs().since(before))

	disk.reset()
	began = time.Now()
	fill(t, node, n)
	t.Logf("a record into each: %v; %v", time.Since(began).Round(time.Millisecond), disk)
	t.Logf("written to: %v", costs().since(before))

	disk.reset()
	began = time.Now()
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("close: %v; %v", time.Since(began).Round(time.Millisecond), disk)

	before = costs()
	disk.reset()
	began = time.Now()
	node = start()
	opened := time.Since(began)
	t.Logf("open after a clean stop: %v; %v", opened.Round(time.Millisecond), disk)
	if syncs := disk.syncs.Load() + disk.dirSyncs.Load(); syncs > 50 {
		t.Errorf("%d syncs of a start: they must not grow with the number of partitions", syncs)
	}
	after := costs()
	t.Logf("opened: %v", after.since(before))

	cpu := cpuTime()
	time.Sleep(*partitionIdle)
	cpu = cpuTime() - cpu
	t.Logf("idle: %.2f ms of CPU per second", cpu.Seconds()*1e3/partitionIdle.Seconds())

	disk.reset()
	began = time.Now()
	fill(t, node, n)
	t.Logf("a record into each again: %v; %v", time.Since(began).Round(time.Millisecond), disk)
	last := costs()
	t.Logf("written to again: %v", last.since(before))
	if opened.Seconds() > 2*max(scale, 0.5)*slack {
		t.Errorf("open took %v", opened)
	}
	if used := after.resident - before.resident; used > 300e6*scale {
		t.Errorf("%.0f MB resident", used/1e6)
	}
	if g := after.goroutines - before.goroutines; g > 15 {
		t.Errorf("%.0f goroutines of an idle node", g)
	}
}

// slack is what a machine that others use, too, may take longer than the goal.
const slack = 3

// waitLeaders waits until the node leads n partitions of the topic.
func waitLeaders(t *testing.T, node *cluster.Node, n int) {
	t.Helper()
	for {
		s := node.Status()
		leads := 0
		for _, r := range s.Replicas {
			if r.Topic == "many" && r.Role == "leader" {
				leads++
			}
		}
		if leads == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// fill writes one record to each partition, and waits for all.
func fill(t *testing.T, node *cluster.Node, n int) {
	t.Helper()
	p, err := producer.New(producer.Config{Client: node.Client(), Partitioner: producer.Manual{}, BatchBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	results := make(chan error, n)
	for i := range n {
		if err := p.Enqueue(t.Context(), &record.Record{Topic: "many", Partition: int32(i), Value: []byte("v")}, func(_ producer.Metadata, err error) { results <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

// TestPartitionsOfADirectory does the same with the logs alone.
func TestPartitionsOfADirectory(t *testing.T) {
	n := *partitionCount
	dir := t.TempDir()
	disk := &countingFS{FS: vfs.OS()}
	before := costs()
	d, err := log.OpenDirectory(dir, log.DirectoryConfig{FS: disk, NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	disk.reset()
	began := time.Now()
	logs := openLogs(t, d, n)
	t.Logf("create %d logs: %v; %v", n, time.Since(began).Round(time.Millisecond), disk)
	began = time.Now()
	for _, l := range logs {
		if _, err := l.AppendRecords(record.Record{Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a record into each: %v: %v", time.Since(began).Round(time.Millisecond), costs().since(before))
	began = time.Now()
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
	t.Logf("close: %v", time.Since(began).Round(time.Millisecond))

	before = costs()
	disk.reset()
	began = time.Now()
	if d, err = log.OpenDirectory(dir, log.DirectoryConfig{FS: disk, NodeID: 1}); err != nil {
		t.Fatal(err)
	}
	logs = openLogs(t, d, n)
	t.Logf("open after a clean stop: %v; %v", time.Since(began).Round(time.Millisecond), disk)
	t.Logf("opened: %v", costs().since(before))
	began = time.Now()
	for range 10 {
		for _, l := range logs {
			_ = l.SizeBytes()
		}
	}
	t.Logf("a look at each: %v", time.Since(began)/10)
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

func openLogs(t *testing.T, d *log.Directory, n int) []*log.Log {
	t.Helper()
	var id log.TopicID
	id[0] = 1
	logs := make([]*log.Log, n)
	for i := range logs {
		l, err := d.OpenLog("many", int32(i), id, log.Config{})
		if err != nil {
			t.Fatal(err)
		}
		logs[i] = l
	}
	return logs
}
