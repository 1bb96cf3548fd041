package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 10 s", what)
		}
	}
}

// TestSlowListener has one listener hear nothing for a while: who tells events does not wait, others lose nothing, and it is told
// in its place how many it has lost.
func TestSlowListener(t *testing.T) {
	var f Feed
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	slow, quick := make(chan Event), make(chan Event, 4*maxUnheard)
	done := make(chan error, 2)
	for _, c := range []chan Event{slow, quick} {
		go func() {
			done <- f.Listen(ctx, func(e Event) error {
				select {
				case c <- e:
				case <-ctx.Done():
				}
				return nil
			})
		}()
	}
	for _, c := range []chan Event{slow, quick} {
		if e := <-c; e.Kind != EventListening {
			t.Errorf("first event: got %q, want %q", e.Kind, EventListening)
		}
	}
	const more = 10
	f.Tell(Event{Kind: "first"}) // the slow one has it in hand
	until(t, "the slow one is busy", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for l := range f.listeners {
			if len(l.events) > 0 {
				return false
			}
		}
		return true
	})
	for i := range maxUnheard + more {
		f.Tell(Event{Kind: "many", Count: uint64(i)})
		if i%100 == 0 {
			until(t, "the quick one keeps up", func() bool { return len(quick) >= i })
		}
	}
	next := func(c chan Event) Event { return <-c }
	if e := next(slow); e.Kind != "first" {
		t.Errorf("got %q, want the first", e.Kind)
	}
	for i := range maxUnheard {
		if e := next(slow); e.Count != uint64(i) {
			t.Fatalf("event %d: got %d", i, e.Count)
		}
	}
	if e := next(slow); e.Kind != EventLost || e.Count != more {
		t.Errorf("got %q of %d, want %q of %d", e.Kind, e.Count, EventLost, more)
	}
	f.Tell(Event{Kind: "last"})
	if e := next(slow); e.Kind != "last" {
		t.Errorf("got %q, want the last", e.Kind)
	}
	until(t, "the quick one has all", func() bool { return len(quick) == 1+maxUnheard+more+1 })
	cancel(enough)
	for range 2 {
		if err := <-done; !errors.Is(err, enough) {
			t.Errorf("got %v, want %v", err, enough)
		}
	}
	if f.Heard() {
		t.Error("nobody listens any more, and it says that somebody does")
	}
}

func TestListenersAreBounded(t *testing.T) {
	var f Feed
	ctx, cancel := context.WithCancel(context.Background())
	done, begun := make(chan error), make(chan struct{})
	for range maxListeners {
		go func() {
			done <- f.Listen(ctx, func(Event) error { begun <- struct{}{}; return nil })
		}()
		<-begun
	}
	if err := f.Listen(ctx, func(Event) error { return nil }); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: got %v, want %v", err, ErrBusy)
	}
	cancel()
	for range maxListeners {
		<-done
	}
}

// fullEvent has something in every field, and names that JSON cannot carry.
func fullEvent() Event {
	at := time.Date(2026, 11, 2, 3, 4, 5, 678, time.UTC)
	return Event{
		Time: at, Kind: "applied", Path: "a\xff", What: "file", Hash: "0102", From: "b\xfe", Copy: "c\xfd", Count: 3,
		Peer: &NodeName{"p", "nas"}, Author: &NodeName{"q", ""}, Stamp: 4, Claim: "never made", Token: "1.2", Name: "n\xfc", Mode: "shared",
		Cause: "why <so>", Until: &at,
	}
}

func TestEventsCrossTheSocket(t *testing.T) {
	f := &fake{}
	c := start(t, socketName(t), f)
	want := fullEvent()
	var got []Event
	enough := errors.New("enough")
	err := c.Events(t.Context(), func(e Event) error {
		if got = append(got, e); len(got) == 1 {
			f.feed.Tell(want)
			return nil
		}
		return enough
	})
	if !errors.Is(err, enough) || len(got) != 2 || got[0].Kind != EventListening || !reflect.DeepEqual(got[1], want) {
		t.Errorf("got %+v, %v\nwant %+v after the first", got, err, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err = c.Events(ctx, func(Event) error { cancel(enough); return nil })
	if !errors.Is(err, enough) {
		t.Errorf("events whose context ends: got %v, want %v", err, enough)
	}
	f.err = ErrBusy
	if err := c.Events(t.Context(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("too many: got %v, want %v", err, ErrBusy)
	}
	f.err = nil
	if p, err := c.Audit(t.Context()); err != nil || p != (AuditPlace{"/state", 2, "full"}) {
		t.Errorf("Audit: got %+v, %v", p, err)
	}
}

func TestEventsEndWithTheDaemon(t *testing.T) {
	ln, err := Listen(socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, &fake{}, nil, nil, nil, quiet()) }()
	c, err := Dial(t.Context(), ln.(*socketListener).path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Events(t.Context(), func(Event) error { cancel(); return nil }); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("got %v, want %v", err, ErrNoDaemon)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestServerSentEvents(t *testing.T) {
	f, socket := &fake{}, socketName(t)
	start(t, socket, f)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://resonate"+routeEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type: got %q", got)
	}
	in := bufio.NewReader(resp.Body)
	block := func() (out []string) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			if line == "\n" {
				return out
			}
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	if got := block(); len(got) != 2 || got[0] != "event: listening" {
		t.Errorf("got %q, want that it listens", got)
	}
	want := fullEvent()
	f.feed.Tell(want)
	got := block()
	if len(got) != 2 || got[0] != "event: applied" {
		t.Fatalf("got %q, want an event and its data", got)
	}
	var e Event
	data, ok := strings.CutPrefix(got[1], "data: ")
	if err := json.Unmarshal([]byte(data), &e); !ok || err != nil || !reflect.DeepEqual(e, want) {
		t.Errorf("got %q, %v, want %+v", got[1], err, want)
	}
	cancel()
	io.Copy(io.Discard, resp.Body)
}

func TestAuditedAsJSON(t *testing.T) {
	b, err := json.Marshal(Audited{Event: fullEvent(), Number: 7, Chain: "abc", Broken: true})
	for _, want := range []string{`{"number":7,"time":`, `"path_base64":"Yf8="`, `"from_base64":`, `"copy_base64":`, `"name_base64":`, `"chain":"abc","broken":true}`} {
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("got %s, %v, want %s in it", b, err, want)
		}
	}
}
