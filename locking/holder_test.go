package locking

import (
	"slices"
	"testing"
	"time"
)

// A quiet is a world in which nothing fails by itself, and all is done by the test.
type quiet struct {
	*world
	events [][]Event // of each node
}

func newQuiet(t testing.TB) *quiet {
	q := &quiet{world: newWorld(t, 1, simVoters, false), events: make([][]Event, simVoters)}
	q.still = true
	for _, s := range q.nodes {
		q.hook(s)
	}
	q.run(3 * time.Second)
	for _, s := range q.nodes {
		if !s.holder.Sure(s.clock()) {
			t.Fatalf("node %d has no session after 3 s", s.n)
		}
	}
	return q
}

func (q *quiet) hook(s *simNode) {
	s.app.stopped = true
	s.app.hook = func(e Event) { q.events[s.n] = append(q.events[s.n], e) }
}

// take returns the last event of a kind on a node since take was called for it last.
func (q *quiet) take(n int, what EventKind) (found *Event) {
	for _, e := range q.events[n] {
		if e.What == what {
			found = &e
		}
	}
	if found != nil {
		q.events[n] = nil
	}
	return found
}

// need is take for what must have happened.
func (q *quiet) need(n int, what EventKind) *Event {
	q.t.Helper()
	e := q.take(n, what)
	if e == nil {
		q.t.Fatalf("node %d: no event %d, but %+v", n, what, q.events[n])
	}
	return e
}

// use begins a use on a node, asking for it where that is needed, and waits for d at most.
func (q *quiet) use(n int, path string) {
	q.t.Helper()
	s := q.nodes[n]
	if _, ok := s.holder.Use(s.clock(), onePath(path)); ok {
		return
	}
	q.ask(n, path)
	q.run(100 * time.Millisecond)
	q.need(n, Got)
}

func (q *quiet) ask(n int, path string) {
	q.t.Helper()
	s := q.nodes[n]
	if _, err := s.holder.Ask(s.clock(), []Scope{onePath(path)}, time.Minute); err != nil {
		q.t.Fatal(err)
	}
	s.flush()
}

func (q *quiet) endUse(n int, path string) {
	q.nodes[n].holder.EndUse(onePath(path))
	q.nodes[n].flush()
}

// give answers a Give with what is left.
func (q *quiet) give(n int, version string) []Scope {
	q.t.Helper()
	e := q.need(n, Give)
	var left []Left
	for _, s := range e.Scopes {
		left = append(left, leftAt(s, version))
	}
	s := q.nodes[n]
	if err := s.holder.Give(s.clock(), e.Request, left, s.holder.Heard()); err != nil {
		q.t.Fatal(err)
	}
	s.flush()
	return e.Scopes
}

func (q *quiet) lock(n int, c *Acquire) RequestID {
	q.t.Helper()
	s := q.nodes[n]
	id, err := s.holder.Lock(s.clock(), c)
	if err != nil {
		q.t.Fatal(err)
	}
	s.flush()
	q.run(100 * time.Millisecond)
	return id
}

func (q *quiet) valid(n int, id RequestID) bool {
	_, ok := q.nodes[n].holder.Valid(q.nodes[n].clock(), id)
	return ok
}

// usable tells whether a node may use a path without asking.
func (q *quiet) usable(n int, path string) bool {
	s := q.nodes[n]
	if _, ok := s.holder.Use(s.clock(), onePath(path)); ok {
		s.holder.EndUse(onePath(path))
		return true
	}
	return false
}

func TestWhoIsAloneAsksOnce(t *testing.T) {
	q := newQuiet(t)
	q.use(1, "a/b/c")
	q.endUse(1, "a/b/c")
	commands := len(q.log)
	for _, path := range []string{"a/b/c", "a/d", "x/y/z"} {
		if !q.usable(1, path) {
			t.Errorf("%s: not usable under the delegation", path)
		}
	}
	q.run(time.Minute)
	if got := len(q.log) - commands; got != 0 {
		t.Errorf("%d commands in a quiet minute, want none", got)
	}
	if !q.usable(1, "a/b/c") {
		t.Error("the delegation was not kept")
	}
}

