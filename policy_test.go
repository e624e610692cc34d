package insync_test

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The rules of this repository that a parser can check. A finding is mended in the code; a new package or dependency gets a row here, and the
// reason in the commit.

const module = "github.com/insynclog/insync"

// imports lists, for each package, the packages of this module that its non-test files may import. Lower layers first: a row names only rows
// above it. A package in examples may import every public one.
var imports = []struct {
	pkg  string
	from string // separated by spaces
}{
	{".", ""},
	{"internal/invariants", ""},
	{"internal/configs", ""},
	{"internal/commit", ""},
	{"internal/dice", ""},
	{"internal/history", ""},
	{"internal/acl", ""},
	{"internal/sasl", ""},
	{"internal/vfs", ""},
	{"internal/guard", ""},
	{"internal/fuzztest", ""},
	{"internal/vfs/vfstest", "internal/vfs"},
	{"log/record", ""},
	{"segment", "internal/invariants internal/vfs log/record"},
	{"log", "internal/dice internal/invariants internal/vfs log/record segment"},
	{"replication/machine", ""},
	{"replication", "internal/commit internal/invariants internal/vfs log log/record replication/machine"},
	{"transport", "internal/dice internal/guard internal/invariants internal/sasl"}, // knows nothing of logs
	{"transport/transporttest", "transport"},
	{"producer", "internal/dice log/record transport"},  // works against any Kafka cluster
	{"consumer", "internal/guard log/record transport"}, // likewise
	{"consumer/sqloffsets", "consumer"},
	{"internal/controller/machine", "internal/acl internal/configs internal/sasl log"}, // of log only what machineOnly says
	{"internal/controller", "internal/configs internal/dice internal/controller/machine internal/invariants internal/vfs log log/record transport"},
	{"internal/groups/partition", ""},
	{"internal/groups/entry", "internal/groups/partition"},
	{"internal/groups/embedded", ""},
	{"internal/groups/assignor", "internal/groups/partition"},
	{"internal/groups/machine", "internal/groups/assignor internal/groups/embedded internal/groups/entry internal/groups/partition"},
	{"internal/groups", "internal/groups/embedded internal/groups/entry internal/groups/machine internal/groups/partition internal/invariants log log/record replication"},
	{"internal/broker", "internal/acl internal/commit internal/configs internal/controller internal/dice internal/groups internal/groups/embedded internal/groups/machine internal/groups/partition internal/invariants internal/sasl internal/vfs log log/record replication transport"},
	{"cluster", "internal/acl internal/broker internal/commit internal/configs internal/controller internal/guard internal/invariants internal/sasl internal/vfs log log/record producer consumer replication transport"},
	{"internal/sim/exact", ""}, // a command
	{"internal/sim", "cluster consumer internal/history internal/vfs log log/record producer transport"},
	{"cluster/clustertest", "cluster consumer internal/history internal/sim internal/vfs log log/record producer transport"},
}

// dependencies lists the modules from outside and the packages whose non-test files may import them. What is not listed may not be imported.
var dependencies = []struct {
	prefix string
	in     string
}{
	{"github.com/twmb/franz-go/pkg/kmsg", "transport producer consumer internal/broker internal/controller internal/controller/machine cluster cluster/clustertest internal/sim"},
	{"github.com/twmb/franz-go/pkg/kerr", "transport producer consumer internal/broker internal/controller internal/controller/machine cluster cluster/clustertest internal/sim"},
	{"go.etcd.io/raft/v3", "internal/controller"},
	{"google.golang.org/protobuf", "internal/controller"},  // the form of raft's messages
	{"golang.org/x/sys", "internal/vfs segment transport"}, // transport: sendfile
	{"github.com/cespare/xxhash/v2", "log/record segment log internal/controller"},
	{"github.com/klauspost/compress", "log/record"},
	{"github.com/pierrec/lz4/v4", "log/record"},
	{"github.com/xdg-go/scram", "internal/sasl"},
}

// machineStd is what a pure state machine may import of the standard library.
var machineStd = strings.Fields("bytes cmp encoding/binary errors fmt iter maps math math/bits math/rand/v2 net/netip slices sort strconv strings time unicode/utf8")

