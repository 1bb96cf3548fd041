package replica

import (
	"os"
	"testing"
	"time"

	"resonate/beneath"
)

// TestWhatComesBackIsLookedAt takes away what a peer's change has put there, lets that be published, and puts it back.
func TestWhatComesBackIsLookedAt(t *testing.T) {
	for _, row := range []struct {
		name string
		path string        // what goes
		then func(n *node) // before it comes back
		want tree
	}{
		{"a directory", "d", nil, tree{"d/x": "x", "f": "f"}},
		{"a file", "f", nil, tree{"d/x": "x", "f": "f"}},
		{"over what replaced it", "f", func(n *node) { n.write("f", "other") }, tree{"d/x": "x", "f": "f"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", nil)
			connect(a, b)
			tree{"d/x": "x", "f": "f"}.write(t, a.dir)
			holds(t, tree{"d/x": "x", "f": "f"}, a, b)
			outside := b.dir + "-outside"
			if err := os.Rename(b.path(row.path), outside); err != nil {
				t.Fatal(err)
			}
			if row.then != nil {
				row.then(b)
			}
			b.flushed()
			converged(t, a, b)
			if err := os.Rename(outside, b.path(row.path)); err != nil {
				t.Fatal(err)
			}
			holds(t, row.want, a, b)
		})
	}
}

// TestAttributesAreLookedAtNoLaterThanRead sees that what is recorded of a file that came in does not claim to know what a user did
// to it after that.
func TestAttributesAreLookedAtNoLaterThanRead(t *testing.T) {
	a, b := startNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "base"}, a, b)
	for _, row := range []struct {
		label beneath.Label
		path  string
	}{{"apply.new", "g"}, {"apply.swap", "f"}} {
		begun := make(chan time.Time, 1)
		b.once(row.label, func() {
			begun <- time.Now()
			<-time.After(2 * racy)
		})
		a.write(row.path, "new "+row.path)
		until(t, "it has come", func() bool { return b.tree()[row.path] == "new "+row.path })
		b.inLoop(func(r *Replica) {
			if looked, from := time.Unix(0, r.diskAt(row.path).Looked), <-begun; looked.Sub(from) > racy {
				t.Errorf("%s counts as looked at %v after it was to be put there, of which %v it was not", row.path, looked.Sub(from), 2*racy)
			}
		})
	}
}
