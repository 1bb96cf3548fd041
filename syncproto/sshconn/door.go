package sshconn

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxHandshakes  = 32 // in all
	maxOfOneSource = 8
	newRate        = 5 // connections a second from one source, after a burst
	newBurst       = 20
	maxSources     = 1024
	sourcesLooked  = 8
	leastStay      = 100 * time.Millisecond // of one of this machine, before another one may displace it
)

// door bounds the connections that have not authenticated yet: in number, and for
// each source in number and rate.
//
// When there are too many, one that is inside goes and the newcomer stays: of the
// source that has the most, the one that has come least far with its handshake; of
// these the oldest. So a flood from one address displaces itself alone, and one of
// silent or slow connections, whatever their number, never a peer that is at its
// handshake: that has come further within a round trip. To refuse the newcomer
// instead would leave the door to whoever holds it; to drop one at random
// (MaxStartups of OpenSSH) loses peers in proportion to the flood.
//
// The loopback interface, from which all daemons of a machine come, has no limits
// of its own, only the one in all. There, newcomers wait for a moment, in the
// kernel's queue, rather than displace one that has just come in: whoever gets its
// turn has the time for a handshake, and with 300 others before it, it gets it
// within a second.
type door struct {
	mu      sync.Mutex
	inside  []*guest // in the order in which they came
	sources map[netip.Prefix]*rate.Limiter
}

// guest is a connection in its handshake.
type guest struct {
	wire      *wire
	source    netip.Prefix
	uncounted bool // it came by another door
	came      time.Time
	evict     context.CancelFunc // closes the connection
}

// progress tells how far a guest has come, coarsely: its version, whatever that
// is, is one step beyond silence, and the key exchange is more.
func (g *guest) progress() int64 { return (g.wire.heard() + 255) / 256 }

// loopback is the source of all that comes from this machine.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

// sourceOf gives what counts as one source: an IPv4 address, or the 64 bits of an
// IPv6 address that name a network, in which a host can have any address; on a
// link, where all hosts have the same network, the whole address.
func sourceOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.IsLoopback() {
		return loopback
	}
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsLinkLocalUnicast() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // fails for no address alone
	return p
}

// admission is what becomes of a guest.
type admission struct {
	refused bool          // its source comes too often
	wait    time.Duration // 0: it is in; else it is to ask again after that
	crowded bool          // somebody was let out for it
}

// enter lets a guest in, and another one out where there are too many.
func (d *door) enter(g *guest, now time.Time) (a admission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	limited := g.source != loopback
	if limited && !d.limiter(g.source).AllowN(now, 1) {
		return admission{refused: true}
	}
	g.came = now
	d.inside = append(d.inside, g)
	ofOne := limited && d.count(g.source) > maxOfOneSource
	if !ofOne && len(d.inside) <= maxHandshakes {
		return admission{}
	}
	out := d.victim(ofOne, now)
	if stayed := now.Sub(out.came); g.source == loopback && out.source == loopback && stayed < leastStay {
		d.remove(g)
		return admission{wait: leastStay - stayed}
	}
	out.evict()
	d.remove(out)
	return admission{crowded: true}
}

// leave tells that a guest is done with its handshake; false: it was let out.
func (d *door) leave(g *guest) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return g.uncounted || d.remove(g)
}

func (d *door) remove(g *guest) bool {
	n := len(d.inside)
	d.inside = slices.DeleteFunc(d.inside, func(o *guest) bool { return o == g })
	return len(d.inside) < n
}

func (d *door) count(source netip.Prefix) int {
	n := 0
	for _, g := range d.inside {
		if g.source == source {
			n++
		}
	}
	return n
}

// victim chooses who is let out, among those before the last, which has just come:
// of its source, or of whichever has the most. Whoever had the time for a
// handshake goes first; if nobody had, the oldest.
func (d *door) victim(ofItsSource bool, now time.Time) *guest {
	last := d.inside[len(d.inside)-1]
	most := 0
	for _, g := range d.inside {
		most = max(most, d.count(g.source))
	}
	candidates := slices.DeleteFunc(slices.Clone(d.inside[:len(d.inside)-1]), func(g *guest) bool {
		if ofItsSource {
			return g.source != last.source
		}
		return d.count(g.source) < most
	})
	out := candidates[0]
	for _, g := range candidates[1:] {
		if now.Sub(g.came) >= leastStay && g.progress() < out.progress() {
			out = g
		}
	}
	return out
}

// limiter gives the token bucket of a source. Where there are too many sources one
// is forgotten, of a few at random that which is least in want of it: the buckets
// are for the many connections of few, the number of all is bounded anyway.
func (d *door) limiter(source netip.Prefix) *rate.Limiter {
	if l := d.sources[source]; l != nil {
		return l
	}
	if d.sources == nil {
		d.sources = make(map[netip.Prefix]*rate.Limiter)
	}
	if len(d.sources) >= maxSources {
		var fullest netip.Prefix
		most, looked := -1.0, 0
		for s, l := range d.sources { // in random order, says the language
			if tokens := l.Tokens(); tokens > most {
				fullest, most = s, tokens
			}
			if looked++; looked == sourcesLooked {
				break
			}
		}
		delete(d.sources, fullest)
	}
	l := rate.NewLimiter(newRate, newBurst)
	d.sources[source] = l
	return l
}
