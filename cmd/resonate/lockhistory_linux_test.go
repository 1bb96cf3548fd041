package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"resonate/control"
)

var (
	lockRuns = flag.Int("runs", 3, "runs of locks through daemons with faults; with 2, 3 and 5 of them in turn")
	lockSeed = flag.Uint64("lock-seed", 1, "seed of the first run")
)

// Times of a run. What is held is over lockTTL after it was asked for, unless it is renewed.
const (
	lockTTL     = 2 * time.Second
	lockSession = 5 * time.Second
	askFor      = 9 * time.Second // how long an answer is waited for
	lockFaults  = 4
)

// lockNames are what the programs of a run lock.
var lockNames = []string{"x", "y"}

// TestLockHistories has programs take and give back locks through real daemons, each on a machine of its own, while these are killed, stopped for longer
// than a session, and cut off from each other. What they have seen is then checked: there has to be an order of events in which each lock was
// had by one at a time, with a greater token each time, and in which all who looked saw what was so.
func TestLockHistories(t *testing.T) {
	needsMachines(t)
	sizes := []int{3, 2, 5}
	for n := range *lockRuns {
		seed := *lockSeed + uint64(n)
		size := sizes[seed%3]
		t.Run(fmt.Sprintf("%d-of-%d", seed, size), func(t *testing.T) {
			t.Parallel() // most of the time is spent waiting
			lockRun(t, seed, size)
		})
	}
}

// A lockPlay is one run.
type lockPlay struct {
	*cluster
	net   *network
	begun time.Time
	r     *mrand.Rand // of the faults

	mu      sync.Mutex
	history map[string][]porcupine.Operation
	counts  map[string]int
	faults  []string
}

func lockRun(t *testing.T, seed uint64, size int) {
	c, w := newMachines(t, size)
	p := &lockPlay{
		cluster: c, net: w, begun: time.Now(), r: mrand.New(mrand.NewPCG(seed, 1)),
		history: map[string][]porcupine.Operation{}, counts: map[string]int{},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again: go test ./cmd/resonate -run 'TestLockHistories$' -lock-seed %d -runs 1", seed)
		}
	})
	for _, d := range c.daemons {
		d.args = append(d.args, "-session", lockSession.String())
		d.start(envLocks + "=" + clusterLocks)
	}
	p.until(time.Minute, p.together)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var programs sync.WaitGroup
	for i := range 2 * size {
		r := mrand.New(mrand.NewPCG(seed, uint64(i+2)))
		programs.Go(func() { p.program(ctx, r, i) })
	}
	p.strike()
	p.granted(40 * time.Second)
	stop()
	programs.Wait()
	p.verdict()
	t.Logf("%v; after %v: %v", p.counts, time.Since(p.begun).Round(time.Second), strings.Join(p.faults, ", "))
}

// together returns nil when all nodes have one table, and as many keep it as there should. Before that each has one of its own, and what was granted in
// those that give way is lost.
func (c *cluster) together() error {
	voters, leader := 0, ""
	for i, d := range c.daemons {
		q, err := d.client.Quorum(c.t.Context())
		if err != nil || !q.Majority || q.Leader == "" || i > 0 && q.Leader != leader {
			return fmt.Errorf("%s: %+v, %v", d.name, q, err)
		}
		leader = q.Leader
		for _, v := range q.Voters {
			if v.Self && v.Leader {
				voters = len(q.Voters)
			}
		}
	}
	want := 3
	if len(c.daemons) == 2 {
		want = 1
	}
	if voters != want {
		return fmt.Errorf("%d voters, want %d", voters, want)
	}
	return nil
}

// granted waits until a lock can be had, and given back, through each node.
func (p *lockPlay) granted(most time.Duration) {
	p.t.Helper()
	for _, d := range p.daemons {
		p.until(most, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), askFor)
			defer cancel()
			client := d.locks()
			if client == nil {
				return control.ErrNoDaemon
			}
			l, err := client.Lock(ctx, control.LockRequest{Resource: control.Resource{Name: "probe " + d.name}, TTL: time.Second, Wait: 2 * time.Second})
			if err != nil {
				return fmt.Errorf("lock through %s: %w", d.name, err)
			}
			return client.Unlock(ctx, l.ID)
		})
	}
}

// locks returns the client of a daemon; nil: it does not run.
func (d *daemon) locks() *control.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client
}

// strike does what goes wrong in a run, and puts all right at its end.
func (p *lockPlay) strike() {
	var over sync.WaitGroup
	free := make(chan int, len(p.daemons)) // daemons that are not struck
	for _, i := range p.r.Perm(len(p.daemons)) {
		free <- i
	}
	for range lockFaults {
		f, wait := p.fault(free)
		over.Go(f)
		pause(wait)
	}
	over.Wait()
}

// pause lets time pass in which others act: that is what a run consists of.
func pause(d time.Duration) { <-time.After(d) }

