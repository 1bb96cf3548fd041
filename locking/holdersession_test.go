package locking

import (
	"testing"
	"time"
)

// A node that came to another table finds out at once that it has no session there, and asks again in another one.
func TestASessionOfAnotherTableIsOver(t *testing.T) {
	s := newStraight(t)
	id, err := s.Lock(s.now, &Acquire{Scopes: []Scope{onePath("x")}})
	if err != nil {
		t.Fatal(err)
	}
	asked := sent[*Request](s)
	s.answer(asked, deny(NoSession))
	s.begin()
	s.now += again // it is said again
	anew, ok := s.command(sent[*Request](s)).(*Acquire)
	if !ok || anew.Request != id || anew.Session != s.Session() {
		t.Errorf("got %+v, want the same in the session %v", anew, s.Session())
	}
}

func TestADoubtfulSessionIsAskedForAtOnce(t *testing.T) {
	s := newStraight(t)
	s.now += time.Millisecond
	s.Doubt()
	if s.Sure(s.now) {
		t.Error("the session is sure still")
	}
	alive := sent[*KeepAlive](s)
	s.Receive(s.now, &Alive{Number: alive.Number, Session: alive.Session})
	if !s.Sure(s.now) {
		t.Error("the session is not sure, though the leader has answered")
	}
}

func TestAClosedSessionIsTheLast(t *testing.T) {
	s := newStraight(t)
	was := s.Session()
	s.Close(s.now)
	if s.Settled() {
		t.Error("all is answered, before it is")
	}
	last := sent[*Request](s)
	if c, ok := s.command(last).(*Close); !ok || c.Session != was || c.Cause != Closed {
		t.Errorf("got %+v, want the end of session %v", s.command(last), was)
	}
	s.answer(last, Result{Status: Done})
	s.now += time.Minute
	if out, _ := s.Tick(s.now); len(out) > 0 || !s.Settled() {
		t.Errorf("after the end: got %+v, want nothing", out)
	}
}

func TestAnAnswerThatIsOwed(t *testing.T) {
	s := newStraight(t)
	if s.Owed(s.now + time.Hour) {
		t.Error("something is owed, and nothing was asked")
	}
	if _, err := s.Lock(s.now, &Acquire{Scopes: []Scope{onePath("x")}}); err != nil {
		t.Fatal(err)
	}
	asked := sent[*Request](s)
	for later, want := range map[time.Duration]bool{0: false, again - 1: false, again: true} {
		if got := s.Owed(s.now + later); got != want {
			t.Errorf("after %v: got %v, want %v", later, got, want)
		}
	}
	s.now += 3 * again / 2
	s.Tick(s.now) // it is said again, and owed all the same
	if !s.Owed(s.now) {
		t.Error("what was said again is not owed")
	}
	s.answer(asked, deny(Taken))
	if s.Owed(s.now + time.Hour) {
		t.Error("it is owed, and was answered")
	}
}
