package members

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A randomRun lets nodes do whatever they may, and thieves whatever they can.
type randomRun struct {
	*cluster
	*rand.Rand
	names []byte
	gone  map[byte]map[ID]bool // whom each node ever knew to be forgotten
	stole []*Statement         // all that thieves ever signed
}

func newRandomRun(t *testing.T, seed uint64) *randomRun {
	const names = "ABCDEFGH"
	r := &randomRun{cluster: newCluster(t, names), Rand: rand.New(rand.NewPCG(seed, 4)), names: []byte(names), gone: make(map[byte]map[ID]bool)}
	for _, name := range r.names {
		r.gone[name] = make(map[ID]bool)
	}
	return r
}

func (r *randomRun) any() byte { return r.names[r.IntN(len(r.names))] }

// mutual tells whether two nodes would talk.
func (r *randomRun) mutual(a, b byte) bool {
	return a != b && r.sets[a].Is(public(b)) && r.sets[b].Is(public(a))
}

func (r *randomRun) step() {
	a, b := r.any(), r.any()
	var err error
	switch n := r.IntN(100); {
	case n < 20 && a != b:
		if _, err = r.sets[a].Admit(public(b), fmt.Sprint("guest ", n), r.tick()); err == nil {
			_, err = r.sets[b].Admit(public(a), fmt.Sprint("host ", n), r.tick())
		}
	case n < 23:
		_, err = r.sets[a].Forget(idOf(b), r.tick())
	case n < 30:
		_, err = r.sets[a].Rename(idOf(b), fmt.Sprint("name ", r.IntN(9)), at(r.IntN(500)))
	case n < 40:
		_, err = r.sets[a].Profile(fmt.Sprint("own ", r.IntN(9)), []string{fmt.Sprint("host:", 1+n)}, r.IntN(4) == 0, at(r.IntN(500)))
	case n < 46:
		r.steal(a, b)
	case r.mutual(a, b):
		r.tellSome(a, b)
	}
	if err != nil && !errors.Is(err, ErrForgotten) && !errors.Is(err, ErrUnknown) {
		r.t.Fatal(err)
	}
}

