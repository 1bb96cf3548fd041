package locking

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A world is a cluster in simulated time: nodes with holders, three of which vote, a log that stands for Raft, and a network that loses,
// repeats, reorders and delays. One seed is one run, always the same.
type world struct {
	t      testing.TB
	r      *rand.Rand
	now    time.Duration
	queue  queue
	order  int
	nodes  []*simNode
	log    [][]byte // what is committed; index 1 first
	leader int
	split  time.Duration // until then the two sides do not hear each other
	term   int
	rough  bool // whether anything fails at all
	still  bool // nobody begins anything new
	ids    uint64
	judge  *judge
}

type simEvent struct {
	at    time.Duration
	order int
	do    func()
}

type queue []simEvent

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(e any)   { *q = append(*q, e.(simEvent)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// A simNode is one machine.
type simNode struct {
	w       *world
	n       int
	id      NodeID
	offset  time.Duration // of its clock
	rate    int           // of its clock: how many in 1,000 it is fast
	life    int           // counts its starts and ends
	dead    bool
	paused  time.Duration // it does nothing until then
	cut     time.Duration // it hears nobody until then
	side    bool          // of the split, on which it is
	holder  *Holder
	table   *Table // of a voter
	applied int
	keeper  *Keeper
	term    int // in which it leads
	app     *app
}

const simVoters = 3

func newWorld(t testing.TB, seed uint64, nodes int, rough bool) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 77)), rough: rough, term: 1}
	w.judge = newJudge(w)
	for n := range nodes {
		s := &simNode{w: w, n: n, id: nodeID(byte(n + 1)), offset: time.Duration(w.r.IntN(1000)) * time.Hour}
		if rough {
			s.rate = w.r.IntN(9) - 4
		}
		if n < simVoters {
			s.table = NewTable(func(c Change) {
				if s.keeper != nil {
					s.keeper.Changed(c)
				}
				w.judge.changed(c)
			})
		}
		w.nodes = append(w.nodes, s)
		s.start()
	}
	w.lead(0)
	if rough {
		w.after(w.upTo(20*time.Second), w.trouble)
	}
	return w
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.r.Int64N(int64(d)) + 1) }

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, simEvent{w.now + d, w.order, do})
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	for end := w.now + d; ; {
		if len(w.queue) == 0 || w.queue[0].at > end {
			w.now = end
			return
		}
		e := heap.Pop(&w.queue).(simEvent)
		w.now = e.at
		e.do()
	}
}

func (w *world) newID() (id RequestID) {
	w.ids++
	binary.BigEndian.PutUint64(id[:], w.r.Uint64())
	binary.BigEndian.PutUint64(id[8:], w.ids)
	return id
}

// clock is what the machine's clock shows.
func (s *simNode) clock() time.Duration {
	return s.offset + s.w.now + s.w.now*time.Duration(s.rate)/1000
}

// on has the machine do something, when it is not paused; what a life began, its end ends.
func (s *simNode) on(d time.Duration, do func()) {
	life := s.life
	var when func()
	when = func() {
		if s.life != life || s.dead {
			return
		}
		if s.w.now < s.paused {
			s.w.after(s.paused-s.w.now, when)
			return
		}
		do()
	}
	s.w.after(d, when)
}

// start begins a life: what was in memory is lost, the voter's table is not.
func (s *simNode) start() {
	s.life++
	s.dead = false
	s.holder = NewHolder(s.id, fmt.Sprint("host", s.n), 10*time.Second, s.clock(), s.w.newID)
	s.keeper = nil
	s.app = newApp(s)
	s.on(0, s.tickHolder)
}

func (s *simNode) tickHolder() {
	s.flush()
	s.on(max(s.holder.Next()-s.clock(), time.Millisecond), s.tickHolder)
}

// flush sends what the holder has to say, and tells the program what has happened.
func (s *simNode) flush() {
	out, events := s.holder.Tick(s.clock())
	for _, m := range out {
		b := EncodeMessage(m)
		to := s.w.nodes[s.w.leader]
		if s.w.rough && s.w.r.IntN(20) == 0 || !s.reaches(to) {
			to = s.w.nodes[s.w.r.IntN(simVoters)]
		}
		s.w.carry(s, to, func() { to.fromHolder(s.id, b) })
	}
	for _, e := range events {
		s.app.event(e)
	}
	if len(events) > 0 {
		s.on(0, s.flush)
	}
}

// carry brings something from one machine to another, or not.
func (w *world) carry(from, to *simNode, do func()) {
	times := 1
	if w.rough && from != to {
		switch k := w.r.IntN(100); {
		case k < 4:
			times = 0
		case k < 8:
			times = 2
		}
	}
	for range times {
		delay := 200*time.Microsecond + w.upTo(5*time.Millisecond)
		if w.rough && w.r.IntN(50) == 0 {
			delay = w.upTo(15 * time.Second)
		}
		to.on(delay, func() {
			if from.reaches(to) {
				do()
			}
		})
	}
}

func (s *simNode) fromHolder(from NodeID, b []byte) {
	if s.keeper == nil {
		return
	}
	m, err := DecodeMessage(b)
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.keeper.Receive(s.clock(), from, m)
	s.tickKeeper()
}

