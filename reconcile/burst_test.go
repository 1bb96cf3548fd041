package reconcile

import (
	"testing"
	"time"
)

// A moment is one question to a guard, in milliseconds since the beginning. What it lets go counts as let out.
type moment struct {
	at, last            int // now; when the last change was seen
	deletions, rewrites int
	total               int
	want                Verdict
	again               int // how long to wait, in milliseconds
}

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name    string
		burst   Burst
		moments []moment
	}{
		{"nothing waits", DefaultBurst, []moment{{0, 0, 0, 0, 10, Go, 0}}},
		{"one rewrite goes at once", DefaultBurst, []moment{{0, 0, 0, 1, 1, Go, 0}}},
		{"one deletion waits for the next one", DefaultBurst, []moment{
			{0, 0, 1, 0, 1000, Wait, 8},
			{5, 0, 1, 0, 1000, Wait, 3},
			{8, 0, 1, 0, 1000, Go, 0},
		}},
		{"an eighth of what is too many goes at once", DefaultBurst, []moment{{0, 0, 0, 12, 1000, Go, 0}}},
		{"more wait until it is quiet, then go", DefaultBurst, []moment{
			{0, 0, 0, 13, 1000, Wait, 60},
			{10, 10, 0, 80, 1000, Wait, 60},
			{40, 10, 0, 80, 1000, Wait, 30},
			{70, 10, 0, 80, 1000, Go, 0},
		}},
		{"the limit of files", DefaultBurst, []moment{{100, 0, 100, 0, 150, Go, 0}}},
		{"one above both limits", DefaultBurst, []moment{{100, 0, 101, 0, 150, Hold, 0}}},
		{"deletions and rewrites together", DefaultBurst, []moment{{100, 0, 50, 51, 150, Hold, 0}}},
		{"above the limit of files, a small part of the folder", DefaultBurst, []moment{{100, 0, 5000, 0, 100_000, Go, 0}}},
		{"just half of the folder", DefaultBurst, []moment{{100, 0, 500, 0, 1000, Go, 0}}},
		{"more than half of the folder", DefaultBurst, []moment{{100, 0, 501, 0, 1000, Hold, 0}}},
		{"all of a small folder", DefaultBurst, []moment{{100, 0, 20, 0, 20, Go, 0}}},
		{"too many, still growing: the files may yet turn up elsewhere", DefaultBurst, []moment{
			{0, 0, 600, 0, 1000, Wait, 60},
			{30, 30, 900, 0, 1000, Wait, 60},
			{90, 30, 900, 0, 1000, Hold, 0},
		}},
		{"many small portions are one burst", DefaultBurst, []moment{
			{100, 0, 300, 0, 1000, Go, 0},
			{1100, 1000, 200, 0, 700, Go, 0},
			{2100, 2000, 1, 0, 500, Hold, 0},
		}},
		{"portions far apart are none", DefaultBurst, []moment{
			{100, 0, 300, 0, 1000, Go, 0},
			{9100, 9000, 200, 0, 700, Go, 0},
			{10_100, 10_000, 150, 0, 500, Hold, 0},
			{10_101, 10_000, 150, 0, 500, Go, 0},
			{19_100, 19_000, 1, 0, 350, Hold, 0},
			{19_101, 19_000, 1, 0, 350, Go, 0},
		}},
		{"the same files rewritten without a pause", DefaultBurst, []moment{
			{0, 0, 0, 20, 1000, Wait, 60},
			{30, 30, 0, 20, 1000, Wait, 30},
			{60, 60, 0, 20, 1000, Go, 0},
		}},
		{"other files rewritten without a pause, for as long as a burst is remembered", Burst{Files: 100, Share: 1}, []moment{
			{0, 0, 0, 20, 1000, Wait, 60},
			{5000, 5000, 0, 50, 1000, Wait, 60},
			{9999, 9999, 0, 80, 1000, Wait, 60},
			{10_000, 10_000, 0, 81, 1000, Go, 0},
			{10_010, 10_010, 0, 1, 1000, Wait, 60},
		}},
		{"off", Burst{}, []moment{{0, 0, 1000, 1000, 1000, Go, 0}}},
		{"the share alone", Burst{Share: 0.1}, []moment{{100, 0, 10, 0, 100, Go, 0}, {20_000, 0, 11, 0, 100, Hold, 0}}},
		{"the number alone", Burst{Files: 10}, []moment{{100, 0, 10, 0, 10_000, Go, 0}, {20_000, 0, 11, 0, 10_000, Hold, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
			after := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
			g := Guard{Burst: tt.burst}
			for _, m := range tt.moments {
				w := Waiting{Deletions: m.deletions, Rewrites: m.rewrites, Last: after(m.last), Total: m.total}
				verdict, again := g.Judge(w, after(m.at))
				if want := time.Duration(m.again) * time.Millisecond; verdict != m.want || again != want {
					t.Errorf("after %d ms: got verdict %d, again after %v, want %d, %v", m.at, verdict, again, m.want, want)
				}
				if verdict == Go {
					g.Passed(m.deletions+m.rewrites, after(m.at))
				}
			}
		})
	}
}