// machineOnly lists the harmless part of packages that are otherwise no business of a machine.
var machineOnly = map[string][]string{
	module + "/log": {"TopicID"},
	"net":           {"JoinHostPort"},
}

// banned calls in library packages: everything but commands and tests. The host's process, logger and environment are the host's.
var banned = map[string]string{
	"os.Exit":           "ends the host",
	"os/signal.*":       "signals are the host's",
	"log.*":             "the host's logger; take a *slog.Logger",
	"fmt.Print":         "standard output is the host's",
	"fmt.Printf":        "standard output is the host's",
	"fmt.Println":       "standard output is the host's",
	"log/slog.Default":  "the host's logger; take a *slog.Logger",
	"log/slog.Debug":    "the host's logger; take a *slog.Logger",
	"log/slog.Info":     "the host's logger; take a *slog.Logger",
	"log/slog.Warn":     "the host's logger; take a *slog.Logger",
	"log/slog.Error":    "the host's logger; take a *slog.Logger",
	"log/slog.Log":      "the host's logger; take a *slog.Logger",
	"log/slog.LogAttrs": "the host's logger; take a *slog.Logger",
	"os.Getenv":         "no configuration by environment",
	"os.LookupEnv":      "no configuration by environment",
	"os.Environ":        "no configuration by environment",
}

// fileCalls of package os belong to internal/vfs.
var fileCalls = strings.Fields(`Chdir Chmod Chown Chtimes CopyFS Create CreateTemp DirFS Link Lstat Mkdir MkdirAll MkdirTemp Open OpenFile
	OpenInRoot OpenRoot ReadDir ReadFile Readlink Remove RemoveAll Rename Stat Symlink Truncate WriteFile`)

// maxLines of a file that is not a test.
const maxLines = 800

// source is one parsed file.
type source struct {
	pkg   string // relative to the module, "." for the root
	path  string
	lines int
	fset  *token.FileSet
	*ast.File
}

func (s *source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// helper says that the package exists for tests, by its name: clustertest, vfstest.
func (s *source) helper() bool { return strings.HasSuffix(path.Base(s.pkg), "test") }

func (s *source) inLibrary() bool {
	return !s.test() && s.Name.Name != "main" && !strings.HasPrefix(s.pkg, "examples/")
}

func (s *source) machine() bool { return path.Base(s.pkg) == "machine" }

func (s *source) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// imported maps the names by which this file calls packages to their paths.
func (s *source) imported() map[string]string {
	names := map[string]string{}
	for _, i := range s.Imports {
		p := importPath(i)
		name := path.Base(p)
		if strings.HasPrefix(name, "v") && len(name) <= 3 { // math/rand/v2
			name = path.Base(path.Dir(p))
		}
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = p
	}
	return names
}

func importPath(i *ast.ImportSpec) string {
	p, _ := strconv.Unquote(i.Path.Value) // the parser has checked it
	return p
}

// rules find what is wrong with one file.
var rules = []struct {
	name  string
	check func(*source) []string
}{
	{"imports point one way", checkImports},
	{"dependencies are confined", checkDependencies},
	{"machines are pure", checkMachine},
	{"the host's process is the host's", checkBanned},
	{"files are opened by vfs", checkFileCalls},
	{"testing is for tests", checkTesting},
	{"exported names are documented", checkDocumented},
	{"wire types stay inside", checkWireTypes},
	{"files are short", checkLength},
}

func TestPolicy(t *testing.T) {
	sources := load(t)
	require.NotEmpty(t, sources)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, s := range sources {
				for _, finding := range r.check(s) {
					t.Error(finding)
				}
			}
		})
	}
	t.Run("packages are documented", func(t *testing.T) {
		for _, finding := range checkPackageComments(sources) {
			t.Error(finding)
		}
	})
}

