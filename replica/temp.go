package replica

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"resonate/beneath"
)

// partial ends the name of a temporary file that is still being written. Such a file has never been swapped with
// anything, so no user ever wrote to it; only a whole one loses this ending, and only then may it displace a file.
const partial = ".part"

// tempNames gives out names of temporary files, unlike those of any other run.
type tempNames struct{ count atomic.Uint64 }

func (r *Replica) tempName() string {
	return fmt.Sprintf("%s/%s-%d", tmpDir, hex.EncodeToString(r.boot[:4]), r.temporary.count.Add(1))
}

// A leftover is a temporary file that could not be taken where it belongs.
type leftover struct {
	path string // what it was displaced from: it goes to the history; "": it was only ever ours, and goes
	next time.Time
}

// leftoverInterval is how often that is tried again.
const leftoverInterval = time.Second

// keepOrLeave takes a displaced file to the history. What is displaced is displaced: where the history cannot take it
// now, it stays a temporary file until it can.
func (r *Replica) keepOrLeave(temp, path string) {
	r.unmarkAt(temp)
	if err := r.keep(temp, path); err != nil {
		r.leave(temp, path, err)
	}
}

// removeOrLeave removes a temporary file that was only ever ours.
func (r *Replica) removeOrLeave(l beneath.Label, temp string) {
	if err := r.root.Remove(l, temp); err != nil && !absent(err) {
		r.leave(temp, "", err)
	}
}

// unneeded takes away the temporary file of in, which is not needed after all. It was only ever ours, unless it is another name of a
// file that is a user's: where that has no other name any more, it is kept.
func (r *Replica) unneeded(in *incoming) {
	if in.linked {
		if info, err := r.root.Lstat(in.temp); err == nil && info.Links == 1 {
			r.keepOrLeave(in.temp, in.path)
			return
		}
	}
	r.removeOrLeave("apply.unneeded", in.temp)
}

// leave has a temporary file dealt with later, and tells why.
func (r *Replica) leave(temp, path string, cause error) {
	r.leftovers[temp] = leftover{path, time.Now().Add(leftoverInterval)}
	r.problem(StateDir, "the history cannot be written: "+cause.Error(), remedyFor(cause))
	r.wakeIn(leftoverInterval)
}

// clearLeftovers tries again what is due.
func (r *Replica) clearLeftovers(now time.Time) {
	for temp, l := range r.leftovers {
		if wait := l.next.Sub(now); wait > 0 {
			r.wakeIn(wait)
			continue
		}
		delete(r.leftovers, temp)
		if l.path == "" {
			r.removeOrLeave("leftover.remove", temp)
		} else if _, err := r.root.Lstat(temp); !absent(err) {
			r.keepOrLeave(temp, l.path)
		}
		if len(r.leftovers) == 0 && r.commit.failed == nil {
			r.problem(StateDir, "", "")
		}
	}
}

func newBytesReader(b []byte) io.Reader { return bytes.NewReader(b) }
