package discover

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/mdns/v2"
	"go.uber.org/goleak"
)

var (
	alice = Key{1}
	bob   = Key{2}
	home  = place{port: 7373, links: []link{{
		dev: net.Interface{Index: 2, Name: "eth0"},
		prefixes: []netip.Prefix{
			netip.MustParsePrefix("192.168.1.20/24"), netip.MustParsePrefix("fd99::1/64"), netip.MustParsePrefix("fe80::1/64"),
		},
	}}}
)

func TestTag(t *testing.T) {
	tag := newTag(alice)
	if again := newTag(alice); again == tag {
		t.Errorf("two tags are the same: %s", tag)
	}
	if want := "a-z2-7"; strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz234567") != "" || len(tag) != 26 {
		t.Errorf("tag %q, want 26 of %s", tag, want)
	}
	if !alice.made(tag) || !alice.made(strings.ToUpper(tag)) {
		t.Errorf("tag %s is not known as its maker's", tag)
	}
	if bob.made(tag) {
		t.Errorf("tag %s is taken for another's", tag)
	}
	flipped := []byte(tag)
	flipped[3] = 'a' + (flipped[3]-'a'+1)%26
	for _, wrong := range []string{"", tag[1:], tag + "a", string(flipped), strings.Repeat("1", 26)} {
		if alice.made(wrong) {
			t.Errorf("%q is taken for a tag", wrong)
		}
	}
}

// What a tag holds cannot be found in it: neither the key nor what is derived from it elsewhere.
func TestTagsOfAKeyHaveNothingInCommon(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		tag := newTag(alice)
		if seen[tag[:8]] || seen[tag[18:]] {
			t.Fatalf("tag %s shares a part with another one", tag)
		}
		seen[tag[:8]], seen[tag[18:]] = true, true
	}
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"192.168.1.31", true},
		{"192.168.1.20", false}, // this machine
		{"192.168.2.31", false}, // further away
		{"127.0.0.1", false},
		{"0.0.0.0", false},
		{"224.0.0.251", false},
		{"8.8.8.8", false},
		{"fd99::2", true},
		{"fd99::1", false},
		{"fd98::2", false},
		{"fe80::2%eth0", true},
		{"fe80::2%eth1", false},
		{"fe80::2", false}, // on which link?
		{"::1", false},
		{"ff02::fb", false},
	} {
		if got := home.near(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("near(%s): got %v, want %v", c.addr, got, c.want)
		}
	}
}

// newSearcher is at home, and tells what is found.
func newSearcher() (*searcher, *map[Key][]string) {
	found := new(map[Key][]string)
	return &searcher{
		Config: Config{Own: bob, Log: slog.New(slog.DiscardHandler), Found: func(f map[Key][]string) { *found = f }},
		where:  home, seen: make(sightings),
	}, found
}

func answer(tag, addr string) mdns.ServiceEvent {
	at := netip.MustParseAddrPort(addr)
	return mdns.ServiceEvent{Addr: at.Addr(), Instance: mdns.ServiceInstance{Instance: tag, Service: service, Port: at.Port()}}
}

func TestHear(t *testing.T) {
	s, found := newSearcher()
	now := time.Now()
	tag := newTag(alice)
	wanted := []Key{{9}, alice}
	other := answer(tag, "192.168.1.31:7373")
	other.Instance.Service = "_ipp._tcp"
	for _, e := range []mdns.ServiceEvent{
		answer(newTag(Key{7}), "192.168.1.31:7373"), // a stranger's
		answer(newTag(bob), "192.168.1.31:7373"),    // one's own
		answer(tag, "192.168.1.31:0"),
		answer(tag, "192.168.9.31:7373"),
		{Instance: mdns.ServiceInstance{Instance: tag, Service: service, Port: 7373}}, // no address
		other,
	} {
		s.hear(e, wanted, now)
	}
	if len(*found) != 0 {
		t.Errorf("found %v, want nobody", *found)
	}
	s.hear(answer(tag, "192.168.1.31:7373"), wanted, now)
	s.hear(answer(tag, "[::ffff:192.168.1.31]:7373"), wanted, now)
	if got, want := (*found)[alice], []string{"192.168.1.31:7373"}; len(*found) != 1 || !slices.Equal(got, want) {
		t.Errorf("found %v, want alice at %v", *found, want)
	}
}

