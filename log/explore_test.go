package log

import (
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
)

// The explorer runs each workload and crashes its disk behind every operation in every variant, recovers, and compares with the model; then it crashes again in the middle of that recovery. The other
// half lets every operation fail once, with every error that it can have. A run is told by the workload, the number of the operation, the variant and the place of the second crash, and does
// not depend on the others.
var explore = struct {
	workload string
	op       int64
	variant  int
	second   string
	random   int
	hunt     bool
	found    atomic.Bool // by the hunt
}{}

func init() {
	flag.StringVar(&explore.workload, "explore.workload", "", "explore this workload only")
	flag.Int64Var(&explore.op, "explore.op", -1, "crash behind this operation of the disk, or let it fail, only")
	flag.IntVar(&explore.variant, "explore.variant", -1, "this variant of the crash, or of the error, only")
	flag.StringVar(&explore.second, "explore.second", "", "crash again behind this operation of the recovery, or behind all; empty is a sample")
	flag.IntVar(&explore.random, "explore.random", 2, "number of random workloads")
	flag.BoolVar(&explore.hunt, "explore.hunt", false, "end with the first run that goes wrong")
}

// variants are the crashes that are tried behind each operation.
var variants = [...]vfs.CrashMode{
	vfs.KeepAll, vfs.DropAll, vfs.KeepRandom, vfs.KeepRandom, vfs.KeepRandom, vfs.KeepHole, vfs.KeepNames, vfs.KeepBytes,
}

// explorer explores one workload.
type explorer struct {
	t    *testing.T
	name string
	seed uint64

	operations, crashes, seconds, failures int
}

func newExplorer(t *testing.T, name string) *explorer {
	return &explorer{t: t, name: name, seed: uint64(crc32.ChecksumIEEE([]byte(name)))}
}

// workloads returns those that the flags ask for.
func workloads() []workload {
	all := fixedWorkloads
	for i := range explore.random {
		all = append(all[:len(all):len(all)], workload{fmt.Sprint("random-", i), randomWorkload})
	}
	if explore.workload == "" {
		return all
	}
	for _, w := range all {
		if w.name == explore.workload {
			return []workload{w}
		}
	}
	if strings.HasPrefix(explore.workload, "random-") {
		return []workload{{explore.workload, randomWorkload}}
	}
	return nil
}

// report tells of a run that went wrong, with the command that repeats it.
func (e *explorer) report(test string, err error, op int64, variant int, second string) {
	e.failures++
	if explore.hunt && !explore.found.Swap(true) {
		fmt.Printf("found: %s, %s, operation %d, variant %d: %.200q\n", test, e.name, op, variant, err.Error())
	}
	if second != "" {
		second = " -explore.second=" + second
	}
	e.t.Errorf("%v\n\tgo test ./log -run '%s$' -explore.workload=%s -explore.op=%d -explore.variant=%d%s", err, test, e.name, op, variant, second)
}

// enough tells whether it has been shown that something is wrong.
func (e *explorer) enough() bool { return e.failures > 3 || explore.found.Load() }

// raceSample: under the race detector one run in so many.
const raceSample = 97

func TestExploreCrashes(t *testing.T) {
	var crashes, seconds, ops atomic.Int64
	began := time.Now()
	t.Run("workloads", func(t *testing.T) {
		for _, wl := range workloads() {
			t.Run(wl.name, func(t *testing.T) {
				t.Parallel()
				e := newExplorer(t, wl.name)
				e.crash(wl)
				ops.Add(int64(e.operations))
				crashes.Add(int64(e.crashes))
				seconds.Add(int64(e.seconds))
			})
		}
	})
	t.Logf("%d workloads of %d operations: %d crashes, %d of them in a recovery, in %v", len(workloads()), ops.Load(), crashes.Load()+seconds.Load(), seconds.Load(), time.Since(began).Round(time.Millisecond))
}

// crash runs the workload once, and crashes a copy of its disk behind every operation.
func (e *explorer) crash(wl workload) {
	w := newWorld(e.seed)
	w.looks = true
	w.disk.SetFault(func(op vfs.Op) error {
		if op.Kind.Changes() {
			e.crashesAt(w, op.Seq-1)
		}
		return nil
	})
	if err := wl.run(w); err != nil {
		e.t.Fatalf("the workload fails: %v", err)
	}
	e.operations = int(w.disk.Ops())
	e.crashesAt(w, w.disk.Ops())
	if e.operations > 300 {
		e.t.Errorf("%d operations are too many", e.operations)
	}
	w.d.Abandon()
}