// TestImportsTableIsLayered: a row names only rows above it, so that the table cannot allow a cycle.
func TestImportsTableIsLayered(t *testing.T) {
	above := map[string]bool{}
	for _, row := range imports {
		for _, from := range strings.Fields(row.from) {
			require.True(t, above[from], "%s must not import %s", row.pkg, from)
		}
		require.False(t, above[row.pkg], "%s has two rows", row.pkg)
		above[row.pkg] = true
	}
}

// load parses every Go file of this module, whatever system it is for.
func load(t *testing.T) []*source {
	t.Helper()
	var sources []*source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			_, other := os.Stat(filepath.Join(name, "go.mod"))
			if name != "." && (base == "testdata" || base[0] == '.' || base[0] == '_' || other == nil) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(name), string(text))
		if err == nil && !neverBuilt(s) {
			sources = append(sources, s)
		}
		return err
	})
	require.NoError(t, err)
	return sources
}

func parse(name, text string) (*source, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	return &source{pkg: path.Dir(name), path: name, lines: strings.Count(text, "\n"), fset: fset, File: f}, err
}

// neverBuilt says that a file only keeps dependencies, or is a script.
func neverBuilt(s *source) bool {
	for _, g := range s.Comments {
		for _, c := range g.List {
			if g.Pos() > s.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			if err != nil {
				return false
			}
			never := false
			expr.Eval(func(tag string) bool {
				never = never || tag == "deps" || tag == "ignore" || tag == "tools"
				return true
			})
			return never
		}
	}
	return false
}

func checkImports(s *source) (found []string) {
	if s.test() {
		return nil
	}
	example := strings.HasPrefix(s.pkg, "examples/")
	row := slices.IndexFunc(imports, func(r struct{ pkg, from string }) bool { return r.pkg == s.pkg })
	if row < 0 && !example {
		return []string{s.at(s.Name, "package %s has no row in the table of imports", s.pkg)}
	}
	for _, i := range s.Imports {
		rel, ours := strings.CutPrefix(importPath(i), module+"/")
		switch {
		case !ours:
		case example && strings.Contains("/"+rel+"/", "/internal/"):
			found = append(found, s.at(i, "an example imports %s: readers cannot", rel))
		case !example && !slices.Contains(strings.Fields(imports[row].from), rel):
			found = append(found, s.at(i, "%s must not import %s", s.pkg, rel))
		}
	}
	return found
}

func checkDependencies(s *source) (found []string) {
	if s.test() {
		return nil
	}
	for _, i := range s.Imports {
		p := importPath(i)
		if first, _, _ := strings.Cut(p, "/"); !strings.Contains(first, ".") || strings.HasPrefix(p, module+"/") {
			continue
		}
		if s.helper() && strings.HasPrefix(p, "github.com/stretchr/testify/") {
			continue
		}
		row := slices.IndexFunc(dependencies, func(r struct{ prefix, in string }) bool {
			return p == r.prefix || strings.HasPrefix(p, r.prefix+"/")
		})
		switch {
		case row < 0:
			found = append(found, s.at(i, "%s is not a dependency of the library", p))
		case !slices.Contains(strings.Fields(dependencies[row].in), s.pkg):
			found = append(found, s.at(i, "%s does not belong into %s", p, s.pkg))
		}
	}
	return found
}

func checkMachine(s *source) (found []string) {
	if s.test() || !s.machine() {
		return nil
	}
	for _, i := range s.Imports {
		p := importPath(i)
		if first, _, _ := strings.Cut(p, "/"); !strings.Contains(first, ".") && !slices.Contains(machineStd, p) && machineOnly[p] == nil {
			found = append(found, s.at(i, "a machine does not need %s", p))
		}
	}
	ast.Inspect(s.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, s.at(n, "a machine starts no goroutine"))
		case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
			found = append(found, s.at(n, "a machine has no channel"))
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				found = append(found, s.at(n, "a machine has no channel"))
			}
		}
		return true
	})
	s.selectors(func(n ast.Node, pkg, name string) {
		if only, ok := machineOnly[pkg]; ok && !slices.Contains(only, name) {
			found = append(found, s.at(n, "a machine uses of %s only %v, not %s", pkg, only, name))
		}
		switch {
		case pkg == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, name):
			found = append(found, s.at(n, "a machine is told the time, not time.%s", name))
		}
	})
	return found
}

