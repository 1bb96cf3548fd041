package sshconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// besieged is set for a process of this test that runs two nodes, which exchange
// messages while the first one's port is attacked: so that what is measured is
// theirs alone. It holds the public key of one more member.
const besieged = "RESONATE_TEST_BESIEGED"

// besiegedHandshake is its limit for a handshake: a test waits for it.
const besiegedHandshake = 2 * time.Second

// A report tells of such a process, on its standard output: one for each line on
// its standard input.
type report struct {
	Addr       string
	Messages   int           // there and back
	Worst      time.Duration // of a message since the last report
	Sessions   int
	Goroutines int
	Heap       uint64 // bytes, after a collection
	CPU        time.Duration
}

// exchanges is what two nodes do in peace: a message there and back, every few
// milliseconds.
type exchanges struct {
	mu     sync.Mutex
	report report
}

func (x *exchanges) serve(ctx context.Context, s *Session) error {
	x.mu.Lock()
	x.report.Sessions++
	x.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.Control().Close() })
	defer stop()
	if !s.Dialled() {
		_, err := io.Copy(s.Control(), s.Control())
		return err
	}
	message := make([]byte, 200)
	for ctx.Err() == nil {
		began := time.Now()
		if _, err := s.Control().Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(s.Control(), message); err != nil {
			return err
		}
		x.mu.Lock()
		x.report.Messages++
		x.report.Worst = max(x.report.Worst, time.Since(began))
		x.mu.Unlock()
		pause(ctx, 5*time.Millisecond)
	}
	return nil
}

// take gives the report, with how the process is.
func (x *exchanges) take() report {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.report
	x.report.Worst = 0
	r.Goroutines, r.Heap = runtime.NumGoroutine(), m.HeapAlloc
	r.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return r
}

// besiege is what such a process does, until its standard input ends.
func besiege(member string) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(member))
	if err != nil {
		return err
	}
	trusted := map[NodeID]bool{idOf(key): true}
	var ids [2]*Identity
	for i := range ids {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		if ids[i], err = newIdentity(private); err != nil {
			return err
		}
		trusted[ids[i].ID()] = true
	}
	check := func(key ssh.PublicKey) error {
		if !trusted[idOf(key)] {
			return ErrUntrusted
		}
		return nil
	}
	var x exchanges
	var peers []Address // of the second: the first
	for _, id := range ids {
		e, err := Listen([]string{"127.0.0.1:0"}, Config{Identity: id, Trusted: check})
		if err != nil {
			return err
		}
		e.timing.handshake = besiegedHandshake
		mesh, err := NewMesh(e, peers, x.serve)
		if err != nil {
			return err
		}
		go mesh.Run(context.Background())
		if peers == nil {
			x.report.Addr = e.Addr().String()
			peers = tcp(x.report.Addr)
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := json.NewEncoder(os.Stdout).Encode(x.take()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// fortress is a process that is besieged.
type fortress struct {
	in      io.Writer
	reports *json.Decoder
	member  string // the file of a member's private key
	peace   report // before any attack
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	f := &fortress{member: filepath.Join(t.TempDir(), "member")}
	id, err := LoadOrCreateIdentity(f.member)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), besieged+"="+id.AuthorizedKey())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the besieged process: %v", err)
		}
	})
	f.in, f.reports = in, json.NewDecoder(out)
	eventually(t, "the two nodes to exchange messages", func() bool {
		f.peace = f.report(t)
		return f.peace.Messages > 10
	})
	return f
}

