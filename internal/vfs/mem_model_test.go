package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

const sector = 512

// model is one file the slow way: a copy of everything that may be on the disk.
type model struct {
	now      []byte
	durable  []byte
	sizes    map[int]bool            // a power loss may leave
	versions map[int]map[string]bool // of each sector, a power loss may leave, padded with zeros
}

func (m *model) sectorOf(b []byte, s int) string {
	p := make([]byte, sector)
	if s*sector < len(b) {
		copy(p, b[s*sector:])
	}
	return string(p)
}

// note records the present as possible.
func (m *model) note() {
	m.sizes[len(m.now)] = true
	for s := 0; s*sector < max(len(m.now), len(m.durable)); s++ {
		if m.versions[s] == nil {
			m.versions[s] = map[string]bool{m.sectorOf(m.durable, s): true}
		}
		m.versions[s][m.sectorOf(m.now, s)] = true
	}
}

func (m *model) synced() {
	m.durable = bytes.Clone(m.now)
	m.sizes, m.versions = map[int]bool{}, map[int]map[string]bool{}
	m.note()
}

func (m *model) write(p []byte, off int) {
	if len(p) == 0 {
		return
	}
	if grow := off + len(p) - len(m.now); grow > 0 {
		m.now = append(m.now, make([]byte, grow)...)
	}
	copy(m.now[off:], p)
	m.note()
}

func (m *model) truncate(size int) {
	if size < len(m.now) {
		m.now = slices.Clone(m.now[:size])
	} else {
		m.now = append(m.now, make([]byte, size-len(m.now))...)
	}
	m.note()
}

// TestMemContentMatchesModel makes random changes and compares, after each, what the file holds, what a power loss leaves if all unsynced is
// lost, and that every sector of a random power loss is one that was seen.
func TestMemContentMatchesModel(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			mem := vfs.NewMem()
			f, err := mem.Open("f", vfs.Create)
			require.NoError(t, err)
			require.NoError(t, mem.SyncDir("/"))
			md := &model{}
			md.synced()
			limit := []int{3000, 200_000}[seed%2]
			for step := range 60 {
				stepOne(t, rng, f, md, limit, byte(step+1))
				require.True(t, bytes.Equal(md.now, slurp(t, mem, "f")), "step %d", step)
				if step%4 != 0 {
					continue
				}
				dropped := slurp(t, mem.Clone().Crash(vfs.DropAll, nil), "f")
				require.True(t, bytes.Equal(md.durable, dropped), "step %d: durable", step)
				after := slurp(t, mem.Clone().Crash(vfs.KeepRandom, rng), "f")
				require.True(t, md.sizes[len(after)], "step %d: size %d", step, len(after))
				for s := 0; s*sector < len(after); s++ {
					requireVersion(t, md, after, s)
				}
				require.True(t, bytes.Equal(md.now, slurp(t, mem, "f")), "step %d: clones share nothing", step)
			}
		})
	}
}

// requireVersion compares a sector, the last one as far as it goes.
func requireVersion(t *testing.T, md *model, after []byte, s int) {
	t.Helper()
	got := md.sectorOf(after, s)
	n := min(sector, len(after)-s*sector)
	for v := range md.versions[s] {
		if v[:n] == got[:n] {
			return
		}
	}
	require.Fail(t, "sector was never written", "sector %d: %s", s, runs([]byte(got)))
}

func stepOne(t *testing.T, rng *rand.Rand, f vfs.File, md *model, limit int, fill byte) {
	t.Helper()
	size := len(md.now)
	switch rng.IntN(10) {
	case 0, 1, 2, 3: // append
		p := bytes.Repeat([]byte{fill}, rng.IntN(limit/8))
		_, err := f.WriteAt(p, int64(size))
		require.NoError(t, err)
		md.write(p, size)
	case 4, 5: // overwrite, or leave a gap
		p, off := bytes.Repeat([]byte{fill}, 1+rng.IntN(limit/8)), rng.IntN(limit)
		if rng.IntN(2) == 0 {
			off = max(0, size-rng.IntN(3)) // at the very end
		}
		half := rng.IntN(len(p))
		_, err := f.WritevAt([][]byte{p[:half], p[half:]}, int64(off))
		require.NoError(t, err)
		md.write(p[:half], off)
		md.write(p[half:], off+half)
	case 6:
		to := rng.IntN(limit)
		require.NoError(t, f.Truncate(int64(to)))
		md.truncate(to)
	case 7:
		off, n := rng.IntN(limit), rng.IntN(limit/4)
		require.NoError(t, f.Preallocate(int64(off), int64(n)))
		if n > 0 && off+n > size {
			md.truncate(off + n)
		}
	default:
		require.NoError(t, f.Sync())
		md.synced()
	}
}

