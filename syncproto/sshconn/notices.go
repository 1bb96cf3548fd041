package sshconn

import (
	"sync"
	"time"
)

const (
	noticeFirstPause = time.Minute
	noticeMaxPause   = time.Hour
	maxNotices       = 1024
)

// noticeKey is what a log line is about: a party and a kind of event.
type noticeKey struct{ who, what string }

type notice struct {
	next  time.Time
	pause time.Duration
}

// notices decides which of many equal events are worth a log line: the first,
// then one after a minute, two, four, up to hourly. It remembers a bounded
// number of parties; past that, new ones are not logged, so that strangers
// cannot fill a disk. The zero value is ready; it is safe for concurrent use.
type notices struct {
	mu   sync.Mutex
	seen map[noticeKey]notice
}

func (n *notices) due(who, what string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := noticeKey{who, what}
	have, ok := n.seen[key]
	if ok && now.Before(have.next) {
		return false
	}
	if !ok && len(n.seen) >= maxNotices {
		n.sweep(now)
		if len(n.seen) >= maxNotices {
			return false
		}
	}
	if n.seen == nil {
		n.seen = make(map[noticeKey]notice)
	}
	pause := min(max(2*have.pause, noticeFirstPause), noticeMaxPause)
	n.seen[key] = notice{next: now.Add(pause), pause: pause}
	return true
}

// sweep forgets what has not been due for as long as its pause.
func (n *notices) sweep(now time.Time) {
	for key, have := range n.seen {
		if now.After(have.next.Add(have.pause)) {
			delete(n.seen, key)
		}
	}
}

// forget makes the next event of a party news again: things went well since.
func (n *notices) forget(who string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.seen {
		if key.who == who {
			delete(n.seen, key)
		}
	}
}
