package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// op is one step of a walk. kind is the name of the constant in package guard.
type op struct {
	kind string
	name string   // field, for messages
	n    int      // bytes: width of a fixed field, least of an element
	size int      // bytes of the Go value of an element
	body []op     // of an element or struct
	tags []tagged // known tagged fields, in order of the source
}

type tagged struct {
	tag  int
	body []op
}

// least is how many bytes an encoding of o has at least.
func (o op) least() int {
	switch o.kind {
	case "opFixed":
		return o.n
	case "opString", "opNullString", "opStringPtr":
		return 2
	case "opBytes", "opArray", "opFixedArray":
		return 4
	}
	return 1 // compact: a varint
}

func leastOf(body []op) (n int) {
	for _, o := range body {
		n += o.least()
	}
	return n
}

// reads tells for each method of kbin's reader what it takes. Strings are copied, bytes alias the frame.
var reads = map[string]op{
	"Bool":                  {kind: "opFixed", n: 1},
	"Int8":                  {kind: "opFixed", n: 1},
	"Int16":                 {kind: "opFixed", n: 2},
	"Uint16":                {kind: "opFixed", n: 2},
	"Int32":                 {kind: "opFixed", n: 4},
	"Uint32":                {kind: "opFixed", n: 4},
	"Int64":                 {kind: "opFixed", n: 8},
	"Float64":               {kind: "opFixed", n: 8},
	"Uuid":                  {kind: "opFixed", n: 16},
	"String":                {kind: "opString"},
	"NullableString":        {kind: "opNullString"},
	"CompactString":         {kind: "opCompactString"},
	"CompactNullableString": {kind: "opCompactNullString"},
	"Bytes":                 {kind: "opBytes"}, // takes null for empty, as NullableBytes does
	"NullableBytes":         {kind: "opBytes"},
	"CompactBytes":          {kind: "opCompactBytes"},
	"CompactNullableBytes":  {kind: "opCompactBytes"},
}

// ignored statements read nothing and allocate nothing.
var ignored = map[string]bool{
	"v.Default()": true, "s := v": true, "a := v": true, "v = a": true, "a = a[:0]": true, "v := t": true, "a[i] = v": true, "v := &a[i]": true,
	"_ = version": true, "_ = isFlexible": true, "version := v.Version": true, "b := kbin.Reader{Src: src}": true, "return b.Complete()": true,
}

// eval follows a decoder for one version, in its safe variant.
type eval struct {
	*source
	version  int
	flexible bool
	name     string // of the field that is being read
	prefix   string // structs around it, up to an element
	array    string // kind of array whose length was read
	elem     ast.Expr
}

// failed is what stops a walk through the source.
type failed struct{ error }

func (e *eval) fail(n ast.Node, why string) {
	panic(failed{fmt.Errorf("%s: %s: %s", e.fset.Position(n.Pos()), why, e.text(n))})
}

// program returns the steps of a message in one version.
func (s *source) program(m *message, version int) (ops []op, err error) {
	defer func() {
		if f, ok := recover().(failed); ok {
			err = fmt.Errorf("%s version %d: %w", m.name, version, f.error)
		}
	}()
	e := &eval{source: s, version: version, flexible: m.flexible >= 0 && version >= m.flexible}
	return e.block(m.read.Body.List), nil
}

// block returns the steps of statements, with fixed fields side by side made one.
func (e *eval) block(list []ast.Stmt) []op {
	name, prefix := e.name, e.prefix
	for _, s := range list {
		if a, ok := s.(*ast.AssignStmt); ok {
			e.named(a)
		}
	}
	var ops []op
	for _, s := range list {
		for _, o := range e.stmt(s) {
			if last := len(ops) - 1; o.kind == "opFixed" && last >= 0 && ops[last].kind == "opFixed" {
				ops[last].n += o.n
			} else {
				ops = append(ops, o)
			}
		}
	}
	e.name, e.prefix = name, prefix
	return ops
}

