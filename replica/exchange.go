package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"resonate/members"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto"
)

// rootDelay is how long nothing must have changed before a node tells its root; knowledgeDelay, before it tells only
// what it has seen.
const (
	rootDelay      = 15 * time.Millisecond
	knowledgeDelay = 500 * time.Millisecond
)

// A rootKey is what a Root message tells, to see whether it would tell anything new.
type rootKey struct{ state, knowledge merkle.Hash }

// tells takes in a root of the peer's tree and, with it, what that tree holds all of. The two belong together: what others
// know of the peer may be newer than its root.
func (p *peer) tells(root merkle.Hash, known []syncproto.Known) {
	p.root, p.seen = root, nil
	for _, k := range known {
		if k.Node == p.id {
			p.seen = k.Seen
		}
	}
}

func (r *Replica) send(p *peer, m syncproto.Message) {
	if err := p.conn.Send(m); err != nil {
		p.cancel(fmt.Errorf("send: %w", err))
	}
}

// handle takes in one message. An error ends the session.
func (r *Replica) handle(p *peer, m syncproto.Message) error {
	if r.peers[p.id] != p {
		return errors.New("session is over")
	}
	if r.o.Mode == Send && r.turnsAway(p, m) {
		return nil
	}
	r.reach(p)
	var err error
	switch m := m.(type) {
	case *syncproto.Announcements:
		err = r.handleAnnouncements(p, m)
	case *syncproto.Ack:
		for _, seq := range m.Seqs {
			p.acked(seq)
		}
		r.pump(p)
	case *syncproto.Root:
		p.tells(m.State, m.Members)
		r.learn(m.Members, m.Horizon, p)
		r.compareRoots(p)
	case *syncproto.AskLevels:
		for _, answer := range syncproto.Answer(&r.tree, m) {
			r.send(p, answer)
		}
	case *syncproto.Levels:
		err = r.handleLevels(p, m)
	case *syncproto.AskEntries:
		err = r.handleAskEntries(p, m.Paths)
	case *syncproto.AskSubtrees:
		err = r.eachAllowed(m.Paths, func(dir string) {
			if r.tree.Get(dir) != nil {
				r.askedFor(p, dir, true)
			}
			for path := range r.tree.All(dir) {
				r.askedFor(p, path, true)
			}
		})
		r.pump(p)
	case *syncproto.Move:
		err = r.handleMove(p, m)
	case *syncproto.RemoveAll:
		err = r.handleRemoveAll(p, m)
	case *syncproto.Expand:
		r.expand(p, m.Seq)
	case *syncproto.Offer:
		err = r.handleOffer(p, m)
	case *syncproto.Members:
		err = r.handleMembers(p, m)
	case *syncproto.Barrier:
		err = r.handleBarrier(p, m)
	case *syncproto.Bye:
		return &ByeError{m.Reason}
	case *syncproto.Unknown:
		r.log.Debug("message of a kind not known here: skipped", "peer", p.id.Short(), "kind", m.Kind)
	default:
		err = fmt.Errorf("%T out of order", m)
	}
	if err != nil {
		return &protocolError{p.id.Short(), err}
	}
	return nil
}

func (r *Replica) eachAllowed(paths []string, do func(string)) error {
	for _, path := range paths {
		if err := pathAllowed(path); err != nil {
			return err
		}
		do(path)
	}
	return nil
}

// handleAskEntries announces what was asked for: what lives first, so that a peer never has neither name of what was moved.
func (r *Replica) handleAskEntries(p *peer, paths []string) error {
	var gone []string
	err := r.eachAllowed(paths, func(path string) {
		if r.tree.Get(path).Live() {
			r.askedFor(p, path, false)
		} else {
			gone = append(gone, path)
		}
	})
	for _, path := range gone {
		r.askedFor(p, path, false)
	}
	return err
}

// askedFor announces a path that the peer says it lacks, whatever it told before; bare tells that it has nothing there.
func (r *Replica) askedFor(p *peer, path string, bare bool) {
	delete(p.theirs, path)
	p.tell(path, bare)
	r.lastChange = time.Now()
}

