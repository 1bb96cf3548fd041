package members

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"
)

// DefaultTTL is how long a code serves, where nothing else is said.
const DefaultTTL = 10 * time.Minute

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// An Invitation is what the inviter keeps of the one code that it has given out. The zero value is none. It is safe for
// concurrent use, and keeps nothing on disk: it ends with the daemon.
type Invitation struct {
	mu    sync.Mutex
	open  bool
	taken bool              // somebody has shown the secret, and has not joined yet
	hash  [sha256.Size]byte // of the secret: a core dump does not tell the code
	until time.Time
	wrong int // guesses since the last New
}

// New makes the code by which the node whose key that is invites for ttl from now on. Any earlier one serves no more.
func (i *Invitation) New(key Key, ttl time.Duration, now time.Time) Code {
	code := newCode(key)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open, i.taken, i.hash, i.until, i.wrong = true, false, sha256.Sum256(code.Secret[:]), now.Add(ttl), 0
	return code
}

// Take tells whether a secret is that of the open invitation, which it then ends. The caller answers, whatever the answer
// is, after the pause: with each wrong guess the next answer comes later, up to five seconds. Whoever guesses learns
// nothing from the time that it takes, nor whether there is an invitation.
func (i *Invitation) Take(secret Secret, now time.Time) (ok bool, pause time.Duration) {
	hash := sha256.Sum256(secret[:])
	i.mu.Lock()
	defer i.mu.Unlock()
	pause = pauseAfter(i.wrong)
	right := subtle.ConstantTimeCompare(hash[:], i.hash[:]) == 1
	if !right || !i.open || !now.Before(i.until) {
		i.wrong++
		return false, pause
	}
	i.open, i.taken = false, true
	return true, pause
}

// Use ends the invitation for good, for who has taken it and now joins, and tells whether it still stands: it may have been cancelled
// meanwhile, or replaced. That its time is over does not matter any more.
func (i *Invitation) Use(secret Secret) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	was := i.isTaken(secret)
	i.taken = i.taken && !was
	return was
}

// GiveBack has the code serve again, for as long as it would have: who has taken it does not join.
func (i *Invitation) GiveBack(secret Secret) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.isTaken(secret) {
		i.open, i.taken = true, false
	}
}

func (i *Invitation) isTaken(secret Secret) bool {
	hash := sha256.Sum256(secret[:])
	return i.taken && subtle.ConstantTimeCompare(hash[:], i.hash[:]) == 1
}

// pauseAfter returns how long the answer to a guess is kept back that comes after so many wrong ones.
func pauseAfter(wrong int) time.Duration {
	if wrong == 0 {
		return 0
	}
	pause := firstPause
	for ; wrong > 1 && pause < lastPause; wrong-- {
		pause *= 2
	}
	return min(pause, lastPause)
}

// Cancel ends the invitation, and tells whether there was one.
func (i *Invitation) Cancel(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	was := i.taken || i.open && now.Before(i.until)
	i.open, i.taken = false, false
	return was
}

// Open returns until when the code serves; the zero time if none does.
func (i *Invitation) Open(now time.Time) (until time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.open && now.Before(i.until) {
		until = i.until
	}
	return until
}

// Wrong returns how many wrong secrets were told since the last code was made.
func (i *Invitation) Wrong() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wrong
}
