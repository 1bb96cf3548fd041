package quorum

import (
	"testing"
	"time"
)

// A follower counts on what the last heartbeat promised, whatever the leader would promise now.
func TestAHeartbeatsPromiseIsKept(t *testing.T) {
	p := newPeer("b")
	beat := &request{kind: kindAppend, term: 3, next: 60}
	if got := p.onCredit(beat, time.Hour); got != 0 {
		t.Errorf("before the first answer: %v, want 0", got)
	}
	p.heard(beat, time.Now())
	if got := p.onCredit(beat, time.Hour); got <= 0 || got > 60*time.Millisecond {
		t.Errorf("60 ms were promised, and %v are taken", got)
	}
	p.heard(beat, time.Now().Add(-time.Second))
	if got := p.onCredit(beat, time.Hour); got != 0 {
		t.Errorf("the promise is over, and %v are taken", got)
	}
	beat.next = 3600_000
	p.heard(beat, time.Now())
	if got := p.onCredit(beat, time.Second); got <= 0 || got > time.Second {
		t.Errorf("what is in use is told of in a second, and %v are taken", got)
	}
}

// What a follower has not acknowledged is never taken for known.
func TestOnlyWhatIsKnownIsLeftOut(t *testing.T) {
	p := newPeer("b")
	p.heard(&request{kind: kindAppend, term: 3, next: 3600_000}, time.Now())
	known := &request{kind: kindAppend, term: 3, index: 7, logTerm: 3, commit: 6}
	if p.onCredit(known, time.Hour) != 0 {
		t.Error("an entry that was not acknowledged is left out")
	}
	p.heard(known, time.Now())
	if p.onCredit(known, time.Hour) == 0 {
		t.Error("what is known is sent again")
	}
	for name, q := range map[string]*request{
		"a later commit": {kind: kindAppend, term: 3, index: 7, logTerm: 3, commit: 7},
		"a later entry":  {kind: kindAppend, term: 3, index: 8, logTerm: 3, commit: 6},
		"another term":   {kind: kindAppend, term: 4, index: 7, logTerm: 3, commit: 6},
	} {
		if p.onCredit(q, time.Hour) != 0 {
			t.Errorf("%s is left out", name)
		}
	}
	p.met(LogID{1})
	if p.onCredit(known, time.Hour) != 0 {
		t.Error("a log that began anew is taken for the old one")
	}
}

func TestCredit(t *testing.T) {
	var c credit
	a, b := &caller{id: "a"}, &caller{id: "b"}
	now := time.Now()
	if !c.give(a, 1, now.Add(time.Hour)) || c.give(a, 1, now.Add(2*time.Hour)) {
		t.Error("the first credit is spent by one who begins, later ones by the same")
	}
	c.lost(b)
	if from, term := c.current(); from != a || term != 1 {
		t.Errorf("got %v, %d, want a's credit", from, term)
	}
	if c.cut(now.Add(time.Minute)) != a || !c.trusts() {
		t.Error("a credit that is cut short is still one")
	}
	c.lost(a)
	if from, _ := c.current(); from != nil || c.trusts() {
		t.Error("the credit did not end with its stream")
	}
	if c.cut(now) != nil {
		t.Error("there is no credit, and somebody has it")
	}
	if !c.give(b, 2, now.Add(time.Hour)) {
		t.Error("nobody spends the next credit")
	}
}