func (r *Replica) handleAnnouncements(p *peer, m *syncproto.Announcements) error {
	for i := range m.List {
		a := &m.List[i]
		if err := pathAllowed(a.Path); err != nil {
			return err
		}
		p.theirs[a.Path] = a.Entry.Hash()
		delete(p.lacking, a.Path)
		_ = r.awaitPrefetch(a.Path, a.Entry.Content) // who needs it waits
		r.take(&incoming{
			path: a.Path, theirs: a.Entry, hint: a.Hint, blocks: a.Blocks, data: a.Data, below: a.Below,
			count: a.BlockCount, differ: a.Difference,
			from: []*peer{p}, acks: []ack{{to: p, seq: a.Seq}},
		})
	}
	return nil
}

// startDiff finds out what the peer has otherwise, unless that is under way or was done for the same roots.
func (r *Replica) startDiff(p *peer) {
	roots := [2]merkle.Hash{r.tree.Root().State, p.root}
	if !r.compares(p) {
		p.caught = p.root
		return
	}
	if p.diff != nil || p.diffed == roots || (p.deaf && p.caught == p.root) {
		return
	}
	p.diffed = roots
	p.lacking, p.more = make(map[string]bool), false
	p.diff = syncproto.NewDiff()
	r.send(p, p.diff.Start())
}

func (r *Replica) handleLevels(p *peer, m *syncproto.Levels) error {
	if p.diff == nil {
		return errors.New("levels that nobody asked for")
	}
	found, err := p.diff.Take(&r.tree, m)
	if err != nil {
		return err
	}
	if found.Ask != nil {
		r.send(p, found.Ask)
	}
	if r.o.Mode == Send {
		r.notTaken(p, found)
	} else {
		r.askFor(p, found)
	}
	if found.Done {
		p.diff, p.met = nil, true
		r.lastChange = time.Now()
	}
	return nil
}

// askFor asks a peer for what it was found to have otherwise, and takes what it has no more for deleted.
func (r *Replica) askFor(p *peer, found syncproto.Found) {
	for _, ask := range syncproto.Ask(withoutTops(p.toAsk(found), found.Subtrees), found.Subtrees) {
		r.send(p, ask)
	}
	for _, path := range found.Absent {
		if e := r.tree.Get(path); e.Live() && reconcile.Forgotten(path, e, p.seen, r.horizon) {
			r.take(&incoming{path: path, theirs: e, forgotten: true, word: p})
		}
	}
}

// withoutTops returns entries without those of subtrees, each of which comes with its own.
func withoutTops(entries, subtrees []string) []string {
	tops := make(map[string]bool, len(subtrees))
	for _, path := range subtrees {
		tops[path] = true
	}
	return slices.DeleteFunc(entries, func(path string) bool { return tops[path] })
}

// anyDiff tells whether differences are being looked for.
func (r *Replica) anyDiff() bool {
	for _, p := range r.peers {
		if p.diff != nil {
			return true
		}
	}
	return false
}

// talk ends a turn of the loop towards the peers: acknowledgements, announcements, and the root when all is quiet.
func (r *Replica) talk(now time.Time) {
	for _, p := range r.peers {
		r.pump(p)
		for len(p.acks) > 0 {
			n := min(len(p.acks), syncproto.MaxAcks)
			r.send(p, &syncproto.Ack{Seqs: slices.Clone(p.acks[:n])})
			p.acks = p.acks[n:]
		}
		r.catchUp(p)
		r.tellRoot(p, now)
	}
}

// quiet tells whether nothing is being published or applied that will change the tree by itself.
func (r *Replica) quiet() bool {
	return len(r.linger) == 0 && r.idle()
}

// idle is quiet, but for directories that stand on disk and are not agreed: peers may know more of them.
func (r *Replica) idle() bool { return len(r.links) == 0 && r.restful() }

// restful is idle, but for names of files that are to be compared when all is at rest.
func (r *Replica) restful() bool {
	return r.scanned && !r.anyChange() && len(r.hashing) == 0 && len(r.ready) == 0 && len(r.unfit) == 0 && !r.working()
}

// working tells whether something comes in that is not stuck.
func (r *Replica) working() bool {
	for _, queue := range r.incoming {
		in := queue[0]
		if in.fetching || (in.tries == 0 && !in.reinstate) {
			return true
		}
	}
	return false
}

