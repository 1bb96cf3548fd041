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

// burstQuiet is how long deletions and rewrites must have paused for a burst to be over, and be judged as a whole.
const burstQuiet = 60 * time.Millisecond

// burstMemory is how long a change that was let out counts towards a burst.
const burstMemory = 10 * time.Second

// A Verdict is what is to be done with deletions and rewrites that wait to be published.
type Verdict int

// The verdicts.
const (
	Go   Verdict = iota // let them out
	Wait                // more are coming: ask again after burstQuiet
	Hold                // too many: only with the user's word
)

// A Guard judges a stream of deletions and rewrites. It reads no clock: the time is handed in. Not safe for concurrent
// use.
type Guard struct {
	Burst  Burst
	passed []passing // let out in the last burstMemory
}

type passing struct {
	at    time.Time
	count int
}

// Judge decides over the changes that wait, the last of which was seen at the time last, in a folder that had total
// files before them.
func (g *Guard) Judge(waiting, total int, last, now time.Time) Verdict {
	if g.Burst.Files == 0 && g.Burst.Share == 0 {
		return Go
	}
	recent := 0
	for len(g.passed) > 0 && now.Sub(g.passed[0].at) > burstMemory {
		g.passed = g.passed[1:]
	}
	for _, p := range g.passed {
		recent += p.count
	}
	sum := waiting + recent
	switch {
	case sum > g.Burst.Files && float64(sum) > g.Burst.Share*float64(total+recent):
		return Hold
	case sum > g.Burst.Files/8 && now.Sub(last) < burstQuiet:
		return Wait
	}
	return Go
}

// Passed tells the guard that changes were let out.
func (g *Guard) Passed(count int, now time.Time) {
	if count > 0 {
		g.passed = append(g.passed, passing{now, count})
	}
}

// Quiet returns after what time a verdict of Wait is to be asked for again.
func Quiet() time.Duration { return burstQuiet }
