package replica

import (
	"slices"

	"resonate/control"
	"resonate/merkle"
	"resonate/syncproto"
)

// A node that only sends takes nothing of what peers publish: not on its disk, and not into its tree, so that it never passes on what
// it does not have. It says so in its hello, and is told nothing then. What a peer has otherwise it finds out by comparing the trees,
// and tells its user.
//
// Its tree and a peer's may differ for good, so equal roots cannot be the sign that all is done. The peer has caught up when it has
// compared the trees for the root that was told last, and has dealt with all that it asked for then: from there on it has seen what
// that node has, and says so with its own root, whereby that node knows.

// oneWay is what the loop knows of a session of which one side only sends.
type oneWay struct {
	// Of a peer that only sends.
	lacking map[string]bool // paths that it was asked for, and has not told yet
	more    bool            // it was asked for whole directories: the trees are to be compared again
	caught  merkle.Hash     // its root of which all is here

	// Where this node only sends.
	finding, untaken untaken // of the diff under way, and of the last one that has ended
}

// untaken are paths at which a peer has another version, which is not taken.
type untaken struct {
	paths []string // the first of them
	count int
}

func (u *untaken) add(paths []string) {
	u.count += len(paths)
	u.paths = append(u.paths, paths[:min(len(paths), maxListed-len(u.paths))]...)
}

// turnsAway answers what a peer tells of its changes, as if it were dealt with. It returns false for any other message.
func (r *Replica) turnsAway(p *peer, m syncproto.Message) bool {
	switch m := m.(type) {
	case *syncproto.Announcements:
		for i := range m.List {
			p.acks = append(p.acks, m.List[i].Seq)
		}
	case *syncproto.Move:
		p.acks = append(p.acks, m.Seq)
	case *syncproto.RemoveAll:
		p.acks = append(p.acks, m.Seq)
	case *syncproto.Offer:
	default:
		return false
	}
	return true
}

// notTaken notes what a peer has otherwise, on a node that only sends.
func (r *Replica) notTaken(p *peer, found syncproto.Found) {
	p.finding.add(withoutTops(found.Entries, found.Subtrees))
	p.finding.add(found.Subtrees)
	if found.Done {
		p.untaken, p.finding = p.finding, untaken{}
	}
}

// untakenList returns what peers have otherwise, for the user, and how many more of it there are.
func (r *Replica) untakenList() (out []control.Untaken, more int) {
	for _, id := range sortedNodes(r.peers) {
		p := r.peers[id]
		more += p.untaken.count
		for _, path := range p.untaken.paths {
			out = append(out, control.Untaken{Path: path, Peer: p.name})
		}
	}
	out, _ = cutTo(out, maxListed)
	return out, more - len(out)
}

// toAsk returns which paths a peer is to be asked for. One that only sends is asked for nothing that it has told already: the trees stay
// different.
func (p *peer) toAsk(found syncproto.Found) []string {
	if !p.deaf {
		return found.Entries
	}
	p.more = p.more || len(found.Subtrees) > 0
	ask := slices.DeleteFunc(found.Entries, func(path string) bool { _, told := p.theirs[path]; return told })
	for _, path := range ask {
		p.lacking[path] = true
	}
	return ask
}

// askAgain has a peer that only sends asked again for a path that it has told.
func (p *peer) askAgain(path string) {
	if p.deaf {
		delete(p.theirs, path)
		p.caught = merkle.Hash{}
	}
}

// catchUp notes that all that a peer has, which only sends, is here.
func (r *Replica) catchUp(p *peer) {
	switch {
	case !p.deaf || p.caught == p.root || p.diff != nil || p.diffed[1] != p.root || p.more || len(p.lacking) > 0 || !r.idle():
		return
	}
	for _, queue := range r.incoming {
		if slices.ContainsFunc(queue, func(in *incoming) bool { return slices.Contains(in.from, p) }) {
			return
		}
	}
	p.caught = p.root
	r.hasSeen(p)
}

// anyTakes tells whether a connected peer takes what is published here.
func (r *Replica) anyTakes() bool {
	for _, p := range r.peers {
		if r.compares(p) && (!p.deaf || p.root == r.tree.Root().State) {
			return true
		}
	}
	return false
}
