package reconcile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"resonate/merkle"
)

// A replica is a node of the model: what it has agreed, path by path, and what it has seen.
type replica struct {
	at   map[string]*merkle.Entry
	seen merkle.Vector
}

func (r *replica) put(path string, e *merkle.Entry) {
	if r.at == nil {
		r.at = make(map[string]*merkle.Entry)
	}
	r.at[path] = e
}

// take merges a version into what is agreed at a path, and puts the copy beside it.
func (r *replica) take(path string, theirs *merkle.Entry) {
	plan := Merge(path, r.at[path], theirs)
	if plan.Entry != nil {
		r.put(path, plan.Entry)
	}
	if plan.Copy != nil {
		r.take(plan.CopyPath, plan.Copy)
	}
}

func (r *replica) takeAll(from *replica) {
	for _, p := range slices.Sorted(maps.Keys(from.at)) {
		r.take(p, from.at[p])
	}
}

func (r *replica) equal(s *replica) bool {
	return maps.EqualFunc(r.at, s.at, func(a, b *merkle.Entry) bool { return a.Hash() == b.Hash() })
}

// A model is a number of nodes that change one path, and exchange what they have in any order.
type model struct {
	t       *testing.T
	rand    *rand.Rand
	nodes   []*replica
	stamp   merkle.Stamp
	horizon merkle.Vector // what all have seen

	written map[merkle.Hash]bool // all contents
	retired map[merkle.Hash]bool // those that a node has replaced or deleted knowingly
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)),
		written: make(map[merkle.Hash]bool), retired: make(map[merkle.Hash]bool),
	}
	for range 2 + m.rand.IntN(4) {
		m.nodes = append(m.nodes, &replica{})
	}
	return m
}

func (m *model) author(i int) Author {
	m.stamp += merkle.Stamp(m.rand.IntN(2)) // two nodes may well use the same number; one node never does
	by := Author{Node: node(byte('A' + i)), Stamp: max(m.stamp, m.nodes[i].seen.Of(node(byte('A'+i)))+1)}
	m.stamp = max(m.stamp, by.Stamp)
	if m.rand.IntN(4) == 0 {
		by.Token.Index = uint64(by.Stamp)
	}
	return by
}

// change has node i change what it has at the path, or at one of the copies.
func (m *model) change(i int) {
	n := m.nodes[i]
	at := path
	if m.rand.IntN(4) == 0 && len(n.at) > 0 {
		at = m.pick(n)
	}
	before := n.at[at]
	have := m.something(before)
	e := Publish(before, have, m.author(i))
	if e == nil {
		return
	}
	if before.Live() && !merkle.SameContent(before, e) {
		m.retired[before.Content] = true
	}
	if e.Kind == merkle.File {
		m.written[e.Content] = true
	}
	n.put(at, e)
	n.seen = n.seen.With(e.Version.Author, e.Version.Stamp)
}

// something makes up what is found at a path where before was agreed.
func (m *model) something(before *merkle.Entry) *merkle.Attributes {
	switch r := m.rand.IntN(20); {
	case r < 3:
		return nil
	case r < 5 && before.Live() && before.Kind == merkle.File:
		a := before.Attributes
		a.Mode ^= 0o044
		return &a
	case r < 6:
		return attributes(m.t, "dir")
	case r < 7:
		return attributes(m.t, "->a")
	}
	a := attributes(m.t, "a")
	a.MTime += int64(m.rand.IntN(10))
	if m.rand.IntN(4) > 0 { // else what others write, too
		a.Content = merkle.HashBlock(fmt.Append(nil, len(m.written)))
	}
	return a
}

func (m *model) pick(n *replica) string {
	paths := slices.Sorted(maps.Keys(n.at))
	return paths[m.rand.IntN(len(paths))]
}

// tell has node j take one path from node i. What j has long deleted, i deletes, too.
func (m *model) tell(i, j int, path string) {
	from, to := m.nodes[i], m.nodes[j]
	e := from.at[path]
	switch {
	case to.at[path] != nil || !Forgotten(path, e, to.seen, m.horizon):
		to.take(path, e)
	case !e.Live():
		delete(from.at, path)
	default:
		gone := Publish(e, nil, m.author(i))
		from.seen = from.seen.With(gone.Version.Author, gone.Version.Stamp)
		from.take(path, gone)
	}
}

// sync has two nodes exchange all they have, until they are equal: then each has seen what the other has.
func (m *model) sync(i, j int) {
	for !m.nodes[i].equal(m.nodes[j]) {
		for _, p := range slices.Sorted(maps.Keys(m.nodes[i].at)) {
			m.tell(i, j, p)
		}
		for _, p := range slices.Sorted(maps.Keys(m.nodes[j].at)) {
			m.tell(j, i, p)
		}
	}
	seen := m.nodes[i].seen.Join(m.nodes[j].seen)
	m.nodes[i].seen, m.nodes[j].seen = seen, seen
}

// raise drops the deletions that all have seen.
func (m *model) raise() {
	h := m.nodes[0].seen
	for _, n := range m.nodes[1:] {
		h = h.Meet(n.seen)
	}
	m.horizon = m.horizon.Join(h)
	for _, n := range m.nodes {
		maps.DeleteFunc(n.at, func(_ string, e *merkle.Entry) bool { return !e.Live() && m.horizon.Covers(e.Version.Vector) })
	}
}

func (m *model) step() {
	i, j := m.rand.IntN(len(m.nodes)), m.rand.IntN(len(m.nodes))
	switch r := m.rand.IntN(10); {
	case r < 3:
		m.change(i)
	case i == j:
	case r < 7 && len(m.nodes[i].at) > 0: // some of it arrives, before the connection breaks
		m.tell(i, j, m.pick(m.nodes[i]))
	case r < 9:
		m.sync(i, j)
	default:
		m.raise()
	}
}

// settle has all nodes exchange all they have, in random order, until they agree.
func (m *model) settle() error {
	for range 20 {
		for range 3 * len(m.nodes) {
			if i, j := m.rand.IntN(len(m.nodes)), m.rand.IntN(len(m.nodes)); i != j {
				m.sync(i, j)
			}
		}
		if !slices.ContainsFunc(m.nodes, func(n *replica) bool { return !n.equal(m.nodes[0]) }) {
			return nil
		}
	}
	return fmt.Errorf("no agreement after many rounds")
}

// lost returns how many contents are nowhere any more although nobody has replaced or deleted them.
func (m *model) lost() (n int) {
	kept := make(map[merkle.Hash]bool)
	for _, e := range m.nodes[0].at {
		kept[e.Content] = true
	}
	for content := range m.written {
		if !kept[content] && !m.retired[content] {
			n++
		}
	}
	return n
}

func TestNodesAgreeAndLoseNothing(t *testing.T) {
	const runs = 3000
	conflicts := 0
	for seed := range uint64(runs) {
		m := newModel(t, seed)
		for range 5 + m.rand.IntN(40) {
			m.step()
		}
		if err := m.settle(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if n := m.lost(); n > 0 {
			t.Fatalf("seed %d: %d contents that nobody replaced are lost", seed, n)
		}
		if len(m.nodes[0].at) > 1 {
			conflicts++
		}
	}
	if conflicts < runs/4 {
		t.Errorf("only %d of %d runs had a conflict: too little is tested", conflicts, runs)
	}
}