// named notes the field of the struct s that a block is about.
func (e *eval) named(a *ast.AssignStmt) {
	x := a.Rhs[0]
	ref, isRef := x.(*ast.UnaryExpr)
	if isRef {
		x = ref.X
	}
	for _, x := range []ast.Expr{a.Lhs[0], x} {
		sel, ok := x.(*ast.SelectorExpr)
		if !ok || e.text(sel.X) != "s" {
			continue
		}
		e.name = sel.Sel.Name
		if isRef && ref.Op == token.AND { // a struct inside
			e.prefix += e.name + "."
		}
	}
}

func (e *eval) emit(o op) []op {
	o.name = e.prefix + e.name
	return []op{o}
}

func (e *eval) stmt(s ast.Stmt) []op {
	switch s := s.(type) {
	case *ast.BlockStmt:
		return e.block(s.List)
	case *ast.IfStmt:
		return e.branch(s)
	case *ast.ForStmt:
		return e.loop(s)
	case *ast.DeclStmt:
		if d, ok := s.Decl.(*ast.GenDecl); ok && d.Tok == token.VAR && len(d.Specs[0].(*ast.ValueSpec).Values) == 0 {
			return nil
		}
	case *ast.AssignStmt:
		if len(s.Lhs) == 1 && len(s.Rhs) == 1 {
			return e.assign(s)
		}
	case *ast.ExprStmt, *ast.ReturnStmt:
		if ignored[e.text(s)] {
			return nil
		}
	}
	e.fail(s, "unknown statement")
	return nil
}

func (e *eval) assign(s *ast.AssignStmt) []op {
	text := e.text(s)
	to, from := e.text(s.Lhs[0]), e.text(s.Rhs[0])
	field := strings.HasPrefix(to, "s.")
	switch {
	case ignored[text], strings.HasPrefix(text, "isFlexible := version >= "):
		return nil
	case field && from == "internalReadTags(&b)":
		return []op{{kind: "opTags", name: e.prefix + "tags"}}
	case field && (from == "v" || strings.HasPrefix(from, "new(")), to == "v" && (strings.HasPrefix(from, "s.") || strings.HasPrefix(from, "&s.")):
		return nil
	case to == "t" && strings.HasSuffix(from, "(v)"): // an enumeration
		return nil
	case to == "l" && from == "b.ArrayLen()":
		e.array = "Array"
		return nil
	case to == "l" && from == "b.CompactArrayLen()":
		e.array = "CompactArray"
		return nil
	case to == "a" && strings.HasPrefix(from, "append(a, make([]") && strings.HasSuffix(from, ", l)...)"):
		made := s.Rhs[0].(*ast.CallExpr).Args[1].(*ast.CallExpr)
		e.elem = made.Args[0].(*ast.ArrayType).Elt
		return nil
	case to == "v" || to == "vv" || text == "v.Version = b.Int16()":
		if method, ok := strings.CutPrefix(from, "b."); ok {
			o, ok := reads[strings.TrimSuffix(method, "()")]
			if !ok {
				e.fail(s, "unknown field")
			}
			if to == "vv" { // behind a pointer, though not nullable
				if o.kind != "opString" && o.kind != "opCompactString" {
					e.fail(s, "pointer to what is no string")
				}
				o.kind += "Ptr"
			}
			return e.emit(o)
		}
		if from == "&vv" {
			return nil
		}
	}
	e.fail(s, "unknown assignment")
	return nil
}

func (e *eval) branch(s *ast.IfStmt) []op {
	cond := e.text(s.Cond)
	if s.Init != nil {
		switch init := e.text(s.Init); {
		case init == "err := b.Complete()" && cond == "err != nil":
			return nil
		case init == "present := b.Int8()" && cond == "present != -1 && b.Ok()" && s.Else == nil:
			return e.nullable(s)
		}
		e.fail(s, "unknown condition")
	}
	switch {
	case cond == "!b.Ok()":
		return nil
	case strings.HasPrefix(cond, "version < ") && strings.HasSuffix(cond, " || l == 0"): // null and empty are told apart
		return nil
	case cond == "l > 0" && s.Else == nil:
		return e.block(s.Body.List)
	case e.holds(s.Cond):
		return e.block(s.Body.List)
	case s.Else != nil:
		return e.stmt(s.Else)
	}
	return nil
}

