package quorum

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func tableOf(b byte) TableID { return TableID{b} }

func TestMeet(t *testing.T) {
	none := func(node NodeID) Standing { return Standing{Node: node} }
	lone := func(node NodeID, table byte, generation uint64) Standing {
		return Standing{Node: node, Table: tableOf(table), Generation: generation, Voter: true, Alone: true, Led: true}
	}
	shared := func(s Standing) Standing { s.Shared = true; return s }
	client := func(s Standing) Standing { s.Shared, s.Voter, s.Alone = true, false, false; return s }
	for _, row := range []struct {
		name  string
		a, b  Standing
		doesA Action
		doesB Action
		raise uint64 // by the table that stays
	}{
		{"two without a table: the first founds one", none("a"), none("b"), Found, Wait, 0},
		{"one without a table follows", none("a"), lone("b", 9, 1), Follow, Stay, 0},
		{"two lone tables: the smaller ID, raised above both", lone("a", 2, 1), lone("b", 1, 1), Follow, Stay, 2},
		{"two lone tables: the higher generation", lone("a", 1, 1), lone("b", 2, 3), Follow, Stay, 0},
		{"a lone table dissolves in one that is shared, which is raised", lone("a", 1, 7), shared(lone("b", 2, 3)), Follow, Stay, 8},
		{"its client answers alike", lone("a", 1, 7), client(lone("b", 2, 3)), Follow, Stay, 8},
		{"the same table", lone("a", 1, 1), client(lone("b", 1, 1)), Stay, Stay, 0},
		{"one that was taken over, and who was away", client(lone("a", 1, 4)), shared(lone("b", 2, 5)), Follow, Stay, 0},
		{"a founder that lost its log, and its client", Standing{Node: "a", Lapsed: tableOf(1), Seen: 3, Shared: true},
			Standing{Node: "b", Table: tableOf(1), Generation: 3, Shared: true}, Found, Stay, 0},
		{"the same, but others have taken it up", Standing{Node: "a", Lapsed: tableOf(1), Seen: 3, Shared: true},
			Standing{Node: "b", Table: tableOf(1), Generation: 4, Shared: true, Led: true}, Follow, Stay, 0},
	} {
		for _, turn := range []bool{false, true} {
			a, b, doesA, doesB := row.a, row.b, row.doesA, row.doesB
			if turn {
				a, b, doesA, doesB = b, a, doesB, doesA
			}
			va, vb := Meet(a, b), Meet(b, a)
			if va.Do != doesA || vb.Do != doesB {
				t.Errorf("%s: %s does %v and %s does %v, want %v and %v", row.name, a.Node, va.Do, b.Node, vb.Do, doesA, doesB)
			}
			if doesA == Follow && (va.Raise != row.raise || vb.Raise != row.raise) {
				t.Errorf("%s: raised to %d and %d, want %d", row.name, va.Raise, vb.Raise, row.raise)
			}
		}
	}
	old, c := lone("a", 1, 2), client(lone("b", 1, 2))
	old.Index, c.Index, c.Led = 10, 20, true
	if v := Meet(old, c); v.Do != Found {
		t.Errorf("an only voter whose client knows more of its log: got %v, want found", v.Do)
	}
}

// However tables meet, in the end all nodes are in one, nobody followed one of a generation that it had seen, and nothing changes any more:
// each time that a table is raised, whoever holds a lock loses it.
func TestTablesThatMeetBecomeOne(t *testing.T) {
	for seed := range uint64(5000) {
		w := newMeetings(seed)
		w.meet(500)
		for _, n := range w.nodes[1:] {
			if n.Table != w.nodes[0].Table {
				t.Fatalf("seed %d: %+v and %+v are not in one table", seed, w.nodes[0], n)
			}
		}
		if g := w.nodes[0].Generation; g > 5+uint64(len(w.nodes)) { // 4 was seen in the beginning
			t.Fatalf("seed %d: %d nodes came to generation %d", seed, len(w.nodes), g)
		}
		before := slices.Clone(w.nodes)
		w.meet(500)
		if !slices.Equal(w.nodes, before) {
			t.Fatalf("seed %d: nodes that are in one table do not come to rest: before %+v, then %+v", seed, before, w.nodes)
		}
	}
}

