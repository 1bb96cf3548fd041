package replica

import (
	"strings"
	"testing"

	"resonate/beneath"
)

// TestAttributeSetByANameThatGoes sets an attribute of a file by a name that is taken from it here in the same instant, for a peer: no event
// tells of its other name.
func TestAttributeSetByANameThatGoes(t *testing.T) {
	withXattrs(t)
	for _, row := range []struct {
		name  string
		label beneath.Label
		do    func(a *node)
		want  tree
	}{
		{"replaced", "apply.swap", func(a *node) { a.write("new", "other"); a.rename("new", "d/f") }, tree{"d/f": "other", "d/x": "x", "d/y": "y", "g": "base"}},
		{"removed", "apply.away", func(a *node) { a.remove("d/f") }, tree{"d/x": "x", "d/y": "y", "g": "base"}},
		{"removed with its directory", "apply.removeall", func(a *node) { a.remove("d") }, tree{"g": "base"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"d/f": "base", "d/x": "x", "d/y": "y"}), startNode(t, "b", nil)
			a.hardLink("d/f", "g")
			a.start()
			connect(a, b)
			identical(t, "d/f=g d/x d/y", a, b)
			set := b.once(row.label, func() { b.setXattr("d/f", "user.note", "mine") })
			row.do(a)
			until(t, "the attribute is set", set)
			until(t, "it goes with the other name", func() bool { return strings.Contains(a.meta("g"), `user.note="mine"`) })
			holds(t, row.want, a, b)
		})
	}
}
