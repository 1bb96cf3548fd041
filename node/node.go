// Package node is one running resonate: a folder's replica, its network and the members that it belongs with, put together.
//
// It decides who may open a session (members, and the daemons of the same user on this machine), keeps the network dialling
// the members at the addresses that these tell, tells its own, and lets another machine in that shows the code of an
// invitation. What the set of members is, and who is one, is decided in members; sessions are sshconn's; what they are for, replica's.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"resonate/control"
	"resonate/discover"
	"resonate/locking"
	"resonate/locking/desk"
	"resonate/members"
	"resonate/replica"
	"resonate/syncproto/sshconn"
)

// Options say which folder, and how it is connected.
type Options struct {
	Folder     replica.Options // without Network, MembersChanged and Resumed
	ConfigHome string          // $XDG_CONFIG_HOME
	Listen     string          // the address without port; "": loopback until another machine is invited or joined, then all
	Port       int             // 0: any
	Peers      []string        // HOST:PORT, or ssh://USER@HOST/PATH
	MaxSend    int64           // bytes a second, over all sessions together; 0: no bound
	MaxRecv    int64
	Session    time.Duration // how long the others may hear nothing of this node until it loses the cluster's locks; 0: 30 s
	MarkLocked bool          // show what others hold as read-only in the folder
	Discover   bool          // look for members on the local network, and let them find this node
}

// A Node is one running resonate. Make it with Open, and Run it once.
type Node struct {
	o          Options
	replica    *replica.Replica
	trust      sshconn.TrustFile
	endpoint   *sshconn.Endpoint
	mesh       atomic.Pointer[sshconn.Mesh]
	invitation members.Invitation
	seen       *seen
	tickets    tickets
	desk       *desk.Desk
	locks      *Locker
	notes      lockNotes
	changed    chan struct{} // the set of members has changed, or this node's addresses may have

	mu    sync.Mutex
	reach reach
	peers []string                  // as configured
	found map[discover.Key][]string // where members may be on the local network; in memory alone
}

var _ control.Cluster = (*Node)(nil)

