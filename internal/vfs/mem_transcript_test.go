package vfs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestMemTranscripts runs testdata: one command a line on a memory disk, and what is left. "after" shows what each kind of crash would leave
// of the disk as it is; "random" collects the distinct outcomes of many seeds.
func TestMemTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, file string) {
		s := &script{mem: vfs.NewMem(), files: map[string]vfs.File{}}
		datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "new":
				*s = script{mem: vfs.NewMem(), files: map[string]vfs.File{}}
				fallthrough
			case "run":
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					if err := s.run(strings.Fields(line)); err != nil {
						fmt.Fprintf(&out, "%s: %v\n", strings.TrimSpace(line), err)
					}
				}
				return out.String()
			case "ls":
				return tree(t, s.mem)
			case "after":
				drop := tree(t, s.mem.Clone().Crash(vfs.DropAll, nil))
				keep := tree(t, s.mem.Clone().Crash(vfs.KeepAll, nil))
				if d.HasArg("random") {
					return "drop:\n" + drop + "keep:\n" + keep + outcomes(t, s.mem)
				}
				return "drop:\n" + drop + "keep:\n" + keep
			default:
				return "unknown command " + d.Cmd
			}
		})
	})
}

// outcomes lists what 300 seeds leave, sorted.
func outcomes(t *testing.T, m *vfs.Mem) string {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		seen[strings.Join(strings.Split(strings.TrimSpace(tree(t, m.Clone().Crash(vfs.KeepRandom, rand.New(rand.NewPCG(seed, 1))))), "\n"), ", ")] = true
	}
	var b strings.Builder
	b.WriteString("random:\n")
	for _, o := range slices.Sorted(func(yield func(string) bool) {
		for o := range seen {
			if !yield(o) {
				return
			}
		}
	}) {
		b.WriteString("[" + o + "]\n")
	}
	return b.String()
}

// script is the state of a transcript.
type script struct {
	mem   *vfs.Mem
	files map[string]vfs.File // open ones, by the name they were opened with
}

func (s *script) run(args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "#") {
		return nil
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	num := func(i int) int64 {
		n, err := strconv.ParseInt(arg(i), 10, 64)
		if err != nil {
			panic(err) // a mistake in testdata
		}
		return n
	}
	switch args[0] {
	case "mkdir":
		return s.mem.MkdirAll(arg(1))
	case "syncdir":
		return s.mem.SyncDir(arg(1))
	case "mv":
		delete(s.files, arg(1))
		return s.mem.Rename(arg(1), arg(2))
	case "rm":
		delete(s.files, arg(1))
		return s.mem.Remove(arg(1))
	case "rmall":
		return s.mem.RemoveAll(arg(1))
	case "fail": // fail KIND: every operation of that kind from now on; fail: none
		kind := arg(1)
		s.mem.SetFault(func(op vfs.Op) error {
			if op.Kind.String() == kind {
				return errors.New("injected")
			}
			return nil
		})
		return nil
	case "crash":
		mode := map[string]vfs.CrashMode{"keep": vfs.KeepAll, "drop": vfs.DropAll}[arg(1)]
		s.mem, s.files = s.mem.Crash(mode, nil), map[string]vfs.File{}
		return nil
	}
	f, err := s.open(arg(1))
	if err != nil {
		return err
	}
	switch args[0] {
	case "create":
		return nil
	case "write": // write NAME OFFSET TEXT [TIMES]
		text := arg(3)
		if arg(4) != "" {
			text = strings.Repeat(text, int(num(4)))
		}
		_, err := f.WriteAt([]byte(text), num(2))
		return err
	case "truncate":
		return f.Truncate(num(2))
	case "preallocate":
		return f.Preallocate(num(2), num(3))
	case "sync":
		return f.Sync()
	}
	return fmt.Errorf("unknown command %q", args[0])
}

func (s *script) open(name string) (vfs.File, error) {
	if f := s.files[name]; f != nil {
		return f, nil
	}
	f, err := s.mem.Open(name, vfs.Create)
	if err == nil {
		s.files[name] = f
	}
	return f, err
}

// tree prints all names, and contents with runs shortened.
func tree(t *testing.T, m *vfs.Mem) string {
	t.Helper()
	var b strings.Builder
	var walk func(dir string)
	walk = func(dir string) {
		list, err := m.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range list {
			name := path.Join(dir, e.Name())
			if e.IsDir() {
				fmt.Fprintf(&b, "%s/\n", name[1:])
				walk(name)
				continue
			}
			fmt.Fprintf(&b, "%s %s\n", name[1:], runs(slurp(t, m, name)))
		}
	}
	walk("/")
	return b.String()
}

// slurp reads a whole file.
func slurp(t *testing.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name, vfs.ReadOnly)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	p := make([]byte, size)
	if _, err := f.ReadAt(p, 0); err != nil && !(errors.Is(err, io.EOF) && size == 0) && !errors.Is(err, fs.ErrClosed) {
		require.NoError(t, err)
	}
	return p
}

// runs prints bytes as text, with zeros as dots and runs as "a*512".
func runs(p []byte) string {
	if len(p) == 0 {
		return "empty"
	}
	var b strings.Builder
	for i := 0; i < len(p); {
		j := i
		for j < len(p) && p[j] == p[i] {
			j++
		}
		c := string(p[i])
		if p[i] == 0 {
			c = "."
		}
		if j-i > 3 {
			fmt.Fprintf(&b, "(%s*%d)", c, j-i)
		} else {
			b.WriteString(strings.Repeat(c, j-i))
		}
		i = j
	}
	return b.String()
}
