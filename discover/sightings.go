package discover

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxSightings bounds the addresses of a member: each of them is dialled whenever the member is.
	maxSightings = 4
	heardLately  = 2 * time.Minute
)

// sightings are the addresses at which members were heard. The first ones stay for as long as they are heard: who says a
// member's tag again with ever new addresses does not have each of them dialled.
type sightings map[Key][]sighting

type sighting struct {
	at   netip.AddrPort
	last time.Time
}

// note tells whether the address is new, and was taken.
func (s sightings) note(k Key, at netip.AddrPort, now time.Time) bool {
	list := s[k]
	if i := slices.IndexFunc(list, func(one sighting) bool { return one.at == at }); i >= 0 {
		list[i].last = now
		return false
	}
	if len(list) == maxSightings {
		return false
	}
	s[k] = append(list, sighting{at, now})
	return true
}

// expire forgets what was not heard lately.
func (s sightings) expire(now time.Time) {
	for k, list := range s {
		list = slices.DeleteFunc(list, func(one sighting) bool { return now.Sub(one.last) > heardLately })
		if s[k] = list; len(list) == 0 {
			delete(s, k)
		}
	}
}

// addresses returns all, as HOST:PORT.
func (s sightings) addresses() map[Key][]string {
	out := make(map[Key][]string, len(s))
	for k, list := range s {
		for _, one := range list {
			out[k] = append(out[k], one.at.String())
		}
	}
	return out
}