func TestARecallIsAnsweredWithAPart(t *testing.T) {
	q := newQuiet(t)
	q.use(1, "docs/x")
	q.endUse(1, "docs/x")
	q.ask(2, "docs/y")
	q.run(100 * time.Millisecond)
	if got := q.give(1, "v1"); !slices.Equal(got, []Scope{tree("docs")}) {
		t.Errorf("gives %v, want docs/", got)
	}
	q.run(100 * time.Millisecond)
	g := q.need(2, Got).Result.Grant
	if len(g.Left) != 1 || g.Left[0].Version != "v1" || g.Unknown {
		t.Errorf("got %+v, want what was left", g)
	}
	if q.usable(1, "docs/x") || !q.usable(1, "src/x") || q.usable(2, "src/x") {
		t.Error("not just docs/ has gone over")
	}
	// Now each asks for a path of its own in docs/: for a while no more than that path goes over.
	q.endUse(2, "docs/y")
	q.ask(1, "docs/x")
	q.run(100 * time.Millisecond)
	if got := q.give(2, "v2"); !slices.Equal(got, []Scope{onePath("docs/x")}) {
		t.Errorf("gives %v, want docs/x alone", got)
	}
	q.run(100 * time.Millisecond)
	q.need(1, Got)
	q.endUse(1, "docs/x")
	for range 100 {
		if !q.usable(1, "docs/x") || !q.usable(2, "docs/y") {
			t.Fatal("two who edit in one directory take from each other what they hold")
		}
		q.run(100 * time.Millisecond)
	}
}

func TestARecallWaitsForUses(t *testing.T) {
	q := newQuiet(t)
	q.use(1, "a")
	q.ask(2, "a")
	q.run(20 * time.Second)
	if q.take(1, Give) != nil || q.take(2, Got) != nil {
		t.Fatal("what is in use was given up")
	}
	if q.usable(1, "a") {
		t.Error("what is asked back is used anew")
	}
	if !q.usable(1, "b") {
		t.Error("what is not asked back is not usable")
	}
	q.endUse(1, "a")
	q.give(1, "v1")
	q.run(100 * time.Millisecond)
	q.need(2, Got)
}

func TestAfterAWhileAllIsAskedForAgain(t *testing.T) {
	q := newQuiet(t)
	q.use(1, "a/x")
	q.endUse(1, "a/x")
	q.ask(2, "a/y")
	q.run(100 * time.Millisecond)
	q.give(1, "v1")
	q.run(100 * time.Millisecond)
	id := q.need(2, Got).Request
	q.endUse(2, "a/y")
	s := q.nodes[2]
	if err := s.holder.Unlock(s.clock(), id, nil, s.holder.Heard()); err != nil {
		t.Fatal(err)
	}
	s.flush()
	q.run(hysteresis)
	q.use(1, "a/x")
	q.run(100 * time.Millisecond)
	claims := q.nodes[0].table.Claims(tree(""))
	if len(claims) != 1 || claims[0].Scopes[0] != tree("") || len(claims[0].Except) != 0 {
		t.Errorf("the table has %v, want one delegation over all", claims)
	}
	if !q.nodes[1].holder.Check(q.nodes[1].clock(), onePath("b"), claims[0].Token) {
		t.Error("a use under it is not covered")
	}
}

func TestAHolderThatIsNotHeardHoldsNothing(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{onePath("a")}})
	other := q.lock(2, &Acquire{Scopes: []Scope{onePath("a")}, Wait: time.Minute})
	q.nodes[1].cut = q.now + time.Hour
	for q.now < time.Minute && !q.valid(2, other) {
		q.run(100 * time.Millisecond)
		if q.valid(1, id) && q.valid(2, other) {
			t.Fatal("two are sure to hold it")
		}
	}
	if !q.valid(2, other) {
		t.Fatal("nobody else got it")
	}
	if !q.need(2, Got).Result.Grant.Unknown {
		t.Error("the next one is not told that nobody knows what was left")
	}
	q.nodes[1].cut = 0
	q.run(5 * time.Second)
	if e := q.need(1, SessionSure); e == nil || q.valid(1, id) {
		t.Error("the old session's lock came back")
	}
}