// steal has somebody sign with a node's key, with any numbers and times, different things with one number too, and tell
// other nodes.
func (r *randomRun) steal(a, b byte) {
	k := []kind{kindAdmit, kindForget, kindProfile, kindRename, 9}[r.IntN(5)]
	for range 1 + r.IntN(4) {
		about := about{key: public(b), whom: idOf(b), name: fmt.Sprint("thief ", r.IntN(9))}
		if k == kindForget {
			about.name = ""
			for range r.IntN(5) {
				about.brought = append(about.brought, idOf(r.any()))
			}
		}
		s, err := newStatement(keyOf(a), k, 1+r.Uint64N(3), 1+r.Uint64N(3), about)
		if err != nil {
			r.t.Fatal(err)
		}
		r.stole = append(r.stole, s)
		if _, err := r.sets[r.any()].Merge([]*Statement{s}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// tellSome tells a some of what b keeps, in any order and several messages.
func (r *randomRun) tellSome(a, b byte) {
	all := decoded(r.t, r.sets[b])
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for part := range slices.Chunk(all[:r.IntN(len(all)+1)], 1+r.IntN(8)) {
		if _, err := r.sets[a].Merge(part); err != nil {
			r.t.Fatal(err)
		}
	}
}

// check holds every node's set to the rules, and to what it knew before.
func (r *randomRun) check() {
	r.t.Helper()
	for name, s := range r.sets {
		members, forgotten := ruled(public(name), decoded(r.t, s))
		for _, m := range s.List() {
			if m.Forgotten != forgotten[m.ID] || s.Is(m.Key) != members[m.ID] || m.Key.ID() != m.ID {
				r.t.Fatalf("node %c: got %+v, want member %v, forgotten %v", name, m, members[m.ID], forgotten[m.ID])
			}
			delete(members, m.ID)
		}
		if len(members) > 0 {
			r.t.Fatalf("node %c: members are not listed: %v", name, members)
		}
		for id := range r.gone[name] {
			if !forgotten[id] {
				r.t.Fatalf("node %c: %s was forgotten, and is no more", name, id)
			}
		}
		maps.Copy(r.gone[name], forgotten)
	}
}

// ruled tells who is a member and who is forgotten, as the package comment puts it.
func ruled(self Key, all []*Statement) (members, forgotten map[ID]bool) {
	reach := func(counts func(*Statement) bool) map[ID]bool {
		reached := map[ID]bool{self.ID(): true}
		for n := 0; n != len(reached); {
			n = len(reached)
			for _, s := range all {
				if s.kind == kindAdmit && reached[s.by] && counts(s) {
					reached[s.whom] = true
				}
			}
		}
		return reached
	}
	known := reach(func(*Statement) bool { return true })
	forgotten = make(map[ID]bool)
	for _, s := range all {
		if s.kind == kindForget && known[s.by] {
			forgotten[s.whom] = true
		}
	}
	members = reach(func(admit *Statement) bool {
		return !slices.ContainsFunc(all, func(f *Statement) bool {
			return f.kind == kindForget && f.whom == admit.by && !slices.Contains(f.brought, admit.whom)
		})
	})
	maps.DeleteFunc(members, func(id ID, _ bool) bool { return forgotten[id] })
	return members, forgotten
}

// settle lets all nodes that would talk tell each other everything, until nobody has anything new.
func (r *randomRun) settle() {
	for changed, rounds := true, 0; changed; rounds++ {
		if changed = false; rounds > len(r.names) {
			r.t.Fatal("nodes still have something to tell each other")
		}
		for _, a := range r.names {
			for _, b := range r.names {
				if !r.mutual(a, b) || r.sets[a].Digest() == r.sets[b].Digest() {
					continue
				}
				r.meet(a, b)
				changed = true
				if r.sets[a].Digest() != r.sets[b].Digest() && r.mutual(a, b) {
					r.t.Fatalf("%c and %c told each other everything, and differ", a, b)
				}
			}
		}
	}
}

func TestNodesAgree(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	pairs, forgotten := 0, 0
	for seed := range seeds {
		r := newRandomRun(t, seed)
		for range 20 + r.IntN(200) {
			r.step()
			r.check()
		}
		r.settle()
		r.check()
		for _, a := range r.names {
			for _, b := range r.names {
				if !r.mutual(a, b) {
					continue
				}
				pairs++
				if got, want := fmt.Sprint(r.sets[a].List()), fmt.Sprint(r.sets[b].List()); got != want {
					t.Fatalf("seed %d: %c and %c differ:\n%s\n%s", seed, a, b, got, want)
				}
			}
			forgotten += len(r.gone[a])
		}
		r.anyOrder()
	}
	if pairs == 0 || forgotten == 0 {
		t.Errorf("%d pairs of members, %d forgotten: the runs show nothing", pairs, forgotten)
	}
}

// anyOrder merges what all nodes keep, and what thieves signed, into new sets, in different orders: they must become equal.
func (r *randomRun) anyOrder() {
	all := r.stole
	for _, s := range r.sets {
		all = append(all, decoded(r.t, s)...)
	}
	self := keyOf(r.any())
	var want *Set
	for range 3 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		s, size := New(self), 1+r.IntN(len(all))
		for again, rounds := true, 0; again; rounds++ { // what came before its signer was known comes again
			if again = false; rounds > len(r.names) {
				r.t.Fatal("what is merged again changes something again")
			}
			for part := range slices.Chunk(all, size) {
				changed, err := s.Merge(part)
				if err != nil {
					r.t.Fatal(err)
				}
				again = again || changed
			}
		}
		if want == nil {
			want = s
		}
		if s.Digest() != want.Digest() {
			r.t.Fatalf("the order decides what is kept: %d statements, and %d", len(decoded(r.t, s)), len(decoded(r.t, want)))
		}
	}
}
