package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A host is a network namespace of its own, whose only way out is a TUN device: what its programs send can be read from there, and
// what is written there they receive. TCP in it is the system's own, with its windows and its slow start, so that it meets the delay
// of the link as it would meet that of a real one.
type host struct {
	address string
	device  *os.File
	calls   chan func() // run on the one thread that is in the namespace
}

// Both devices hand over TCP as the systems have it before it is cut into segments (virtio's header tells how it is to be cut), or
// else the copying of small packets would be all that is measured.
const (
	offloadHeader = 10 // bytes: struct virtio_net_hdr
	offloadCSum   = 1  // TUN_F_CSUM
	offloadTSO4   = 2  // TUN_F_TSO4
)

const (
	deviceName = "far0"
	netmask    = "\xff\xff\xff\x00"
)

// newHost makes a host with an address. Its thread, and so the namespace, stays until the program ends.
func newHost(address [4]byte) (*host, error) {
	h := &host{address: fmt.Sprintf("%d.%d.%d.%d", address[0], address[1], address[2], address[3]), calls: make(chan func())}
	made := make(chan error)
	go func() { // its thread is in another network: it ends with the program
		runtime.LockOSThread()
		err := h.enter(address)
		made <- err
		if err != nil {
			return
		}
		for call := range h.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a network of its own: %w (this needs root, and /dev/net/tun)", err)
	}
	return h, nil
}

// in runs f in the network of the host. What it makes there (sockets, processes) stays there.
func (h *host) in(f func() error) error {
	result := make(chan error)
	h.calls <- func() { result <- f() }
	return <-result
}

func (h *host) enter(address [4]byte) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := setUp(fd, address); err != nil {
		unix.Close(fd)
		return err
	}
	h.device = os.NewFile(uintptr(fd), deviceName)
	return nil
}

// setUp makes the device that fd stands for from here on, gives it the address, and raises it: netdevice(7).
func setUp(fd int, address [4]byte) error {
	request, err := unix.NewIfreq(deviceName)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make a TUN device: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadCSum|offloadTSO4); err != nil {
		return fmt.Errorf("have segments cut later: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	for _, name := range []string{"lo", deviceName} {
		if err := raise(socket, name, address); err != nil {
			return fmt.Errorf("raise %s: %w", name, err)
		}
	}
	return nil
}

func raise(socket int, name string, address [4]byte) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if name == deviceName {
		for _, set := range []struct {
			request uint
			address []byte
		}{{unix.SIOCSIFADDR, address[:]}, {unix.SIOCSIFNETMASK, []byte(netmask)}} {
			if err := request.SetInet4Addr(set.address); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(socket, set.request, request); err != nil {
				return err
			}
		}
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// congestionControl chooses how TCP of the host finds out how fast it may send, if a name is given, and returns what it is: tcp(7).
func (h *host) congestionControl(name string) (string, error) {
	const setting = "/proc/sys/net/ipv4/tcp_congestion_control"
	var text []byte
	err := h.in(func() (err error) {
		if name != "" {
			if err = os.WriteFile(setting, []byte(name), 0o644); err != nil {
				return err
			}
		}
		text, err = os.ReadFile(setting)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("congestion control %q: %w", name, err)
	}
	return strings.TrimSpace(string(text)), nil
}
