package vfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// node is a file or directory of a Mem.
type node struct {
	dir bool

	// Of the tree, under tree's lock.
	entries map[string]*node // of a directory, as seen now
	durable map[string]*node // of a directory, as after a power loss
	at      place            // where it is linked now; zero if it is not
	kept    place            // where it is linked after a power loss; zero if it is not
	opens   int              // handles on it; a file without name and handle occupies no disk
	locked  bool

	modified atomic.Int64 // Unix nanoseconds

	mu struct { // of a file; taken after the tree's lock where both are
		sync.RWMutex
		content content
		mapped  []int // sizes of the live mappings
	}
}

// place is a name in a directory.
type place struct {
	dir  *node
	name string
}

func newDir() *node {
	return &node{dir: true, entries: map[string]*node{}, durable: map[string]*node{}}
}

func (n *node) touch() { n.modified.Store(time.Now().UnixNano()) }

// names is the tree of a Mem and what of it is not durable yet. Its owner's lock guards it.
type names struct {
	root    *node
	pending []nameChange // in order; the durable maps are what they lead from, the entries maps what they lead to
}

// nameChange is a creation (from is zero), a rename or a removal (to is zero) that is not durable.
type nameChange struct {
	node     *node
	replaced *node // what a rename put out of its place, or nil
	from, to place
	wait     []*node // directories that have to be synced before it is durable
}

// maxPending bounds the memory that unsynced changes take. A kernel, too, writes the oldest back sooner or later.
const maxPending = 4096

func clean(name string) string { return path.Clean("/" + name) }