func TestAMachineThatSleptTrustsNothing(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{onePath("a")}})
	s := q.nodes[1]
	s.paused = q.now + 4*time.Second // the session would last longer
	q.run(4*time.Second - time.Millisecond)
	if q.valid(1, id) || q.usable(1, "a") {
		t.Error("counts on its session after a gap")
	}
	q.run(time.Second)
	if !q.valid(1, id) {
		t.Error("does not count on it after the leader was heard")
	}
}

func TestATTLEndsALockAndARenewalDoesNot(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{named("n")}, TTL: 2 * time.Second})
	next := q.lock(2, &Acquire{Scopes: []Scope{named("n")}, TTL: 2 * time.Second, Wait: time.Minute})
	for range 5 {
		q.run(time.Second)
		s := q.nodes[1]
		s.holder.Renew(s.clock(), id, 0)
		s.flush()
	}
	if !q.valid(1, id) || q.valid(2, next) {
		t.Fatal("a lock that is renewed ends")
	}
	for range 40 {
		q.run(100 * time.Millisecond)
		if q.valid(1, id) && q.valid(2, next) {
			t.Fatal("two are sure to hold it")
		}
		if q.take(2, Got) != nil {
			break
		}
	}
	q.run(50 * time.Millisecond)
	if !q.valid(2, next) {
		t.Error("the next one does not hold it, though its time has just begun")
	}
	if e := q.take(1, Lost); e == nil || e.Cause != Expired {
		t.Errorf("the first one was told %+v", e)
	}
}

func TestAWaitEnds(t *testing.T) {
	q := newQuiet(t)
	q.lock(1, &Acquire{Scopes: []Scope{named("n")}})
	q.lock(2, &Acquire{Scopes: []Scope{named("n")}, Wait: 5 * time.Second})
	if e := q.need(2, Waiting); e.Result.Blocker == nil || e.Result.Blocker.Host != "host1" {
		t.Errorf("told %+v, want who is in the way", e.Result)
	}
	q.run(4 * time.Second)
	if q.take(2, Refusal) != nil {
		t.Fatal("it ended too early")
	}
	q.run(3 * time.Second)
	if e := q.need(2, Refusal); e.Cause != TimedOut {
		t.Errorf("told %+v, want that it has waited long enough", e)
	}
}

func TestForceTellsTheHolder(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{onePath("a")}})
	s := q.nodes[2]
	claim := s.table.Claims(onePath("a"))[0]
	if err := s.holder.Force(s.clock(), id, claim.Token, "carol"); err != nil {
		t.Fatal(err)
	}
	s.flush()
	q.run(100 * time.Millisecond)
	if e := q.need(1, Lost); e.Cause != Forced || q.valid(1, id) {
		t.Errorf("told %+v, want that it was forced", e)
	}
}

// An offline lock is checked out for a trip: it survives the session, and a restart of the node's process; it ends with its TTL.
func TestAnOfflineLockSurvivesItsSession(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{onePath("a")}, Free: true, TTL: 7 * 24 * time.Hour, Why: "trip"})
	other := q.lock(2, &Acquire{Scopes: []Scope{onePath("b")}})
	q.nodes[1].cut = q.now + time.Hour
	q.run(30 * time.Minute)
	if !q.valid(1, id) || !q.usable(1, "a") {
		t.Error("it is gone with the session")
	}
	next := q.lock(2, &Acquire{Scopes: []Scope{onePath("a")}, Wait: time.Second})
	if e := q.need(2, Waiting); e.Result.Blocker.Why != "trip" || !q.valid(2, other) || q.valid(2, next) {
		t.Errorf("another one is told %+v", e.Result.Blocker)
	}
	q.nodes[1].cut = 0
	q.run(10 * time.Second)
	if !q.valid(1, id) || !q.nodes[1].holder.Sure(q.nodes[1].clock()) {
		t.Error("it is gone on return")
	}
	q.nodes[1].start()
	q.hook(q.nodes[1])
	q.run(20 * time.Second)
	if e := q.need(1, Got); e.Request != id || !q.valid(1, id) {
		t.Errorf("after a restart the node is told %+v", e)
	}
	if err := q.nodes[1].holder.Unlock(q.nodes[1].clock(), id, nil, 0); err != nil {
		t.Fatal(err)
	}
	q.nodes[1].flush()
	q.run(time.Second)
	if got := q.nodes[0].table.Claims(onePath("a")); len(got) != 0 {
		t.Errorf("after unlock: %v", got)
	}
}

