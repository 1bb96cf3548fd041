package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A file system may take names that differ in case, or in their form of Unicode, for one: what is looked up under one of them is then
// found under the other. A Root that is told to (ExactNames) does not let that through: what bears another name is not there.

// OtherSpelling tells that nothing bears a name, although the file system finds something under it: something spelled otherwise. It is
// fs.ErrNotExist, too.
type OtherSpelling struct {
	Asked string // a path, up to and with the first name that is spelled otherwise
	Found string // the same, as it is spelled
}

func (e *OtherSpelling) Error() string {
	return fmt.Sprintf("%v: its name is taken by %q", unix.ENOENT, e.Found)
}

// Is tells that this is a kind of fs.ErrNotExist.
func (e *OtherSpelling) Is(target error) bool { return target == fs.ErrNotExist }

// Respelled returns how path, to which the error belongs, is spelled as far as that is known.
func (e *OtherSpelling) Respelled(path string) string { return e.Found + path[len(e.Asked):] }

// spellings are what directories list, as it was when last looked at.
type spellings struct {
	except string        // this directory, and what lies below it, is not looked at
	open   opener        // as it is without them
	rest   time.Duration // for how long a directory must not have changed to be remembered
	mu     sync.Mutex
	dirs   map[string]spelling
}

// A spelling is the names in one directory.
type spelling struct {
	names map[string]bool
	dir   Info // the directory, before it was listed
}

const (
	// maxSpellings is of how many directories the names are remembered.
	maxSpellings = 64
	// coarse is how far apart two changes of a directory may be without its times telling: FAT counts in steps of two seconds.
	coarse = 2100 * time.Millisecond
)

// ExactNames has a path lead only to what is spelled like it, from now on, where the file system takes names for one that are
// spelled otherwise: for whatever is looked at, opened, moved, swapped or removed, or lies on the way to it. Only the directory except and what lies below
// it are as the file system has them. It costs a listing of each directory on the way, which is remembered while that is at rest.
// It must be called before the Root is used by several goroutines.
func (r *Root) ExactNames(except string) {
	inner := r.open
	r.spelled = &spellings{except: except, open: inner, rest: coarse, dirs: make(map[string]spelling)}
	r.open = func(root int, path string, flags int, perm uint32) (int, error) {
		looked := path
		if flags&unix.O_CREAT != 0 {
			looked = path[:max(strings.LastIndexByte(path, '/'), 0)]
		}
		if root == r.fd {
			if err := r.exact(looked); err != nil {
				return -1, err
			}
		}
		return inner(root, path, flags, perm)
	}
}

// exact returns OtherSpelling if names are to be exact, and something on the way to path, or there, is spelled otherwise. Where
// something is missing, that is not its matter.
func (r *Root) exact(path string) error {
	s := r.spelled
	if s == nil || path == "" || path == "." || path == s.except || strings.HasPrefix(path, s.except+"/") {
		return nil
	}
	dir := "."
	for end := 0; end < len(path); {
		start := end
		if start > 0 {
			start++
		}
		end = len(path)
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			end = start + i
		}
		there, err := r.listed(dir, path[start:end])
		if err != nil {
			return nil // whoever asks gets to the same, and says so
		}
		if !there {
			return r.otherwise(dir, path[:end], path[start:end])
		}
		dir = path[:end]
	}
	return nil
}

// listed tells whether a directory lists a name.
func (r *Root) listed(dir, name string) (bool, error) {
	s := r.spelled
	fd, err := s.open(r.fd, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	info, err := fstat(fd)
	if err != nil {
		unix.Close(fd)
		return false, err
	}
	s.mu.Lock()
	known, ok := s.dirs[dir]
	s.mu.Unlock()
	same := known.dir.Inode == info.Inode && known.dir.Device == info.Device && known.dir.MTime == info.MTime && known.dir.CTime == info.CTime
	if ok && same {
		unix.Close(fd)
		return known.names[name], nil
	}
	atRest := time.Since(time.Unix(0, max(info.MTime, info.CTime))) > s.rest
	entries, err := readEntries(fd)
	if err != nil {
		return false, err
	}
	if !atRest { // the next change might not show
		return slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name }), nil
	}
	now := spelling{names: make(map[string]bool, len(entries)), dir: info}
	for _, e := range entries {
		now.names[e.Name] = true
	}
	s.mu.Lock()
	if len(s.dirs) >= maxSpellings {
		clear(s.dirs)
	}
	s.dirs[dir] = now
	s.mu.Unlock()
	return now.names[name], nil
}

// otherwise finds out how that is spelled which is found under a name that its directory does not list; nil if nothing is.
func (r *Root) otherwise(dir, path, name string) error {
	fd, err := r.spelled.open(r.fd, dir, dirFlags, 0)
	if err != nil {
		return nil
	}
	at := place{fd: fd, name: name, owned: true}
	defer at.close()
	info, err := at.lstat()
	if err != nil {
		return nil
	}
	fd, err = r.spelled.open(r.fd, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	entries, err := readEntries(fd)
	if err != nil {
		return nil
	}
	found := ""
	for _, e := range entries {
		other, err := (place{fd: at.fd, name: e.Name}).lstat()
		if err != nil || other.Inode != info.Inode || other.Device != info.Device {
			continue
		}
		if e.Name == name {
			return nil // it came in this instant
		}
		if found == "" || strings.EqualFold(e.Name, name) { // a hard link may have many names
			found = e.Name
		}
	}
	if found == "" {
		return nil
	}
	return &OtherSpelling{Asked: path, Found: path[:len(path)-len(name)] + found}
}

// FoldsNames tells whether the file system takes names for one that differ in case, or in their form of Unicode, or spells a name
// otherwise than it was told to. It makes files in the directory dir, and removes them.
func (r *Root) FoldsNames(l Label, dir string) (bool, error) {
	for _, names := range [][]string{
		{"fold-a.part", "FOLD-A.PART"}, {"fold-\u00e9.part", "fold-e\u0301.part", "fold-\u00c9.part"}, {"fold.part", "fold.part."},
	} {
		made := dir + "/" + names[0]
		err := r.Remove(l, made) // of a run that was ended in the midst of this
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EILSEQ) && !errors.Is(err, unix.EINVAL) {
			return false, err
		}
		f, err := r.Create(l, made, 0o600)
		if errors.Is(err, unix.EILSEQ) || errors.Is(err, unix.EINVAL) {
			continue // it has no such names at all
		}
		if err != nil {
			return false, err
		}
		_ = f.Close() // nothing was written
		folds := false
		for _, other := range names[1:] {
			_, err := r.Lstat(dir + "/" + other)
			folds = folds || err == nil
		}
		entries, err := r.ReadDir(dir)
		exact := false
		for _, e := range entries {
			exact = exact || e.Name == names[0]
		}
		if err = errors.Join(err, r.Remove(l, made)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		if folds || !exact {
			return true, nil
		}
	}
	return false, nil
}
