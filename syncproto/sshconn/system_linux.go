package sshconn

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// unackedLimit is for how long sent data may go without an acknowledgement before
// the connection counts as broken. Linux alone would try for a quarter of an hour.
const unackedLimit = 10 * time.Second

// limitUnacked bounds how long a TCP connection waits for acknowledgements
// (RFC 5482). Beware: the kernel counts a window that the peer keeps shut, too.
func limitUnacked(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedLimit.Milliseconds()))
	})
}

// uptime tells how long the machine has been up, with and without the time that
// it slept.
func uptime() (up, awake time.Duration) {
	return clock(unix.CLOCK_BOOTTIME), clock(unix.CLOCK_MONOTONIC)
}

func clock(id int32) time.Duration {
	var t unix.Timespec
	unix.ClockGettime(id, &t) // fails for unknown clocks alone
	return time.Duration(t.Nano())
}