func isRandType(name string) bool {
	return slices.Contains([]string{"Rand", "Source", "PCG", "ChaCha8", "Zipf"}, name)
}

// selectors calls visit for every use of a name of an imported package.
func (s *source) selectors(visit func(n ast.Node, pkg, name string)) {
	names := s.imported()
	ast.Inspect(s.File, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil { // Obj is set for locals that hide the package
			if pkg, ok := names[x.Name]; ok {
				visit(sel, pkg, sel.Sel.Name)
			}
		}
		return true
	})
}

func checkBanned(s *source) (found []string) {
	if !s.inLibrary() {
		return nil
	}
	s.selectors(func(n ast.Node, pkg, name string) {
		why, ok := banned[pkg+"."+name]
		if !ok {
			why, ok = banned[pkg+".*"]
		}
		if ok {
			found = append(found, s.at(n, "%s.%s: %s", pkg, name, why))
		}
		if strings.HasPrefix(pkg, "math/rand") && !strings.HasPrefix(name, "New") && !isRandType(name) {
			found = append(found, s.at(n, "rand.%s cannot be repeated: be given a source, or make a dice", name))
		}
	})
	for _, d := range s.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found = append(found, s.at(f, "no init: importing the library does nothing"))
		}
	}
	return found
}

func checkFileCalls(s *source) (found []string) {
	if !s.inLibrary() || s.pkg == "internal/vfs" || s.path == "transport/certificates.go" { // certificates are the operator's files, not ours
		return nil
	}
	s.selectors(func(n ast.Node, pkg, name string) {
		if pkg == "os" && slices.Contains(fileCalls, name) {
			found = append(found, s.at(n, "os.%s: only internal/vfs touches files", name))
		}
	})
	return found
}

func checkTesting(s *source) (found []string) {
	if s.test() || s.helper() || s.pkg == "internal/sim" { // which runs bubbles, for tests only
		return nil
	}
	for _, i := range s.Imports {
		if p := importPath(i); p == "testing" || strings.HasPrefix(p, "testing/") {
			found = append(found, s.at(i, "%s outside a test and a package named ...test", p))
		}
	}
	return found
}

func checkDocumented(s *source) (found []string) {
	if s.test() || s.Name.Name == "main" {
		return nil
	}
	missing := func(n *ast.Ident, docs ...*ast.CommentGroup) {
		if n.IsExported() && !slices.ContainsFunc(docs, func(g *ast.CommentGroup) bool { return g.Text() != "" }) {
			found = append(found, s.at(n, "%s has no comment", n.Name))
		}
	}
	line := func(p token.Pos) int { return s.fset.Position(p).Line }
	headed := 0 // a comment above methods without a blank line between them is for all: the line where the next may follow
	for _, d := range s.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			grouped := d.Recv != nil && line(d.Pos()) == headed
			if exportedReceiver(d) && !selfEvident(d) && !grouped {
				missing(d.Name, d.Doc)
			}
			if d.Doc != nil || grouped {
				headed = line(d.End()) + 1
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					missing(spec.Name, d.Doc, spec.Doc, spec.Comment)
					i, ok := spec.Type.(*ast.InterfaceType)
					if !ok || !spec.Name.IsExported() || line(i.Pos()) == line(i.End()) {
						continue // an interface on one line has its comment above
					}
					for _, m := range i.Methods.List {
						for _, n := range m.Names {
							missing(n, m.Doc, m.Comment)
						}
					}
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						missing(n, d.Doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
	return found
}

// selfEvident methods say all by their name.
func selfEvident(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "String", "Unwrap"}, d.Name.Name)
}

// exportedReceiver says that a function is one, or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	exported := true
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			exported = exported && id.IsExported()
			return false
		}
		_, generic := n.(*ast.IndexExpr)
		return !generic || exported
	})
	return exported
}

