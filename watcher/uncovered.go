package watcher

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Status is the state of a Watcher at one moment.
type Status struct {
	Ready     bool     // the first walk is done
	Watched   int      // directories
	Uncovered []string // top-most directories without a watch, sorted; they are compared at intervals
	Overflows uint64   // how often events were lost, each time followed by a rescan of everything
	Cause     string   // why Uncovered is not empty
	Remedy    string   // the line that helps, to be run as it stands; may be empty
}

// A gap is a directory that could not be watched.
type gap struct {
	err  error
	dirs int // in it, itself included; counted after the walk
}

// A tally is a directory to be counted.
type tally struct {
	path string
	top  string // the uncovered directory that it is in
	gap  *gap
}

// errTwice is why a directory that is mounted at two places is watched at one.
type errTwice struct{ other string }

func (e errTwice) Error() string { return fmt.Sprintf("same directory as %q", e.other) }

// Status returns the present state.
func (w *Watcher) Status() Status {
	s := Status{Watched: int(w.watched.Load()), Overflows: w.overflows.Load()}
	select {
	case <-w.ready:
		s.Ready = true
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Uncovered = slices.Sorted(maps.Keys(w.uncovered))
	missing := 0
	var worst error
	worstPath := ""
	for _, rel := range s.Uncovered {
		g := w.uncovered[rel]
		if limited(g.err) {
			missing += g.dirs
		}
		if worst == nil || limited(g.err) && !limited(worst) {
			worst, worstPath = g.err, rel
		}
	}
	if worst == nil {
		return s
	}
	s.Cause = cause(worst)
	if limited(worst) {
		s.Remedy = remedy(worst, missing)
	} else if errors.Is(worst, os.ErrPermission) {
		s.Remedy = "chmod u+rx " + quote(w.abs(worstPath))
	}
	return s
}

// uncover marks the directory of a job as uncovered. What is in a new one is told at once.
func (w *Watcher) uncover(j job, err error) {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
		return // It was removed or replaced just now.
	}
	if j.report {
		w.rescanAfterWalk(j.path)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.uncovered[j.path]; g != nil {
		g.err = err
		return
	}
	if len(w.uncovered) == 0 {
		w.o.Log.Warn("cannot watch directory, comparing it at intervals", "path", w.abs(j.path), "err", told(err),
			"interval", w.t.poll)
	}
	g := &gap{err: err, dirs: 1}
	w.uncovered[j.path] = g
	w.tally = append(w.tally, tally{j.path, j.path, g})
}

// forget removes the gaps at and below a path.
func (w *Watcher) forget(rel string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for u := range w.uncovered {
		if u == rel || rel == "." || strings.HasPrefix(u, rel+"/") {
			delete(w.uncovered, u)
		}
	}
}

// poll has what is uncovered compared again, tries to watch it, and checks what no event tells: an unmounted root.
func (w *Watcher) poll() error {
	if err := w.checkRoot(); err != nil {
		return err
	}
	if w.o.Sentinel != "" && !w.sentinelOK {
		w.sentinelLost()
	}
	if w.delivered() >= w.polled {
		w.rescanUncovered()
	}
	return nil
}

// rescanUncovered does nothing while the rescans of an earlier call are still to be reported: they serve this one, too.
func (w *Watcher) rescanUncovered() {
	if w.polling {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for rel := range w.uncovered {
		w.polling = true
		w.push(rel, false)
		w.rescanAfterWalk(rel)
	}
}

// count adds the directories in one to its gap, so that the remedy names a number that suffices.
func (w *Watcher) count(t tally) {
	if w.uncovered[t.top] != t.gap {
		return
	}
	entries, err := os.ReadDir(w.abs(t.path))
	if err != nil {
		return // It counts as one.
	}
	n := 0
	for _, e := range entries {
		rel := path.Join(t.path, e.Name())
		if e.IsDir() && !w.o.Skip(rel) && !w.o.Ignore(rel) {
			n++
			w.tally = append(w.tally, tally{rel, t.top, t.gap})
		}
	}
	w.mu.Lock()
	t.gap.dirs += n
	w.mu.Unlock()
}

// limited tells whether the kernel refused for want of watches (inotify(7): ENOSPC) or of files (kqueue: EMFILE, ENFILE).
func limited(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// cause names the limit: "no space left on device" would lead to a search for a full disk.
func cause(err error) string {
	if errors.Is(err, syscall.ENOSPC) {
		return "limit on inotify watches reached"
	}
	return err.Error()
}

const (
	watchesLimit   = "/proc/sys/fs/inotify/max_user_watches"
	instancesLimit = "/proc/sys/fs/inotify/max_user_instances"
)

// remedy is the line that makes room for so many more directories. Other programs of the user count against the same limit,
// so the number starts from the limit, with a quarter to spare.
func remedy(err error, missing int) string {
	if !errors.Is(err, syscall.ENOSPC) {
		return "ulimit -n " + strconv.Itoa(roomFor(fileLimit(), missing))
	}
	return "sysctl fs.inotify.max_user_watches=" + strconv.Itoa(roomFor(readLimit(watchesLimit), missing))
}

// roomFor adds what is missing and a quarter to a limit, and rounds up to a multiple of 8192.
func roomFor(limit, missing int) int {
	const unit = 8192
	n := limit + missing
	n += n / 4
	return (n + unit - 1) / unit * unit
}

func fileLimit() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	return int(min(uint64(r.Cur), 1<<30))
}

func readLimit(file string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// told adds the remedy to an error of the limit.
func told(err error) error {
	if !limited(err) {
		return err
	}
	return fmt.Errorf("%s: %w; remedy: %s", cause(err), err, remedy(err, 1))
}

// toldInstances does so for the limit on inotify instances (inotify_init(2): EMFILE).
func toldInstances(err error) error {
	n := readLimit(instancesLimit)
	if n == 0 || !errors.Is(err, syscall.EMFILE) {
		return err
	}
	return fmt.Errorf("%w; remedy: sysctl fs.inotify.max_user_instances=%d", err, 2*n)
}

// quote makes a path one word for sh(1).
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
