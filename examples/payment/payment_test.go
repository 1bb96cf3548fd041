package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resonate/control"
	"resonate/control/locktest"
)

// envClient has the test binary be the program.
const envClient = "PAYMENT_TEST_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(envClient) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// strike sends a signal. One that stops a process takes effect when one of its threads has been on a processor: that is waited for, where the
// system tells (proc_pid_stat(5)).
func strike(p *os.Process, s syscall.Signal) error {
	err := p.Signal(s)
	for end := time.Now().Add(20 * time.Second); err == nil && s == syscall.SIGSTOP; time.Sleep(time.Millisecond) {
		stat, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if readErr != nil || strings.Contains(string(stat), ") T ") {
			break
		}
		if time.Now().After(end) {
			err = errors.New("it does not stop")
		}
	}
	return err
}

// lockFolder is a folder whose node has locks.
func lockFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pay") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	controlFile(t, dir, socket)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	go func() {
		served <- control.Serve(ctx, ln, struct{ control.Daemon }{}, nil, locktest.New("here"), nil, log)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dir
}

// controlFile says where the node of a folder listens.
func controlFile(t *testing.T, dir, socket string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, ".resonate"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".resonate", "control"), []byte(socket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// race has three clients make the same payment. The first of them that looks at it, so has the lock, gets a signal just then.
type race struct {
	bank *bank
	had  chan string // the client that got the signal
	mu   sync.Mutex  // held until all clients have been started
	cmds map[string]*exec.Cmd
	outs map[string]*bytes.Buffer
}

// start starts the clients.
func start(t *testing.T, s syscall.Signal) *race {
	t.Helper()
	r := &race{bank: newBank(), had: make(chan string, 1), cmds: map[string]*exec.Cmd{}, outs: map[string]*bytes.Buffer{}}
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		once.Do(func() {
			first := req.URL.Query().Get("client")
			if err := strike(r.cmds[first].Process, s); err != nil {
				t.Error(err)
			}
			r.had <- first
		})
		r.mu.Unlock()
		r.bank.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	gone, folder := t.TempDir(), lockFolder(t)
	controlFile(t, gone, filepath.Join(gone, "nobody"))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range []string{"a", "b", "c"} {
		cmd := exec.Command(os.Args[0], "pay", "-payment", "42", "-client", name, "-amount", "100", "-servers", gone+","+folder, "-bank", server.URL, "-ttl", "1s")
		out := &bytes.Buffer{}
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), envClient+"=1", "GORACE=atexit_sleep_ms=0"), out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		r.cmds[name], r.outs[name] = cmd, out
	}
	return r
}

// others waits for the clients but one, which succeed, and returns the payments that were made.
func (r *race) others(t *testing.T, but string) []entry {
	t.Helper()
	for name, cmd := range r.cmds {
		if name == but {
			continue
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("client %s: %v: %s", name, err, r.outs[name])
		}
	}
	return r.bank.entries("")
}

// One is killed when it has the lock: another pays when that one's time is over, and the third finds it paid.
func TestKilled(t *testing.T) {
	r := start(t, syscall.SIGKILL)
	first := <-r.had
	if err := r.cmds[first].Wait(); err == nil {
		t.Errorf("client %s succeeded, though it was killed", first)
	}
	made := r.others(t, first)
	if len(made) != 1 || made[0].Client == first || made[0].Payment != "42" || made[0].Amount != 100 {
		t.Errorf("made: got %+v, want one payment, not by %s", made, first)
	}
}

// One is stopped when it has the lock and has seen that nothing was paid. It goes on when another has paid, and then cannot.
func TestStopped(t *testing.T) {
	r := start(t, syscall.SIGSTOP)
	first := <-r.had
	made := r.others(t, first)
	if len(made) != 1 || made[0].Client == first {
		t.Errorf("while %s was stopped: got %+v, want one payment, by another", first, made)
	}
	if err := r.cmds[first].Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := r.cmds[first].Wait(); err == nil || !strings.Contains(r.outs[first].String(), "is too low") {
		t.Errorf("client %s: got %v, %s; want it refused, as its token is too low", first, err, r.outs[first])
	}
	if made := r.bank.entries(""); len(made) != 1 {
		t.Errorf("afterwards: got %+v, want one payment", made)
	}
}

// The bank goes by tokens alone, for each payment by itself.
func TestBank(t *testing.T) {
	low, high := control.Token{Generation: 1, Index: 9}.String(), control.Token{Generation: 1, Index: 10}.String()
	b := newBank()
	do := func(method, path, body string) int {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code
	}
	for _, row := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/payments/1", `{"client":"a","token":"` + low + `"}`, 200},
		{"GET", "/payments/1?token=" + high, "", 200}, // whoever has looked can rely on it
		{"POST", "/payments/1", `{"client":"a","token":"` + low + `"}`, 409},
		{"GET", "/payments/1?token=" + low, "", 409},
		{"POST", "/payments/1", `{"client":"b","token":"` + high + `"}`, 200},
		{"POST", "/payments/2", `{"client":"a","token":"` + low + `"}`, 200},
		{"POST", "/payments/1", `{"client":"a","token":"z"}`, 409},
		{"POST", "/payments/1", `{`, 400},
	} {
		if got := do(row.method, row.path, row.body); got != row.want {
			t.Errorf("%s %s %s: got %d, want %d", row.method, row.path, row.body, got, row.want)
		}
	}
	if got := len(b.entries("")); got != 3 {
		t.Errorf("got %d payments, want 3", got)
	}
}
