package node

import (
	"slices"
	"strings"
	"testing"

	"resonate/members"
)

func TestParseLogin(t *testing.T) {
	for addr, want := range map[string]login{
		"ssh://host/a/b":                  {"", "host", "", "/a/b"},
		"ssh://me@host.example:222/~/dir": {"me", "host.example", "222", "dir"},
		"ssh://[fe80::1]/it's here":       {"", "fe80::1", "", "/it's here"},
	} {
		if got, err := parseLogin(addr); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", addr, got, err, want)
		}
	}
	for _, addr := range []string{
		"ssh://", "ssh://host", "ssh://host/", "ssh:///dir", "ssh://-oProxyCommand=x/dir", "ssh://-x@host/dir", "ssh://me:secret@host/dir",
		"ssh://host/dir?x", "ssh://host/dir#x", "ssh://host/%00", "ssh://ho st/dir", "ssh://host:port/dir",
	} {
		if got, err := parseLogin(addr); err == nil || !strings.Contains(err.Error(), "peer address") {
			t.Errorf("%s: got %+v, %v, want an error that names it", addr, got, err)
		}
	}
}

func TestLoginCommand(t *testing.T) {
	l, err := parseLogin("ssh://me@host:222/it's here")
	if err != nil {
		t.Fatal(err)
	}
	got := l.command()
	want := []string{"-p", "222", "-l", "me", "--", "host", `exec resonate serve -stdio -dir '/it'\''s here'`}
	if !slices.Equal(got[len(got)-len(want):], want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
}

// TestMeet has another node answer at an address than before.
func TestMeet(t *testing.T) {
	a, b, c := newMachine(t, "a", nil), newMachine(t, "b", nil), newMachine(t, "c", nil)
	const addr = "ssh://host/dir"
	for range 2 {
		if err := a.meet(t.Context(), addr, b.replica.Members().Key()); err != nil {
			t.Fatal(err)
		}
		a.end() // it is remembered
		a.start()
	}
	if err := a.meet(t.Context(), addr, c.replica.Members().Key()); err == nil || !strings.Contains(err.Error(), "another node") {
		t.Errorf("got %v, want a refusal", err)
	}
	if !a.replica.Members().Is(b.replica.Members().Key()) || a.replica.Members().Is(c.replica.Members().Key()) {
		t.Error("want the first a member, and nobody else")
	}
}

// FuzzGreeting hears what may stand before a connection.
func FuzzGreeting(f *testing.F) {
	key := members.Key{1, 2, 3}
	f.Add(greeting(authorized(key)))
	f.Add("Welcome to host\n" + greeting(authorized(key)))
	f.Add(greetingWord + strings.Repeat("x", 2*maxGreeting) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		key, rest, err := hearGreeting(strings.NewReader(text))
		if err == nil && (rest == nil || key.ID().IsZero()) {
			t.Errorf("%q: got %v without an error", text, key)
		}
	})
}
