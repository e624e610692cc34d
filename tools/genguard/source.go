package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// source is kmsg's, parsed, with the sizes of its types.
type source struct {
	fset     *token.FileSet
	pkg      *types.Package
	sizes    types.Sizes
	messages []*message
}

// message is one request, response or message inside one.
type message struct {
	name     string
	key      int  // -1: not a request or response of its own
	max      int  // highest version
	size     int  // of the Go struct
	flexible int  // lowest version that is; -1: none
	body     bool // its version is in the body
	read     *ast.FuncDecl
}

// inside lists the messages that travel as bytes in a field of others, and are decoded by the library.
var inside = []string{"ConsumerMemberAssignment", "ConsumerMemberMetadata"}

// noImports resolves imports to empty packages: no field of a message has a type of another package.
type noImports struct{}

func (noImports) Import(name string) (*types.Package, error) {
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	return p, nil
}

func parse(dir string) (*source, error) {
	s := &source{fset: token.NewFileSet(), sizes: types.SizesFor("gc", "amd64")} // of 32-bit systems: no larger
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range paths {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(s.fset, name, nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	config := types.Config{IgnoreFuncBodies: true, Importer: noImports{}, Error: func(error) {}} // errors: what imports would have declared
	s.pkg, _ = config.Check("kmsg", s.fset, files, nil)

	known := map[string]*message{}
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == "readFrom" {
				name := receiver(fn)
				known[name] = &message{name: name, key: -1, max: -1, flexible: -1, read: fn}
			}
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || known[receiver(fn)] == nil {
				continue
			}
			m := known[receiver(fn)]
			switch fn.Name.Name {
			case "Key":
				m.key, err = returned(fn)
			case "MaxVersion":
				m.max, err = returned(fn)
			}
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", m.name, fn.Name.Name, err)
			}
		}
	}
	for _, m := range known {
		if m.key < 0 && !slices.Contains(inside, m.name) {
			continue
		}
		if m.size, err = s.sizeOf(ast.NewIdent(m.name)); err != nil {
			return nil, err
		}
		s.prelude(m)
		s.messages = append(s.messages, m)
	}
	slices.SortFunc(s.messages, func(a, b *message) int { return cmp.Or(cmp.Compare(a.key, b.key), strings.Compare(a.name, b.name)) })
	return s, nil
}

func receiver(fn *ast.FuncDecl) string {
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// returned is the number a method returns.
func returned(fn *ast.FuncDecl) (int, error) {
	if len(fn.Body.List) == 1 {
		if r, ok := fn.Body.List[0].(*ast.ReturnStmt); ok && len(r.Results) == 1 {
			if lit, ok := r.Results[0].(*ast.BasicLit); ok {
				return strconv.Atoi(lit.Value)
			}
		}
	}
	return 0, fmt.Errorf("does not return a number")
}

// prelude finds what the first statements of a decoder and its conditions say of versions.
func (s *source) prelude(m *message) {
	highest := 0
	ast.Inspect(m.read.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			text := s.text(n)
			if rest, ok := strings.CutPrefix(text, "isFlexible := version >= "); ok {
				m.flexible, _ = strconv.Atoi(rest)
			}
			m.body = m.body || text == "v.Version = b.Int16()"
		case *ast.BinaryExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "version" {
				if lit, ok := n.Y.(*ast.BasicLit); ok {
					v, _ := strconv.Atoi(lit.Value)
					highest = max(highest, v)
				}
			}
		}
		return true
	})
	if m.body {
		m.max = highest
	}
}

func (s *source) text(n ast.Node) string {
	var b strings.Builder
	if err := printer.Fprint(&b, s.fset, n); err != nil {
		return err.Error()
	}
	return b.String()
}

// sizeOf returns the size in bytes of a value of a type.
func (s *source) sizeOf(e ast.Expr) (int, error) {
	tv, err := types.Eval(token.NewFileSet(), s.pkg, token.NoPos, s.text(e))
	if err != nil {
		return 0, err
	}
	if !tv.IsType() || !valid(tv.Type) {
		return 0, fmt.Errorf("%s: no type of a known size", s.text(e))
	}
	return int(s.sizes.Sizeof(tv.Type)), nil
}

// valid says that nothing of a type's memory was left unknown.
func valid(t types.Type) bool {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return u.Kind() != types.Invalid
	case *types.Array:
		return valid(u.Elem())
	case *types.Struct:
		for f := range u.Fields() {
			if !valid(f.Type()) {
				return false
			}
		}
	}
	return true
}