// fault chooses what goes wrong next, and how long to wait until what comes after that.
func (p *lockPlay) fault(free chan int) (f func(), wait time.Duration) {
	short := 500*time.Millisecond + time.Duration(p.r.Int64N(int64(2*time.Second)))
	long := lockSession + time.Second + time.Duration(p.r.Int64N(int64(2*time.Second)))
	length := short
	if p.r.IntN(2) == 0 {
		length = long
	}
	wait = time.Duration(p.r.Int64N(int64(length)))
	switch k := p.r.IntN(6); {
	case k < 3:
		side, oneWay := p.side(), k == 0
		return func() { p.split(side, oneWay, length) }, wait
	case k < 5:
		return func() {
			p.strikeOne(free, "killed", length, (*daemon).kill, func(d *daemon) { d.start(envLocks + "=" + clusterLocks) })
		}, wait
	default:
		send := func(s syscall.Signal) func(*daemon) {
			return func(d *daemon) {
				d.mu.Lock()
				defer d.mu.Unlock()
				if err := d.cmd.Process.Signal(s); err != nil {
					p.t.Errorf("%v to %s: %v", s, d.name, err)
				}
			}
		}
		return func() { p.strikeOne(free, "stopped", long, send(syscall.SIGSTOP), send(syscall.SIGCONT)) }, wait
	}
}

// side chooses some of the machines, not all.
func (p *lockPlay) side() (side []int) {
	for len(side) == 0 || len(side) == len(p.daemons) {
		side = nil
		for i := range p.daemons {
			if p.r.IntN(2) == 0 {
				side = append(side, i)
			}
		}
	}
	return side
}

// split has some machines hear nothing of the others for a time, and, unless it is one-way, these nothing of them.
func (p *lockPlay) split(side []int, oneWay bool, length time.Duration) {
	var others []int
	for i := range p.daemons {
		if !slices.Contains(side, i) {
			others = append(others, i)
		}
	}
	p.note("%v %s not hear %v for %v", side, map[bool]string{true: "do", false: "and these do"}[oneWay], others, length.Round(100*time.Millisecond))
	var mend []func()
	for _, i := range side {
		mend = append(mend, p.net.cut(i, others...))
	}
	for _, i := range others {
		if !oneWay {
			mend = append(mend, p.net.cut(i, side...))
		}
	}
	pause(length)
	for _, m := range mend {
		m()
	}
}

// strikeOne does something to a daemon that is well, and undoes it after a time.
func (p *lockPlay) strikeOne(free chan int, how string, length time.Duration, strike, heal func(*daemon)) {
	i := <-free
	d := p.daemons[i]
	p.note("%d %s for %v", i, how, length.Round(100*time.Millisecond))
	strike(d)
	pause(length)
	heal(d)
	free <- i
}

func (p *lockPlay) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Since(p.begun).Round(100 * time.Millisecond)
	p.faults = append(p.faults, fmt.Sprintf("at %v "+format, append([]any{at}, args...)...))
}

// A lockEvent is something that was seen of a lock.
type lockEvent struct {
	what  string
	token control.Token
}

// lockState is who has a lock, by the token: zero for nobody. last is the highest token that was had.
type lockState struct{ held, last control.Token }

// lockModel has one at a time hold the lock, each with a greater token than the one before.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, e := state.(lockState), input.(lockEvent)
		switch e.what {
		case "had":
			if s.held != (control.Token{}) || e.token.Compare(s.last) <= 0 {
				return false, s
			}
			return true, lockState{e.token, e.token}
		case "let go":
			return s.held == e.token, lockState{last: s.last}
		case "over": // at some time, if it was not let go
			if s.held == e.token {
				s.held = control.Token{}
			}
			return s.last.Compare(e.token) >= 0, s
		default: // seen to be held under the token, or, with none, to be free
			return s.held == e.token, s
		}
	},
	DescribeOperation: func(input, _ any) string {
		e := input.(lockEvent)
		return e.what + " " + e.token.String()
	},
}

