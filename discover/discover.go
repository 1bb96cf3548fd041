// Package discover finds members on the local network by multicast DNS (RFC 6762 and 6763), and lets them find this node.
//
// What is announced is a service of the type _resonate._tcp whose instance and host have one random name, the tag, and the
// address and port at which this node listens: no name of a machine, a user, a folder or a node. A tag is a nonce and what
// a keyed hash makes of it, with the announcer's public key as the key. So who has a member's key knows the member by its tag, and to
// everybody else it is a random number, another one each hour, at each start, and when the machine's addresses change.
//
// A tag proves nothing, as whoever hears it can say it again with an address of its own. So what is found is only where to
// try: few addresses for a member, all of them on a network that this machine is on, forgotten when they are not heard again. Who
// dials them checks the key of who answers.
package discover

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/mdns/v2"
)

const (
	service  = "_resonate._tcp"
	interval = 10 * time.Second // between two searches
	window   = 3 * time.Second  // how long one search takes: what the library keeps of it, it keeps for that long
	tagAge   = time.Hour
	maxQueue = 64 // answers that wait to be looked at; more are dropped, and come again
)

// A Key is a node's public Ed25519 key.
type Key [32]byte

// Config says who is announced, and who is looked for. All but Log must be set. The functions are called by Run's own
// goroutine.
type Config struct {
	Own    Key
	At     func() []netip.AddrPort // where this node listens; nothing is announced while that is on loopback alone
	Wanted func() []Key            // who is looked for; nobody: nothing is asked
	Found  func(map[Key][]string)  // told after each search: HOST:PORT of those that were heard lately
	Log    *slog.Logger
}

// Run announces and searches until ctx ends, which is no error. Without a network that can be searched it waits for one.
func Run(ctx context.Context, c Config) error {
	s := searcher{Config: c, seen: make(sightings)}
	defer s.close()
	for {
		s.renew(time.Now())
		if wanted := c.Wanted(); s.conn != nil && len(wanted) > 0 {
			s.search(ctx, wanted)
		}
		s.seen.expire(time.Now())
		c.Found(s.seen.addresses())
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// A searcher is the state of Run.
type searcher struct {
	Config
	conn     *mdns.Conn // nil: not on any network
	where    place
	tagUntil time.Time
	seen     sightings
	problem  string // as logged last
}

// renew begins anew, with another tag, when the network is another one, or the tag has been used for long enough.
func (s *searcher) renew(now time.Time) {
	where := lookAround(s.At())
	if s.conn != nil && where.equal(s.where) && now.Before(s.tagUntil) {
		return
	}
	s.close()
	s.where, s.tagUntil = where, now.Add(tagAge)
	if len(where.links) == 0 {
		return
	}
	var err error
	if s.conn, err = where.open(newTag(s.Own)); err == nil {
		s.problem = ""
		return
	}
	if err.Error() != s.problem {
		s.problem = err.Error()
		s.Log.Warn("members cannot be looked for on the local network; trying again", "cause", err)
	}
}

func (s *searcher) close() {
	if s.conn == nil {
		return
	}
	if err := s.conn.Close(); err != nil {
		s.Log.Debug("end the search of the local network", "err", err)
	}
	s.conn = nil
}

// search asks who is there, for as long as the window, and notes which of the wanted answer.
func (s *searcher) search(ctx context.Context, wanted []Key) {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	answers := make(chan mdns.ServiceEvent, maxQueue)
	s.conn.OnServiceDiscovered(func(e mdns.ServiceEvent) {
		select {
		case answers <- e:
		default:
		}
	})
	if err := s.conn.Browse(ctx, service); err != nil {
		s.Log.Debug("search the local network", "err", err)
		return
	}
	for {
		select {
		case e := <-answers:
			s.hear(e, wanted, time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// hear notes an answer, if it can be one of a wanted member on a network of this machine.
func (s *searcher) hear(e mdns.ServiceEvent, wanted []Key, now time.Time) {
	at := netip.AddrPortFrom(e.Addr.Unmap(), e.Instance.Port)
	if e.Instance.Service != service || at.Port() == 0 || !s.where.near(at.Addr()) {
		return
	}
	i := slices.IndexFunc(wanted, func(k Key) bool { return k.made(e.Instance.Instance) })
	if i >= 0 && s.seen.note(wanted[i], at, now) {
		s.Log.Debug("found what may be a member on the local network", "addr", at.String())
		s.Found(s.seen.addresses())
	}
}

// open makes the sockets for multicast DNS on all links of the place, and announces the tag if there is something to announce.
func (p place) open(tag string) (*mdns.Conn, error) {
	v4, v6, err := multicastSockets()
	if err != nil {
		return nil, err
	}
	options := []mdns.ServerOption{mdns.WithInterfaces(p.interfaces()...), mdns.WithLoggerFactory(silence), mdns.WithCacheRefresh(false)}
	if p.port != 0 {
		options = append(options, mdns.WithLocalNames(tag+".local"), mdns.WithService(mdns.ServiceInstance{Instance: tag, Service: service, Port: p.port}))
	}
	if p.only.IsValid() {
		options = append(options, mdns.WithLocalAddress(p.only.AsSlice()))
	}
	conn, err := mdns.NewServer(v4.packets4(), v6.packets6(), options...)
	if err != nil {
		v4.close()
		v6.close()
		return nil, fmt.Errorf("speak multicast DNS: %w", err)
	}
	return conn, nil
}