func (f *fortress) report(t *testing.T) report {
	t.Helper()
	var r report
	if _, err := io.WriteString(f.in, "\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.reports.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Bounds of what an attack may cost, beyond what two nodes in peace have: eight
// goroutines and 200 KiB for each connection in its handshake, as some are on their
// way out.
const (
	siegeGoroutines = 8 * maxHandshakes
	siegeHeap       = maxHandshakes * 200 << 10
)

// withstands attacks and checks that messages go on, and that memory is bounded.
func (f *fortress) withstands(t *testing.T, attack func()) {
	t.Helper()
	before, began := f.report(t), time.Now()
	attack()
	r, took := f.report(t), time.Since(began)
	t.Logf("%v: CPU %v (%.0f%% of one), heap %d KiB, %d goroutines; %d messages there and back, the slowest %v",
		took.Round(time.Millisecond), (r.CPU - before.CPU).Round(time.Millisecond), 100*(r.CPU-before.CPU).Seconds()/took.Seconds(),
		r.Heap>>10, r.Goroutines, r.Messages-before.Messages, r.Worst.Round(100*time.Microsecond))
	if r.Goroutines > f.peace.Goroutines+siegeGoroutines {
		t.Errorf("goroutines: got %d, in peace %d, want at most %d more", r.Goroutines, f.peace.Goroutines, siegeGoroutines)
	}
	if r.Heap > f.peace.Heap+siegeHeap {
		t.Errorf("heap: got %d bytes, in peace %d, want at most %d more", r.Heap, f.peace.Heap, siegeHeap)
	}
	if r.Sessions != f.peace.Sessions {
		t.Errorf("sessions: got %d, want the %d from before", r.Sessions, f.peace.Sessions)
	}
	eventually(t, "messages to go on", func() bool { return f.report(t).Messages > r.Messages })
}

// TestHostilePort attacks one of two nodes in all the ways that come to mind,
// while they go on exchanging messages.
func TestHostilePort(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	f := newFortress(t)
	addr := f.peace.Addr
	t.Run("500 half-open connections", func(t *testing.T) {
		f.withstands(t, func() {
			for range 500 {
				dialTest(t, addr)
			}
			one := dialTest(t, addr) // when it is greeted, the others have been
			if _, err := one.Read(make([]byte, 1)); err != nil {
				t.Errorf("one more: %v", err)
			}
		})
	})
	t.Run("a member among 100 that come again", func(t *testing.T) {
		flood(t, addr, 100, "SSH-2.0-OpenSSH_9.2\r\n")
		id, err := LoadOrCreateIdentity(f.member)
		if err != nil {
			t.Fatal(err)
		}
		f.withstands(t, func() {
			client, err := rawClientRetrying(t, addr, id)
			if err != nil {
				t.Fatalf("the member: %v", err)
			}
			client.Close()
		})
	})
	t.Run("random bytes", func(t *testing.T) {
		f.withstands(t, func() { speak(t, addr, 100, randomBytes) })
	})
	t.Run("slow bytes", func(t *testing.T) {
		f.withstands(t, func() { speak(t, addr, 2*maxHandshakes, slowBytes) })
	})
	t.Run("huge lengths", func(t *testing.T) {
		f.withstands(t, func() {
			for _, packet := range hugePackets() {
				speak(t, addr, 10, func(c net.Conn) { c.Write(packet) })
			}
		})
	})
	t.Run("openssh", func(t *testing.T) { f.withstandsOpenSSH(t) })
	f.withstands(t, func() {}) // what is left of all
}

// rawClientRetrying connects as a dialler would: until it succeeds.
func rawClientRetrying(t *testing.T, addr string, id *Identity) (client *ssh.Client, err error) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if client, err = rawClient(t, addr, ssh.ClientConfig{Auth: []ssh.AuthMethod{ssh.PublicKeys(id.signer)}}); err == nil {
			return client, nil
		}
	}
	return nil, err
}

// speak opens connections, has something said on each, and waits until the node
// has closed them all.
func speak(t *testing.T, addr string, connections int, say func(net.Conn)) {
	t.Helper()
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			heard := make(chan struct{})
			go func() {
				defer close(heard)
				wantClosed(t, c)
			}()
			say(c)
			<-heard
		})
	}
	all.Wait()
}

func randomBytes(c net.Conn) {
	junk := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(junk)
	c.Write(junk)
}

// slowBytes says what is right, and never comes to an end.
func slowBytes(c net.Conn) {
	for _, b := range []byte("SSH-2.0-" + strings.Repeat("slow", 100)) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		pause(context.Background(), 50*time.Millisecond)
	}
}

// hugePackets tell lengths that are not to be believed (RFC 4253 sections 4.2, 6
// and 7.1), each on a connection of its own.
func hugePackets() [][]byte {
	const version = "SSH-2.0-huge\r\n"
	all := [][]byte{bytes.Repeat([]byte("x"), 1<<20), []byte(strings.Repeat("a line before the version\r\n", 1<<14))}
	for _, length := range []uint32{0, 1, 256<<10 + 1, 1 << 30, 1<<31 - 1, 1<<32 - 1} {
		all = append(all, append(binary.BigEndian.AppendUint32([]byte(version), length), make([]byte, 64<<10)...))
	}
	for _, length := range []uint32{1 << 20, 1<<31 - 1, 1<<32 - 1} { // of the first list of a KEXINIT
		payload := append([]byte{20}, make([]byte, 16)...)
		payload = append(binary.BigEndian.AppendUint32(payload, length), make([]byte, 1001)...)
		packet := binary.BigEndian.AppendUint32([]byte(version), uint32(1+len(payload)+4))
		packet = append(append(packet, 4), payload...)
		all = append(all, append(packet, 0, 0, 0, 0))
	}
	return all
}

