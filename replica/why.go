package replica

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
)

// Why implements control.Daemon.
func (r *Replica) Why(ctx context.Context, path string) (w control.Why, err error) {
	if path == "" {
		return w, fmt.Errorf("want a path below the folder: %w", control.ErrBadArgument)
	}
	if err := argument(path); err != nil {
		return w, err
	}
	if err := r.do(ctx, func() { w = r.why(path, time.Now()) }); err != nil {
		return w, err
	}
	dir, name := merkle.SplitPath(path)
	err = r.keptIn(dir, func(k control.Kept) error {
		if k.Path == merkle.Join(dir, keptName(name)) {
			w.Kept++
		}
		return nil
	})
	return w, err
}

// why gathers what is known of path.
func (r *Replica) why(path string, now time.Time) control.Why {
	w := control.Why{Path: path, Ignored: r.ignoreRule(path), Problem: r.problems[path]}
	e, rec := r.tree.Get(path), r.records[path]
	w.Agreed = r.agreed(path, e)
	if rec != nil && rec.disk().Kind != 0 {
		w.Recorded = seenOf(rec.disk())
		w.Recorded.Suspect = rec.suspect
	}
	found := r.findNow(path, &w)
	for _, in := range r.incoming[path] {
		w.Incoming = append(w.Incoming, r.pendingOf(in, now))
	}
	if h := r.held[path]; h != nil {
		item := h.item(path)
		w.Held = &item
	}
	if e != nil {
		w.Peers = r.whoHas(path, e)
	}
	w.Known = e != nil || len(w.Incoming) > 0 || r.unpublished(path)
	r.judge(&w, e, found)
	return w
}

// findNow takes a fresh look at what stands at path.
func (r *Replica) findNow(path string, w *control.Why) beneath.Info {
	info, err := r.root.Lstat(path)
	if err != nil {
		if !absent(err) {
			w.FoundFail = err.Error()
		}
		return beneath.Info{}
	}
	w.Found = seenOf(diskOf(info))
	w.Found.Kind = info.Kind.String()
	if info.Kind == beneath.Symlink {
		w.Found.Kind = merkle.Symlink.String()
		w.Found.Target, _ = r.root.Readlink(path)
	}
	return info
}

func seenOf(d index.Disk) *control.Seen {
	return &control.Seen{Kind: d.Kind.String(), Mode: octal(d.Mode), Size: d.Size, MTime: time.Unix(0, d.MTime), Inode: d.Inode}
}

// judge says in a word and a sentence how things stand.
func (r *Replica) judge(w *control.Why, e *merkle.Entry, found beneath.Info) {
	say := func(state, cause, remedy string) { w.State, w.Cause, w.Remedy = state, cause, remedy }
	switch {
	case isOurs(w.Path) && strings.HasPrefix(w.Path, tmpDir+"/"):
		say("own", "a temporary file of resonate's own, which is never synced", "")
	case isOurs(w.Path):
		say("own", "resonate's own: nothing below "+StateDir+" is ever synced", "")
	case w.Ignored != "":
		say("ignored", "ignored by the rule "+w.Ignored, "change the rule to have it synced")
	case w.Held != nil:
		say("held", w.Held.Cause, w.Held.Remedy)
	case r.isShelved(w.Path):
		say("not here", r.whyShelved(w.Path), shelvedRemedy)
	case w.Problem != nil:
		say("not synced", w.Problem.Cause, w.Problem.Remedy)
	case r.unpublished(w.Path):
		say("changed", "changed here; being read, and then told to the peers", "")
	case len(w.Incoming) > 0:
		say("incoming", "a peer has another version: "+w.Incoming[0].Waits, "")
	case !e.Live():
		r.judgeNothing(w, e, found, say)
	case !sameSeen(w.Recorded, w.Found):
		say("changed", "what is on disk is not what was recorded: it will be noticed soon", "if it is not: resonate check -repair")
	default:
		say("agreed", "on disk as it was agreed", "")
	}
}

