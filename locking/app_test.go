package locking

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var (
	simRuns = flag.Int("sim-runs", 24, "seeded runs of the simulation")
	simSeed = flag.Uint64("sim-seed", 1, "seed of the first")
)

// simPaths are what the programs of the simulation change.
var simPaths = []string{"a/x", "a/y", "a/b/x", "c/x", "d"}

// An app is what runs on a node: it changes files under delegations and locks, as replica will.
type app struct {
	s        *simNode
	known    map[string]int // the newest version of each path that this node has
	asks     map[RequestID]string
	locks    map[RequestID]*section
	sections []*section
	stopped  bool        // begin nothing new
	hook     func(Event) // does everything, in tests that are not random
}

// A section is one time in which a path is changed.
type section struct {
	path  string
	token Token
	begin time.Duration
	sure  time.Duration // when it was last seen to be covered
	id    RequestID     // of a lock
	over  bool
}

func newApp(s *simNode) *app {
	a := &app{s: s, stopped: s.w.still, known: map[string]int{}, asks: map[RequestID]string{}, locks: map[RequestID]*section{}}
	s.on(s.w.upTo(time.Second), a.act)
	return a
}

func (a *app) act() {
	w, h, now := a.s.w, a.s.holder, a.s.clock()
	a.s.on(w.upTo(400*time.Millisecond), a.act)
	if a.stopped {
		return
	}
	waits := len(a.asks)+len(a.locks) > 3
	path := simPaths[w.r.IntN(len(simPaths))]
	if !waits && w.r.IntN(6) == 0 {
		c := &Acquire{Scopes: []Scope{onePath(path)}, Wait: 20 * time.Second}
		if w.r.IntN(2) == 0 {
			c.Free, c.TTL = true, 3*time.Second
		}
		id, err := h.Lock(now, c)
		if err != nil {
			w.t.Fatal(err)
		}
		a.locks[id] = nil
		a.s.flush()
		return
	}
	if token, ok := h.Use(now, onePath(path)); ok {
		a.open(path, token, RequestID{})
		return
	}
	if waits {
		return
	}
	id, err := h.Ask(now, []Scope{onePath(path)}, 20*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	a.asks[id] = path
	a.s.flush()
}

// open begins a section: a while later the path is changed, and then it ends.
func (a *app) open(path string, token Token, id RequestID) {
	w := a.s.w
	c := &section{path: path, token: token, begin: w.now, sure: w.now, id: id}
	if !a.covered(c) { // the grant came so late that it is over, or nobody has been heard for too long
		c.over = true
	}
	a.sections = append(a.sections, c)
	a.s.on(w.upTo(30*time.Millisecond), func() {
		a.publish(c)
		a.s.on(w.upTo(30*time.Millisecond), func() { a.close(c) })
	})
}

// covered tells whether what c does is still covered.
func (a *app) covered(c *section) bool {
	h, now := a.s.holder, a.s.clock()
	ok := !c.over && h.Check(now, onePath(c.path), c.token) && !a.s.w.judge.forced[c.token] // who was forced out does not know yet, and is fenced
	if ok {
		c.sure = a.s.w.now
	}
	return ok
}

func (a *app) publish(c *section) {
	if !a.covered(c) {
		return
	}
	a.known[c.path] = a.s.w.judge.write(a, c, a.known[c.path])
}

func (a *app) close(c *section) {
	a.covered(c)
	a.end(c)
	if c.id != (RequestID{}) {
		delete(a.locks, c.id)
		if err := a.s.holder.Unlock(a.s.clock(), c.id, a.left([]Scope{onePath(c.path)}), a.s.holder.Heard()); err != nil {
			a.s.w.t.Fatal(err)
		}
	} else {
		a.s.holder.EndUse(onePath(c.path))
	}
	a.s.flush()
}

func (a *app) end(c *section) {
	if !c.over {
		c.over = true
		a.sections = slices.DeleteFunc(a.sections, func(o *section) bool { return o == c })
		a.s.w.judge.section(a, c)
	}
}

// die ends all sections as they stand.
func (a *app) die() {
	for _, c := range slices.Clone(a.sections) {
		a.end(c)
	}
	a.stopped = true
}

// left is what a has left behind in scopes: all that it knows of them.
func (a *app) left(scopes []Scope) []Left {
	var out []Left
	for _, s := range scopes {
		known := map[string]int{}
		for p, v := range a.known {
			if s.Covers(onePath(p)) {
				known[p] = v
			}
		}
		b, err := json.Marshal(known)
		if err != nil {
			a.s.w.t.Fatal(err)
		}
		out = append(out, leftAt(s, string(b)))
	}
	return out
}

// learn takes in what a grant says of the versions that were left.
func (a *app) learn(g *Grant) {
	if g.Unknown {
		for _, p := range simPaths { // every member is asked
			a.known[p] = max(a.known[p], a.s.w.judge.newest[p])
		}
	}
	for _, l := range g.Left {
		var known map[string]int
		if err := json.Unmarshal([]byte(l.Version), &known); err != nil {
			a.s.w.t.Fatal(err)
		}
		for p, v := range known {
			a.known[p] = max(a.known[p], v)
		}
	}
}

func (a *app) event(e Event) {
	w := a.s.w
	w.judge.events[e.What]++
	if a.hook != nil {
		a.hook(e)
		return
	}
	switch e.What {
	case Got:
		a.learn(e.Result.Grant)
		token := e.Result.Grant.Token
		if path, ok := a.asks[e.Request]; ok {
			delete(a.asks, e.Request)
			a.open(path, token, RequestID{})
		} else if k := a.s.holder.claims[e.Request]; k != nil {
			a.open(k.Acquire.Scopes[0].Path, token, e.Request)
		}
	case Refusal, Lost:
		delete(a.asks, e.Request)
		delete(a.locks, e.Request)
	case Give:
		a.s.on(w.upTo(5*time.Millisecond), func() {
			if err := a.s.holder.Give(a.s.clock(), e.Request, a.left(e.Scopes), a.s.holder.Heard()); err != nil {
				w.t.Fatal(err)
			}
			a.s.flush()
		})
	}
}

// force ends something that somebody holds.
func (a *app) force() {
	claims := a.s.w.nodes[0].table.Claims(tree(""))
	if len(claims) == 0 || a.stopped || a.s.w.now < a.s.paused {
		return
	}
	c := claims[a.s.w.r.IntN(len(claims))]
	if !c.Held {
		return
	}
	a.s.w.judge.forced[c.Token] = true
	for _, s := range a.s.w.nodes {
		if k := s.holder.claims[c.Request]; k != nil {
			for _, t := range k.absorbed {
				a.s.w.judge.forced[t] = true
			}
		}
	}
	if err := a.s.holder.Force(a.s.clock(), c.Request, c.Token, "somebody"); err != nil {
		a.s.w.t.Fatal(err)
	}
	a.s.flush()
}

// A judge writes down what happened to each path, for porcupine to say whether one after the other could have done it.
type judge struct {
	w       *world
	newest  map[string]int
	history map[string][]porcupine.Operation
	forced  map[Token]bool
	events  map[EventKind]int
	grants  map[Token]RequestID
}

func newJudge(w *world) *judge {
	return &judge{
		w: w, newest: map[string]int{}, history: map[string][]porcupine.Operation{}, forced: map[Token]bool{}, events: map[EventKind]int{},
		grants: map[Token]RequestID{},
	}
}

// changed checks that every voter grants the same, and no token twice.
func (j *judge) changed(c Change) {
	if c.What != ClaimGranted {
		return
	}
	if id, ok := j.grants[c.Claim.Token]; ok && id != c.Claim.Request {
		j.w.t.Errorf("token %v is granted to %x and to %x", c.Claim.Token, id, c.Claim.Request)
	}
	j.grants[c.Claim.Token] = c.Claim.Request
}

// An op is one step on one path.
type op struct {
	kind  opKind
	node  int
	life  int
	token Token
	base  int // the version on which it was made
	made  int
}

type opKind uint8

const (
	opEnter opKind = iota
	opWrite
	opLeave
)

func (j *judge) add(path string, o op, call, end time.Duration) {
	j.history[path] = append(j.history[path], porcupine.Operation{Input: o, Call: int64(call), Return: int64(end)})
}

// write notes a version, made on top of base.
func (j *judge) write(a *app, c *section, base int) int {
	j.newest[c.path]++
	made := j.newest[c.path]
	j.add(c.path, op{opWrite, a.s.n, a.s.life, c.token, base, made}, j.w.now, j.w.now)
	return made
}

// section notes that c was entered and left. One that was not seen to be covered at its end may have been left at any time since.
func (j *judge) section(a *app, c *section) {
	o := op{kind: opEnter, node: a.s.n, life: a.s.life, token: c.token}
	j.add(c.path, o, c.begin, c.begin)
	o.kind = opLeave
	j.add(c.path, o, c.sure, j.w.now)
}

// simState is what one path is like: who is in it, and its newest version.
type simState struct {
	node, life, inside int
	version            int
}

// simModel lets one node at a time into a path, and has it know the newest version.
var simModel = porcupine.Model{
	Init: func() any { return simState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, o := state.(simState), input.(op)
		mine := s.inside > 0 && s.node == o.node && s.life == o.life
		switch o.kind {
		case opEnter:
			if s.inside > 0 && !mine {
				return false, s
			}
			s.node, s.life, s.inside = o.node, o.life, s.inside+1
		case opWrite:
			if !mine || o.base != s.version {
				return false, s
			}
			s.version = o.made
		case opLeave:
			if !mine {
				return false, s
			}
			s.inside--
		}
		return true, s
	},
}

func (j *judge) verdict() {
	for _, path := range simPaths {
		if r := porcupine.CheckOperationsTimeout(simModel, j.history[path], 20*time.Second); r != porcupine.Ok {
			j.w.t.Errorf("%s: %d steps that no order explains: %v", path, len(j.history[path]), r)
		}
	}
}

func TestSimulation(t *testing.T) {
	for n := range *simRuns {
		seed := *simSeed + uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed, simVoters+int(seed%4), true)
			w.run(time.Minute)
			w.settle()
			w.judge.verdict()
			steps := 0
			for _, h := range w.judge.history {
				steps += len(h)
			}
			t.Logf("%d commands, %d steps, events %v", len(w.log), steps, w.judge.events)
			for _, s := range w.nodes {
				if len(s.app.asks)+len(s.app.locks) > 0 || !s.holder.Sure(s.clock()) {
					t.Errorf("node %d: %d still wait, sure %v", s.n, len(s.app.asks)+len(s.app.locks), s.holder.Sure(s.clock()))
				}
			}
		})
	}
}