// withstandsOpenSSH has OpenSSH's own client try what it can do, as a stranger and
// as a member.
func (f *fortress) withstandsOpenSSH(t *testing.T) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		skip(t, "no ssh here: install openssh-client")
	}
	o := &openSSH{program: program, dir: t.TempDir()}
	if o.host, o.port, err = net.SplitHostPort(f.peace.Addr); err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(o.dir, "stranger")
	if _, err := LoadOrCreateIdentity(stranger); err != nil {
		t.Fatal(err)
	}
	o.target = o.listen(t)
	key := func(file string) []string {
		return []string{"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", file}
	}
	for _, user := range []string{memberUser, joinUser, "root"} {
		t.Run("passwords of "+user, func(t *testing.T) {
			o.mustFail(t, f, "Permission denied", "-o", "PubkeyAuthentication=no", "-l", user, o.host, "true")
		})
		t.Run("wrong key of "+user, func(t *testing.T) {
			o.mustFail(t, f, "Permission denied|Too many authentication failures|Received disconnect", append(key(stranger), "-l", user, o.host, "true")...)
		})
	}
	for name, args := range map[string][]string{
		"exec":            {o.host, "true"},
		"shell":           {"-tt", o.host},
		"subsystem":       {"-s", o.host, "sftp"},
		"agent, X11, env": {"-A", "-X", "-o", "SendEnv=PATH", o.host, "true"},
		"-R":              {"-N", "-R", "0:" + o.target, "-o", "ExitOnForwardFailure=yes", o.host},
		"-R of a socket":  {"-N", "-R", "/tmp/resonate-hostile:" + o.target, "-o", "ExitOnForwardFailure=yes", o.host},
		"-W":              {"-W", o.target, o.host},
		"-N":              {"-N", o.host},
		"two sessions":    {"-M", "-S", filepath.Join(o.dir, "master"), o.host, "true"},
	} {
		t.Run("member: "+name, func(t *testing.T) { o.mustFail(t, f, "", append(key(f.member), args...)...) })
	}
	t.Run("member: -L", func(t *testing.T) {
		port := o.freePort(t)
		o.connects(t, port, "")
		o.mustFail(t, f, "", append(key(f.member), "-N", "-L", port+":"+o.target, o.host)...)
	})
	t.Run("member: -D", func(t *testing.T) {
		port := o.freePort(t)
		o.connects(t, port, "\x04\x01\x00\x16\x7f\x00\x00\x01\x00") // SOCKS 4: connect to 127.0.0.1, port 22
		o.mustFail(t, f, "", append(key(f.member), "-N", "-D", port, o.host)...)
	})
}

// openSSH is the client, and somewhere it must never lead to.
type openSSH struct{ program, dir, host, port, target string }

// listen gives an address at which every connection is an error.
func (o *openSSH) listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Error("a connection was forwarded")
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func (o *openSSH) freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(deadAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// connects waits until ssh listens on a port of this machine, says something
// there, and wants no answer but the end of it, or a refusal.
func (o *openSSH) connects(t *testing.T, port, say string) {
	var all sync.WaitGroup
	all.Go(func() {
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); pause(context.Background(), 5*time.Millisecond) {
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err != nil {
				continue
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, say)
			answer, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) || len(answer) > 1 && answer[1] == 90 { // SOCKS 4: granted
				t.Errorf("forwarding: got %q, %v", answer, err)
			}
			return
		}
		t.Error("ssh did not listen")
	})
	t.Cleanup(all.Wait)
}

// mustFail runs ssh, which must end by itself with its own status for failures,
// and with one of the texts, parted by |.
func (o *openSSH) mustFail(t *testing.T, f *fortress, texts string, args ...string) {
	t.Helper()
	asked := filepath.Join(t.TempDir(), "asked")
	askpass := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(askpass, []byte("#!/bin/sh\necho asked >>"+asked+"\necho secret\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.withstands(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		options := []string{
			"-F", "none", "-p", o.port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "GlobalKnownHostsFile=/dev/null", "-o", "NumberOfPasswordPrompts=3", "-o", "IdentityAgent=none",
		}
		cmd := exec.CommandContext(ctx, o.program, append(options, args...)...)
		cmd.Env = append(os.Environ(), "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:0", "HOME="+o.dir)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 255 {
			t.Errorf("ssh %q: got %v, want status 255:\n%s", args, err, out)
		}
		found := false
		for text := range strings.SplitSeq(texts, "|") {
			found = found || bytes.Contains(out, []byte(text))
		}
		if !found {
			t.Errorf("ssh %q: got %s, want one of %q", args, out, texts)
		}
	})
	if _, err := os.Stat(asked); err == nil {
		t.Error("a password was asked for")
	}
}