// judgeNothing is judge where nothing live is agreed.
func (r *Replica) judgeNothing(w *control.Why, e *merkle.Entry, found beneath.Info, say func(state, cause, remedy string)) {
	link := r.linkAbove(w.Path)
	switch {
	case found.Kind == beneath.Other:
		say("not synced", "sockets, pipes and devices are not synced", "")
	case found.Kind != 0 && !r.scanned:
		say("unknown", "it is there, and was not reached yet: the folder is being scanned", "ask again in a while")
	case found.Kind != 0 && r.linger[w.Path]:
		say("incoming", "deleted by a peer; it goes when nothing is left in it", "")
	case found.Kind != 0:
		say("unknown", "it is there, and was not noticed yet", "ask again in a moment; if that does not help: resonate check -repair")
	case w.FoundFail != "":
		say("not synced", w.FoundFail, makeReadable)
	case e != nil:
		say("deleted", "deleted by "+strings.TrimSpace(e.Version.Author.Short()+" "+w.Agreed.Author.Name), "see what is kept of it: resonate history")
	case link != "":
		say("unknown", link+" on the way to it is no directory: what a symlink leads to is not part of the folder", "")
	default:
		say("unknown", "nothing is there, and nothing is known of that name", "")
	}
}

// linkAbove returns the first path above path at which something else than a directory stands, "" if there is none.
func (r *Replica) linkAbove(path string) string {
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		info, err := r.root.Lstat(path[:i])
		if err != nil {
			return ""
		}
		if info.Kind != beneath.Dir {
			return path[:i]
		}
	}
	return ""
}

// sameSeen tells whether what is found is what was recorded. A directory's size and mtime change with what lies in it.
func sameSeen(recorded, found *control.Seen) bool {
	if recorded == nil || found == nil {
		return recorded == found
	}
	if recorded.Kind != found.Kind || recorded.Kind == merkle.Dir.String() {
		return recorded.Kind == found.Kind && recorded.Mode == found.Mode
	}
	return recorded.Mode == found.Mode && recorded.Inode == found.Inode && recorded.Size == found.Size && recorded.MTime.Equal(found.MTime)
}

// agreed describes an entry, nil where there is none.
func (r *Replica) agreed(path string, e *merkle.Entry) *control.Agreed {
	if e == nil {
		return nil
	}
	t, v := r.treeEntry(path, e), e.Version
	a := &control.Agreed{
		Kind: t.Kind, Mode: t.Mode, Size: t.Size, MTime: t.MTime, Hash: t.Hash, Target: t.Target, Below: t.Below,
		Owner: e.Owner, Entry: e.Hash().String(), Token: "0",
		Author: r.stampOf(v.Author, v.Stamp), Content: r.stampOf(v.Origin().Node, v.Origin().Stamp),
	}
	if !e.Link.IsZero() {
		a.Link = e.Link.String()
	}
	if v.Token != (merkle.Token{}) {
		a.Token = fmt.Sprintf("%d.%d", v.Token.Generation, v.Token.Index)
	}
	for _, x := range e.Xattrs {
		a.Xattrs = append(a.Xattrs, x.Name)
	}
	for _, c := range v.Vector {
		a.Vector = append(a.Vector, r.stampOf(c.Node, c.Stamp))
	}
	if rec := r.records[path]; rec != nil && rec.hint() != 0 {
		a.Hint = timeOf(rec.hint())
	}
	return a
}

func (r *Replica) stampOf(n merkle.NodeID, s merkle.Stamp) control.StampOf {
	return control.StampOf{Node: n.String(), Name: r.nameOf(n), Stamp: uint64(s), Time: time.UnixMicro(int64(s))}
}

// nameOf returns what a node calls itself, as far as it is known here.
func (r *Replica) nameOf(n merkle.NodeID) string {
	if p := r.peers[n]; p != nil {
		return p.name
	}
	if n == r.self {
		return r.ownName()
	}
	return ""
}

// Name returns what this node calls itself. It may be called at any time.
func (r *Replica) Name() string { return r.ownName() }

// ownName is what this node calls itself.
func (r *Replica) ownName() string {
	host, _ := os.Hostname()
	return host + ":" + filepath.Base(r.root.Name())
}

