package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A helper is a command of resonate, or another program, that a test runs beside daemons.
type helper struct {
	*exec.Cmd
	out   bytes.Buffer
	ended chan struct{}
}

// begin starts a command for the daemon's folder.
func (d *daemon) begin(args ...string) *helper {
	d.c.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		d.c.t.Fatal(err)
	}
	h := &helper{Cmd: exec.Command(exe, args...)}
	h.Args[0] = "resonate"
	h.Env = append(d.environment(), "RESONATE_DIR="+d.dir, "NODE="+d.name)
	h.run(d.c.t)
	return h
}

func (h *helper) run(t testing.TB) {
	t.Helper()
	h.Stdout, h.Stderr, h.ended = &h.out, &h.out, make(chan struct{})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.ended)
		_ = h.Wait() // the state says all
	}()
	t.Cleanup(func() {
		_ = h.Process.Kill()
		<-h.ended
	})
}

// wait returns the exit code.
func (h *helper) wait(t testing.TB, most time.Duration) int {
	t.Helper()
	select {
	case <-h.ended:
	case <-time.After(most):
		t.Fatalf("%q runs still after %v", h.Args, most)
	}
	return h.ProcessState.ExitCode()
}

// stopped returns nil when the process is stopped: see proc_pid_stat(5).
func (h *helper) stopped() error { return stopped(h.Process.Pid) }

// stopped returns nil when a process has been stopped.
func stopped(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
		return fmt.Errorf("process %d runs on: %s", pid, stat)
	}
	return nil
}

// A ledger is a file in which the commands that were elected write that they begin, and that they end: lines of "begin NODE TOKEN".
type ledger string

func (l ledger) lines(t testing.TB) (out [][3]string) {
	t.Helper()
	text, err := os.ReadFile(string(l))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e [3]string
		if _, err := fmt.Sscan(line, &e[0], &e[1], &e[2]); err != nil {
			t.Fatalf("ledger has %q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// running returns the node on which the command runs; "": on none.
func (l ledger) running(t testing.TB) string {
	t.Helper()
	lines := l.lines(t)
	if len(lines) == 0 || lines[len(lines)-1][0] == "end" {
		return ""
	}
	return lines[len(lines)-1][1]
}

// check fails the test unless no command began before the one before it had ended, each with a greater token.
func (l ledger) check(t testing.TB) {
	t.Helper()
	token := ""
	lines := l.lines(t)
	for i, e := range lines {
		switch {
		case i%2 == 0 && (e[0] != "begin" || e[2] <= token):
			t.Errorf("line %d: got %v after token %s: %v", i, e, token, lines)
		case i%2 == 1 && (e[0] != "end" || e[1] != lines[i-1][1] || e[2] != lines[i-1][2]):
			t.Errorf("line %d: got %v, want the end of %v: %v", i, e, lines[i-1], lines)
		}
		token = e[2]
	}
}

// electedCommand writes into the ledger, and runs until it is told to end.
const electedCommand = `trap 'echo "end $NODE $RESONATE_LOCK_TOKEN" >>"$0"; exit 0' TERM
echo "begin $NODE $RESONATE_LOCK_TOKEN" >>"$0"
while :; do sleep 0.02; done`

// TestElectedCommandMoves has three machines elect one that runs a command. It dies in each way that there is: the command's guard, the
// daemon, and both. Each time another machine runs it soon, and never do two at a time.
func TestElectedCommandMoves(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	nodes := startLockers(t, 3, 3, "-session", "5s")
	book := ledger(filepath.Join(nodes[0].c.root, "ledger"))
	guards := map[string]*helper{}
	named := map[string]*daemon{}
	elect := func(d *daemon) {
		named[d.name] = d
		guards[d.name] = d.begin("elect", "scheduler", "-ttl", "3s", "--", "sh", "-c", electedCommand, string(book))
	}
	for _, d := range nodes {
		elect(d)
	}
	// within is the time of the lock, that in which its end is noticed, and an election.
	const within = 15 * time.Second
	moved := func(from string) (to string, took time.Duration) {
		t.Helper()
		begun := time.Now()
		nodes[0].c.until(within, func() error {
			if to = book.running(t); to == "" || to == from {
				return fmt.Errorf("it runs on %q, after %q", to, from)
			}
			return nil
		})
		return to, time.Since(begun)
	}
	at, _ := moved("")
	for _, dies := range []string{"guard", "daemon", "both"} {
		d, g := named[at], guards[at]
		if dies != "guard" {
			d.kill()
		}
		if dies != "daemon" {
			if err := g.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-g.ended
		}
		to, took := moved(at)
		t.Logf("when the %s of %s had died, the command ran on %s after %v", dies, at, to, took)
		if dies != "guard" {
			d.start(envLocks + "=" + clusterLocks)
		}
		if dies != "daemon" {
			elect(d)
		}
		at = to
	}
	for _, g := range guards {
		_ = g.Process.Signal(syscall.SIGTERM)
	}
	for name, g := range guards {
		g.wait(t, within)
		if strings.Contains(g.out.String(), "panic") {
			t.Errorf("%s: %s", name, &g.out)
		}
	}
	book.check(t)
}

// TestRunOnceOnOneOfThree tells three machines to run a command at the same time: one does. When the command is killed, another machine, which stands by,
// runs it.
func TestRunOnceOnOneOfThree(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	nodes := startLockers(t, 3, 3, "-session", "5s")
	c := nodes[0].c
	ran := filepath.Join(c.root, "ran")
	lines := func() []string {
		text, err := os.ReadFile(ran)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Fields(string(text))
	}
	for round := range 3 {
		var all []*helper
		for range 2 {
			for _, d := range nodes {
				all = append(all, d.begin("run-once", fmt.Sprint("round-", round), "-for", "20s", "--", "sh", "-c", `echo "$NODE" >>"$0"; sleep 0.1`, ran))
			}
		}
		for _, h := range all {
			if code := h.wait(t, 30*time.Second); code != exitDone {
				t.Errorf("round %d: %q ended with code %d: %s", round, h.Args, code, &h.out)
			}
		}
		if got := lines(); len(got) != round+1 {
			t.Errorf("round %d: ran on %v", round, got)
		}
	}
	before := len(lines())
	all := map[string]*helper{}
	for _, d := range nodes {
		all[d.name] = d.begin("run-once", "killed", "-for", "8s", "-wait", "6s", "--", "sh", "-c",
			`echo "$NODE" >>"$0"; [ "$(wc -l <"$0")" -gt "$1" ] || kill -KILL $$`, ran, fmt.Sprint(before+1))
	}
	for name, h := range all {
		if code := h.wait(t, 55*time.Second); code != exitDone && (code != exitSignalBase+int(syscall.SIGKILL) || lines()[before] != name) {
			t.Errorf("%q on %s ended with code %d: %s", h.Args, name, code, &h.out)
		}
	}
	if got := lines()[before:]; len(got) != 2 || got[1] == got[0] {
		t.Errorf("ran on %v, want on another one after the first was killed, and then no more", got)
	}
}

// TestPaymentIsMadeOnce has three clients make one payment, with three daemons. The one that has the lock gets a signal when it has looked at
// the bank, and the daemon that it asked first is killed with it.
func TestPaymentIsMadeOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		skip(t, "go")
	}
	program := filepath.Join(scratch(t), "payment")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../examples/payment").CombinedOutput(); err != nil {
		t.Fatalf("build examples/payment: %v\n%s", err, out)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			payOnce(t, program, signal)
		})
	}
}