// checkWireTypes keeps the protocol's structs out of what users see. transport is the escape hatch: its requests and handlers are those structs.
func checkWireTypes(s *source) (found []string) {
	if !s.inLibrary() || strings.HasPrefix(s.pkg, "internal/") || strings.HasPrefix(s.pkg, "transport") {
		return nil
	}
	names := s.imported()
	check := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && strings.HasSuffix(names[x.Name], "/kmsg") {
					found = append(found, s.at(sel, "kmsg.%s in an exported signature", sel.Sel.Name))
				}
			}
			return true
		})
	}
	for _, d := range s.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && exportedReceiver(d) {
				check(d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if spec, ok := spec.(*ast.TypeSpec); ok && spec.Name.IsExported() {
					checkExportedType(spec.Type, check)
				}
			}
		}
	}
	return found
}

// checkExportedType looks at what users of a type can reach: of a struct, its exported and embedded fields.
func checkExportedType(t ast.Expr, check func(ast.Node)) {
	st, ok := t.(*ast.StructType)
	if !ok {
		check(t)
		return
	}
	for _, f := range st.Fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			check(f.Type)
		}
	}
}

func checkLength(s *source) []string {
	if s.test() || s.lines <= maxLines || ast.IsGenerated(s.File) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d lines, more than %d", s.path, s.lines, maxLines)}
}

func checkPackageComments(sources []*source) (found []string) {
	documented := map[string]bool{}
	for _, s := range sources {
		if s.test() {
			continue
		}
		want := "Package " + s.Name.Name + " "
		if s.Name.Name == "main" {
			want = ""
		}
		documented[s.pkg] = documented[s.pkg] || s.Doc.Text() != "" && strings.HasPrefix(s.Doc.Text(), want)
	}
	for pkg, ok := range documented {
		if !ok {
			found = append(found, pkg+": no comment on the package")
		}
	}
	slices.Sort(found)
	return found
}