// TestMemNamesStayConsistent makes random changes of names and checks of every crash: a file has at most one name and its own content; one
// that is durable and was only renamed since has exactly one; and a second crash without changes leaves the same.
func TestMemNamesStayConsistent(t *testing.T) {
	dirs := []string{"/", "/x", "/y"}
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		mem := vfs.NewMem()
		require.NoError(t, mem.MkdirAll("/x"))
		require.NoError(t, mem.MkdirAll("/y"))
		require.NoError(t, mem.SyncDir("/"))
		next := 0
		at := map[string]int{}      // name -> id of the file there
		safe := map[int]bool{}      // durable, and never removed or replaced since
		dirty := map[int][]string{} // directories that a file's name waits for
		name := func() string { return dirs[rng.IntN(3)] + "/" + string(rune('a'+rng.IntN(4))) }
		lose := func(n string) {
			if id, ok := at[n]; ok {
				delete(safe, id)
				delete(at, n)
			}
		}
		for range 40 {
			switch n := name(); rng.IntN(6) {
			case 0, 1:
				lose(n)
				err := mem.Remove(n)
				require.True(t, err == nil || !errors.Is(err, vfs.ErrCrashed))
				f, err := mem.Open(n, vfs.CreateExcl)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte{byte(next)}, 0)
				require.NoError(t, err)
				require.NoError(t, f.Sync())
				require.NoError(t, f.Close())
				at[n], dirty[next] = next, []string{n[:max(1, len(n)-2)]}
				next++
			case 2, 3:
				to := name()
				if id, ok := at[n]; ok && n != to {
					require.NoError(t, mem.Rename(n, to))
					lose(to)
					delete(at, n)
					at[to] = id
				}
			case 4:
				if _, ok := at[n]; ok {
					require.NoError(t, mem.Remove(n))
					lose(n)
				}
			case 5:
				d := dirs[rng.IntN(3)]
				require.NoError(t, mem.SyncDir(d))
				for n, id := range at { // its present name is durable now, wherever it came from
					if n[:max(1, len(n)-2)] == d && len(dirty[id]) == 1 && dirty[id][0] == d {
						safe[id] = true
					}
				}
			}
			checkNames(t, mem.Clone(), vfs.DropAll, rng, safe)
			checkNames(t, mem.Clone(), vfs.KeepRandom, rng, safe)
			checkNames(t, mem.Clone(), vfs.KeepAll, rng, safe)
		}
	}
}

func checkNames(t *testing.T, mem *vfs.Mem, mode vfs.CrashMode, rng *rand.Rand, safe map[int]bool) {
	t.Helper()
	mem = mem.Crash(mode, rng)
	seen := map[int]string{}
	for _, d := range []string{"/", "/x", "/y"} {
		list, err := mem.ReadDir(d)
		require.NoError(t, err)
		for _, e := range list {
			if e.IsDir() {
				continue
			}
			b := slurp(t, mem, d+"/"+e.Name())
			require.Len(t, b, 1)
			require.NotContains(t, seen, int(b[0]), "two names: %s and %s/%s", seen[int(b[0])], d, e.Name())
			seen[int(b[0])] = d + "/" + e.Name()
		}
	}
	for id := range safe {
		require.Contains(t, seen, id, "mode %d lost a durable file", mode)
	}
	if mode != vfs.KeepAll {
		before := tree(t, mem)
		require.Equal(t, before, tree(t, mem.Crash(vfs.DropAll, nil)), "what a power loss left is durable")
	}
}