func payOnce(t *testing.T, program string, s syscall.Signal) {
	nodes := startLockers(t, 3, 3, "-session", "5s")
	bank := startBank(t, program)
	var once sync.Once
	var starting sync.Mutex // held until all clients have been started
	struck := make(chan string, 1)
	clients, first := map[string]*helper{}, map[string]*daemon{}
	proxy := httputil.NewSingleHostReverseProxy(bank)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		starting.Lock()
		once.Do(func() {
			who := r.URL.Query().Get("client")
			first[who].kill()
			h := clients[who]
			_ = h.Process.Signal(s)
			if s == syscall.SIGSTOP { // it takes effect when one of its threads has been on a processor
				if err := eventually(time.Minute, h.stopped); err != nil {
					t.Error(err)
				}
			}
			struck <- who
		})
		starting.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(door.Close)
	starting.Lock()
	for i, name := range []string{"x", "y", "z"} {
		servers := []string{nodes[i].dir, nodes[(i+1)%3].dir, nodes[(i+2)%3].dir}
		first[name] = nodes[i]
		h := &helper{Cmd: exec.Command(program, "pay", "-payment", "42", "-client", name, "-amount", "100", "-servers", strings.Join(servers, ","),
			"-bank", door.URL, "-ttl", "2s", "-wait", "40s")}
		h.run(t)
		clients[name] = h
	}
	starting.Unlock()
	who := <-struck
	for name, h := range clients {
		if name == who {
			continue
		}
		if code := h.wait(t, 50*time.Second); code != 0 {
			t.Errorf("client %s ended with code %d: %s", name, code, &h.out)
		}
	}
	made := ledgerOf(t, bank)
	if len(made) != 1 || made[0].Client == who || made[0].Payment != "42" || made[0].Amount != 100 {
		t.Errorf("made: got %+v, want one payment, not by %s", made, who)
	}
	if s != syscall.SIGSTOP {
		return
	}
	h := clients[who]
	if err := h.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code := h.wait(t, 50*time.Second); code == 0 || !strings.Contains(h.out.String(), "is too low") {
		t.Errorf("client %s, which had gone to sleep: got code %d, %s; want it refused by its token", who, code, &h.out)
	}
	if made := ledgerOf(t, bank); len(made) != 1 {
		t.Errorf("afterwards: got %+v, want one payment", made)
	}
}

// startBank starts a bank and returns where it is.
func startBank(t *testing.T, program string) *url.URL {
	t.Helper()
	cmd := exec.Command(program, "bank", "-listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var address string
	if _, err := fmt.Fscanf(out, "the bank is at %s\n", &address); err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// payment is one that the bank has made.
type payment struct {
	Payment, Client string
	Amount          int
}

func ledgerOf(t *testing.T, bank *url.URL) (made []payment) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, bank.JoinPath("ledger").String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil {
		t.Fatal(err)
	}
	return made
}
