//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// envQuietNet tells the test binary that it runs in a network of its own, in which nobody else sends.
const envQuietNet = "RESONATE_TEST_QUIET_NET"

const (
	stillFor     = 10 * time.Second
	bytesPerPair = 200 // a second, headers included
)

// TestNoEcho has three nodes come to agree, and then listens: no message is sent any more, and what keeps the
// connections alive is little. It executes this test binary again, in a network namespace of its own.
func TestNoEcho(t *testing.T) {
	if os.Getenv(envQuietNet) == "1" {
		listenToSilence(t)
		return
	}
	if testing.Short() {
		t.Skip("listens for ten seconds")
	}
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// An answer that comes late may have its question acknowledged in a packet of its own, which would be counted: so this goes before
	// the tests that run beside it. It takes hardly anything from them.
	cmd := exec.Command("nice", "-n", "-10", exe, "-test.run=^TestNoEcho$", "-test.v")
	cmd.Env = append(os.Environ(), envQuietNet+"=1")
	cmd.SysProcAttr = quietNetwork()
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOSYS):
		skip(t, "needs a network namespace of its own (root): "+err.Error())
	case err != nil:
		t.Fatalf("%v:\n%s", err, out)
	case !bytes.Contains(out, []byte("--- PASS: TestNoEcho")):
		t.Fatalf("the silence was not listened to:\n%s", out)
	}
}

func listenToSilence(t *testing.T) {
	raiseLoopback(t)
	c := newCluster(t)
	a := c.add("a")
	b := c.add("b", a)
	c.add("c", b, a)
	for _, d := range c.daemons {
		d.start()
		if err := os.WriteFile(d.dir+"/from-"+d.name, []byte(d.name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.mustAgree()
	if err := errors.Join(os.WriteFile(a.dir+"/from-b", []byte("changed"), 0o644), os.Remove(a.dir+"/from-c")); err != nil {
		t.Fatal(err)
	}
	c.mustAgree()
	c.mustStandStill(time.Second)

	if loopbackBytes(t) == 0 {
		t.Fatal("three nodes came to agree, and nothing was seen to pass between them")
	}
	rate := listen(t, c)
	for range 3 { // the lock table has voters only some seconds after the start, and its log hurries for some more
		if rate <= bytesPerPair {
			break
		}
		rate = listen(t, c)
	}
	if rate > bytesPerPair {
		t.Errorf("%.0f bytes a second for each pair, want at most %d", rate, bytesPerPair)
	}
}

// listen returns how many bytes a second pass for each pair of nodes, and fails if one of them sends a message.
func listen(t *testing.T, c *cluster) float64 {
	t.Helper()
	sent, bytes := messagesSent(t, c), loopbackBytes(t)
	<-time.After(stillFor) // the time itself is what is asked for
	if now := messagesSent(t, c); !slices.Equal(now, sent) {
		t.Errorf("messages sent in %v of silence: from %v to %v", stillFor, sent, now)
	}
	pairs := len(c.daemons) * (len(c.daemons) - 1) / 2
	rate := float64(loopbackBytes(t)-bytes) / stillFor.Seconds() / float64(pairs)
	t.Logf("%.0f bytes a second for each of %d pairs", rate, pairs)
	return rate
}

func messagesSent(t *testing.T, c *cluster) (sent []uint64) {
	t.Helper()
	for _, d := range c.daemons {
		s, err := d.status()
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, s.MessagesSent)
	}
	return sent
}

// raiseLoopback brings up the one interface of a new network namespace.
func raiseLoopback(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// loopbackBytes returns what was sent over the loopback interface (proc_pid_net(5): the ninth column of dev).
func loopbackBytes(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, counts, _ := strings.Cut(line, ":")
		if f := strings.Fields(counts); strings.TrimSpace(name) == "lo" && len(f) > 8 {
			n, err := strconv.ParseUint(f[8], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no loopback interface in:\n%s", text)
	return 0
}

func quietNetwork() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
}
