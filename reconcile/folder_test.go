package reconcile

import (
	"testing"
	"time"
)

func TestJoinFolders(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	own := func(id byte) Folder { return Folder{ID: FolderID{id}} }
	shared := func(id byte, ago time.Duration) Folder {
		return Folder{ID: FolderID{id}, Shared: true, Since: now.Add(-ago)}
	}
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		name string
		a, b Folder
		want byte
		ok   bool
	}{
		{"two unshared: the smaller", own(2), own(1), 1, true},
		{"the same, unshared", own(1), own(1), 1, true},
		{"the same, shared", shared(1, year), shared(1, year), 1, true},
		{"the same, one knows not yet that it is shared", shared(1, year), own(1), 1, true},
		{"shared wins over unshared", shared(2, year), own(1), 2, true},
		{"shared just now wins over unshared", shared(2, time.Second), own(1), 2, true},
		{"two shared", shared(2, year), shared(1, year), 1, false},
		{"two shared, one just now", shared(2, year), shared(1, time.Second), 1, false},
		{"two shared, the smaller longer ago", shared(2, time.Second), shared(1, youth), 1, false},
		{"two shared, both just now: the smaller", shared(2, time.Second), shared(1, youth-1), 1, true},
		{"two shared just now, by a clock that is ahead", shared(2, -time.Minute), shared(1, time.Minute), 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, ok := JoinFolders(tt.a, tt.b, now)
			if ok != tt.ok || (ok && id != FolderID{tt.want}) {
				t.Errorf("got %d, %v, want %d, %v", id[0], ok, tt.want, tt.ok)
			}
			if there, same := JoinFolders(tt.b, tt.a, now); there != id || same != ok {
				t.Errorf("the other side: got %d, %v, this one: %d, %v", there[0], same, id[0], ok)
			}
		})
	}
}
