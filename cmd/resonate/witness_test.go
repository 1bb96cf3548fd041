package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// addWitness adds a witness to a cluster, and starts it.
func (c *cluster) addWitness(name string) *daemon {
	c.t.Helper()
	w := &daemon{c: c, name: name, log: filepath.Join(c.root, name+".log"), bare: true}
	c.t.Cleanup(w.cleanup)
	w.port = freePort(c.t)
	w.dir = filepath.Join(c.root, "state", "resonate", "witness", fmt.Sprint(w.port))
	w.args = []string{"witness", "-port", fmt.Sprint(w.port), "-log-level", "debug"}
	for _, d := range c.daemons {
		w.args = append(w.args, "-peer", fmt.Sprintf("127.0.0.1:%d", d.port))
	}
	w.start(envLocks + "=" + clusterLocks)
	return w
}

// freePort returns a port that nobody listens on just now.
func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// tombstonesGone returns nil when no daemon remembers anything that was deleted.
func tombstonesGone(t testing.TB, list ...*daemon) error {
	t.Helper()
	for _, d := range list {
		page, err := d.client.Tree(t.Context(), control.TreeQuery{Deleted: true})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.Kind == "deleted" {
				return fmt.Errorf("%s remembers that %s was deleted", d.name, e.Path)
			}
		}
	}
	return nil
}

// Two machines and a witness grant locks while one of the machines is away. The witness gets no files, is waited for by nobody, and is
// listed as what it is.
func TestWitness(t *testing.T) {
	t.Parallel()
	nodes := startLockers(t, 2, 1)
	a, b := nodes[0], nodes[1]
	c := a.c
	w := c.addWitness("w")
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("f", "content")
	c.mustAgree() // a and b
	c.until(time.Minute, func() error {
		for _, d := range []*daemon{a, b} {
			q, err := d.client.Quorum(t.Context())
			witnesses := 0
			for _, v := range q.Voters {
				if v.Witness && v.Connected && !v.Self {
					witnesses++
				}
			}
			if err != nil || len(q.Voters) != 3 || witnesses != 1 {
				return fmt.Errorf("%s: %+v, %v, want three voters, one of them a witness", d.name, q, err)
			}
			s, err := d.status()
			if err != nil || len(s.Peers) != 2 || !s.Peers[0].InSync || !s.Peers[1].InSync {
				return fmt.Errorf("%s: peers %+v, %v, want two in sync", d.name, s.Peers, err)
			}
		}
		return nil
	})
	list, err := a.client.Members(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("members: %+v, %v, want three", list, err)
	}
	for _, m := range list {
		if want := strings.HasSuffix(m.Name, fmt.Sprint(":", w.port)); m.Witness != want {
			t.Errorf("member %s: witness %v, want %v", m.Name, m.Witness, want)
		}
	}
	if s, err := w.status(); err != nil || s.Mode != "witness" || s.Files != 0 || len(s.Untaken) > 0 || s.State != "in sync" {
		t.Errorf("status of the witness: %+v, %v", s, err)
	}
	if err := os.Remove(filepath.Join(a.dir, "f")); err != nil {
		t.Fatal(err)
	}
	c.mustAgree()
	c.until(time.Minute, func() error { return tombstonesGone(t, a, b) })

	b.kill()
	if err := eventually(time.Minute, func() error { _, err := a.lock("path:x", 0); return err }); err != nil {
		t.Errorf("lock while the other machine is away: %v", err)
	}
	if err := a.wait(100 * time.Millisecond); err == nil || errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("wait, with a witness alone: got %v, want that nobody has the files", err)
	}
	b.start(envLocks + "=" + clusterLocks)
	write("g", "content")
	c.mustAgree()
	if left, err := os.ReadDir(w.dir); err != nil || len(left) != 1 {
		t.Errorf("folder of the witness: %v, %v, want its marker alone", left, err)
	}
	w.stop()
	w.start(envLocks + "=" + clusterLocks)
}