// nullable is a struct behind a byte that says whether it is there.
func (e *eval) nullable(s *ast.IfStmt) []op {
	for _, in := range s.Body.List {
		a, ok := in.(*ast.AssignStmt)
		if !ok {
			continue
		}
		call, ok := a.Rhs[0].(*ast.CallExpr)
		if !ok || e.text(call.Fun) != "new" {
			continue
		}
		size, err := e.sizeOf(call.Args[0])
		if err != nil {
			e.fail(s, err.Error())
		}
		o := op{kind: "opStruct", name: e.prefix + a.Lhs[0].(*ast.SelectorExpr).Sel.Name, size: size, body: e.inner(s.Body.List)}
		return []op{o}
	}
	e.fail(s, "nullable struct that is not allocated")
	return nil
}

// inner is block for a program of its own: names start anew.
func (e *eval) inner(list []ast.Stmt) []op {
	name, prefix := e.name, e.prefix
	e.name, e.prefix = "", ""
	ops := e.block(list)
	e.name, e.prefix = name, prefix
	return ops
}

func (e *eval) loop(s *ast.ForStmt) []op {
	head := e.text(s.Init) + "; " + e.text(s.Cond) + "; " + e.text(s.Post)
	switch head {
	case "i := int32(0); i < l; i++":
		kind, elem := e.array, e.elem
		if kind == "" || elem == nil {
			e.fail(s, "array without length or memory")
		}
		e.array, e.elem = "", nil
		size, err := e.sizeOf(elem)
		if err != nil {
			e.fail(s, err.Error())
		}
		body := e.inner(s.Body.List)
		o := op{kind: "op" + kind, n: leastOf(body), size: size, body: body}
		if len(body) == 1 && body[0].kind == "opFixed" {
			o.kind, o.body = strings.Replace(o.kind, "Array", "FixedArray", 1), nil
		}
		return e.emit(o)
	case "i := b.Uvarint(); i > 0; i--":
		return e.tags(s)
	}
	e.fail(s, "unknown loop")
	return nil
}

// tags is a section of tagged fields of which some are known.
func (e *eval) tags(s *ast.ForStmt) []op {
	sw, ok := s.Body.List[0].(*ast.SwitchStmt)
	if !ok || len(s.Body.List) != 1 || e.text(sw.Init) != "key := b.Uvarint()" || e.text(sw.Tag) != "key" {
		e.fail(s, "unknown tags")
	}
	o := op{kind: "opTagged", name: e.prefix + "tags"}
	for _, c := range sw.Body.List {
		c := c.(*ast.CaseClause)
		if c.List == nil {
			if len(c.Body) != 1 || e.text(c.Body[0]) != "s.UnknownTags.Set(key, b.Span(int(b.Uvarint())))" {
				e.fail(c, "unknown default")
			}
			continue
		}
		tag, err := strconv.Atoi(e.text(c.List[0]))
		if err != nil || len(c.List) != 1 || e.text(c.Body[0]) != "b := kbin.Reader{Src: b.Span(int(b.Uvarint()))}" {
			e.fail(c, "unknown case")
		}
		o.tags = append(o.tags, tagged{tag, e.inner(c.Body[1:])})
	}
	return []op{o}
}

// holds evaluates a condition on the version.
func (e *eval) holds(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.ParenExpr:
		return e.holds(x.X)
	case *ast.Ident:
		switch x.Name {
		case "isFlexible":
			return e.flexible
		case "unsafe":
			return false
		}
	case *ast.BinaryExpr:
		switch x.Op {
		case token.LAND:
			return e.holds(x.X) && e.holds(x.Y)
		case token.LOR:
			return e.holds(x.X) || e.holds(x.Y)
		}
		y, err := strconv.Atoi(e.text(x.Y))
		if e.text(x.X) != "version" || err != nil {
			break
		}
		switch x.Op {
		case token.GEQ:
			return e.version >= y
		case token.LEQ:
			return e.version <= y
		case token.LSS:
			return e.version < y
		}
	}
	e.fail(x, "unknown condition")
	return false
}
