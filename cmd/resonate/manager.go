package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"resonate/control"
	"resonate/service"
)

const (
	// tellEvery is how often the service manager is told what has changed, at most.
	tellEvery = time.Second
	// answerWithin bounds how long the daemon may take to answer when there is no watchdog.
	answerWithin = 30 * time.Second
	// statusWidth is the length of the line that the service manager is told, in characters.
	statusWidth = 200
)

// A told is what the service manager is told of this daemon, if there is one.
type told struct {
	manager  *service.Manager // nil: none
	log      *slog.Logger
	last     string                 // status
	alive    time.Time              // when it was told that the daemon is
	ready    atomic.Bool            // the manager knows that the daemon is
	starting sync.Mutex             // held while the manager is told that the daemon is ready
	note     atomic.Pointer[string] // what comes after the state; nil: nothing
	failed   atomic.Bool            // the log has it that the manager cannot be told
}

// An answer is what the daemon has answered.
type answer struct {
	status control.Status
	err    error
}

// run tells until ctx ends: that the daemon is ready, once it has answered; how it is, when that changes; and that it is
// alive, as long as it answers. So a daemon whose loop is stuck is not kept alive by a part of it that works.
func (t *told) run(ctx context.Context, d control.Daemon) error {
	pause, within := tellEvery, answerWithin
	if w := t.manager.Watchdog(); w > 0 {
		pause, within = min(pause, w/4), w/4
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	answers := make(chan answer)
	var asked time.Time // the last question has no answer yet; zero: it has
	ask := func() {
		asked = time.Now()
		go func() { // which a stuck loop holds as well; run waits for it
			st, err := d.Status(ctx)
			answers <- answer{st, err}
		}()
	}
	ask()
	for {
		select {
		case a := <-answers:
			asked = time.Time{}
			t.heard(a, pause)
		case <-tick.C:
			switch {
			case asked.IsZero():
				ask()
			case time.Since(asked) > within:
				t.status("no answer for more than " + formatDuration(within))
			}
		case <-ctx.Done():
			t.try(t.manager.Stopping())
			if !asked.IsZero() {
				<-answers
			}
			return nil
		}
	}
}

// heard tells what the daemon has answered. It answers about once every pause.
func (t *told) heard(a answer, pause time.Duration) {
	if a.err != nil {
		return // it is about to end
	}
	text := stateWords(a.status)
	if note := t.note.Load(); note != nil {
		text += "; " + *note
	}
	text = cut(text, statusWidth)
	if t.ready.Load() {
		t.status(text)
	} else {
		t.last = text
		t.starting.Lock()
		t.try(t.manager.Ready(text))
		t.ready.Store(true)
		t.starting.Unlock()
	}
	if w := t.manager.Watchdog(); w > 0 && time.Since(t.alive) >= w/2-pause/2 {
		t.alive = time.Now()
		t.try(t.manager.Alive())
	}
}

// status tells the state if it has changed.
func (t *told) status(text string) {
	if text != t.last {
		t.last = text
		t.try(t.manager.Status(text))
	}
}

// reloading tells that the configuration is read, and the function returned that it was. What is wrong with it stands in
// the status until it is put right.
func (t *told) reloading() func(err error) {
	t.starting.Lock() // the manager may ask for it in the instant in which it was told that the daemon is ready
	ready := t.ready.Load()
	t.starting.Unlock()
	if ready {
		t.try(t.manager.Reloading())
	}
	return func(err error) {
		var note *string
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			first = "the configuration is wrong, and what was counts on: " + harmless(first)
			note = &first
		}
		t.note.Store(note)
		if ready {
			t.try(t.manager.Ready(""))
		}
	}
}

// try logs once that the manager cannot be told.
func (t *told) try(err error) {
	if err != nil && !t.failed.Swap(true) {
		t.log.Warn("the service manager is not told", "err", err)
	}
}