// meetings is some nodes, each with what its record would say, of which the first with a table leads it.
type meetings struct {
	*rand.Rand
	nodes  []Standing
	next   byte
	raises []Standing // what leaders have put into their logs, and is not there yet
}

func newMeetings(seed uint64) *meetings {
	w := &meetings{Rand: rand.New(rand.NewPCG(seed, 1)), next: 100}
	w.nodes = make([]Standing, 2+w.IntN(6))
	for i := range w.nodes {
		n := &w.nodes[i]
		n.Node = NodeID(fmt.Sprint("n", i))
		if w.IntN(3) > 0 {
			n.Table, n.Generation, n.Seen, n.Shared = tableOf(byte(1+w.IntN(4))), uint64(1+w.IntN(3)), uint64(w.IntN(5)), w.IntN(3) == 0
		}
	}
	return w
}

// meet has nodes tell each other of their tables, in any order, some of it late.
func (w *meetings) meet(times int) {
	type told struct {
		to     int
		theirs Standing
	}
	var late []told
	for range times {
		i, j := w.IntN(len(w.nodes)), w.IntN(len(w.nodes))
		if i != j {
			late = append(late, told{i, w.nodes[j]})
		}
		for len(late) > w.IntN(4) {
			k := w.IntN(len(late))
			w.hears(late[k].to, late[k].theirs)
			late = slices.Delete(late, k, k+1)
		}
		for len(w.raises) > 0 && w.IntN(4) == 0 {
			w.raised()
		}
	}
	for _, l := range late {
		w.hears(l.to, l.theirs)
	}
	for len(w.raises) > 0 {
		w.raised()
	}
}

// raised has the next raise be in its log, if its table has a leader yet.
func (w *meetings) raised() {
	up := w.raises[0]
	w.raises = w.raises[1:]
	if first := w.first(up.Table); first >= 0 {
		w.nodes[first].Generation = max(w.nodes[first].Generation, up.Generation)
	}
}

// first returns which node leads a table, -1 for none.
func (w *meetings) first(table TableID) int {
	return slices.IndexFunc(w.nodes, func(n Standing) bool { return n.Table == table })
}

// hears does what a node does that is told of another's table.
func (w *meetings) hears(i int, theirs Standing) {
	mine := &w.nodes[i]
	v := Meet(*mine, theirs)
	r := &record{table: mine.Table, generation: mine.Generation, seen: mine.Seen}
	switch v.Do {
	case Found:
		w.next++
		r.enter(tableOf(w.next), r.highest()+1)
	case Follow:
		if theirs.Generation <= r.highest() && r.highest() > 0 {
			return // ErrRaise: later
		}
		r.enter(theirs.Table, theirs.Generation)
		mine.Shared = true
	case Stay:
		if theirs.Table == mine.Table {
			r.generation, r.seen = max(r.generation, theirs.Generation), max(r.seen, theirs.Seen)
			mine.Shared = mine.Shared || theirs.Shared
		} else {
			r.seen = max(r.seen, theirs.Generation, theirs.Seen)
		}
		if w.first(mine.Table) == i && v.Raise > 0 {
			w.raises = append(w.raises, Standing{Table: mine.Table, Generation: v.Raise})
		}
	}
	mine.Table, mine.Generation, mine.Seen = r.table, r.generation, r.seen
}

func TestStandingIsReadAsWritten(t *testing.T) {
	s := Standing{Node: "n", Table: tableOf(1), Generation: 2, Seen: 3, Index: 4, Shared: true, Voter: true, Alone: true, Led: true, Lapsed: tableOf(5), Voters: 3}
	if got, err := DecodeStanding(s.Encode()); err != nil || got != s {
		t.Errorf("got %+v, %v, want %+v", got, err, s)
	}
	s.Generation = maxGeneration
	if _, err := DecodeStanding(s.Encode()); err == nil {
		t.Error("a generation that leaves no room was taken in")
	}
}

func FuzzDecodeStanding(f *testing.F) {
	s := Standing{Node: "n", Table: tableOf(1), Generation: 2, Seen: 3, Index: 4, Shared: true, Lapsed: tableOf(5), Voters: 3}
	f.Add(s.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeStanding(b)
		if err != nil {
			return
		}
		if again, err := DecodeStanding(s.Encode()); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("read again as %+v, %v, want %+v", again, err, s)
		}
	})
}