// find returns the node of a cleaned name.
func (t *names) find(name string) (*node, error) {
	n := t.root
	for part := range strings.SplitSeq(name[1:], "/") {
		switch {
		case part == "":
			return n, nil // the root
		case !n.dir:
			return nil, syscall.ENOTDIR
		}
		next := n.entries[part]
		if next == nil {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent returns the place that a cleaned name means; what is there may be missing.
func (t *names) parent(name string) (place, error) {
	dir, base := path.Split(name)
	if base == "" {
		return place{}, syscall.EINVAL // the root has no parent
	}
	n, err := t.find(path.Clean(dir))
	switch {
	case err != nil:
		return place{}, err
	case !n.dir:
		return place{}, syscall.ENOTDIR
	}
	return place{dir: n, name: base}, nil
}

// link puts n at to, out of its old place if it has one, and returns what was there.
func (t *names) link(n *node, to place) (replaced *node) {
	ch := nameChange{node: n, from: n.at, to: to, replaced: to.dir.entries[to.name]}
	if n.at.dir != nil {
		delete(n.at.dir.entries, n.at.name)
	}
	if ch.replaced != nil {
		ch.replaced.at = place{}
	}
	to.dir.entries[to.name] = n
	n.at = to
	t.record(ch)
	return ch.replaced
}

// unlink takes n out of its place.
func (t *names) unlink(n *node) {
	ch := nameChange{node: n, from: n.at}
	delete(n.at.dir.entries, n.at.name)
	n.at = place{}
	t.record(ch)
}

func (t *names) record(ch nameChange) {
	for _, p := range [...]place{ch.from, ch.to} {
		if p.dir != nil && !slices.Contains(ch.wait, p.dir) {
			ch.wait = append(ch.wait, p.dir)
			p.dir.touch()
		}
	}
	t.pending = append(t.pending, ch)
	if len(t.pending) > maxPending {
		half := len(t.pending) / 2
		for _, old := range t.pending[:half] {
			old.keep()
		}
		t.pending = slices.Delete(t.pending, 0, half)
	}
}

// keep makes the change in the durable tree.
func (ch *nameChange) keep() {
	n := ch.node
	if n.kept.dir != nil {
		delete(n.kept.dir.durable, n.kept.name)
		n.kept = place{}
	}
	if ch.to.dir == nil {
		return
	}
	if replaced := ch.to.dir.durable[ch.to.name]; replaced != nil {
		replaced.kept = place{}
	}
	ch.to.dir.durable[ch.to.name] = n
	n.kept = ch.to
}

// sync makes durable what waited for dir and nothing else, and with it what that rests on.
func (t *names) sync(dir *node) {
	waiting := false
	for i := range t.pending {
		ch := &t.pending[i]
		ch.wait = slices.DeleteFunc(ch.wait, func(d *node) bool { return d == dir || t.gone(d) })
		waiting = waiting || len(ch.wait) > 0
	}
	var basis related // of the changes that become durable
	durable := make([]bool, len(t.pending))
	for i, ch := range slices.Backward(t.pending) {
		durable[i] = len(ch.wait) == 0 || basis.has(ch)
		if waiting && durable[i] {
			basis.add(ch)
		}
	}
	rest := t.pending[:0]
	for i, ch := range t.pending {
		if durable[i] {
			ch.keep()
		} else {
			rest = append(rest, ch)
		}
	}
	clear(t.pending[len(rest):])
	t.pending = rest
}

// gone says that nobody can sync dir any more: it is removed, durably.
func (t *names) gone(dir *node) bool {
	return dir != t.root && dir.at.dir == nil && dir.kept.dir == nil
}

// keepRandom makes some of the pending changes durable. What rests on a lost change is lost with it, so that no file gets two names
// and none that was only renamed is gone.
func (t *names) keepRandom(rng *rand.Rand) {
	rate := survivalRate(rng)
	var lost related
	for _, ch := range t.pending {
		if rng.Float64() >= rate || lost.has(ch) {
			lost.add(ch)
			continue
		}
		ch.keep()
	}
	t.pending = nil
}

// keepAll makes all pending changes durable.
func (t *names) keepAll() {
	for _, ch := range t.pending {
		ch.keep()
	}
	t.pending = nil
}

// related finds changes of the same files or names.
type related struct {
	nodes  map[*node]bool
	places map[place]bool
}

func (r *related) add(ch nameChange) {
	if r.nodes == nil {
		r.nodes, r.places = map[*node]bool{}, map[place]bool{}
	}
	r.nodes[ch.node] = true
	if ch.replaced != nil {
		r.nodes[ch.replaced] = true
	}
	for _, p := range [...]place{ch.from, ch.to} {
		if p.dir != nil {
			r.places[p] = true
		}
	}
}

func (r *related) has(ch nameChange) bool {
	return r.nodes[ch.node] || r.nodes[ch.replaced] || r.places[ch.from] || r.places[ch.to]
}

// revert makes the durable tree the one that is seen, and calls visit for each file in it, in lexical order.
func (t *names) revert(visit func(*node)) {
	t.pending = nil
	var walk func(n *node)
	walk = func(n *node) {
		n.at = n.kept
		if !n.dir {
			visit(n)
			return
		}
		n.entries = maps.Clone(n.durable)
		for _, name := range slices.Sorted(maps.Keys(n.entries)) {
			walk(n.entries[name])
		}
	}
	walk(t.root)
}

// each calls visit for every file that is seen.
func (t *names) each(visit func(*node)) {
	var walk func(n *node)
	walk = func(n *node) {
		if !n.dir {
			visit(n)
		}
		for _, next := range n.entries {
			walk(next)
		}
	}
	walk(t.root)
}

// clone copies the tree, the durable one and the files. Handles and locks stay behind.
func (t *names) clone() names {
	copies := map[*node]*node{}
	var copyOf func(n *node) *node
	copyMap := func(m map[string]*node) map[string]*node {
		if m == nil {
			return nil
		}
		d := make(map[string]*node, len(m))
		for name, n := range m {
			d[name] = copyOf(n)
		}
		return d
	}
	copyPlace := func(p place) place { return place{dir: copyOf(p.dir), name: p.name} }
	copyOf = func(n *node) *node {
		if n == nil || copies[n] != nil {
			return copies[n]
		}
		d := &node{dir: n.dir}
		copies[n] = d
		d.modified.Store(n.modified.Load())
		d.entries, d.durable = copyMap(n.entries), copyMap(n.durable)
		d.at, d.kept = copyPlace(n.at), copyPlace(n.kept)
		d.mu.content = n.mu.content.clone()
		return d
	}
	d := names{root: copyOf(t.root), pending: make([]nameChange, len(t.pending))}
	for i, ch := range t.pending {
		d.pending[i] = nameChange{node: copyOf(ch.node), replaced: copyOf(ch.replaced), from: copyPlace(ch.from), to: copyPlace(ch.to)}
		for _, w := range ch.wait {
			d.pending[i].wait = append(d.pending[i].wait, copyOf(w))
		}
	}
	return d
}
