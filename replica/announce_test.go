package replica

import (
	"math"
	"slices"
	"strings"
	"testing"

	"resonate/syncproto"
)

// TestSmallFilesKeepALimit: where what is sent is limited, small files go with their announcements only as far as there is room, just
// written or long there; the announcements themselves go all the same.
func TestSmallFilesKeepALimit(t *testing.T) {
	const size = 8000
	for _, row := range []struct {
		name     string
		room     int64 // also for the other messages of the beginning
		old, new bool  // whether the bytes of these go along
	}{{"no limit", math.MaxInt64, true, true}, {"room for one", size * 3 / 2, true, false}, {"no room", 0, false, false}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "n", tree{"old": strings.Repeat("o", size)})
			l := newLiar(n, 0x11)
			l.end.other.taken.Store(math.MaxInt64 - row.room)
			l.meet()
			l.send(&syncproto.AskSubtrees{Paths: []string{"old"}})
			wants := func(path string, along bool) {
				for {
					list := next[*syncproto.Announcements](l).List
					i := slices.IndexFunc(list, func(a syncproto.Announcement) bool { return a.Path == path })
					if i < 0 {
						continue
					}
					if got := len(list[i].Data) == size; got != along {
						t.Errorf("%s: %d bytes went along, want all: %v", path, len(list[i].Data), along)
					}
					return
				}
			}
			wants("old", row.old) // not acknowledged: it is on its way
			n.write("new", strings.Repeat("n", size))
			wants("new", row.new)
			n.inLoop(func(r *Replica) { // its bytes are still at hand from when it was read
				r.inline["new"] = []byte(strings.Repeat("n", size))
				p := r.peers[l.id]
				p.tell("new", false)
				r.pump(p)
			})
			wants("new", row.new)
		})
	}
}