// Leaders come and go, and each gives everybody all of their time. A lock of days ends all the same.
func TestALongTTLDoesNotBeginAnewWithEachLeader(t *testing.T) {
	q := newQuiet(t)
	const ttl = 3 * time.Hour
	begin := q.now
	id := q.lock(1, &Acquire{Scopes: []Scope{onePath("a")}, Free: true, TTL: ttl})
	for n := 1; q.valid(0, id) || len(q.nodes[0].table.Claims(onePath("a"))) > 0; n++ {
		q.run(25 * time.Minute)
		q.lead(n % simVoters)
		if q.now > begin+ttl*3/2 {
			t.Fatalf("the lock is there after %v", q.now-begin)
		}
	}
	if held := q.now - begin; held < ttl {
		t.Errorf("it ended after %v, want at least %v", held, ttl)
	}
	if len(q.log) > 300 {
		t.Errorf("%d commands in %v", len(q.log), q.now-begin)
	}
}

func TestANewLeaderKnowsWhoIsThere(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{onePath("a")}})
	other := q.lock(2, &Acquire{Scopes: []Scope{onePath("a")}, Wait: time.Minute})
	for n := range 6 {
		q.lead(n % simVoters)
		q.run(5 * time.Second)
		if !q.valid(1, id) {
			t.Fatalf("after %d leaders the lock is not valid", n+1)
		}
	}
	s := q.nodes[1]
	if err := s.holder.Unlock(s.clock(), id, []Left{leftAt(onePath("a"), "v")}, s.holder.Heard()); err != nil {
		t.Fatal(err)
	}
	s.flush()
	q.run(100 * time.Millisecond)
	if e := q.need(2, Got); e.Request != other || len(e.Result.Grant.Left) != 1 {
		t.Errorf("the next one is told %+v", e.Result)
	}
}

// Two tables have become one: no session is left, and whoever asks for something learns it then, and not with its next KeepAlive.
func TestASessionThatIsGoneIsOpenedAnewByWhoAsks(t *testing.T) {
	q := newQuiet(t)
	b, err := Encode(&Raise{7})
	if err != nil {
		t.Fatal(err)
	}
	leader := q.nodes[q.leader]
	leader.commit(leader.keeper, Proposal{Command: b})
	for n := range simVoters {
		id := q.lock(n, &Acquire{Scopes: []Scope{onePath(string(rune('a' + n)))}})
		q.need(n, SessionLost)
		q.run(200 * time.Millisecond)
		if !q.valid(n, id) {
			t.Errorf("node %d: no lock a moment later", n)
		}
	}
}

func TestANodeMayNotSpeakForAnother(t *testing.T) {
	k := NewKeeper(NewTable(nil), 0)
	a := Session{nodeID(1), 1}
	for _, c := range []Command{
		&Open{Request: id(1), Node: nodeID(1), Length: MinLength}, &Close{a, Closed}, &Close{Session{nodeID(2), 1}, Expired},
		lock(1, a, onePath("p")), &Narrow{Request: id(1), Session: a, Except: []Scope{onePath("p")}},
		&End{Endings: []Ending{{Request: id(1)}}, Cause: Expired}, &Age{}, &Raise{5},
	} {
		k.Receive(0, nodeID(2), &Request{Number: 1, Command: encode(t, c)})
		out := k.Tick(0)
		if len(out.Propose) > 0 || len(out.Send) != 1 {
			t.Errorf("%T: %+v", c, out)
		}
	}
}

