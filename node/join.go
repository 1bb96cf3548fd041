package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"resonate/control"
	"resonate/members"
	"resonate/syncproto/sshconn"
)

// A Preview tells what joining would come to. Nothing is deleted at a first meeting: the folders become their union.
type Preview struct {
	Inviter  string // name
	Files    int    // in the inviter's folder
	Bytes    int64
	Here     int // files and symbolic links here
	Compared Comparison
}

// Join has this node join the cluster of the node at addr that made the code. It is called while Run goes on, and begins when the
// folder was scanned. Where the folder here is not empty, decide is asked whether to go on: on false nothing has
// changed anywhere, and the code serves again. It returns the inviter's name.
func (n *Node) Join(ctx context.Context, addr string, code members.Code, decide func(Preview) (bool, error)) (string, error) {
	if err := n.awaitScan(ctx); err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var inviter members.Key
	stream, _, err := sshconn.DialJoin(ctx, addr, n.replica.Identity(), func(host sshconn.PublicKey) error {
		if inviter = keyOf(host); !code.Of(inviter) {
			return fmt.Errorf("%s is another node than the code is of: its key is %s: check the address, and each letter of the code", addr, meshID(inviter))
		}
		return nil
	}, code.Secret[:])
	if errors.Is(err, sshconn.ErrMember) { // it was admitted, and went down before it knew
		return addr, n.joined(ctx, addr, inviter, "", nil)
	}
	if err != nil {
		return "", fmt.Errorf("join by %s: %w", addr, err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	t := newJoinTalk(stream)
	welcome, err := n.previewJoin(ctx, t, decide)
	if err != nil {
		return "", fmt.Errorf("join by %s: %w", addr, err)
	}
	var admitted joinAdmission
	err = t.say(joinDecision{Join: true})
	if err == nil {
		err = t.hear(&admitted)
	}
	if err == nil && admitted.Refused != "" {
		err = errors.New(admitted.Refused)
	}
	if err != nil {
		return "", fmt.Errorf("join by %s: %w", addr, err)
	}
	return welcome.Name, n.joined(ctx, addr, inviter, welcome.Name, admitted.Members)
}

// ErrDeclined: the user does not want to join after all.
var ErrDeclined = errors.New("not joined: nothing was changed")

// previewJoin greets, and finds out what joining would come to.
func (n *Node) previewJoin(ctx context.Context, t *joinTalk, decide func(Preview) (bool, error)) (w joinWelcome, err error) {
	status, err := n.replica.Status(ctx)
	if err != nil {
		return w, err
	}
	here := status.Files + status.Symlinks
	err = t.say(joinHello{
		Protocol: joinProtocol, Software: status.Version, Name: n.replica.Name(), Folder: status.Folder.ID, Shared: status.Folder.Shared, List: here > 0,
	})
	if err == nil {
		err = t.hear(&w)
	}
	switch {
	case err != nil:
		return w, err
	case w.Refused != "":
		return w, errors.New(w.Refused)
	case here == 0:
		return w, nil
	}
	p := Preview{Inviter: members.FitName(w.Name), Files: w.Files, Bytes: w.Bytes, Here: here}
	theirs := func() (page control.TreePage, err error) { err = t.hear(&page); return page, err }
	if p.Compared, err = compareTrees(n.treePages(ctx), theirs); err != nil {
		return w, err
	}
	yes, err := decide(p)
	if err == nil && !yes {
		err = errors.Join(ErrDeclined, t.say(joinDecision{}))
	}
	return w, err
}

// treePages returns a function that gives the pages of the tree here, one after the other.
func (n *Node) treePages(ctx context.Context) func() (control.TreePage, error) {
	after := ""
	return func() (control.TreePage, error) {
		page, err := n.replica.Tree(ctx, control.TreeQuery{After: after})
		if len(page.Entries) > 0 {
			after = page.Entries[len(page.Entries)-1].Path
		}
		return page, err
	}
}

// joined makes the inviter and its members known here, and has them dialled.
func (n *Node) joined(ctx context.Context, addr string, inviter members.Key, name string, encoded []byte) error {
	err := n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		if _, err := set.Admit(inviter, members.FitName(name), time.Now()); err != nil {
			return err
		}
		list, err := members.Decode(encoded)
		if err == nil {
			_, err = set.Merge(list)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("take over the members that %s tells: %w", addr, err)
	}
	return n.openUp(addr)
}

// scanInterval is how often a join looks whether the folder was scanned.
const scanInterval = 20 * time.Millisecond

func (n *Node) awaitScan(ctx context.Context) error {
	tick := time.NewTicker(scanInterval)
	defer tick.Stop()
	for {
		status, err := n.replica.Status(ctx)
		if err != nil || status.State != "scanning" {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// letIn speaks with somebody who has shown the secret of the invitation, and admits them, if they then want to join. Who does not,
// or is cut off before, has not used the code up.
func (n *Node) letIn(ctx context.Context, key sshconn.PublicKey, remote net.Addr, s sshconn.Stream) error {
	defer context.AfterFunc(ctx, func() { s.Close() })()
	taken := n.tickets.of(keyOf(key))
	defer n.invitation.GiveBack(taken)
	t := newJoinTalk(s)
	hello, err := n.welcome(ctx, t)
	if err != nil {
		return err
	}
	var decision joinDecision
	if err := t.hear(&decision); err != nil || !decision.Join {
		return err
	}
	if !n.invitation.Use(taken) {
		return t.say(joinAdmission{Refused: "the invitation was cancelled"})
	}
	name := members.FitName(hello.Name)
	err = n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Admit(keyOf(key), name, time.Now())
		return err
	})
	if err != nil {
		return errors.Join(err, t.say(joinAdmission{Refused: err.Error()}))
	}
	n.o.Folder.Log.Info("joined", "name", name, "key", meshID(keyOf(key)).String(), "remote", remote.String())
	if err := t.say(joinAdmission{Members: n.replica.Members().Encode()}); err != nil {
		return err
	}
	_ = s.CloseWrite()
	_, err = t.in.Discard(1) // until the other side has it all, and closes
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// welcome answers who wants to join: which folder this is and, if asked, what is in it.
func (n *Node) welcome(ctx context.Context, t *joinTalk) (hello joinHello, err error) {
	if err := t.hear(&hello); err != nil {
		return hello, err
	}
	status, err := n.replica.Status(ctx)
	if err != nil {
		return hello, err
	}
	w := joinWelcome{
		Software: status.Version, Name: n.replica.Name(), Folder: status.Folder.ID, Shared: status.Folder.Shared,
		Files: status.Files + status.Symlinks, Bytes: status.Bytes,
	}
	switch {
	case hello.Protocol != joinProtocol:
		w.Refused = fmt.Sprintf("%s speaks version %d of joining, you %d: bring both to the same version of resonate", w.Name, joinProtocol, hello.Protocol)
	case hello.Shared && w.Shared && hello.Folder != w.Folder:
		w.Refused = "both folders are shared with others already, and two shared folders are never mixed: " +
			"join with an empty folder, or with -fresh, which has yours leave what it belongs to"
	}
	if err := t.say(w); err != nil || w.Refused != "" {
		return hello, errors.Join(err, refusal(w.Refused))
	}
	if !hello.List {
		return hello, nil
	}
	return hello, t.sayTree(func(after string) (control.TreePage, error) {
		return n.replica.Tree(ctx, control.TreeQuery{After: after})
	})
}

func refusal(why string) error {
	if why == "" {
		return nil
	}
	return errors.New(why)
}
