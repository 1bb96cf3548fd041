// Package service is what a service manager and a daemon of ours have to do with each other: the units with which systemd
// starts, confines and restarts it, and the words in which it tells systemd how it is. What those words are is up to the
// daemon; that they are true is a promise: ready when it answers, alive as long as it answers.
package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Manager is the service manager that has started this process and wants to be told how it is, as sd_notify(3) has it.
// A nil Manager is none: nothing is told to it. Its methods may be called by several goroutines. They return an error if
// the manager could not be told, which is no reason to end.
type Manager struct {
	socket   string
	watchdog time.Duration
}

const (
	tellTimeout   = 2 * time.Second // for a manager that does not read
	maxStatusSize = 1000            // bytes; systemd reads 4096 of a message
	maxWatchdog   = 24 * time.Hour
)

// FromEnvironment returns the manager that the environment names, nil if it names none, and takes what names it out of
// the environment: the children of this process have nothing to tell. A watchdog that is meant for another process, or
// whose time cannot be read, is none.
func FromEnvironment() *Manager {
	socket := os.Getenv("NOTIFY_SOCKET")
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	if socket == "" {
		return nil
	}
	m := &Manager{socket: socket}
	n, err := strconv.ParseInt(usec, 10, 64)
	if mine := pid == "" || pid == strconv.Itoa(os.Getpid()); mine && err == nil && n > 0 && n <= maxWatchdog.Microseconds() {
		m.watchdog = time.Duration(n) * time.Microsecond
	}
	return m
}

// Watchdog is the time within which the manager wants to hear Alive again and again; 0 if it does not care.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready tells that the daemon has started, or has done what Reloading was about; and its status, if that is not "".
func (m *Manager) Ready(status string) error {
	if status == "" {
		return m.tell("READY=1")
	}
	return m.tell("READY=1", statusField(status))
}

// Status tells how the daemon is, in a line for people.
func (m *Manager) Status(status string) error { return m.tell(statusField(status)) }

// Alive tells that the daemon works.
func (m *Manager) Alive() error { return m.tell("WATCHDOG=1") }

// Stopping tells that the daemon is about to end.
func (m *Manager) Stopping() error { return m.tell("STOPPING=1") }

// Reloading tells that the daemon reads its configuration. Ready follows, whatever comes of it.
func (m *Manager) Reloading() error {
	now, err := monotonic()
	if err != nil { // this system has no manager that would want it
		return m.tell("RELOADING=1")
	}
	return m.tell("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Microseconds(), 10))
}

// statusField makes one line of a status.
func statusField(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxStatusSize {
		text = strings.ToValidUTF8(text[:maxStatusSize], "")
	}
	return "STATUS=" + text
}

// tell sends one message. It dials each time, as sd_notify does: the manager may have been replaced meanwhile.
func (m *Manager) tell(fields ...string) error {
	if m == nil {
		return nil
	}
	if m.socket[0] != '/' && m.socket[0] != '@' {
		return fmt.Errorf("tell the service manager at NOTIFY_SOCKET=%q: want a path from the root, or an abstract name after @", m.socket)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	err = conn.SetWriteDeadline(time.Now().Add(tellTimeout))
	if err == nil {
		_, err = conn.Write([]byte(strings.Join(fields, "\n")))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
