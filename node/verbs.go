package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"resonate/control"
	"resonate/members"
	"resonate/merkle"
	"resonate/syncproto/sshconn"
)

// Members implements control.Cluster.
func (n *Node) Members(ctx context.Context) ([]control.Member, error) {
	status, err := n.replica.Status(ctx)
	if err != nil {
		return nil, err
	}
	set := n.replica.Members()
	var out []control.Member
	for _, m := range set.List() {
		out = append(out, n.describe(m, status.Peers))
	}
	slices.SortStableFunc(out, func(a, b control.Member) int { return cmp.Compare(rank(a), rank(b)) })
	return out, nil
}

func rank(m control.Member) int {
	switch {
	case m.Self:
		return 0
	case m.Forgotten == nil:
		return 1
	}
	return 2
}

// describe tells of a member what the set and the sessions know.
func (n *Node) describe(m members.Member, peers []control.Peer) control.Member {
	set := n.replica.Members()
	out := control.Member{
		ID: m.ID.String(), Short: merkle.NodeID(m.ID).Short(), Name: m.Name, Key: authorized(m.Key), Addresses: m.Addresses,
		Self: m.ID == set.Key().ID(), Witness: m.Witness,
	}
	if out.Addresses == nil {
		out.Addresses = []string{}
	}
	if by, ok := set.Member(m.AdmittedBy); ok {
		out.AdmittedBy, out.Admitted = nameOf(by), &m.Since
	}
	if m.Forgotten {
		by, _ := set.Member(m.ForgottenBy)
		out.State, out.ForgottenBy, out.Forgotten = "forgotten", nameOf(by), &m.ForgottenAt
		return out
	}
	if out.Self {
		out.State = "this node"
		return out
	}
	if i := slices.IndexFunc(peers, func(p control.Peer) bool { return p.ID == out.ID }); i >= 0 {
		p := peers[i]
		out.State, out.Since, out.Lacks, out.Gives, out.InSync, out.Error = p.State, &p.Since, p.ToSend, p.ToReceive, p.InSync, p.Error
	}
	return out
}

func nameOf(m members.Member) string { return cmp.Or(m.Name, merkle.NodeID(m.ID).Short()) }

// minPrefix is how much of an ID names a node.
const minPrefix = 4

// find returns the node that a user means.
func (n *Node) find(node string) (members.Member, error) {
	var found []members.Member
	for _, m := range n.replica.Members().List() {
		id := m.ID.String()
		if id == node || m.Name == node {
			found = append(found, m)
		} else if len(node) >= minPrefix && strings.HasPrefix(id, strings.ToLower(node)) {
			found = append(found, m)
		}
	}
	if len(found) > 1 { // a name may have gone from one that is forgotten to one that is not
		found = slices.DeleteFunc(found, func(m members.Member) bool { return m.Forgotten })
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return members.Member{}, fmt.Errorf("node %q: no such member: %w", node, control.ErrNotFound)
	}
	return members.Member{}, fmt.Errorf("node %q: %d members are meant by that: name one by its ID: %w", node, len(found), control.ErrBadArgument)
}

// Forget implements control.Cluster.
func (n *Node) Forget(ctx context.Context, node string) (control.Member, error) {
	m, err := n.find(node)
	if err != nil {
		return control.Member{}, err
	}
	if m.ID == n.replica.Members().Key().ID() {
		return control.Member{}, fmt.Errorf("%s is this node: to have it forgotten, leave: %w", nameOf(m), control.ErrBadArgument)
	}
	err = n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Forget(m.ID, time.Now())
		return err
	})
	if err != nil {
		return control.Member{}, fmt.Errorf("forget %s: %w", nameOf(m), err)
	}
	return n.now(ctx, m.ID)
}

// Rename implements control.Cluster.
func (n *Node) Rename(ctx context.Context, node, name string) (control.Member, error) {
	m, err := n.find(node)
	if err != nil {
		return control.Member{}, err
	}
	err = n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Rename(m.ID, name, time.Now())
		return err
	})
	if errors.Is(err, members.ErrFormat) {
		err = fmt.Errorf("%w: %w", err, control.ErrBadArgument)
	}
	if err != nil {
		return control.Member{}, fmt.Errorf("rename %s: %w", nameOf(m), err)
	}
	return n.now(ctx, m.ID)
}

// now tells of a member as it is by now.
func (n *Node) now(ctx context.Context, id members.ID) (control.Member, error) {
	list, err := n.Members(ctx)
	if err != nil {
		return control.Member{}, err
	}
	i := slices.IndexFunc(list, func(m control.Member) bool { return m.ID == id.String() })
	if i < 0 {
		return control.Member{}, fmt.Errorf("node %s: %w", id, control.ErrNotFound)
	}
	return list[i], nil
}

// Trust implements control.Cluster.
func (n *Node) Trust(ctx context.Context, keys string) ([]control.Member, error) {
	list, err := sshconn.ParseAuthorizedKeys([]byte(keys))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, control.ErrBadArgument)
	}
	var ids []members.ID
	err = n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		for _, k := range list {
			key := keyOf(k.Key)
			if _, err := set.Admit(key, members.FitName(k.Comment), time.Now()); err != nil {
				return fmt.Errorf("trust key %s: %w", meshID(key), err)
			}
			ids = append(ids, key.ID())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]control.Member, 0, len(ids))
	for _, id := range ids {
		m, err := n.now(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// leaveTime bounds how long this node waits for the others to have heard that it leaves.
const leaveTime = 2 * time.Second

// Leave implements control.Cluster. Who hears of it ends the session.
func (n *Node) Leave(ctx context.Context) error {
	err := n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Forget(set.Key().ID(), time.Now())
		return err
	})
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	return n.replica.AwaitAlone(ctx)
}
