package quorum

import (
	"slices"
	"strings"
	"testing"
)

// parseMembers reads members such as "a b! w+ d- g*": always on by default; "!" is a laptop, "+" a witness, "-" down, "*" gone.
func parseMembers(s string) (out []Member) {
	for word := range strings.FieldsSeq(s) {
		id := strings.TrimRight(word, "!+-*")
		out = append(out, Member{
			ID: NodeID(id), AlwaysOn: !strings.ContainsAny(word, "!"), Witness: strings.Contains(word, "+"),
			Up: !strings.Contains(word, "-"), Gone: strings.Contains(word, "*"),
		})
	}
	return out
}

func nodeIDs(s string) (out []NodeID) {
	for word := range strings.FieldsSeq(s) {
		out = append(out, NodeID(word))
	}
	return out
}

func TestVoters(t *testing.T) {
	for _, row := range []struct {
		name    string
		current string // who votes; the first leads
		members string
		more    int
		want    string
	}{
		{"one node", "a", "a", 0, "a"},
		{"of two, one", "a", "a b", 0, "a"},
		{"of two, who leads, whatever its name", "b", "a b", 0, "b"},
		{"of two, who is always on", "a", "a! b", 0, "b"},
		{"but not while that is down", "a", "a! b-", 0, "a"},
		{"two laptops: who leads", "b", "a! b!", 0, "b"},
		{"two laptops and a witness: the witness", "a", "a! b! w+", 0, "w"},
		{"three", "a", "a b c", 0, "a b c"},
		{"two and a witness", "a", "a b w+", 0, "a b w"},
		{"three need all to be up to begin", "a", "a b c-", 0, "a"},
		{"three stay while one is down", "a b c", "a b c-", 0, "a b c"},
		{"also while another is there", "a b c", "a b c- d", 0, "a b c"},
		{"one that is gone is replaced", "a b c", "a b c* d", 0, "a b d"},
		{"without replacement, one is left", "b a c", "a b c*", 0, "b"},
		{"a laptop is no third", "a", "a b c!", 0, "a"},
		{"a laptop gives way", "a b c", "a b c! d", 0, "a b d"},
		{"a witness comes first", "a", "a b c d w+", 0, "a b w"},
		{"a witness does not push out who votes", "a b c", "a b c w+", 0, "a b c"},
		{"never two or four", "a", "a b c d", 0, "a b c"},
		{"five when asked for", "a", "a b c d e f", 5, "a b c d e"},
		{"not without", "a", "a b c d e f", 0, "a b c"},
		{"five asked for, four there", "a", "a b c d", 5, "a b c"},
		{"back to three", "a b c d e", "a b c d e", 0, "a b c"},
		{"all are gone but one", "a b c", "a* b c*", 0, "b"},
	} {
		current := nodeIDs(row.current)
		self := current[0]
		if row.name == "all are gone but one" {
			self = "b"
		}
		if got := Voters(self, current, parseMembers(row.members), row.more); !slices.Equal(got, nodeIDs(row.want)) {
			t.Errorf("%s: got %v, want %s", row.name, got, row.want)
		}
	}
}

// What is decided once stays, whoever leads of those who then vote, unless members change.
func TestVotersSettle(t *testing.T) {
	for _, members := range []string{"a", "a b", "a! b", "a! b! w+", "a b c", "a b c d e", "a b- c", "a! b! c", "a! b! c!", "a b c d w+ v+"} {
		for _, want := range []int{0, 3, 5} {
			all := parseMembers(members)
			voters := Voters("a", []NodeID{"a"}, all, want)
			for _, self := range voters {
				if again := Voters(self, voters, all, want); !slices.Equal(again, voters) {
					t.Errorf("%q, %d wanted: %v, and with %s leading %v", members, want, voters, self, again)
				}
			}
			if len(voters)%2 == 0 {
				t.Errorf("%q: %v are an even number", members, voters)
			}
		}
	}
}
