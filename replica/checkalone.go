package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
)

// CheckAlone is Check for a folder on which no daemon runs. It claims the folder as a daemon does, for as long as it
// takes. Without Repair nothing changes, neither in the folder nor in the state. Of o it needs Dir, StateHome and Log.
func CheckAlone(ctx context.Context, o Options, how control.CheckOptions, report func(control.CheckReport) error) (err error) {
	p, err := visit(o.Dir, o.StateHome)
	if err != nil {
		return err
	}
	defer p.release()
	r := &Replica{o: o, log: o.Log, place: p, root: p.root, self: p.marker.node}
	r.records, r.highest = make(map[string]*record), make(map[merkle.NodeID]merkle.Stamp)
	r.left = make(map[string]bool)
	if err := r.loadMarks(); err != nil {
		return err
	}
	defer r.closeMarks()
	if r.rules, err = newRules(p.root, p.state); err != nil {
		return err
	}
	c := &checker{
		r: r, ctx: ctx, o: how, report: report, begun: time.Now(), left: make(map[string][]index.Intent),
		loop: func(f func()) error { f(); return context.Cause(ctx) },
	}
	readable, err := c.openAlone()
	if r.index != nil {
		defer func() { err = errors.Join(err, r.index.Close()) }()
	}
	if err != nil {
		return err
	}
	if !readable {
		return report(control.CheckReport{Summary: &c.sum})
	}
	if err := c.checkFolder(); err != nil {
		return err
	}
	return r.index.Commit(c.fixes, nil)
}

// visit opens a folder that belongs to a node already, and changes nothing.
func visit(dir, stateHome string) (_ *place, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	p := &place{}
	if p.root, err = beneath.Open(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	known, err := p.readMarker()
	if err != nil {
		return nil, err
	}
	info, err := p.root.Info()
	if err != nil {
		return nil, err
	}
	p.state = filepath.Join(stateHome, "resonate", p.marker.node.String())
	if !known || p.marker.inode != info.Inode || (p.marker.device != info.Device && recordedPlace(p.state) != p.root.Name()) {
		return nil, fmt.Errorf("folder %s is not one that was kept in step here: nothing is recorded to check it against; "+
			"start the daemon on it first", dir)
	}
	if p.lock, err = p.root.OpenFile(lockPath); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("folder %s is in use by another resonate, which does not answer: end that one first, or try again", dir)
	}
	return p, nil
}

// openAlone reads the index and the log of swaps. readable tells whether there is anything to compare the folder with.
func (c *checker) openAlone() (readable bool, err error) {
	r, name := c.r, filepath.Join(c.r.place.state, "index.db")
	open := index.OpenReadOnly
	if _, err := os.Stat(name); err == nil && c.o.Repair {
		open = index.Open
	}
	x, err := open(name)
	if err == nil {
		r.index = x
		err = c.loadAlone()
	}
	switch {
	case errors.Is(err, index.ErrDamaged):
		return false, c.indexLost(name, err)
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("nothing is recorded of %s: start the daemon on it first: %w", r.root.Name(), err)
	case errors.Is(err, index.ErrInUse):
		return false, fmt.Errorf("folder %s is in use by another resonate: %w", r.root.Name(), err)
	}
	return err == nil, err
}

// loadAlone takes over what is recorded, and reports what cannot be read of it.
func (c *checker) loadAlone() error {
	r := c.r
	flaws, err := r.index.Verify(func(path string, rec index.Record, _ merkle.BlockList) error {
		r.loadRecord(path, rec)
		return context.Cause(c.ctx)
	})
	if err != nil {
		return err
	}
	r.findLeft()
	intents, err := index.ReadIntents(filepath.Join(r.place.state, "intents"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, i := range intents {
		c.left[i.Path] = append(c.left[i.Path], i)
		if i.From != "" {
			c.moved = append(c.moved, i.From, i.Path)
		}
		if i.Kept != "" {
			c.left[i.Kept] = append(c.left[i.Kept], index.Intent{Path: i.Kept})
		}
	}
	return c.flaws(flaws)
}

// indexLost reports an index of which nothing can be read, and sets it aside.
func (c *checker) indexLost(name string, cause error) error {
	d := &control.Difference{What: "index", Expected: "an index that can be read", Found: cause.Error()}
	if c.o.Repair {
		if c.r.index != nil {
			c.r.index.Close()
		}
		if err := setAside(name, cause, c.r.log); err != nil {
			return err
		}
		d.Repair, d.Mended = "set aside: the next start builds it anew by a scan, and joins what the peers have; nothing is deleted", true
	}
	return c.tell(d)
}
