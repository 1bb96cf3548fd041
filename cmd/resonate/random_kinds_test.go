//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// oddNames are such as make trouble elsewhere: twins in case and in form, control characters, bytes that are no text, the longest.
var oddNames = []string{
	"A", "new\nline", "no text \xff\xfe", "caf\u00e9", "cafe\u0301", " ", "-rf", "~1", strings.Repeat("x", 255),
}

// hardLink makes another name for a file.
func (u *user) hardLink() bool {
	from, to := u.path(), u.path()
	info, err := os.Lstat(from)
	if err != nil || !info.Mode().IsRegular() || os.Link(from, to) != nil {
		return false
	}
	if inode := info.Sys().(*syscall.Stat_t).Ino; u.fresh[inode] == "" {
		u.fresh[inode] = from
	}
	return true
}

// unseen tells whether a path is a second name that its daemon may not have seen yet. Who changes the file through that and takes the
// name away at once leaves no trace of it for the first name: the kernel tells of names, not of files (docs/fidelity.md).
func (u *user) unseen(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	first := u.fresh[info.Sys().(*syscall.Stat_t).Ino]
	return first != "" && first != path
}

// setAttribute sets one of a few extended attributes of a file or a directory.
func (u *user) setAttribute() bool {
	u.count++
	name := []string{"user.a", "user.b", "user.c"}[u.rand.IntN(3)]
	value := fmt.Appendf(nil, "%s %d %s", u.d.name, u.count, strings.Repeat("v", u.rand.IntN(20)))
	path := u.thing()
	return !u.unseen(path) && unix.Lsetxattr(path, name, value, 0) == nil
}

func (u *user) dropAttribute() bool {
	path := u.thing()
	return !u.unseen(path) && unix.Lremovexattr(path, []string{"user.a", "user.b", "user.c"}[u.rand.IntN(3)]) == nil
}

// thing picks a file or a directory.
func (u *user) thing() string {
	if u.rand.IntN(4) == 0 {
		return u.dir()
	}
	return u.path()
}

// setACL gives one more user a right to a file: an ACL of version 2, as in linux/posix_acl_xattr.h.
func (u *user) setACL() bool {
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{
		{0x01, 6, 0xffffffff}, {0x02, uint16(4 + u.rand.IntN(4)), uint32(1 + u.rand.IntN(3))}, {0x04, 4, 0xffffffff},
		{0x10, 7, 0xffffffff}, {0x20, 4, 0xffffffff},
	} {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	path := u.path()
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && !u.unseen(path) && unix.Lsetxattr(path, "system.posix_acl_access", acl, 0) == nil
}

// punch makes a file long by a hole, with something behind it.
func (u *user) punch() bool {
	data := u.bytes()
	return u.inPlace("wrote behind a hole of", func(f *os.File, old []byte) error {
		if len(old) > 1<<20 {
			return errors.New("long enough")
		}
		_, err := f.WriteAt(data, int64(len(old)+u.rand.IntN(300_000)))
		return err
	})
}

// chown gives a file or a directory away, where owners are kept.
func (u *user) chown() bool {
	path := u.thing()
	return u.owns && !u.unseen(path) && os.Lchown(path, u.rand.IntN(3), u.rand.IntN(3)) == nil
}

// mustHaveSameAttributes fails the test unless extended attributes, ACLs, owners where they are kept, and which names are one file are the
// same in all folders.
func (c *cluster) mustHaveSameAttributes(owns bool) {
	c.t.Helper()
	first := c.daemons[0]
	want := c.attributes(first, owns)
	var differing []string
	for _, d := range c.daemons[1:] {
		got := c.attributes(d, owns)
		for _, path := range slices.Sorted(maps.Keys(want)) {
			if got[path] != want[path] {
				c.t.Errorf("%q: in %s %s; in %s %s", path, first.name, want[path], d.name, got[path])
				differing = append(differing, path)
				for _, other := range []string{want[path], got[path]} { // the name that it shares an inode with, if that is another
					if _, name, ok := strings.Cut(other, "one file with "); ok && name != strconv.Quote(path) {
						name, _ = strconv.Unquote(name)
						differing = append(differing, name)
					}
				}
			}
		}
	}
	if len(differing) > 0 {
		c.explain(differing...)
	}
}

// attributes tells for each path of a folder what compareFolders does not look at.
func (c *cluster) attributes(d *daemon, owns bool) map[string]string {
	c.t.Helper()
	out := make(map[string]string)
	names := make(map[uint64]string) // the first of each inode
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(d.dir, path)
		if rel == "." || rel == markerDir {
			if rel == markerDir {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		text := attributesOf(path)
		if owns {
			text += fmt.Sprintf(" owner %d:%d", stat.Uid, stat.Gid)
		}
		if info.Mode().IsRegular() {
			if names[stat.Ino] == "" {
				names[stat.Ino] = rel
			}
			text += fmt.Sprintf(" one file with %q", names[stat.Ino])
		}
		out[rel] = text
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// attributesOf lists the extended attributes of a path.
func attributesOf(path string) string {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return err.Error()
	}
	var out []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			out = append(out, fmt.Sprintf("%s=%q", name, value[:n]))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