func (e *explorer) crashesAt(w *world, at int64) {
	if explore.op >= 0 && explore.op != at || e.enough() {
		return
	}
	w.noteShown()
	for v := range variants {
		sampled := !raced || (at*int64(len(variants))+int64(v))%raceSample == 0 || explore.op >= 0
		if sampled && (explore.variant < 0 || explore.variant == v) {
			e.crashAt(w, at, v)
		}
	}
}

func (e *explorer) dice(at int64, variant int, second int64) *rand.Rand {
	return rand.New(rand.NewPCG(e.seed^uint64(second)<<32, uint64(at)<<8|uint64(variant)))
}

// crashAt crashes a copy of the disk as it is now, recovers, and tries second crashes.
func (e *explorer) crashAt(w *world, at int64, variant int) {
	const test = "TestExploreCrashes"
	rng := e.dice(at, variant, 0)
	after := w.disk.Clone().Crash(variants[variant], rng)
	kind := crashKind{lossless: variants[variant] == vfs.KeepAll}
	repeat := explore.second
	sample := rng.IntN(6)
	var image *vfs.Mem
	if sample == 0 || repeat != "" {
		image = after.Clone()
	}
	e.crashes++
	r, err := w.m.recovered(after, kind, e.seed)
	ops := after.Ops()
	if err == nil && sample == 1 {
		err = r.goOn()
	}
	if r.d != nil {
		r.d.Abandon()
	}
	if err != nil {
		e.report(test, err, at, variant, "")
		return
	}
	if image == nil {
		return
	}
	first, last := int64(0), ops
	switch n, err := strconv.ParseInt(repeat, 10, 64); {
	case repeat == "all":
	case err == nil:
		first, last = n, n
	default:
		first = rng.Int64N(ops + 1)
		last = first
	}
	for second := first; second <= last && second <= ops; second++ {
		if err := e.crashAgain(w, image.Clone(), at, variant, second, ops); err != nil {
			e.report(test, err, at, variant, fmt.Sprint(second))
			return
		}
	}
}

// crashAgain recovers as crashAt did, crashes behind an operation of that, and recovers again.
func (e *explorer) crashAgain(w *world, disk *vfs.Mem, at int64, variant int, second, ops int64) error {
	rng := e.dice(at, variant, second+1)
	mode := variants[rng.IntN(len(variants))]
	kind := crashKind{lossless: variants[variant] == vfs.KeepAll && mode == vfs.KeepAll, again: true}
	m := &w.m
	var after *vfs.Mem
	disk.SetFault(func(op vfs.Op) error {
		if op.Seq == second+1 {
			after = disk.Crash(mode, rng)
		}
		return nil
	})
	r, err := m.recovered(disk, crashKind{lossless: variants[variant] == vfs.KeepAll}, e.seed)
	if second == ops {
		// The recovery was over: what it had found stays.
		if err != nil {
			return err
		}
		m = &r.m
		after = disk.Crash(mode, rng)
	}
	if r.d != nil {
		r.d.Abandon()
	}
	if after == nil {
		return fmt.Errorf("the recovery took other operations the second time: %w", err)
	}
	e.seconds++
	r, err = m.recovered(after, kind, e.seed)
	if r.d != nil {
		r.d.Abandon()
	}
	return err
}

