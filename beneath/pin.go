package beneath

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A pin is a directory that is held open, so that operations on names in it need not find it again each time.
type pin struct {
	dir  string
	fd   int
	info Info
}

// pins is the directory of a Root that is pinned now, and those that were.
type pins struct {
	now  atomic.Pointer[pin]
	mu   sync.Mutex
	used []int // descriptors that an operation may still have in hand; closed with the root
}

// get returns the descriptor of dir, if that is pinned.
func (p *pins) get(dir string) (int, bool) {
	if now := p.now.Load(); now != nil && now.dir == dir {
		return now.fd, true
	}
	return -1, false
}

func (p *pins) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now.Swap(nil); now != nil {
		unix.Close(now.fd)
	}
	for _, fd := range p.used {
		unix.Close(fd)
	}
	p.used = nil
}

// Pin holds the directory dir open from now on: operations on names directly in it start from there. One directory is
// pinned at a time. It is for a directory that is the caller's own, since one that is moved elsewhere stays the one that is
// meant; to pin it again finds out whether another stands there now, and takes that.
func (r *Root) Pin(dir string) error {
	if err := Valid(dir); err != nil {
		return pathError("open", dir, err)
	}
	r.pins.mu.Lock()
	defer r.pins.mu.Unlock()
	fd, err := r.open(r.fd, dir, dirFlags, 0)
	if err != nil {
		return pathError("open", dir, err)
	}
	info, err := fstat(fd)
	if err != nil {
		unix.Close(fd)
		return pathError("stat", dir, err)
	}
	old := r.pins.now.Load()
	if old != nil && old.dir == dir && old.info.Inode == info.Inode && old.info.Device == info.Device {
		unix.Close(fd)
		return nil
	}
	r.pins.now.Store(&pin{dir, fd, info})
	if old != nil {
		r.pins.used = append(r.pins.used, old.fd)
	}
	return nil
}
