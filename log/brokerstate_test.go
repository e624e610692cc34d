package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// restarts follows a directory through lives: open, the steps of the life, and how it ends.
type restarts struct {
	t    *testing.T
	disk *vfs.Mem
	d    *Directory
	rng  *rand.Rand
}

func (r *restarts) step(step string) {
	r.t.Helper()
	name, arg, _ := strings.Cut(step, " ")
	epoch := int64(0)
	fmt.Sscan(arg, &epoch)
	switch name {
	case "epoch":
		require.NoError(r.t, r.d.SetBrokerEpoch(epoch))
	case "relaxed":
		require.NoError(r.t, r.d.NoteRelaxed())
	case "stop":
		require.NoError(r.t, r.d.Close(epoch))
		r.open()
	case "kill", "power", "torn":
		mode := map[string]vfs.CrashMode{"kill": vfs.KeepAll, "power": vfs.DropAll, "torn": vfs.KeepRandom}[name]
		r.disk = r.disk.Crash(mode, r.rng)
		r.d.Abandon()
		r.open()
	case "sync-fails", "all-syncs-fail":
		r.failSync(name == "all-syncs-fail")
	case "new-id":
		r.d.Abandon()
		require.NoError(r.t, r.disk.Remove("/node/"+metaFile))
		require.NoError(r.t, r.disk.Rename("/node/"+stateFile, "/other"))
		r.open()
		r.d.Abandon()
		require.NoError(r.t, r.disk.Rename("/other", "/node/"+stateFile))
		r.open()
	default:
		require.Fail(r.t, "step "+step)
	}
}

func (r *restarts) open() { r.d = openDir(r.t, r.disk, "/node") }

// failSync has a log's sync fail, or all of the disk, and then works again.
func (r *restarts) failSync(all bool) {
	l, err := r.d.OpenLog("t", 0, newUUID(), Config{})
	require.NoError(r.t, err)
	_, err = l.Append(batchOf(r.t, "a"), AppendOptions{})
	require.NoError(r.t, err)
	r.disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && (all || strings.HasSuffix(op.Name, ".log")) {
			return syscall.EIO
		}
		return nil
	})
	_, err = l.Sync()
	_, failed := errors.AsType[*StorageError](err)
	require.True(r.t, failed, "%v", err)
	r.disk.SetFault(nil)
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		lives string
		kind  Restart
		epoch int64
	}{
		{"", Lossy, -1},
		{"kill", Lossy, -1},
		{"epoch 5, kill", Crashed, 5},
		{"epoch 5, power", Rebooted, 5},
		{"epoch 5, torn", Rebooted, 5},
		{"epoch 5, stop 5", Clean, 5},
		{"epoch 5, epoch 6, kill", Crashed, 6},
		{"epoch 5, kill, kill, power", Rebooted, 5}, // lives that did not come as far as a registration

		{"epoch 5, relaxed, kill", Crashed, 5},
		{"epoch 5, relaxed, power", Lossy, -1},
		{"epoch 5, relaxed, torn", Lossy, -1},
		{"epoch 5, relaxed, power, kill", Lossy, -1},
		{"epoch 5, relaxed, stop 5", Clean, 5},
		{"epoch 5, relaxed, stop 5, epoch 6, power", Rebooted, 6}, // the stop synced all
		{"epoch 5, relaxed, kill, epoch 6, power", Lossy, -1},     // the kill did not
		{"epoch 5, relaxed, kill, epoch 6, kill", Crashed, 6},
		{"epoch 5, relaxed, kill, power", Lossy, -1},
		{"relaxed, epoch 5, power", Lossy, -1},
		// What is lost stays lost until there is a new registration, whatever is noted meanwhile.
		{"epoch 5, relaxed, power, relaxed, kill", Lossy, -1},
		{"epoch 5, relaxed, power, epoch 7, kill", Crashed, 7},
		{"epoch 5, relaxed, power, epoch 7, power", Rebooted, 7},

		{"epoch 5, sync-fails, kill", Lossy, -1},
		{"epoch 5, sync-fails, power", Lossy, -1},
		{"epoch 5, sync-fails, epoch 6, kill", Lossy, -1},
		{"epoch 5, all-syncs-fail, kill", Lossy, -1},
		{"epoch 5, all-syncs-fail, power", Rebooted, 5}, // what the page cache showed is gone, and only what was synced was confirmed
		{"epoch 5, relaxed, all-syncs-fail, power", Lossy, -1},
		{"epoch 5, sync-fails, kill, epoch 6, kill", Crashed, 6},

		{"epoch 5, new-id", Lossy, -1},
	} {
		t.Run(c.lives, func(t *testing.T) {
			r := &restarts{t: t, disk: vfs.NewMem(), rng: rand.New(rand.NewPCG(1, 1))}
			r.open()
			for step := range strings.SplitSeq(c.lives, ", ") {
				if step != "" {
					r.step(step)
				}
			}
			kind, epoch := r.d.Restart()
			assert.Equal(t, c.kind, kind, "%v", kind)
			assert.Equal(t, c.epoch, epoch)
			clean, _ := r.d.Clean()
			assert.Equal(t, c.kind == Clean, clean)
			r.d.Abandon()
			require.ErrorIs(t, r.d.SetBrokerEpoch(9), ErrClosed)
		})
	}
}

// unknownBoot is a system without an id of its run.
type unknownBoot struct{ vfs.FS }

func (unknownBoot) BootID(string) string { return "" }