// TestPolicyFinds breaks each rule once, and keeps it once beside that.
func TestPolicyFinds(t *testing.T) {
	for _, c := range []struct {
		path, text string
		want       []string // parts of the findings, in order of the rules
	}{
		{"log/a.go", `package log; import "github.com/insynclog/insync/segment"`, nil},
		{"segment/a.go", `package segment; import "github.com/insynclog/insync/log"`, []string{"segment must not import log"}},
		{"segment/a_test.go", `package segment_test; import "github.com/insynclog/insync/log"`, nil},
		{"newpkg/a.go", `package newpkg`, []string{"no row"}},
		{"examples/x/main.go", `package main; import "github.com/insynclog/insync/internal/vfs"`, []string{"readers cannot"}},
		{"examples/x/main.go", `package main; import ("os"; "github.com/insynclog/insync/log"); func init() { os.Exit(1) }`, nil},
		{"log/a.go", `package log; import "github.com/twmb/franz-go/pkg/kmsg"`, []string{"does not belong into log"}},
		{"log/a.go", `package log; import "github.com/stretchr/testify/require"`, []string{"not a dependency"}},
		{"internal/vfs/vfstest/a.go", `package vfstest; import ("testing"; "github.com/stretchr/testify/require")`, nil},
		{"log/a.go", `package log; import "testing"`, []string{"outside a test"}},
		{"replication/machine/a.go", `package machine; import "sync"`, []string{"does not need sync"}},
		{"replication/machine/a.go", `package machine; import "time"; var t = time.Now; var d = time.Second`, []string{"told the time"}},
		{"replication/machine/a.go", `package machine; import "math/rand/v2"; var r *rand.Rand; var n = rand.IntN(3)`, []string{"rand.IntN"}},
		{"internal/controller/machine/a.go", `package machine; import "github.com/insynclog/insync/log"; var i log.TopicID; var o = log.Open`, []string{"not Open"}},
		{"replication/machine/a.go", `package machine; func f() { go f() }`, []string{"no goroutine"}},
		{"replication/machine/a.go", `package machine; func f(c <-chan int) { <-c }`, []string{"no channel", "no channel"}},
		{"log/a.go", `package log; import "os"; func f() { os.Exit(1) }`, []string{"ends the host"}},
		{"log/a.go", `package log; import "os/signal"; func f() { signal.Notify(nil) }`, []string{"signals"}},
		{"transport/a.go", `package transport; import "log"; func f() { log.Printf("x") }`, []string{"host's logger"}},
		{"cluster/a.go", `package cluster; import "github.com/insynclog/insync/log"; func f() { log.Open() }`, nil},
		{"log/a.go", `package log; import "log/slog"; var l = slog.Default()`, []string{"host's logger"}},
		{"log/a.go", `package log; import "fmt"; func f() { fmt.Println(fmt.Sprint(1)) }`, []string{"standard output"}},
		{"log/a.go", `package log; import "os"; var e = os.Getenv("x")`, []string{"environment"}},
		{"log/a.go", `package log; func init() {}`, []string{"no init"}},
		{"log/a.go", `package log; import "os"; func f(os T) { os.Remove("x") }`, nil},
		{"log/a.go", `package log; import "os"; func f() { os.Remove("x") }`, []string{"only internal/vfs"}},
		{"internal/vfs/a.go", `package vfs; import "os"; func f() { os.Remove("x") }`, nil},
		{"log/a.go", "package log\n\nfunc F() {}\n", []string{"F has no comment"}},
		{"log/a.go", "package log\n\n// F is.\nfunc F() {}\n\ntype t int\n\nfunc (t) F() {}\n", nil},
		{"log/a.go", "package log\n\n// T is.\ntype T int\n\nfunc (T) Error() string { return \"\" }\n\nfunc Error() {}\n", []string{"Error has no comment"}},
		{"log/a.go", "package log\n\n// T is.\ntype T[K any] struct{}\n\nfunc (*T[K]) F() {}\n", []string{"F has no comment"}},
		{"log/a.go", "package log\n\nconst A, b = 1, 2\n\n// These are.\nconst (\n\tC = 1\n)\n", []string{"A has no comment"}},
		{"log/a.go", "package log\n\n// I is.\ntype I interface {\n\tF()\n}\n\n// J is.\ntype J interface{ F() }\n", []string{"F has no comment"}},
		{"log/a.go", "package log\n\n// T is.\ntype T int\n\n// A and B are.\nfunc (T) A() {}\nfunc (T) B() {}\n\nfunc (T) C() {}\n", []string{"C has no comment"}},
		{"producer/a.go", "package producer\n\nimport \"github.com/twmb/franz-go/pkg/kmsg\"\n\n// F is.\nfunc F(*kmsg.X) {}\n\nfunc f(*kmsg.X) {}\n", []string{"exported signature"}},
		{"producer/a.go", "package producer\n\nimport \"github.com/twmb/franz-go/pkg/kmsg\"\n\n// T is.\ntype T struct {\n\tA kmsg.X\n\tb kmsg.X\n}\n", []string{"exported signature"}},
		{"log/a.go", "package log\n" + strings.Repeat("\n", maxLines), []string{"more than 800"}},
		{"log/a_test.go", "package log\n" + strings.Repeat("\n", maxLines), nil},
	} {
		s, err := parse(c.path, c.text)
		require.NoError(t, err, c.text)
		var found []string
		for _, r := range rules {
			found = append(found, r.check(s)...)
		}
		require.Len(t, found, len(c.want), "%s\n%v", c.text, found)
		for i, want := range c.want {
			require.Contains(t, found[i], want, c.text)
		}
	}

	deps, err := parse("deps.go", "//go:build deps\n\npackage insync\n")
	require.NoError(t, err)
	require.True(t, neverBuilt(deps))
	linux, err := parse("a.go", "//go:build linux && !race\n\npackage insync\n")
	require.NoError(t, err)
	require.False(t, neverBuilt(linux))

	good, err := parse("a/a.go", "// Package a is.\npackage a\n")
	require.NoError(t, err)
	bad, err := parse("b/b.go", "// Package a is.\n\npackage b\n")
	require.NoError(t, err)
	require.Equal(t, []string{"b: no comment on the package"}, checkPackageComments([]*source{good, bad}))
}
