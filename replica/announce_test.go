package replica

import (
	"math"
	"testing"

	"resonate/syncproto"
)

// TestSmallFilesKeepALimit: where what is sent is limited, small files go with their announcements only as far as there is room, just
// written or long there; the announcements themselves go all the same.
func TestSmallFilesKeepALimit(t *testing.T) {
	for _, row := range []struct {
		name string
		room int64
		want int // bytes that go along
	}{{"no limit", math.MaxInt64, 16}, {"room for one", 10, 8}, {"no room", 0, 0}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "n", tree{"old": "12345678"})
			l := newLiar(n, 0x11)
			l.end.other.taken.Store(math.MaxInt64 - row.room)
			l.meet()
			l.send(&syncproto.AskSubtrees{Paths: []string{"old"}})
			got, along := make(map[string]bool), 0
			hear := func(path string) {
				for !got[path] {
					for _, a := range next[*syncproto.Announcements](l).List {
						got[a.Path] = true
						along += len(a.Data)
					}
				}
			}
			hear("old")
			if row.want == 8 { // it is on its way still
				l.end.other.taken.Store(math.MaxInt64)
			}
			n.write("new", "87654321")
			hear("new")
			if along != row.want {
				t.Errorf("%d bytes went along, want %d", along, row.want)
			}
		})
	}
}
