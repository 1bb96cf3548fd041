package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"resonate/control"
	"resonate/members"
)

// While a node is paused it has no peers: sessions end, and new ones are refused, with that as the reason. What is done in the folder is
// seen and agreed all the same, as on a node alone; so all of it is merged afterwards as after any time apart. A pause is the
// user's word, and so it outlives the process: it ends with resume, or at the time that was given.

// A pause is one that has begun.
type pause struct {
	since, until time.Time // until zero: it has no end of its own
}

// pauseFile holds the pause of a node, in its state directory; it is not there while there is none.
const pauseFile = "paused"

func (p pause) String() string {
	text := "since " + p.since.UTC().Format(time.RFC3339Nano) + "\n"
	if !p.until.IsZero() {
		text += "until " + p.until.UTC().Format(time.RFC3339Nano) + "\n"
	}
	return text
}

// parsePause reads what String wrote. What cannot be read is a pause without an end: somebody has asked for one.
func parsePause(text string, written time.Time) pause {
	p := pause{since: written}
	for line := range strings.Lines(text) {
		word, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, err := time.Parse(time.RFC3339Nano, value)
		switch {
		case err != nil:
		case word == "since":
			p.since = at
		case word == "until":
			p.until = at
		}
	}
	return p
}

// over tells whether the time of a pause has come.
func (p pause) over(now time.Time) bool { return !p.until.IsZero() && !now.Before(p.until) }

func (p pause) forUser() *control.Paused {
	out := &control.Paused{Since: p.since}
	if !p.until.IsZero() {
		out.Until = &p.until
	}
	return out
}

// A pausedError is why a node has no session with another. Both sides read it.
type pausedError struct {
	who   string
	until time.Time
}

func (e *pausedError) Error() string { return e.who + " is paused" + untilText(e.until) }

// untilText tells when a pause ends, after a verb; nothing where it has no end.
func untilText(until time.Time) string {
	if until.IsZero() {
		return ""
	}
	return " until " + until.UTC().Format(time.RFC3339)
}

func (r *Replica) whyPaused() error { return &pausedError{r.ownName(), r.paused.until} }

func (r *Replica) pauseName() string { return filepath.Join(r.place.state, pauseFile) }

// loadPause takes over the pause of an earlier run.
func (r *Replica) loadPause() error {
	text, err := os.ReadFile(r.pauseName())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read whether this node is paused: %w", err)
	}
	written := time.Now()
	if info, err := os.Stat(r.pauseName()); err == nil {
		written = info.ModTime()
	}
	p := parsePause(string(text), written)
	r.paused = &p
	if p.over(time.Now()) {
		return r.resumeAll()
	}
	r.log.Warn("this node is paused: nothing is exchanged with peers", "since", p.since, "remedy", "resonate resume")
	return nil
}

// Pause implements control.Daemon.
func (r *Replica) Pause(ctx context.Context, length time.Duration) (out control.Paused, err error) {
	if length < 0 {
		return out, fmt.Errorf("pause for %v: %w", length, control.ErrBadArgument)
	}
	doErr := r.do(ctx, func() {
		if err = r.pause(length, time.Now()); err == nil {
			out = *r.paused.forUser()
		}
	})
	return out, errors.Join(doErr, err)
}

// pause begins a pause, or gives the one that there is another end.
func (r *Replica) pause(length time.Duration, now time.Time) error {
	p := pause{since: now}
	if r.paused != nil {
		p.since = r.paused.since
	}
	if length > 0 {
		p.until = now.Add(length)
		r.wakeIn(length)
	}
	if err := members.ReplaceFile(r.pauseName(), []byte(p.String())); err != nil {
		return fmt.Errorf("write down that this node is paused: %w", err)
	}
	r.paused = &p
	r.tellEvent(control.Event{Kind: control.EventPaused, Until: p.forUser().Until})
	for _, b := range r.builds {
		b.spoiled = true
	}
	for _, other := range r.peers {
		other.cancel(r.whyPaused())
		r.parted(other)
		r.tellEvent(control.Event{Kind: control.EventPeerDown, Peer: r.nodeName(other.id), Cause: r.whyPaused().Error()})
	}
	r.log.Info("paused")
	return nil
}

// Resume implements control.Daemon.
func (r *Replica) Resume(ctx context.Context) (was bool, err error) {
	doErr := r.do(ctx, func() {
		if was = r.paused != nil; was {
			err = r.resumeAll()
		}
	})
	return was, errors.Join(doErr, err)
}

// resumeAll ends a pause: peers are let in again.
func (r *Replica) resumeAll() error {
	if err := os.Remove(r.pauseName()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take back that this node is paused: %w", err)
	}
	r.pauseEnded()
	r.log.Info("resumed")
	return nil
}

func (r *Replica) pauseEnded() {
	r.paused = nil
	r.tellEvent(control.Event{Kind: control.EventResumed})
	if r.o.Resumed != nil {
		r.o.Resumed()
	}
}

// endPause ends a pause whose time has come.
func (r *Replica) endPause(now time.Time) {
	switch {
	case r.paused == nil || r.paused.until.IsZero():
	case !r.paused.over(now):
		r.wakeIn(r.paused.until.Sub(now))
	default:
		if err := r.resumeAll(); err != nil {
			r.log.Warn("the pause is over, and could not be taken back for the next start", "cause", err)
			r.pauseEnded()
		}
	}
}

// endWaits tells those who wait for peers that there are none for now.
func (r *Replica) endWaits() {
	err := fmt.Errorf("%w%s: nothing is exchanged with peers", control.ErrPaused, untilText(r.paused.until))
	for _, w := range r.waiters {
		w.done <- err
	}
	r.waiters = nil
}
