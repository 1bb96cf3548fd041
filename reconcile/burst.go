package reconcile

import "time"

// A Burst says how many deletions and rewrites at once are too many to be let out unasked: more than Files, and more
// than Share of the folder's files. The zero Burst holds nothing back.
type Burst struct {
	Files int
	Share float64 // 0 to 1
}

// DefaultBurst holds back more than 100 files and half of the folder.
var DefaultBurst = Burst{Files: 100, Share: 0.5}

// burstQuiet is how long deletions and rewrites must have paused for a burst to be over, and be judged as a whole, once
// more than an eighth of Burst.Files came within burstRecent. A deletion always waits for burstPause: what removes a
// directory removes file after file.
const (
	burstQuiet  = 60 * time.Millisecond
	burstRecent = 500 * time.Millisecond
	burstPause  = 8 * time.Millisecond
)

// burstMemory is how long a change that was let out counts towards a burst; and the longest that one is made to wait for
// others, since some program may never pause.
const burstMemory = 10 * time.Second

// A Verdict is what is to be done with deletions and rewrites that wait to be published.
type Verdict int

// The verdicts.
const (
	Go   Verdict = iota // let them out
	Wait                // more are coming: ask again
	Hold                // too many: only with the user's word
)

// A Guard judges a stream of deletions and rewrites. It reads no clock: the time is handed in. Not safe for concurrent
// use.
type Guard struct {
	Burst  Burst
	passed []passing // let out in the last burstMemory
	count  int       // of what waits, when last judged
	grown  time.Time // when the last one was added to them: the same file rewritten again and again is no burst
	since  time.Time // when the first of them began to wait; zero: none does
}

type passing struct {
	at    time.Time
	count int
}

// Waiting are the changes that wait to be let out.
type Waiting struct {
	Deletions, Rewrites int
	Last                time.Time // when the last one of them was seen
	Total               int       // files in the folder before them
}

// Judge decides over the changes that wait. With Wait comes how long to wait before asking again.
func (g *Guard) Judge(w Waiting, now time.Time) (Verdict, time.Duration) {
	if count := w.Deletions + w.Rewrites; count > g.count {
		g.count, g.grown = count, w.Last
	}
	if g.since.IsZero() {
		g.since = now
	}
	verdict, again := g.judge(w, now)
	if verdict != Wait {
		g.count, g.since = 0, time.Time{}
	}
	return verdict, again
}

func (g *Guard) judge(w Waiting, now time.Time) (Verdict, time.Duration) {
	if g.Burst == (Burst{}) {
		return Go, 0
	}
	for len(g.passed) > 0 && now.Sub(g.passed[0].at) > burstMemory {
		g.passed = g.passed[1:]
	}
	waiting, before, recent := w.Deletions+w.Rewrites, 0, 0
	for _, p := range g.passed {
		before += p.count
		if now.Sub(p.at) <= burstRecent {
			recent += p.count
		}
	}
	quiet := now.Sub(g.grown)
	sum := waiting + before
	burst := sum > g.Burst.Files && float64(sum) > g.Burst.Share*float64(w.Total+before)
	switch {
	case waiting == 0:
		return Go, 0
	case burst && quiet < burstQuiet: // it may yet turn out that the files were only moved
		return Wait, burstQuiet - quiet
	case burst:
		return Hold, 0
	case now.Sub(g.since) >= burstMemory:
		return Go, 0
	case waiting+recent > g.Burst.Files/8 && quiet < burstQuiet:
		return Wait, burstQuiet - quiet
	case w.Deletions > 0 && quiet < burstPause:
		return Wait, burstPause - quiet
	}
	return Go, 0
}

// Passed tells the guard that changes were let out.
func (g *Guard) Passed(count int, now time.Time) {
	if count > 0 {
		g.passed = append(g.passed, passing{now, count})
	}
}