// goOn uses a directory after a recovery: what is appended stays over a power loss, a clean stop leaves the files that follow from the batches, and the next start finds it clean.
func (w *world) goOn() error {
	w.now = w.now.Add(time.Second)
	w.disk.SetCapacity(0) // a disk that was full has space again
	for i := range w.logs {
		w.m.logs[i].epoch += 10
		if err := w.repeat(i); err != nil {
			return fmt.Errorf("after the recovery: %w", err)
		}
		if err := steps(func() error { return w.plain(i, 40) }, func() error { return w.sync(i) }); err != nil {
			return fmt.Errorf("after the recovery: %w", err)
		}
	}
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll} {
		r, err := w.m.recovered(w.disk.Clone().Crash(mode, nil), crashKind{lossless: mode == vfs.KeepAll, again: true}, 1)
		if r.d != nil {
			r.d.Abandon()
		}
		if err != nil {
			return fmt.Errorf("crash after the recovery: %w", err)
		}
	}
	if err := w.close(77); err != nil {
		return err
	}
	for i := range w.m.logs {
		if err := w.m.logs[i].checkFiles(w.disk); err != nil {
			return fmt.Errorf("clean stop after the recovery: %w", err)
		}
	}
	r, err := w.m.recovered(w.disk, crashKind{}, 1)
	if r.d != nil {
		r.d.Abandon()
	}
	if err != nil {
		return fmt.Errorf("clean start after the recovery: %w", err)
	}
	return nil
}

// faults are the errors that an operation can have.
func faults(op vfs.Op) []error {
	switch op.Kind {
	case vfs.OpWrite:
		return []error{syscall.EIO, syscall.ENOSPC, vfs.ShortWrite{N: op.Len / 2}, vfs.ShortWrite{N: 1}, vfs.ShortWrite{N: op.Len - 1, Err: syscall.ENOSPC}}
	case vfs.OpRead:
		if op.Len == 0 {
			return nil // nothing is read
		}
		return []error{syscall.EIO, vfs.ShortRead{N: op.Len / 2}, vfs.ShortRead{}}
	case vfs.OpCreate, vfs.OpMkdir, vfs.OpRename, vfs.OpPreallocate, vfs.OpTruncate:
		return []error{syscall.EIO, syscall.ENOSPC}
	case vfs.OpSync, vfs.OpSyncMap, vfs.OpSyncDir:
		return []error{syscall.EIO, syscall.ENOSPC}
	default:
		return []error{syscall.EIO}
	}
}

func TestExploreErrors(t *testing.T) {
	var runs, ops atomic.Int64
	began := time.Now()
	t.Run("workloads", func(t *testing.T) {
		for _, wl := range workloads() {
			t.Run(wl.name, func(t *testing.T) {
				t.Parallel()
				e := newExplorer(t, wl.name)
				e.fail(wl)
				runs.Add(int64(e.crashes))
				ops.Add(int64(e.operations))
			})
		}
	})
	t.Logf("%d workloads of %d operations, reads included: %d errors in %v", len(workloads()), ops.Load(), runs.Load(), time.Since(began).Round(time.Millisecond))
}

// fail runs the workload once for each operation, reads included, and each error that it can have.
func (e *explorer) fail(wl workload) {
	var ops []vfs.Op
	w := failingWorld(e.seed)
	w.disk.SetFault(func(op vfs.Op) error {
		ops = append(ops, op)
		return nil
	})
	if err := wl.run(w); err != nil {
		e.t.Fatalf("the workload fails: %v", err)
	}
	w.d.Abandon()
	e.operations = len(ops)
	for at, op := range ops {
		for v, fault := range faults(op) {
			sampled := !raced || (at+v)%raceSample == 0
			if explore.op >= 0 && explore.op != int64(at) || explore.variant >= 0 && explore.variant != v || !sampled && explore.op < 0 || e.enough() {
				continue
			}
			e.crashes++
			if err := e.failAt(wl, at, fault); err != nil {
				e.report("TestExploreErrors", fmt.Errorf("%v: %w: %w", op, fault, err), int64(at), v, "")
			}
		}
	}
}

// failingWorld lets the workload take longer: its errors cost less than the crashes.
func failingWorld(seed uint64) *world {
	w := newWorld(seed)
	w.budget = 270
	return w
}

// waitsForSpace tells whether what an operation is part of follows from the batches and is put off while the disk is full.
func waitsForSpace(op vfs.Op) bool {
	switch name, small := strings.CutSuffix(op.Name, tmpSuffix); {
	case small:
		return strings.HasSuffix(name, snapshotSuffix) || strings.HasSuffix(name, producersSuffix) || strings.HasSuffix(name, "/"+epochsFile)
	default:
		return op.Kind != vfs.OpSync && strings.HasSuffix(name, "index") || strings.HasSuffix(name, "/"+ballastFile)
	}
}

