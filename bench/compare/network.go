package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
)

// A meter tells how many bytes were sent between the two sides so far; ok says whether that is known.
type meter func() (sent int64, ok bool)

func noTraffic() (int64, bool) { return 0, false }

// privateTraffic reads the counter of the loopback interface, of which this program and its tools are the only users.
func privateTraffic() (int64, bool) {
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return 0, false
	}
	sent, err := parseLoopback(text)
	return sent, err == nil
}

// parseLoopback finds the bytes received on lo in the text of /proc/net/dev: proc_pid_net(5).
func parseLoopback(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		name, counters, _ := bytes.Cut(line, []byte(":"))
		if fields := bytes.Fields(counters); string(bytes.TrimSpace(name)) == "lo" && len(fields) > 0 {
			return strconv.ParseInt(string(fields[0]), 10, 64)
		}
	}
	return 0, errors.New("no loopback interface in /proc/net/dev")
}

// freePorts gives n ports that nothing listens on. They are held all at once, so that they differ.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// listening tells whether something accepts connections on a port.
func listening(port int) bool {
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	c.Close()
	return true
}
