package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"resonate/members"
	"resonate/syncproto/sshconn"
)

// A peer at ssh://[USER@]HOST[:PORT]/PATH is reached through the machine's own sshd, by the ssh program with all that its user has
// set up for it: there `resonate serve -stdio` runs, and what it reads and writes is the connection. Before that each side tells its node's
// key, in one line. The login stands for an invitation, once: whom this node has met at an address before must be the same node
// ever after.

// loginScheme begins the address of a peer that is reached so.
const loginScheme = "ssh://"

// IsLogin tells whether an address is one of a peer that is reached through ssh(1).
func IsLogin(addr string) bool { return strings.HasPrefix(addr, loginScheme) }

// A login is such an address, taken apart.
type login struct{ user, host, port, path string }

// parseLogin takes an address apart. A path that begins with /~/ is in the home directory there.
func parseLogin(addr string) (l login, err error) {
	u, err := url.Parse(addr)
	if err != nil {
		return l, fmt.Errorf("peer address %q: %w", addr, errors.Unwrap(err))
	}
	l = login{user: u.User.Username(), host: u.Hostname(), port: u.Port(), path: u.Path}
	_, password := u.User.Password()
	switch {
	case l.host == "" || strings.HasPrefix(l.host, "-") || strings.HasPrefix(l.user, "-"):
		err = errors.New("no host")
	case password:
		err = errors.New("a password has no place there: ssh asks the agent, or uses a key")
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsRune(l.path, 0):
		err = errors.New("only a path may follow the host")
	case strings.Trim(l.path, "/") == "":
		err = errors.New("no path")
	}
	if err != nil {
		return l, fmt.Errorf("peer address %q: %w: want ssh://USER@HOST/PATH, such as ssh://me@example.net/~/shared", addr, err)
	}
	if home, ok := strings.CutPrefix(l.path, "/~/"); ok {
		l.path = home
	}
	return l, nil
}

// CheckLogin tells what is wrong with the address of a peer that is reached through ssh(1).
func CheckLogin(addr string) error {
	_, err := parseLogin(addr)
	return err
}

// command returns the command line that leads there.
func (l login) command() []string {
	argv := []string{"ssh", "-T", "-e", "none", "-o", "BatchMode=yes"}
	if l.port != "" {
		argv = append(argv, "-p", l.port)
	}
	if l.user != "" {
		argv = append(argv, "-l", l.user)
	}
	quoted := "'" + strings.ReplaceAll(l.path, "'", `'\''`) + "'"
	return append(argv, "--", l.host, "exec resonate serve -stdio -dir "+quoted)
}

// greetingTime bounds the exchange of keys, the login included.
const greetingTime = 30 * time.Second

// dialLogin connects to the node at an address through ssh(1).
func (n *Node) dialLogin(ctx context.Context, addr string) (net.Conn, error) {
	l, err := parseLogin(addr)
	if err != nil {
		return nil, err
	}
	conn, err := sshconn.DialCommand(ctx, l.command())
	if err != nil {
		return nil, err
	}
	key, rest, err := n.greet(ctx, conn)
	if err == nil {
		err = n.meet(ctx, addr, key)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in by %s: %w", addr, err)
	}
	return &greetedConn{Conn: conn, rest: rest}, nil
}

// greet tells this node's key, and hears the other's. What was read beyond that is in the returned reader.
func (n *Node) greet(ctx context.Context, conn io.ReadWriteCloser) (members.Key, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, greeting(n.replica.Identity().AuthorizedKey())); err != nil {
		return members.Key{}, nil, err
	}
	return hearGreeting(conn)
}

// greetingWord begins the line in which a key is told.
const greetingWord = "resonate-stdio-1 "

func greeting(authorizedKey string) string { return greetingWord + authorizedKey + "\n" }

// maxGreeting bounds that line, in bytes.
const maxGreeting = 1024

func hearGreeting(r io.Reader) (key members.Key, rest *bufio.Reader, err error) {
	rest = bufio.NewReaderSize(r, maxGreeting)
	line, err := rest.ReadSlice('\n')
	if err != nil {
		return key, nil, fmt.Errorf("hear of the other side's key: %w", err)
	}
	text, ok := strings.CutPrefix(string(line), greetingWord)
	if !ok {
		return key, nil, fmt.Errorf("the other side is no resonate serve -stdio: it begins with %.60q: is something printed at each login there?", line)
	}
	list, err := sshconn.ParseAuthorizedKeys([]byte(text))
	if err != nil {
		return key, nil, err
	}
	return keyOf(list[0].Key), rest, nil
}

// meet makes the node that was met at an address a member: the first one. Any other is refused from then on.
func (n *Node) meet(ctx context.Context, addr string, key members.Key) error {
	id := key.ID().String()
	n.mu.Lock()
	before := n.reach.met[addr]
	n.mu.Unlock()
	if before == id {
		return nil
	}
	if before != "" {
		return fmt.Errorf("another node is there than before: %s instead of %s: if that is right, name it by another address, or join it", id, before)
	}
	err := n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Admit(key, "", time.Now())
		return err
	})
	if err != nil {
		return err
	}
	return n.remember(func(r *reach) { r.met[addr] = id })
}

// greetedConn is a connection of which something was read beyond the greeting.
type greetedConn struct {
	net.Conn
	rest *bufio.Reader
}

func (c *greetedConn) Read(p []byte) (int, error) { return c.rest.Read(p) }
