package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"resonate/control"
	"resonate/node"
)

const day = 24 * time.Hour

// duration is a flag's value: Go's own syntax and days before it, as in 7d, 1.5d or 1d12h.
type duration time.Duration

func (d *duration) String() string { return formatDuration(time.Duration(*d)) }

func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	if err == nil && v < 0 {
		err = errors.New("it is negative")
	}
	*d = duration(v)
	return err
}

func parseDuration(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || n < 0 || n > math.MaxInt64/float64(day)/2 {
		return 0, errors.New("want a duration such as 90s, 2h30m or 7d")
	}
	total := time.Duration(n * float64(day))
	if found && rest == "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, errors.New("want a duration such as 90s, 2h30m or 7d")
	}
	return total + d, nil
}

// formatDuration writes d as a flag takes it, without the zeros of Go's own form.
func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// sessionLength is a flag's value: how long a node may be silent until it loses its locks. Less than the least would lose them at each
// hiccup of a network, or of a busy machine; with more than the most, those of a machine that crashed would seem to stick.
type sessionLength duration

const (
	leastSession = 5 * time.Second
	mostSession  = 10 * time.Minute
)

func (l *sessionLength) String() string { return (*duration)(l).String() }

func (l *sessionLength) Set(s string) error {
	d, err := parseDuration(s)
	if err == nil && (d < leastSession || d > mostSession) {
		err = fmt.Errorf("want from %s to %s, such as 30s", formatDuration(leastSession), formatDuration(mostSession))
	}
	*l = sessionLength(d)
	return err
}

// size is a flag's value in bytes: a number and, perhaps, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB.
type size int64

var units = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"", 1},
}

// String writes the size in the greatest unit in which it is whole, so that it is read back as it was.
func (s *size) String() string {
	best := strconv.FormatInt(int64(*s), 10)
	most := 1.0
	for _, u := range units {
		if n := float64(*s) / u.bytes; n >= 1 && n == math.Trunc(n) && u.bytes > most && n*u.bytes < 1<<53 {
			best, most = strconv.FormatFloat(n, 'f', -1, 64)+u.name, u.bytes
		}
	}
	return best
}

func (s *size) Set(text string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || n < 0 || n*u.bytes >= math.MaxInt64 {
			break
		}
		*s = size(n * u.bytes)
		return nil
	}
	return errors.New("want a size such as 500MB or 10GiB")
}

// burst is a flag's value, FILES/SHARE%: a change that deletes or rewrites more than that many files, and more
// than that share of the folder, is held. "off": none is.
type burst struct {
	files int
	share float64 // 0 to 1
	off   bool
}

func (b *burst) String() string {
	if b.off {
		return "off"
	}
	return fmt.Sprintf("%d/%s%%", b.files, strconv.FormatFloat(b.share*100, 'f', -1, 64))
}

func (b *burst) Set(s string) error {
	if s == "off" {
		*b = burst{off: true}
		return nil
	}
	files, share, ok := strings.Cut(s, "/")
	percent, isPercent := strings.CutSuffix(share, "%")
	n, err := strconv.Atoi(files)
	p, err2 := strconv.ParseFloat(percent, 64)
	if !ok || !isPercent || err != nil || err2 != nil || n < 0 || !(p >= 0 && p <= 100) {
		return errors.New("want FILES/SHARE%, such as 100/50%, or off")
	}
	*b = burst{files: n, share: p / 100}
	return nil
}

// tcpPort is a flag's value.
type tcpPort int

func (p *tcpPort) String() string { return strconv.Itoa(int(*p)) }

func (p *tcpPort) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 65535 {
		return errors.New("want a number from 0 to 65535")
	}
	*p = tcpPort(n)
	return nil
}

// hostAddress is a flag's value: an address of this machine, or a name of it, without brackets.
type hostAddress string

// listenAuto has the node listen where the machines are that it knows: on loopback, or on all addresses.
const listenAuto = "auto"

// host is the address; "" leaves it to the node.
func (a hostAddress) host() string {
	if a == listenAuto {
		return ""
	}
	return string(a)
}

func (a *hostAddress) String() string { return string(*a) }

func (a *hostAddress) Set(s string) error {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if host, port, err := net.SplitHostPort(s); err == nil && net.ParseIP(s) == nil {
		return fmt.Errorf("the port has a flag of its own; want -listen %s -port %s", host, port)
	}
	if s == "" || strings.ContainsAny(s, "/ \t") {
		return errors.New("want an address, such as 127.0.0.1, or 0.0.0.0 for all")
	}
	*a = hostAddress(s)
	return nil
}

// scriptAddress is a flag's value: HOST:PORT on which scripts are served, loopback only.
type scriptAddress string

func (a *scriptAddress) String() string { return string(*a) }

func (a *scriptAddress) Set(s string) error {
	*a = scriptAddress(s)
	return control.CheckLoopback(s)
}

// addresses is a flag's value that may be given several times, or several of them with commas between.
type addresses []string

func (a *addresses) String() string { return strings.Join(*a, ",") }

func (a *addresses) Set(s string) error {
	for _, one := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		check := checkAddress
		if node.IsLogin(one) {
			check = node.CheckLogin
		}
		if err := check(one); err != nil {
			return err
		}
		*a = append(*a, one)
	}
	return nil
}

// checkAddress tells what is wrong with a peer's address.
func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	switch {
	case err != nil && !strings.Contains(s, ":"):
		return fmt.Errorf("the port is missing; want HOST:PORT, such as %s:%d", s, defaultPort)
	case err != nil:
		return errors.New("want HOST:PORT, with an IPv6 host in brackets, such as [::1]:7373")
	case host == "":
		return errors.New("the host is missing; want HOST:PORT, such as localhost:7373")
	case strings.ContainsAny(host, "@/ \t"):
		return errors.New("want HOST:PORT, a plain host name or IP address before the port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}
