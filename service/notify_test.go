package service

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listen is a service manager that the environment names. What it is told comes from the function returned, message by
// message.
func listen(t *testing.T, socket string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return func() string {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("nothing is told: %v", err)
		}
		return string(buffer[:n])
	}
}

func inFolder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "notify") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "socket")
}

func TestManagerIsTold(t *testing.T) {
	sockets := map[string]string{"a path": inFolder(t)}
	if runtime.GOOS == "linux" {
		sockets["an abstract name"] = "@resonate-test-" + strconv.Itoa(os.Getpid())
	}
	for name, socket := range sockets {
		t.Run(name, func(t *testing.T) {
			told := listen(t, socket)
			m := FromEnvironment()
			for _, row := range []struct {
				err  error
				want string
			}{
				{m.Ready("in sync, 1 file"), "READY=1\nSTATUS=in sync, 1 file"},
				{m.Ready(""), "READY=1"},
				{m.Status("two\nlines  and READY=1"), "STATUS=two lines and READY=1"},
				{m.Status(strings.Repeat("ü", 2000)), "STATUS=" + strings.Repeat("ü", maxStatusSize/2)},
				{m.Alive(), "WATCHDOG=1"},
				{m.Stopping(), "STOPPING=1"},
			} {
				if got := told(); row.err != nil || got != row.want {
					t.Errorf("got %q, %v, want %q", got, row.err, row.want)
				}
			}
		})
	}
}

func TestReloadHasItsTime(t *testing.T) {
	told := listen(t, inFolder(t))
	m := FromEnvironment()
	var last int64
	for range 2 {
		if err := m.Reloading(); err != nil {
			t.Fatal(err)
		}
		got := told()
		if runtime.GOOS != "linux" {
			continue
		}
		text, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
		usec, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil || usec <= last {
			t.Errorf("got %q after %d, want a later time", got, last)
		}
		last = usec
	}
}

func TestWhoHasAWatchdog(t *testing.T) {
	own, other := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getpid()+1)
	for _, row := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"2000000", "", 2 * time.Second}, {"2000000", own, 2 * time.Second}, {"2000000", other, 0},
		{"0", own, 0}, {"-5", own, 0}, {"soon", own, 0}, {"99999999999999999999", own, 0}, {"9000000000000000000", own, 0},
	} {
		t.Setenv("NOTIFY_SOCKET", "/nowhere")
		t.Setenv("WATCHDOG_USEC", row.usec)
		t.Setenv("WATCHDOG_PID", row.pid)
		if got := FromEnvironment().Watchdog(); got != row.want {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: got %v, want %v", row.usec, row.pid, got, row.want)
		}
		for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
			if v, ok := os.LookupEnv(name); ok {
				t.Errorf("children have %s=%s", name, v)
			}
		}
	}
}

func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m := FromEnvironment()
	if m != nil || m.Watchdog() != 0 {
		t.Errorf("got %+v, want none", m)
	}
	if err := m.Ready("x"); err != nil {
		t.Error(err)
	}
}

// A manager that is gone, or cannot be meant, costs an error and no more.
func TestManagerThatCannotBeTold(t *testing.T) {
	for _, socket := range []string{"/nowhere/socket", "vsock:2:1234", "relative", "@resonate-nobody-has-this"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		m := FromEnvironment()
		if err := m.Ready("x"); err == nil {
			t.Errorf("%s: got no error", socket)
		}
	}
}