// add writes down an event that happened between two times; without an end, it may have happened at any time since.
func (p *lockPlay) add(name, what string, token control.Token, call, end time.Time) {
	o := porcupine.Operation{Input: lockEvent{what, token}, Call: int64(call.Sub(p.begun)), Return: math.MaxInt64 / 2}
	if !end.IsZero() {
		o.Return = int64(end.Sub(p.begun))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[what]++
	p.history[name] = append(p.history[name], o)
}

func (p *lockPlay) count(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[what]++
}

// program takes locks, holds them for a moment, renews them, lets them go or forgets them, and looks, until ctx ends.
func (p *lockPlay) program(ctx context.Context, r *mrand.Rand, client int) {
	for ctx.Err() == nil {
		name := lockNames[r.IntN(len(lockNames))]
		if r.IntN(4) == 0 {
			p.look(r, name)
		} else {
			p.section(r, name, client)
		}
		pause(time.Duration(r.IntN(50)) * time.Millisecond)
	}
}

// any returns the client of some daemon; nil: that one does not run.
func (p *lockPlay) any(r *mrand.Rand) *control.Client {
	return p.daemons[r.IntN(len(p.daemons))].locks()
}

func (p *lockPlay) look(r *mrand.Rand, name string) {
	client := p.any(r)
	if client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	begun := time.Now()
	list, err := client.Locks(ctx, control.Resource{Name: name})
	if err != nil {
		p.count("look: " + kind(err))
		return
	}
	seen := control.Token{}
	for _, l := range list {
		if l.State == "held" {
			seen = l.Token
		}
	}
	p.add(name, "seen", seen, begun, time.Now())
}

// kind names an error without what differs from one to the next.
func kind(err error) string {
	for _, e := range []error{
		control.ErrHeldElsewhere, control.ErrNotHeld, control.ErrNotFound, control.ErrNoMajority, control.ErrTimeout, control.ErrNoDaemon, context.DeadlineExceeded,
	} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "other"
}

// section has a lock for a moment.
func (p *lockPlay) section(r *mrand.Rand, name string, who int) {
	q := control.LockRequest{
		Resource: control.Resource{Name: name}, TTL: lockTTL, Wait: time.Duration(r.IntN(4)) * time.Second, Owner: fmt.Sprint("program ", who),
		Session: r.IntN(4) == 0,
	}
	if !q.Session && r.IntN(2) == 0 {
		q.RequestID = rand.Text()
	}
	lock, client, call, asked := p.ask(r, q)
	if client == nil {
		return
	}
	p.add(name, "had", lock.Token, call, time.Now())
	until := asked.Add(lockTTL) // what is bound to a session may be over at any time: nobody here can tell whether it is
	if q.Session {
		until = asked
	}
	for range r.IntN(3) {
		pause(time.Duration(r.IntN(150)) * time.Millisecond)
		if r.IntN(3) == 0 && time.Now().Before(until) {
			until = p.renew(r, lock.ID, until)
		}
	}
	if r.IntN(15) == 0 {
		p.add(name, "over", lock.Token, until, time.Time{})
		return
	}
	if !q.Session { // any node does it
		client = p.any(r)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	begun := time.Now()
	err := control.ErrNoDaemon
	if client != nil {
		err = client.Unlock(ctx, lock.ID)
	}
	switch {
	case err == nil:
		p.add(name, "let go", lock.Token, begun, time.Now())
	case errors.Is(err, control.ErrNotHeld), errors.Is(err, control.ErrNotFound):
		if time.Now().Before(until) {
			p.t.Errorf("%s under %v: lost before its time was over: %v", name, lock.Token, err)
		}
		p.add(name, "over", lock.Token, until, time.Time{})
	default:
		p.count("let go: " + kind(err))
		p.add(name, "over", lock.Token, earlier(begun, until), time.Time{})
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// ask asks for a lock, and asks again through other nodes where the request has an ID and there is no answer. asked is when it was asked for last, call
// when first. There is no client where it was not had, as far as is known.
func (p *lockPlay) ask(r *mrand.Rand, q control.LockRequest) (lock control.Lock, client *control.Client, call, asked time.Time) {
	call = time.Now()
	for range 3 {
		if client = p.any(r); client == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), askFor+q.Wait)
		asked = time.Now()
		var err error
		lock, err = client.Lock(ctx, q)
		cancel()
		if err == nil {
			if !asked.Equal(call) { // its time may have begun when it was asked for first
				asked = call
			}
			return lock, client, call, asked
		}
		p.count("lock: " + kind(err))
		if q.RequestID == "" || errors.Is(err, control.ErrHeldElsewhere) || errors.Is(err, control.ErrNotHeld) {
			break
		}
	}
	return lock, nil, call, asked
}

// renew asks for more time, and returns until when the lock is held at least.
func (p *lockPlay) renew(r *mrand.Rand, id string, until time.Time) time.Time {
	client := p.any(r)
	if client == nil {
		return until
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTTL/2)
	defer cancel()
	asked := time.Now()
	if _, err := client.Renew(ctx, id, lockTTL); err != nil {
		p.count("renew: " + kind(err))
		return until
	}
	p.count("renewed")
	return asked.Add(lockTTL)
}

// verdict checks the histories.
func (p *lockPlay) verdict() {
	for _, name := range lockNames {
		known := map[control.Token]bool{{}: true}
		for _, o := range p.history[name] {
			if e := o.Input.(lockEvent); e.what == "had" {
				known[e.token] = true
			}
		}
		history := slices.DeleteFunc(p.history[name], func(o porcupine.Operation) bool {
			return !known[o.Input.(lockEvent).token] // of one who never had an answer
		})
		result, info := porcupine.CheckOperationsVerbose(lockModel, history, time.Minute)
		if result == porcupine.Ok {
			continue
		}
		p.t.Errorf("%s: no order explains %d events: %v", name, len(history), result)
		if dir := os.Getenv("RESONATE_TEST_KEEP_LOGS"); dir != "" {
			file := fmt.Sprintf("%s/%s-%s.html", dir, strings.ReplaceAll(p.t.Name(), "/", "_"), name)
			if err := porcupine.VisualizePath(lockModel, info, file); err != nil {
				p.t.Error(err)
			}
		}
	}
}
