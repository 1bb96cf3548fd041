package node

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"resonate/control"
	"resonate/members"
	"resonate/syncproto/sshconn"
)

// Invite implements control.Cluster. From the first invitation on, this node listens beyond its machine.
func (n *Node) Invite(_ context.Context, ttl time.Duration) (control.Invitation, error) {
	set := n.replica.Members()
	if err := n.replica.Refuses(set.Key().ID()); err != nil {
		return control.Invitation{}, err
	}
	if err := n.openUp(""); err != nil {
		return control.Invitation{}, err
	}
	now := time.Now()
	code := n.invitation.New(set.Key(), ttl, now)
	n.o.Folder.Log.Info("invited: one machine may join", "until", now.Add(ttl).Format(time.DateTime))
	return control.Invitation{Code: code.String(), Until: now.Add(ttl), Addresses: n.namedAddresses()}, nil
}

// CancelInvitation implements control.Cluster.
func (n *Node) CancelInvitation(context.Context) (bool, error) {
	return n.invitation.Cancel(time.Now()), nil
}

// inviting tells whether somebody may join.
func (n *Node) inviting() bool { return !n.invitation.Open(time.Now()).IsZero() }

// invited checks the secret of a code.
func (n *Node) invited(key sshconn.PublicKey, secret []byte, _ net.Addr) error {
	if err := n.replica.Refuses(keyOf(key).ID()); err != nil {
		return err
	}
	var s members.Secret
	right := len(secret) == copy(s[:], secret) && len(secret) == len(s)
	if !right {
		s = members.Secret{} // counts as a guess, and takes as long
	}
	if k := keyOf(key); n.tickets.of(k) == s { // the same node again, whose connection broke
		n.invitation.GiveBack(s)
	}
	ok, pause := n.invitation.Take(s, time.Now())
	if !ok || !right {
		return &sshconn.GuessError{Err: errors.New("wrong code, or one that does not serve any more"), Pause: pause}
	}
	n.tickets.note(keyOf(key), s)
	return nil
}

// tickets remembers who has shown the secret last.
type tickets struct {
	mu     sync.Mutex
	key    members.Key
	secret members.Secret
}

func (t *tickets) note(key members.Key, secret members.Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.key, t.secret = key, secret
}

// of returns the secret that the owner of a key has shown; zero if somebody else has shown one since.
func (t *tickets) of(key members.Key) (secret members.Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.key == key {
		secret = t.secret
	}
	return secret
}

// nameTime bounds how long is looked whether this machine has a name by which others may find it.
const nameTime = 300 * time.Millisecond

// namedAddresses returns at which addresses others may reach this node, such with a name first.
func (n *Node) namedAddresses() []string {
	own := n.ownAddresses()
	if len(own) == 0 { // -listen says loopback: for others on this machine
		return []string{n.endpoint.Addr().String()}
	}
	_, port, _ := net.SplitHostPort(own[0])
	host, err := os.Hostname()
	if err != nil || host == "" {
		return own
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameTime)
	defer cancel()
	for _, name := range []string{host, strings.TrimSuffix(host, ".local") + ".local"} {
		ips, err := net.DefaultResolver.LookupHost(ctx, name)
		leadsHere := func(ip string) bool { return slices.Contains(own, net.JoinHostPort(ip, port)) }
		if err == nil && slices.ContainsFunc(ips, leadsHere) {
			return append([]string{net.JoinHostPort(name, port)}, own...)
		}
	}
	return own
}