func TestRestartOfUnknownBoot(t *testing.T) {
	for _, relaxed := range []bool{false, true} {
		fsys := unknownBoot{vfs.NewMem()}
		d := openDir(t, fsys, "/node")
		require.NoError(t, d.SetBrokerEpoch(5))
		want := Rebooted
		if relaxed {
			require.NoError(t, d.NoteRelaxed())
			want = Lossy
		}
		d.Abandon()
		d = openDir(t, fsys, "/node")
		kind, _ := d.Restart()
		assert.Equal(t, want, kind)
		d.Abandon()
	}
}

// TestDamagedBrokerState cuts the file everywhere and flips bits of every byte: each is a lossy restart, and no error.
func TestDamagedBrokerState(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/node")
	require.NoError(t, d.SetBrokerEpoch(5))
	d.Abandon()
	const name = "/node/" + stateFile
	info, err := disk.Stat(name)
	require.NoError(t, err)
	check := func(disk *vfs.Mem, what string, at int64) {
		d := openDir(t, disk, "/node")
		defer d.Abandon()
		kind, epoch := d.Restart()
		require.Equal(t, Lossy, kind, "%s at %d", what, at)
		require.Equal(t, int64(-1), epoch)
	}
	for at := range info.Size() {
		for _, mask := range []byte{1, 0x20, 0x80} {
			c := disk.Clone()
			require.NoError(t, c.Corrupt(name, at, mask))
			check(c, fmt.Sprintf("flip %x", mask), at)
		}
		c := disk.Clone()
		f, err := c.Open(name, vfs.ReadWrite)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(at))
		require.NoError(t, f.Close())
		check(c, "cut", at)
	}
}

// TestBrokerStateCrashes crashes at every operation of a change: the state is the old one or the new one, and the new one after the call.
func TestBrokerStateCrashes(t *testing.T) {
	base := vfs.NewMem()
	d := openDir(t, base, "/node")
	require.NoError(t, d.SetBrokerEpoch(5))
	d.Abandon()
	for _, c := range []struct {
		name     string
		call     func(*Directory) error
		old, new Restart // after a power loss
		epoch    int64   // with new
	}{
		{"SetBrokerEpoch", func(d *Directory) error { return d.SetBrokerEpoch(6) }, Rebooted, Rebooted, 6},
		{"NoteRelaxed", (*Directory).NoteRelaxed, Rebooted, Lossy, -1},
	} {
		for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepRandom} {
			for at := int64(1); ; at++ {
				require.Less(t, at, int64(20))
				disk := base.Clone()
				d := openDir(t, disk, "/node")
				first := disk.Ops()
				var after *vfs.Mem
				disk.SetFault(func(op vfs.Op) error {
					if op.Seq == first+at {
						after = disk.Crash(mode, rand.New(rand.NewPCG(uint64(at), 1)))
					}
					return nil
				})
				err := c.call(d)
				done := after == nil
				require.Equal(t, done, err == nil)
				if done {
					after = disk.Crash(mode, rand.New(rand.NewPCG(uint64(at), 1)))
				}
				d.Abandon()
				d = openDir(t, after, "/node")
				kind, epoch := d.Restart()
				d.Abandon()
				isNew := kind == c.new && epoch == c.epoch
				require.True(t, isNew || !done && kind == c.old && epoch == 5, "%s: crash at %d: %v %d", c.name, at, kind, epoch)
				if done {
					break
				}
			}
		}
	}
}

// TestBrokerStateCosts: one small file at a start, nothing for what is noted already.
func TestBrokerStateCosts(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/node")
	defer d.Abandon()
	before := disk.Ops()
	require.NoError(t, d.SetBrokerEpoch(5))
	assert.LessOrEqual(t, disk.Ops()-before, int64(6)) // create, truncate, write, sync, rename, sync of the directory
	require.NoError(t, d.NoteRelaxed())
	before = disk.Ops()
	require.NoError(t, d.SetBrokerEpoch(5))
	require.NoError(t, d.NoteRelaxed())
	assert.Equal(t, before, disk.Ops())
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = d.NoteRelaxed() }))
}

// A life that was never confirmed has its name from the one before: the controller may have registered it without anybody knowing.
func TestIncarnation(t *testing.T) {
	disk := vfs.NewMem()
	open := func() *Directory {
		d, err := OpenDirectory("/data", DirectoryConfig{FS: disk, NodeID: 1})
		require.NoError(t, err)
		return d
	}
	name := func(d *Directory) TopicID {
		id, err := d.Incarnation()
		require.NoError(t, err)
		again, err := d.Incarnation()
		require.NoError(t, err)
		if kind, _ := d.Restart(); kind != Lossy {
			require.Equal(t, id, again)
		}
		return id
	}
	crash := func(d *Directory) {
		next := disk.Crash(vfs.DropAll, nil)
		d.Abandon()
		disk = next
	}
	d := open()
	fresh := name(d)
	require.NoError(t, d.SetBrokerEpoch(7))
	crash(d)
	d = open()
	first := name(d)
	require.NotEqual(t, fresh, first, "it was confirmed")
	crash(d)
	d = open()
	require.Equal(t, first, name(d))
	kind, epoch := d.Restart()
	require.Equal(t, Rebooted, kind)
	require.EqualValues(t, 7, epoch)
	require.NoError(t, d.Close(7))
	d = open()
	require.Equal(t, first, name(d), "nor was it by a clean stop")
	require.NoError(t, d.SetBrokerEpoch(8))
	crash(d)
	d = open()
	require.NotEqual(t, first, name(d))
	require.NoError(t, d.NoteRelaxed())
	crash(d)
	d = open()
	kind, _ = d.Restart()
	require.Equal(t, Lossy, kind)
	require.NotEqual(t, name(d), name(d), "nobody vouches for the one before")
	d.Abandon()
}