// messages are messages of every kind, with next to nothing in them, and with everything.
func messages() []Message {
	s := Session{nodeID(1), 5}
	return []Message{
		&Request{}, &Request{1, []byte("c")}, &Answer{}, &Answer{1, 2, []byte("r")}, &KeepAlive{}, &KeepAlive{1, s, 3},
		&Alive{}, &Alive{1, s, true}, &Renew{}, &Renew{1, id(2), time.Hour}, &Renewed{}, &Renewed{1, id(2), time.Hour},
		&Told{}, &Told{id(1), 2, 3, time.Second, []byte("r")}, &Gone{}, &Gone{id(1), Token{1, 2}, Forced, "b: why"},
		&Recall{}, &Recall{id(1), Token{1, 2}, []Scope{tree(""), onePath("a")}},
		&State{}, &State{s, 9, []ClaimState{{Request: id(1), Token: Token{1, 2}}, {Request: id(2), Free: []Scope{named("n")}}}},
	}
}

// A grant that comes late tells nothing of when its time began: it is valid only when the leader has said that it is.
func TestALateGrantIsNotTrusted(t *testing.T) {
	q := newQuiet(t)
	id := q.lock(1, &Acquire{Scopes: []Scope{named("n")}, TTL: 3 * time.Second, Wait: time.Minute, Request: id(7)})
	q.need(1, Got)
	s := q.nodes[1]
	k := s.holder.claims[id]
	for _, number := range []uint64{0, s.holder.number} { // no message that is known; one of now
		q.run(100 * time.Millisecond)
		k.token, k.deadline, k.index = Token{}, 0, 0
		r := Result{Status: Granted, Grant: &Grant{Token: Token{0, 99}}}
		s.holder.Receive(s.clock(), &Told{Request: id, Index: 99, Number: number, Remaining: time.Hour, Result: r.encode()})
		want := number != 0
		if got := q.valid(1, id); got != want {
			t.Errorf("told after message %d: valid %v, want %v", number, got, want)
		}
		if want && k.deadline > s.clock()+3*time.Second {
			t.Errorf("valid for %v, want at most its TTL", k.deadline-s.clock())
		}
	}
}

// A straight is a holder whose messages a test answers itself.
type straight struct {
	t *testing.T
	*Holder
	now time.Duration
}

// sent returns the last message of a kind that the holder sends now.
func sent[M Message](s *straight) M {
	s.t.Helper()
	var found M
	ok := false
	out, _ := s.Tick(s.now)
	for _, m := range out {
		if m, is := m.(M); is {
			found, ok = m, true
		}
	}
	if !ok {
		s.t.Fatalf("got %+v, want a %T among them", out, found)
	}
	return found
}

func (s *straight) answer(m *Request, r Result) {
	s.Receive(s.now, &Answer{Number: m.Number, Index: 7, Result: r.encode()})
}

// command returns what a request asks for.
func (s *straight) command(m *Request) Command {
	s.t.Helper()
	c, err := DecodeCommand(m.Command)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// begin has the holder open a session, and count on it.
func (s *straight) begin() {
	s.t.Helper()
	open := sent[*Request](s)
	s.answer(open, Result{Status: Done, Epoch: s.command(open).(*Open).epoch()})
	alive := sent[*KeepAlive](s)
	s.Receive(s.now, &Alive{Number: alive.Number, Session: alive.Session})
	if !s.Sure(s.now) {
		s.t.Fatal("the session is not sure")
	}
}

func newStraight(t *testing.T) *straight {
	next := byte(0)
	s := &straight{t: t, now: time.Hour, Holder: NewHolder(nodeID(1), "a", MaxLength, time.Hour, func() RequestID { next++; return RequestID{next} })}
	s.begin()
	return s
}
