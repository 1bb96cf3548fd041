package sshconn

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnackedLimitIsSet: on both connections, at both ends.
func TestUnackedLimitIsSet(t *testing.T) {
	_, _, sa, sb := connected(t)
	for name, w := range map[string]*wire{
		"acceptor's control": sa.control.wire, "acceptor's blocks": sa.blocks[0].wire,
		"dialler's control": sb.control.wire, "dialler's blocks": sb.blocks[0].wire,
	} {
		raw, err := w.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		if failed := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); failed != nil || err != nil {
			t.Fatal(failed, err)
		}
		if want := int(unackedLimit / time.Millisecond); got != want {
			t.Errorf("%s: TCP_USER_TIMEOUT is %d ms, want %d", name, got, want)
		}
	}
}
