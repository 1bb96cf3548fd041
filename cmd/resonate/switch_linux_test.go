package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A network is what joins the machines of a cluster: each is a network namespace with an address on one switch. It is safe for concurrent use.
type network struct {
	t    testing.TB
	name string

	mu   sync.Mutex
	deaf map[[2]int]int // how many have made the first machine not hear the second
}

var networks atomic.Int32

// newNetwork makes a switch with n machines.
func newNetwork(t testing.TB, n int) *network {
	t.Helper()
	w := &network{t: t, name: fmt.Sprintf("rl%d-%d", os.Getpid(), networks.Add(1)), deaf: map[[2]int]int{}}
	var s strings.Builder
	fmt.Fprintf(&s, "set -e\nip netns add %[1]s-s\nip -n %[1]s-s link add switch type bridge\nip -n %[1]s-s link set switch up\n", w.name)
	for i := range n {
		fmt.Fprintf(&s, `ip netns add %[1]s
ip -n %[1]s link set lo up
ip -n %[2]s-s link add port%[3]d type veth peer name eth0 netns %[1]s
ip -n %[2]s-s link set port%[3]d master switch up
ip -n %[1]s addr add %[4]s/24 dev eth0
ip -n %[1]s link set eth0 up
`, w.machine(i), w.name, i, address(i))
	}
	t.Cleanup(func() {
		for i := range n {
			_ = exec.Command("ip", "netns", "del", w.machine(i)).Run()
		}
		_ = exec.Command("ip", "netns", "del", w.name+"-s").Run()
	})
	w.sh(s.String())
	return w
}

func (w *network) machine(i int) string { return fmt.Sprintf("%s-%d", w.name, i) }

func address(i int) string { return fmt.Sprintf("10.98.0.%d", i+1) }

func (w *network) sh(script string) {
	w.t.Helper()
	cmd := exec.Command("sh", "-c", script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("%s: %v\n%s", script, err, &out)
	}
}

// cut has a machine hear nothing of others any more, without a word to anybody, until mend is called.
func (w *network) cut(a int, others ...int) (mend func()) {
	change := func(by int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		var s strings.Builder
		for _, b := range others {
			was := w.deaf[[2]int{a, b}]
			w.deaf[[2]int{a, b}] = was + by
			switch {
			case was == 0:
				fmt.Fprintf(&s, "-A INPUT -s %s -j DROP\n", address(b))
			case was+by == 0:
				fmt.Fprintf(&s, "-D INPUT -s %s -j DROP\n", address(b))
			}
		}
		if s.Len() > 0 {
			w.sh(fmt.Sprintf("ip netns exec %s iptables-restore -w -n <<'END'\n*filter\n%sCOMMIT\nEND\n", w.machine(a), s.String()))
		}
	}
	change(1)
	return func() { change(-1) }
}

// needsMachines skips a test that takes some seconds, and machines of its own.
func needsMachines(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	if os.Geteuid() != 0 {
		skip(t, "root, for network namespaces")
	}
	for _, tool := range []string{"ip", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, tool)
		}
	}
}

// newMachines puts the daemons of a new cluster on a network of their own.
func newMachines(t testing.TB, n int) (*cluster, *network) {
	t.Helper()
	c, w := newCluster(t), newNetwork(t, n)
	for i := range n {
		d := c.add(string(rune('a'+i)), c.daemons...)
		d.in, d.host, d.port = w.machine(i), address(i), 7373
		d.args = []string{"-listen", address(i)}
	}
	return c, w
}