// failAt lets one operation fail.
func (e *explorer) failAt(wl workload, at int, fault error) error {
	w := failingWorld(e.seed)
	n, drew := 0, false // drew: space was taken from the ballast for the operation, and it was repeated
	var failed vfs.Op
	w.disk.SetFault(func(op vfs.Op) error {
		if n++; n == at+1 {
			failed = op
			return fault
		}
		drew = drew || n == at+2 && strings.HasSuffix(op.Name, "/"+ballastFile) && !strings.HasSuffix(failed.Name, "/"+ballastFile)
		return nil
	})
	err := wl.run(w)
	_, shortRead := errors.AsType[vfs.ShortRead](fault)
	ahead := failed.Kind == vfs.OpWrite && vfs.IsNoSpace(fault) // blocks written ahead are a favour
	switch {
	case err == nil && !shortRead && !ahead && !drew && !(vfs.IsNoSpace(fault) && waitsForSpace(failed)):
		return errors.New("nobody said so")
	case err != nil && !shortRead && !errors.Is(err, cause(fault)):
		return fmt.Errorf("told as %w", err)
	}
	defer func() {
		if w.d != nil {
			w.d.Abandon()
		}
	}()
	lossy := false
	for i, l := range w.logs {
		if l == nil || l.Err() == nil || l.closed.Load() {
			continue
		}
		if _, ok := errors.AsType[*StorageError](l.Err()); !ok {
			return fmt.Errorf("log %d is given up with %w", i, l.Err())
		}
		end := l.Offsets().LogEndOffset
		b, err := w.build(batch{bytes: 10, producer: -1})
		if err != nil {
			return err
		}
		if _, err := l.Append(b, AppendOptions{Now: w.now, LeaderEpoch: 1000}); err == nil || l.Offsets().LogEndOffset != end {
			return errors.New("an append after the error is taken")
		}
		if _, err := l.Sync(); err == nil {
			return errors.New("a sync after the error succeeds")
		}
		lossy = lossy || failed.Kind == vfs.OpSync && strings.HasSuffix(failed.Name, ".log")
	}
	told := err != nil
	w.noteShown()
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll} {
		r, err := w.m.recovered(w.disk.Clone().Crash(mode, nil), crashKind{lossless: mode == vfs.KeepAll, again: told, lossy: lossy, failed: told || shortRead}, e.seed)
		if err == nil && at%16 == 0 {
			err = r.goOn()
		}
		if r.d != nil {
			r.d.Abandon()
		}
		if err != nil {
			return fmt.Errorf("after the restart: %w", err)
		}
	}
	if at%reopenSample != 0 && explore.op < 0 {
		return nil
	}
	if err := w.reopenEnded(e.seed, lossy); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	return nil
}

// reopenSample: after the error of one operation in so many logs are opened again.
const reopenSample = 3

// reopenEnded opens the logs that have ended again, in the directory that goes on: nothing that was appended is missing, for the page cache was not lost; and what the log is content with then is on the disk, whatever a sync that
// failed has left in the page cache alone.
func (w *world) reopenEnded(seed uint64, lossy bool) error {
	reopened := false
	for i, l := range w.logs {
		if l == nil || l.Err() == nil || l.closed.Load() {
			continue
		}
		reopened = true
		l.Abandon()
		m := &w.m.logs[i]
		l, err := w.d.OpenLog(m.topic, 0, m.id, m.config)
		if err != nil {
			return err
		}
		w.logs[i] = l
		if err := m.check(l, true); err != nil {
			return err
		}
		m.epoch += 10
		if err := steps(func() error { return w.plain(i, 40) }, func() error { return w.sync(i) }, w.checkpoint, func() error { return w.plain(i, 40) }); err != nil {
			return err
		}
	}
	if !reopened {
		return nil
	}
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll} {
		r, err := w.m.recovered(w.disk.Clone().Crash(mode, nil), crashKind{lossless: mode == vfs.KeepAll, again: true, lossy: lossy, failed: true}, seed)
		if r.d != nil {
			r.d.Abandon()
		}
		if err != nil {
			return fmt.Errorf("and after a crash: %w", err)
		}
	}
	return nil
}

// cause is what a fault shows of itself.
func cause(fault error) error {
	if short, ok := errors.AsType[vfs.ShortWrite](fault); ok {
		return short.Unwrap()
	}
	return fault
}
