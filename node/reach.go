package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"resonate/members"
)

// reach is what is remembered, in the node's state, of how this node is connected to others: whether it listens beyond this
// machine, since it has invited or joined another one, by which addresses it joined, and whom it has met through logins.
type reach struct {
	open   bool
	joined []string          // HOST:PORT
	met    map[string]string // for ssh:// addresses the ID of the node that was met there first
}

func (n *Node) reachPath() string { return filepath.Join(n.replica.State(), "reach") }

const (
	reachOpen   = "open"
	reachJoined = "joined "
	reachMet    = "met "
)

func loadReach(path string) (reach, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return reach{met: map[string]string{}}, nil
	}
	if err != nil {
		return reach{}, fmt.Errorf("read how this node is reached: %w", err)
	}
	return parseReach(text)
}

// parseReach passes over lines that it does not know: a newer version may have written them.
func parseReach(text []byte) (r reach, err error) {
	r.met = map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		addr, joined := strings.CutPrefix(lines.Text(), reachJoined)
		met, isMet := strings.CutPrefix(lines.Text(), reachMet)
		switch {
		case lines.Text() == reachOpen:
			r.open = true
		case isMet:
			if id, addr, ok := strings.Cut(met, " "); ok {
				r.met[addr] = id
			}
		case joined && !slices.Contains(r.joined, addr):
			if _, _, err := net.SplitHostPort(addr); err == nil {
				r.joined = append(r.joined, addr)
			}
		}
	}
	return r, lines.Err()
}

func (r reach) text() []byte {
	var b bytes.Buffer
	if r.open {
		fmt.Fprintln(&b, reachOpen)
	}
	for _, addr := range r.joined {
		fmt.Fprintln(&b, reachJoined+addr)
	}
	for _, addr := range slices.Sorted(maps.Keys(r.met)) {
		fmt.Fprintln(&b, reachMet+r.met[addr]+" "+addr)
	}
	return b.Bytes()
}

// save replaces the file as a whole.
func (r reach) save(path string) error {
	if err := members.ReplaceFile(path, r.text()); err != nil {
		return fmt.Errorf("write down how this node is reached: %w", err)
	}
	return nil
}

// remember changes what is remembered, and writes it down.
func (n *Node) remember(change func(*reach)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := reach{n.reach.open, slices.Clone(n.reach.joined), maps.Clone(n.reach.met)}
	change(&r)
	if err := r.save(n.reachPath()); err != nil {
		return err
	}
	n.reach = r
	return nil
}

// openUp has this node listen beyond this machine from now on, unless -listen says where; and remembers by which address it
// joined, if it did.
func (n *Node) openUp(joined string) error {
	err := n.remember(func(r *reach) {
		r.open = true
		if joined != "" && !slices.Contains(r.joined, joined) {
			r.joined = append(r.joined, joined)
		}
	})
	if err != nil {
		return err
	}
	if err := n.endpoint.ListenOn(n.listenAt()); err != nil {
		return fmt.Errorf("%w; name an address of this machine with -listen", err)
	}
	n.wake()
	return n.mesh.Load().SetPeers(n.dialled())
}

// ownAddresses returns at which addresses, HOST:PORT, other machines may reach this node: none while it listens on loopback.
func (n *Node) ownAddresses() []string {
	var out []string
	for _, a := range n.endpoint.Addrs() {
		tcp, ok := a.(*net.TCPAddr)
		if !ok {
			continue
		}
		ips := []net.IP{tcp.IP}
		if tcp.IP.IsUnspecified() {
			ips = machineAddresses()
		}
		for _, ip := range ips {
			if addr := (&net.TCPAddr{IP: ip, Port: tcp.Port}).String(); !ip.IsLoopback() && !slices.Contains(out, addr) {
				out = append(out, addr)
			}
		}
	}
	slices.Sort(out)
	return out[:min(len(out), maxOwnAddresses)]
}

// maxOwnAddresses is how many addresses this node tells: a machine may have hundreds, for its containers.
const maxOwnAddresses = 8

// machineAddresses returns the addresses of this machine that others may reach.
func machineAddresses() []net.IP {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []net.IP
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			out = append(out, ip.IP)
		}
	}
	return out
}