// lead makes a voter the leader. The one before does not know it yet.
func (w *world) lead(n int) {
	w.leader = n
	w.term++
	s, term := w.nodes[n], w.term
	s.on(w.upTo(100*time.Millisecond), func() {
		if w.term != term {
			return
		}
		s.keeper, s.term = nil, term
		s.catchUp(len(w.log))
		s.keeper = NewKeeper(s.table, s.clock())
		s.keeperLoop(s.keeper)
	})
}

func (s *simNode) keeperLoop(k *Keeper) {
	if s.keeper != k {
		return
	}
	s.tickKeeper()
	next := min(max(k.Next()-s.clock(), time.Millisecond), time.Second) // what comes in meanwhile may be due sooner
	s.on(next, func() { s.keeperLoop(k) })
}

// reaches tells whether what one machine sends now comes to another.
func (s *simNode) reaches(to *simNode) bool {
	now := s.w.now
	return s == to || now >= s.cut && now >= to.cut && (now >= s.w.split || s.side == to.side)
}

// leads tells whether the others would confirm that s leads, and k is its keeper.
func (s *simNode) leads(k *Keeper) bool {
	return s.keeper == k && s.term == s.w.term && s.majority()
}

// majority tells whether s reaches most voters, itself among them.
func (s *simNode) majority() bool {
	n := 0
	for _, v := range s.w.nodes[:simVoters] {
		if s.reaches(v) {
			n++
		}
	}
	return n > simVoters/2
}

func (s *simNode) tickKeeper() {
	k := s.keeper
	out := k.Tick(s.clock())
	for _, p := range out.Propose {
		s.on(s.w.upTo(3*time.Millisecond), func() { s.commit(k, p) })
	}
	for _, l := range out.Send {
		to := s.w.nodes[int(l.To[0])-1]
		b := EncodeMessage(l.Message)
		verify := time.Duration(0)
		if l.Verify {
			verify = s.w.upTo(2 * time.Millisecond)
		}
		s.on(verify, func() {
			if l.Verify && !s.leads(k) {
				return
			}
			s.w.carry(s, to, func() { to.fromKeeper(b) })
		})
	}
}

// commit has the log take p, if s leads still; sometimes it does though s never learns of it.
func (s *simNode) commit(k *Keeper, p Proposal) {
	if !s.leads(k) {
		k.Done(s.clock(), p, nil)
		return
	}
	s.w.log = append(s.w.log, p.Command)
	index := len(s.w.log)
	for _, v := range s.w.nodes[:simVoters] {
		if v != s {
			v.on(s.w.upTo(50*time.Millisecond), func() { v.catchUp(index) })
		}
	}
	if s.w.rough && s.w.r.IntN(30) == 0 {
		s.w.elect()
	}
	result := s.catchUp(index)
	if s.keeper == k {
		k.Done(s.clock(), p, result)
		s.tickKeeper()
	}
}

// catchUp applies the log up to an index.
func (s *simNode) catchUp(index int) (result []byte) {
	for s.applied < index {
		s.applied++
		result = s.table.Apply(uint64(s.applied), s.w.log[s.applied-1])
		if s.w.rough && s.w.r.IntN(200) == 0 && s.keeper == nil {
			if err := s.table.Restore(s.table.Snapshot()); err != nil {
				s.w.t.Fatal(err)
			}
		}
	}
	return result
}

func (s *simNode) fromKeeper(b []byte) {
	m, err := DecodeMessage(b)
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.holder.Receive(s.clock(), m)
	s.flush()
}

// elect makes a voter the leader that reaches most of them.
func (w *world) elect() {
	n := w.r.IntN(simVoters)
	for range simVoters {
		if w.nodes[n].majority() {
			w.lead(n)
			return
		}
		n = (n + 1) % simVoters
	}
	w.after(time.Second, w.elect)
}

// trouble makes one thing go wrong, and comes again.
func (w *world) trouble() {
	if !w.rough {
		return
	}
	s := w.nodes[w.r.IntN(len(w.nodes))]
	switch w.r.IntN(6) {
	case 0: // killed
		if !s.dead {
			s.app.die()
			s.life++
			s.dead, s.keeper = true, nil
			w.after(w.upTo(20*time.Second), s.start)
		}
	case 1: // stopped, or asleep
		s.paused = w.now + w.upTo(30*time.Second)
	case 2: // cut off
		s.cut = w.now + w.upTo(30*time.Second)
	case 3:
		w.elect()
	case 4:
		s.app.force()
	case 5: // the cluster falls in two, perhaps with the leader on the lesser side
		w.split = w.now + w.upTo(30*time.Second)
		for _, s := range w.nodes {
			s.side = w.r.IntN(2) == 0
		}
	}
	if l := w.nodes[w.leader]; !l.majority() || w.now < l.paused || l.keeper == nil {
		w.after(time.Second, w.elect)
	}
	w.after(w.upTo(15*time.Second), w.trouble)
}

// settle mends everything, lets all who wait have what they want, and checks that the voters agree.
func (w *world) settle() {
	w.rough, w.still, w.split = false, true, 0
	for _, s := range w.nodes {
		s.paused, s.cut, s.app.stopped = 0, 0, true
	}
	w.run(30 * time.Second) // until all have started that were killed
	w.lead(w.leader)
	w.run(90 * time.Second)
	first := w.nodes[0].table
	for _, s := range w.nodes[:simVoters] {
		s.catchUp(len(w.log))
		if !bytes.Equal(s.table.Snapshot(), first.Snapshot()) {
			w.t.Error("two voters have come to other tables")
		}
	}
}