// Open claims the folder, makes this node known to the other daemons of its user, and listens.
func Open(o Options) (_ *Node, err error) {
	n := &Node{o: o, peers: o.Peers, changed: make(chan struct{}, 1), notes: lockNotes{more: make(chan struct{}, 1)}, trust: sshconn.TrustFile{Path: filepath.Join(o.ConfigHome, "resonate", "trusted_keys")}}
	n.o.Folder.Network, n.o.Folder.MembersChanged, n.o.Folder.Resumed, n.o.Folder.Met = n.network, n.wake, n.resumed, n.met
	if n.replica, err = replica.Open(n.o.Folder); err != nil {
		return nil, err
	}
	if err := n.openDesk(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := n.connect(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// connect joins the trusted keys of the user, and opens the port.
func (n *Node) connect() (err error) {
	id := n.replica.Identity()
	if err := n.trust.Add(id.PublicKey(), "resonate "+n.replica.Node().Short()+" "+n.o.Folder.Dir); err != nil {
		return fmt.Errorf("trust this node's key: %w", err)
	}
	if n.reach, err = loadReach(n.reachPath()); err != nil {
		return err
	}
	if n.seen, err = loadSeen(n.seenPath()); err != nil {
		return err
	}
	n.endpoint, err = sshconn.Listen(n.listenAt(), sshconn.Config{
		Identity: id, Trusted: n.trusted, Log: n.o.Folder.Log, MaxSend: n.o.MaxSend, MaxRecv: n.o.MaxRecv,
		Joining: &sshconn.Joining{Open: n.inviting, Check: n.invited, Serve: n.letIn},
	})
	if err != nil {
		return &ListenError{err}
	}
	mesh, err := sshconn.NewMesh(n.endpoint, n.dialled(), func(ctx context.Context, s *sshconn.Session) error {
		return n.replica.Serve(ctx, link{s})
	})
	n.mesh.Store(mesh)
	return err
}

// A ListenError tells why the port cannot be had.
type ListenError struct{ error }

func (e *ListenError) Unwrap() error { return e.error }

// Replica returns the folder's replica.
func (n *Node) Replica() *replica.Replica { return n.replica }

// Addr returns the first address that is listened on.
func (n *Node) Addr() net.Addr { return n.endpoint.Addr() }

// Run keeps the folder in step until ctx ends, which is no error, or until it must not be touched any more. When ctx ends, the cluster's locks are
// let go of first, while the sessions are still there.
func (n *Node) Run(ctx context.Context) error {
	asked := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(asked))
	defer cancel()
	var parts errgroup.Group
	parts.Go(func() error {
		defer cancel()
		select {
		case <-asked.Done():
			n.desk.LetGo()
			n.replica.NoteLocks(n.notes.take())
		case <-ctx.Done():
		}
		return nil
	})
	runs := []func(context.Context) error{n.replica.Run, n.mesh.Load().Run, n.keep, n.keepLockNotes, n.desk.Run}
	if n.o.MarkLocked && !n.o.Folder.Witness {
		runs = append(runs, n.markLocked)
	}
	if n.o.Discover {
		runs = append(runs, n.discover)
	}
	for _, run := range runs {
		parts.Go(func() error {
			defer cancel() // whoever ends first ends the others
			return run(ctx)
		})
	}
	return parts.Wait()
}

// Close gives back what Open took, where Run is never called.
func (n *Node) Close() error {
	var err error
	if n.endpoint != nil {
		err = n.endpoint.Close()
	}
	if n.desk != nil {
		err = errors.Join(err, n.desk.Close())
	}
	n.replica.Close()
	return err
}

// SetRates changes Options.MaxSend and MaxRecv.
func (n *Node) SetRates(send, recv int64) { n.endpoint.SetRates(send, recv) }

// SetPeers replaces the configured addresses.
func (n *Node) SetPeers(addrs []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.peers
	n.peers = addrs
	err := n.mesh.Load().SetPeers(n.dialledLocked())
	if err != nil {
		n.peers = before
	}
	return err
}

// dialled returns the addresses that are dialled whoever answers: those that are configured, and those by which this node joined.
func (n *Node) dialled() []sshconn.Address {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialledLocked()
}

func (n *Node) dialledLocked() []sshconn.Address {
	var out []sshconn.Address
	for _, addr := range slices.Concat(n.peers, n.reach.joined) {
		if !slices.ContainsFunc(out, func(a sshconn.Address) bool { return a.Name == addr }) {
			out = append(out, n.addressOf(addr))
		}
	}
	return out
}

func (n *Node) addressOf(addr string) sshconn.Address {
	if !IsLogin(addr) {
		return sshconn.TCP(addr)
	}
	return sshconn.Address{Name: addr, Dial: func(ctx context.Context) (net.Conn, error) { return n.dialLogin(ctx, addr) }}
}

// listenAt returns where to listen.
func (n *Node) listenAt() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	host := n.o.Listen
	if host == "" && !n.reach.open {
		host = "127.0.0.1"
	}
	return []string{net.JoinHostPort(host, strconv.Itoa(n.o.Port))}
}

// addressInterval is how often this node looks whether its own addresses have changed.
const addressInterval = 5 * time.Second

// wake has keep go round. It does not block.
func (n *Node) wake() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// resumed has all peers dialled that a pause had kept away, and their back-off let wait.
func (n *Node) resumed() {
	if mesh := n.mesh.Load(); mesh != nil { // nil: the pause was over before the start
		mesh.DialNow()
	}
}

// keep has the network dial whom the set of members names, and the members know where this node is.
func (n *Node) keep(ctx context.Context) error {
	tick := time.NewTicker(addressInterval)
	defer tick.Stop()
	var told []string
	first := true
	for {
		if own := n.ownAddresses(); first || !slices.Equal(own, told) {
			if err := n.tellProfile(ctx, own); err == nil {
				told, first = own, false
			}
		}
		n.dialMembers()
		n.noteSeen(false)
		select {
		case <-ctx.Done():
			n.noteSeen(true)
			return nil
		case <-n.changed:
		case <-tick.C:
		}
	}
}

// noteSeen remembers who is connected.
func (n *Node) noteSeen(end bool) {
	if err := n.seen.note(n.mesh.Load().Peers(), time.Now(), end); err != nil {
		n.o.Folder.Log.Warn("it cannot be written down when members were seen", "cause", err)
	}
}

// tellProfile has the members know what this node is called and where it can be dialled.
func (n *Node) tellProfile(ctx context.Context, addresses []string) error {
	err := n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Profile(members.FitName(n.replica.Name()), addresses, n.o.Folder.Witness, time.Now())
		return err
	})
	if err != nil && !errors.Is(err, members.ErrForgotten) && ctx.Err() == nil {
		n.o.Folder.Log.Warn("the members cannot be told where this node is", "cause", err)
	}
	return err
}

// dialMembers has the network dial the members, and nobody who is forgotten.
func (n *Node) dialMembers() {
	set, mesh := n.replica.Members(), n.mesh.Load()
	own := set.Key().ID()
	var targets []sshconn.Target
	for _, m := range set.List() {
		switch {
		case m.ID == own:
		case m.Forgotten:
			mesh.Drop(meshID(m.Key), n.replica.Refuses(m.ID))
			n.desk.Forget(locking.NodeID(m.ID))
		default:
			near := n.foundAt(discover.Key(m.Key)) // what was heard a moment ago goes before what was told once
			targets = append(targets, sshconn.Target{ID: meshID(m.Key), Addresses: slices.Concat(near, m.Addresses)})
		}
	}
	if set.Forgotten(own) {
		targets = nil
	}
	mesh.SetMembers(targets)
}
