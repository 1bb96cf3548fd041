package replica

import (
	"os"
	"testing"
	"time"
)

// TestOwnTimeIsNoEvent holds that the event of a directory whose mtime was set here is told from one of something done in it: to look
// for what is gone costs as much as there is in it.
func TestOwnTimeIsNoEvent(t *testing.T) {
	n := startNode(t, "a", tree{"d/f": "content"})
	eventually(t, "the directory to be recorded", func() (why string) {
		n.inLoop(func(r *Replica) {
			if rec := r.records["d"]; rec == nil || r.tree.Get("d/f") == nil {
				why = "not yet"
			}
		})
		return why
	})
	n.inLoop(func(r *Replica) {
		same := func() bool {
			info, err := r.root.Lstat("d")
			if err != nil {
				t.Fatal(err)
			}
			return r.timedHere("d", info)
		}
		if same() {
			t.Error("before its mtime was set here, the directory passes for one of which it was")
		}
		r.record("d").setHint(time.Unix(1_700_000_000, 0).UnixNano())
		r.setHint("d")
		if !same() {
			t.Error("after its mtime was set here, the directory does not pass for one of which it was")
		}
		if err := os.Remove(n.path("d/f")); err != nil {
			t.Fatal(err)
		}
		if same() {
			t.Error("after something was removed from it, the directory still passes for one as it was left")
		}
	})
}