// tellRoot tells a peer what the tree has come to, once it has dealt with all that was announced, if that is news.
func (r *Replica) tellRoot(p *peer, now time.Time) {
	if !r.quiet() || len(p.out) > 0 || len(p.unacked) > 0 || p.diff != nil {
		return
	}
	root := r.tree.Root()
	key := rootKey{root.State, r.knowledge()}
	delay := rootDelay
	switch {
	case key == p.told:
		return
	case key.state == p.told.state:
		delay = knowledgeDelay
	}
	if wait := delay - now.Sub(r.lastChange); wait > 0 {
		r.wakeIn(wait)
		return
	}
	p.told = key
	r.send(p, &syncproto.Root{State: root.State, Content: root.Content, Members: r.known(), Horizon: r.horizon})
	r.compareRoots(p)
}

// compareRoots goes on after either root became known: equal ones mean that both have seen the same, different ones are
// looked into.
func (r *Replica) compareRoots(p *peer) {
	root := r.tree.Root().State
	if r.o.Mode == Send && p.seen.Covers(r.seen) {
		p.equal, p.met = true, true // in all that counts
	}
	if root != p.root {
		if r.idle() && len(p.out) == 0 && len(p.unacked) == 0 {
			r.startDiff(p)
		}
		return
	}
	p.equal, p.met = true, true
	p.untaken = untaken{}
	clear(p.theirs)
	if len(r.incoming) == 0 {
		r.dropSettled(time.Now())
	}
	r.hasSeen(p)
}

// hasSeen notes that all that a peer's tree holds is in this one.
func (r *Replica) hasSeen(p *peer) {
	if !r.compares(p) {
		return
	}
	r.seen = r.seen.Join(p.seen)
	r.releaseSuspects()
	r.advanceHorizon()
}

// releaseSuspects lets out files that nobody else has ever heard of: with a peer whose tree is equal, that is sure.
func (r *Replica) releaseSuspects() {
	for path, h := range r.held {
		if h.kind == "suspect" && !h.reinstated && r.tree.Get(path) == nil {
			delete(r.held, path)
			r.changes[path] = h.change
			r.wakeIn(0)
		}
	}
}

// known returns what every member is known to have seen.
func (r *Replica) known() []syncproto.Known {
	out := []syncproto.Known{{Node: r.self, Seen: r.seen}}
	for _, n := range sortedNodes(r.members) {
		if n != r.self {
			out = append(out, syncproto.Known{Node: n, Seen: r.members[n]})
		}
	}
	return out
}

// knowledge is a hash over what known returns and the horizon.
func (r *Replica) knowledge() merkle.Hash {
	var b []byte
	for _, k := range r.known() {
		b = append(b, k.Node[:]...)
		b = merkle.AppendVector(b, 1, k.Seen)
	}
	return merkle.HashBlock(merkle.AppendVector(b, 2, r.horizon))
}

// learn takes in what a peer knows of the members, and its horizon.
func (r *Replica) learn(known []syncproto.Known, horizon merkle.Vector, p *peer) {
	if r.members[p.id] == nil && r.commit.due.IsZero() { // that there is a peer must not be forgotten
		r.commit.due = time.Now().Add(commitDelay)
	}
	for _, k := range known {
		if k.Node != r.self && !r.cluster.Forgotten(members.ID(k.Node)) {
			r.members[k.Node] = r.members[k.Node].Join(k.Seen)
			r.meetStamps(k.Seen)
		}
	}
	if r.members[p.id] == nil {
		r.members[p.id] = merkle.Vector{}
	}
	r.raiseHorizon(r.horizon.Join(horizon))
}

// advanceHorizon raises the horizon to what every member has seen.
func (r *Replica) advanceHorizon() {
	h := r.seen
	for id, seen := range r.members {
		if !r.isWitness(id) {
			h = h.Meet(seen)
		}
	}
	r.raiseHorizon(r.horizon.Join(h))
}

// raiseHorizon drops the tombstones that everybody has seen.
func (r *Replica) raiseHorizon(h merkle.Vector) {
	if h.Equal(r.horizon) {
		return
	}
	r.horizon = h
	if r.commit.due.IsZero() {
		r.commit.due = time.Now().Add(time.Second)
	}
	r.dropTombstones()
	r.dropBefore()
}

// dropTombstones drops what lies at or below the horizon. Whatever brings one back, such as a crash between two commits,
// must drop it again: no peer would take it, and the trees would differ for ever.
func (r *Replica) dropTombstones() {
	for _, path := range r.tree.DropTombstones(r.horizon) {
		if rec := r.records[path]; rec != nil && rec.disk().Kind == 0 {
			delete(r.records, path)
		}
		r.dirty[path] = true
	}
}