// Who says a member's tag again, with addresses of its own, gets few of them dialled, and not others as long as these are said.
func TestHostileAnnouncer(t *testing.T) {
	s, found := newSearcher()
	now, tag := time.Now(), newTag(alice)
	s.hear(answer(tag, "192.168.1.31:7373"), []Key{alice}, now)
	tried := make(map[string]bool)
	for i := range 10000 {
		now = now.Add(100 * time.Millisecond)
		s.hear(answer(tag, "192.168.1.31:7373"), []Key{alice}, now)
		s.hear(answer(tag, fmt.Sprintf("192.168.1.%d:%d", 100+i%100, 1000+i)), []Key{alice}, now)
		s.seen.expire(now)
		list := s.seen.addresses()[alice]
		if len(list) > maxSightings || len(*found) > 1 {
			t.Fatalf("%d addresses of %d nodes are dialled, want at most %d of 1", len(list), len(*found), maxSightings)
		}
		if !slices.Contains(list, "192.168.1.31:7373") {
			t.Fatalf("the true address is not among %v", list)
		}
		for _, addr := range list {
			tried[addr] = true
		}
	}
	// 1,000 s are eight times two minutes and some.
	if most := maxSightings * 9; len(tried) > most {
		t.Errorf("%d addresses were dialled in 1,000 s, want at most %d", len(tried), most)
	}
	s.seen.expire(now.Add(heardLately + time.Second))
	if len(s.seen) != 0 {
		t.Errorf("still known after %v: %v", heardLately, s.seen)
	}
}

func TestRunEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := Run(ctx, Config{
		Own: alice, Log: slog.New(slog.DiscardHandler),
		At:     func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7373")} },
		Wanted: func() []Key { time.AfterFunc(50*time.Millisecond, cancel); return []Key{bob} },
		Found:  func(map[Key][]string) { cancel() },
	})
	if err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// A node on loopback announces nothing, and one on an address only that.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		at, only string
		port     uint16
	}{
		{"127.0.0.1:7373", "", 0},
		{"[::1]:7373", "", 0},
		{"0.0.0.0:7373", "", 7373},
		{"[::]:7373", "", 7373},
		{"192.0.2.1:7373", "192.0.2.1", 7373},
	} {
		p := lookAround([]netip.AddrPort{netip.MustParseAddrPort(c.at)})
		only := ""
		if p.only.IsValid() {
			only = p.only.String()
		}
		if p.port != c.port || only != c.only {
			t.Errorf("at %s: got port %d, only %q; want %d, %q", c.at, p.port, only, c.port, c.only)
		}
		if c.only != "" && len(p.links) != 0 {
			t.Errorf("at %s, which this machine has not: got links %v, want none", c.at, p.links)
		}
	}
}

// FuzzHear takes answers as a hostile announcer would have them: only who made the tag is found, and only near by.
func FuzzHear(f *testing.F) {
	f.Add(newTag(alice), []byte{192, 168, 1, 31}, uint16(7373))
	f.Add(newTag(bob), []byte{8, 8, 8, 8}, uint16(0))
	f.Add(`a\.b`, make([]byte, 16), uint16(1))
	f.Fuzz(func(t *testing.T, tag string, ip []byte, port uint16) {
		s, found := newSearcher()
		addr, _ := netip.AddrFromSlice(ip)
		s.hear(mdns.ServiceEvent{Addr: addr, Instance: mdns.ServiceInstance{Instance: tag, Service: service, Port: port}}, []Key{alice}, time.Now())
		for key, list := range *found {
			if key != alice || !alice.made(tag) || len(list) != 1 || !home.near(addr.Unmap()) || port == 0 {
				t.Errorf("tag %q at %v:%d: found %v", tag, addr, port, *found)
			}
		}
	})
}
