package quorum

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

func tableOf(b byte) TableID { return TableID{b} }

func TestMeet(t *testing.T) {
	none := func(node NodeID) Standing { return Standing{Node: node} }
	lone := func(node NodeID, table byte, generation uint64) Standing {
		return Standing{Node: node, Table: tableOf(table), Generation: generation, Seen: generation, Voter: true, Alone: true, Led: true}
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
			Standing{Node: "b", Table: tableOf(1), Generation: 3, Seen: 3, Shared: true}, Found, Stay, 0},
		{"the same, but others have taken it up", Standing{Node: "a", Lapsed: tableOf(1), Seen: 3, Shared: true},
			Standing{Node: "b", Table: tableOf(1), Generation: 4, Seen: 4, Shared: true, Led: true}, Follow, Stay, 0},
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

// However tables meet, in the end all nodes are in one, and nobody followed one of a generation that it had seen.
func TestTablesThatMeetBecomeOne(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		nodes := make([]Standing, 2+random.IntN(6))
		for i := range nodes {
			nodes[i] = Standing{Node: NodeID(fmt.Sprint("n", i))}
			if random.IntN(3) > 0 {
				g := uint64(1 + random.IntN(3))
				nodes[i].Table, nodes[i].Generation, nodes[i].Seen, nodes[i].Shared = tableOf(byte(1+random.IntN(4))), g, g+uint64(random.IntN(2)), random.IntN(3) == 0
			}
		}
		next := byte(100)
		act := func(mine, theirs *Standing) {
			before := *mine
			v := Meet(*mine, *theirs)
			if g := v.Raise; v.Do == Stay && g > 0 { // whoever leads it raises it, and all who are in it hear that
				for i := range nodes {
					if nodes[i].Table == before.Table {
						nodes[i].Generation, nodes[i].Seen = max(nodes[i].Generation, g), max(nodes[i].Seen, g)
					}
				}
			}
			switch v.Do {
			case Found:
				mine.Table, mine.Generation = tableOf(next), max(mine.Seen, mine.Generation)+1
				mine.Seen = mine.Generation
				next++
			case Follow:
				if theirs.Generation <= max(before.Seen, before.Generation) && before.Seen+before.Generation > 0 {
					return // ErrRaise: later
				}
				mine.Table, mine.Generation, mine.Shared = theirs.Table, theirs.Generation, true
				theirs.Shared = true
				mine.Seen = max(mine.Seen, theirs.Generation)
			}
		}
		for range 400 {
			i, j := random.IntN(len(nodes)), random.IntN(len(nodes))
			if i != j {
				act(&nodes[i], &nodes[j])
				act(&nodes[j], &nodes[i])
			}
		}
		for _, n := range nodes[1:] {
			if n.Table != nodes[0].Table {
				t.Fatalf("seed %d: %+v and %+v are not in one table", seed, nodes[0], n)
			}
		}
	}
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