// pendingOf describes a version on its way in.
func (r *Replica) pendingOf(in *incoming, now time.Time) control.Pending {
	e := in.theirs
	p := control.Pending{
		Kind: e.Kind.String(), Size: e.Size, Author: r.stampOf(e.Version.Author, e.Version.Stamp), From: []string{}, Since: in.came,
		Waits: r.waitsFor(in, now),
	}
	if e.Kind == merkle.File {
		p.Hash = e.Content.String()
	}
	for _, from := range in.from {
		if name := from.id.String(); !slices.Contains(p.From, name) {
			p.From = append(p.From, name)
		}
	}
	return p
}

// waitsFor tells why a version on its way in is not in place yet.
func (r *Replica) waitsFor(in *incoming, now time.Time) string {
	switch {
	case r.incoming[in.path][0] != in:
		return "an earlier version of the same path goes first"
	case in.fetching:
		return "its content is being fetched"
	case r.unpublished(in.path) && !in.reinstate && !r.yields(in.path):
		return "a change made here is published first"
	}
	for for_, waiting := range r.waiting {
		if slices.Contains(waiting, in.path) {
			return "it waits for " + for_ + " to change first"
		}
	}
	switch {
	case !in.busy.IsZero():
		return "somebody here has the file open for writing"
	case in.temp == "" && len(r.sources(in)) == 0:
		return "no peer that has it is connected"
	case in.after.After(now) && r.problems[in.path] != nil:
		return "it failed, and is tried again: " + r.problems[in.path].Cause
	case in.after.After(now):
		return fmt.Sprintf("it is tried again in %v", in.after.Sub(now).Round(time.Millisecond))
	}
	return "it is about to be put in place"
}

// whoHas tells of each peer, and of each node that ever was one, whether it has exactly the version e of path.
func (r *Replica) whoHas(path string, e *merkle.Entry) []control.PeerHas {
	out := []control.PeerHas{}
	for _, n := range sortedNodes(r.peers) {
		p := r.peers[n]
		has, cause := r.peerHas(p, path, e)
		out = append(out, control.PeerHas{ID: n.String(), Name: p.name, Connected: true, Has: has, Cause: cause})
	}
	for _, n := range sortedNodes(r.members) {
		if r.peers[n] != nil || n == r.self {
			continue
		}
		h := control.PeerHas{ID: n.String(), Has: "not known", Cause: "not connected; when last heard of, it had not seen this version"}
		if r.members[n].Covers(e.Version.Vector) {
			h.Cause = "not connected; when last heard of, it had seen this version, or a later one"
		}
		out = append(out, h)
	}
	return out
}

// peerHas tells whether a connected peer has the version e of path, and by what that is known.
func (r *Replica) peerHas(p *peer, path string, e *merkle.Entry) (has, cause string) {
	announced := slices.ContainsFunc(r.incoming[path], func(in *incoming) bool { return slices.Contains(in.from, p) })
	about := func(o outgoing) bool { return o.path == path || o.op != nil && below(o.op.from, o.op.to)(path) }
	told := false
	for _, u := range p.unacked {
		told = told || about(u.outgoing)
	}
	switch {
	case announced:
		return "no", "it has another version, which is on its way here"
	case !r.compares(p):
		return "no", "one of the two is a witness, which has no files"
	case p.root == r.tree.Root().State:
		return "yes", "its tree and this one are equal"
	case slices.Contains(p.untaken.paths, path):
		return "no", "it has another version, which is not taken here: this node only sends"
	case p.theirs[path] == e.Hash():
		return "yes", "it has told so"
	case p.deaf:
		return "not known", "it only sends, and takes nothing"
	case slices.ContainsFunc(p.out, about):
		return "no", "it has not been told yet"
	case told:
		return "not known", "it was told, and has not answered yet"
	case p.equal:
		return "yes", "it was told, and has answered; or the trees were equal and this path has not changed since"
	}
	return "not known", "the trees are still being compared"
}

// ignoreRule returns the rule by which path is ignored, with where it stands; "" if it is not. What is not there is looked
// for as a file, and then as a directory. It may be called from any goroutine.
func (r *Replica) ignoreRule(path string) string {
	info, err := r.root.Lstat(path)
	rule, ignored := r.ignoredBy(path, info.Kind == beneath.Dir)
	if !ignored && absent(err) {
		rule, ignored = r.ignoredBy(path, true)
	}
	if !ignored {
		return ""
	}
	return fmt.Sprintf("%s (%s, line %d)", rule.Pattern, rule.Source, rule.Line)
}
