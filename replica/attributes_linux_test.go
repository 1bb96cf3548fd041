package replica

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resonate/beneath"
	"resonate/merkle"
)

// acl returns a POSIX ACL as its attribute holds it: rw- for the owner, perm for user 1000 and the mask, r-- for the group, nothing
// for others.
func acl(perm uint16) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, uint32(perm), 1000}, {4, 4, 1<<32 - 1}, {16, uint32(perm), 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}

// withXattrs skips a test where the file system for tests has no user attributes or no ACLs.
func withXattrs(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{"user.probe": "1", beneath.XattrDefaultACL: acl(7)} {
		if err := unix.Setxattr(dir, name, []byte(value), 0); err != nil {
			skip(t, "the file system of %s has no %s: %v", dir, name, err)
		}
	}
}

// setXattr sets an attribute as a user does; "" removes it.
func (n *node) setXattr(p, name, value string) {
	n.t.Helper()
	var err error
	if value == "" {
		err = unix.Removexattr(n.path(p), name)
	} else {
		err = unix.Setxattr(n.path(p), name, []byte(value), 0)
	}
	if err != nil {
		n.t.Fatalf("set %s of %s to %q: %v", name, p, value, err)
	}
}

// meta tells mode and extended attributes of what stands at p.
func (n *node) meta(p string) string {
	info, err := os.Lstat(n.path(p))
	if err != nil {
		return "absent"
	}
	out := []string{fmt.Sprintf("%o", info.Mode().Perm())}
	b := make([]byte, 64<<10)
	size, err := unix.Llistxattr(n.path(p), b)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(b[:size]), "\x00"), "\x00") {
		if value := make([]byte, 64<<10); beneath.OwnXattr(name) {
			size, err := unix.Lgetxattr(n.path(p), name, value)
			if err != nil {
				n.t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s=%q", name, value[:size]))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// sameMeta waits until p has the same mode and attributes at both, and returns them.
func sameMeta(t testing.TB, p string, a, b *node) (meta string) {
	t.Helper()
	a.flushed()
	converged(t, a, b)
	eventually(t, p+" is the same at both", func() string {
		meta = a.meta(p)
		if other := b.meta(p); meta != other {
			return fmt.Sprintf("%s has %s, %s has %s", a.name, meta, b.name, other)
		}
		return ""
	})
	return meta
}

func TestAttributesTravel(t *testing.T) {
	withXattrs(t)
	for _, row := range []struct{ name, attribute, value, other string }{
		{"user attribute", "user.tag", "\x00\xff", "other"},
		{"empty user attribute", "user.empty", "x", "y"},
		{"access ACL", beneath.XattrAccessACL, acl(7), acl(5)},
		{"default ACL", beneath.XattrDefaultACL, acl(7), acl(5)},
		{"capability", beneath.XattrCapability, "\x01\x00\x00\x02\x00\x04" + strings.Repeat("\x00", 14), "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)},
	} {
		for _, p := range []string{"file", "dir/"} {
			if p == "file" && row.attribute == beneath.XattrDefaultACL || p == "dir/" && row.attribute == beneath.XattrCapability {
				continue
			}
			t.Run(row.name+" of a "+strings.TrimSuffix(p, "/"), func(t *testing.T) {
				t.Parallel()
				if row.attribute == beneath.XattrCapability && os.Getuid() != 0 {
					skip(t, "only root may set capabilities")
				}
				a, b := newNode(t, "a", tree{p: ""}), newNode(t, "b", nil)
				a.o.KeepOwner = row.attribute == beneath.XattrCapability
				b.o.KeepOwner = a.o.KeepOwner
				a.setXattr(p, row.attribute, row.value)
				b.start()
				a.start()
				connect(a, b)
				if got := sameMeta(t, p, a, b); !strings.Contains(got, row.attribute) { // made with it
					t.Errorf("%s has %s, want %s", p, got, row.attribute)
				}
				p := strings.TrimSuffix(p, "/")
				for _, value := range []string{row.other, row.value, ""} {
					origin := a.entry(p).Version.Origin()
					b.setXattr(p, row.attribute, value) // by somebody at the other side: seen by its event alone
					want := b.meta(p)
					until(t, "the change is let out", func() bool {
						return merkle.XattrHash(b.entry(p).Xattrs) == b.diskHash(p) && b.meta(p) == want && b.entry(p).Version.Author == b.replica().self
					})
					sameMeta(t, p, b, a)
					if got := a.meta(p); got != want {
						t.Errorf("a has %s, want %s", got, want)
					}
					if got := a.entry(p).Version.Origin(); got != origin {
						t.Errorf("origin of the content is %v, want %v: a change of attributes alone", got, origin)
					}
					a, b = b, a
				}
				a.stays(p)
				b.stays(p)
			})
		}
	}
}

// diskHash returns what the record says of the extended attributes at p.
func (n *node) diskHash(p string) (h merkle.Hash) {
	n.inLoop(func(r *Replica) { h = r.diskAt(p).XattrHash })
	return h
}

// What is made here inherits the default ACL of the directory it is made in; what comes from a peer must not.
func TestInheritedACLsAreNotApplied(t *testing.T) {
	withXattrs(t)
	a, b := startNode(t, "a", nil), newNode(t, "b", nil)
	b.setXattr("", beneath.XattrDefaultACL, acl(7))
	b.start()
	connect(a, b)
	a.write("dir/file", "content")
	holds(t, tree{"dir/file": "content"}, a, b)
	for p, want := range map[string]string{"dir": "755", "dir/file": "644"} {
		if got := b.meta(p); got != want {
			t.Errorf("%s has %s, want %s", p, got, want)
		}
		b.stays(p)
	}
}

// TestRefusedAttributes has a receiver that cannot set attributes: they stay agreed, whatever is done there, and are told.
func TestRefusedAttributes(t *testing.T) {
	withXattrs(t)
	for _, errno := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSPC, syscall.E2BIG} {
		for p, content := range map[string]string{"file": "content", "dir/": ""} {
			t.Run(fmt.Sprintf("%v, %s", errno, p), func(t *testing.T) {
				t.Parallel()
				a, b := newNode(t, "a", tree{p: content}), newNode(t, "b", nil)
				a.setXattr(p, "user.tag", "kept")
				refuse := func() error { return errno }
				b.on("fetch.xattrs", refuse)
				b.on("apply.xattrs", refuse)
				a.start()
				b.start()
				w := connect(a, b)
				holds(t, tree{p: content}, a, b)
				p := strings.TrimSuffix(p, "/")
				told := func() string {
					for _, problem := range b.status().Problems {
						if problem.Path == p && strings.Contains(problem.Cause, "user.tag") && problem.Remedy != "" {
							return ""
						}
					}
					return fmt.Sprintf("problems of b: %+v", b.status().Problems)
				}
				eventually(t, "the user is told", told)
				b.stays(p)
				if err := os.Chmod(b.path(p), 0o700); err != nil { // a later edit there
					t.Fatal(err)
				}
				if content != "" {
					b.write(p, "edited")
				}
				until(t, "the edit is published", func() bool { return b.entry(p).Mode == 0o700 })
				if got := sameWhere(t, p, a, b); got != `700 user.tag="kept"` {
					t.Errorf("a has %s, want the attribute kept", got)
				}
				b.committed()
				w.cut()
				b.end()
				b.start()
				w.restore()
				eventually(t, "the user is told after a restart", told)
				b.stays(p)
				b.on("apply.xattrs", nil)
				a.setXattr(p, "user.tag", "again") // tried again whenever there is a reason
				sameMeta(t, p, a, b)
				if problems := b.status().Problems; len(problems) != 0 {
					t.Errorf("problems = %+v, want none", problems)
				}
			})
		}
	}
}

// sameWhere waits until both have agreed, and returns what a has.
func sameWhere(t testing.TB, p string, a, b *node) string {
	t.Helper()
	b.flushed()
	converged(t, a, b)
	return a.meta(p)
}

// A user attribute of a file that nobody may write is set all the same: its owner may make it writable.
func TestAttributesOfWhatIsReadOnly(t *testing.T) {
	withXattrs(t)
	a, b := startNode(t, "a", tree{"file": "content"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"file": "content"}, a, b)
	a.setXattr("file", "user.tag", "1")
	if err := os.Chmod(a.path("file"), 0o400); err != nil {
		t.Fatal(err)
	}
	until(t, "the change is let out", func() bool { e := a.entry("file"); return e.Mode == 0o400 && len(e.Xattrs) == 1 })
	if got, want := sameMeta(t, "file", a, b), `400 user.tag="1"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestScanSeesAttributes has an attribute changed while nobody watches; nothing else is opened at the next start.
func TestScanSeesAttributes(t *testing.T) {
	withXattrs(t)
	a, b := startNode(t, "a", tree{"made": "here", "dir/made": "here"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"made": "here", "dir/made": "here"}, a, b)
	for _, n := range []*node{a, b} {
		n.committed()
		w.cut()
		n.end()
		n.setXattr("dir/made", "user.tag", n.name)
		var changed []string
		n.tune = func(r *Replica) {
			for p, rec := range r.records {
				if info, err := r.root.Lstat(p); err == nil && info.Kind == beneath.File && r.unread(rec.disk(), info, false) {
					changed = append(changed, p)
				}
			}
		}
		n.start()
		if !slices.Equal(changed, []string{"dir/made"}) {
			t.Errorf("%s would open %q at its start, want dir/made alone", n.name, changed)
		}
		w.restore()
		until(t, "the attribute is published", func() bool {
			e := n.entry("dir/made")
			return len(e.Xattrs) == 1 && string(e.Xattrs[0].Value) == n.name
		})
		sameMeta(t, "dir/made", a, b)
	}
}

// TestAttributesAtOnce has both sides set an attribute while they are apart: one wins, without a conflict copy.
func TestAttributesAtOnce(t *testing.T) {
	withXattrs(t)
	a, b := startNode(t, "a", tree{"file": "content"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"file": "content"}, a, b)
	w.cut()
	for _, n := range []*node{a, b} {
		n.setXattr("file", "user.tag", n.name)
		until(t, "the change is let out", func() bool { return len(n.entry("file").Xattrs) == 1 })
	}
	w.restore()
	sameMeta(t, "file", a, b)
	holds(t, tree{"file": "content"}, a, b)
}

// TestAttributesAfterACrash kills the receiver before it sets an attribute, between it and the time, and once all is set but not
// written down.
func TestAttributesAfterACrash(t *testing.T) {
	withXattrs(t)
	for _, label := range []beneath.Label{"apply.xattrs", "apply.mtime", "commit.sync"} {
		for _, p := range []string{"dir", "file"} {
			if label == "apply.mtime" && p == "dir" {
				continue
			}
			t.Run(string(label)+" of a "+p, func(t *testing.T) {
				t.Parallel()
				base := tree{"file": "content", "dir/file": "content"}
				a, b := startNode(t, "a", base), startNode(t, "b", nil)
				w := connect(a, b)
				holds(t, base, a, b)
				b.committed()
				var happened atomic.Bool
				b.on(label, func() error {
					b.dead.Store(true)
					happened.Store(true)
					return errKilled
				})
				a.setXattr(p, "user.tag", "1")
				if p == "file" {
					if err := os.Chtimes(a.path(p), time.Time{}, time.Unix(1e9, 0)); err != nil {
						t.Fatal(err)
					}
				}
				until(t, "the label was passed", happened.Load)
				w.cut()
				b.kill()
				b.on(label, nil)
				b.start()
				b.flushed()
				if e := b.entry(p); e.Version.Author != a.replica().self {
					t.Errorf("what the crash left was published: %+v", e)
				}
				w.restore()
				sameMeta(t, p, a, b)
				b.stays(p)
				holds(t, base, a, b)
			})
		}
	}
}

// TestRestoreKeepsAttributes takes a file back out of the history.
func TestRestoreKeepsAttributes(t *testing.T) {
	withXattrs(t)
	a, b := startNode(t, "a", tree{"file": "content"}), startNode(t, "b", nil)
	a.setXattr("file", "user.tag", "1")
	connect(a, b)
	sameMeta(t, "file", a, b)
	a.remove("file")
	holds(t, tree{}, a, b)
	list, err := b.replica().History(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Fatalf("history = %v, %v, want one file", list, err)
	}
	if _, err := b.replica().Restore(t.Context(), "file", list[0].Time); err != nil {
		t.Fatal(err)
	}
	holds(t, tree{"file": "content"}, a, b)
	if got, want := sameMeta(t, "file", b, a), `644 user.tag="1"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestNewDirectoryKeepsAttributes has a new directory come in whole that nobody may write to, or that would hand an ACL on to what is in
// it.
func TestNewDirectoryKeepsAttributes(t *testing.T) {
	withXattrs(t)
	t.Parallel()
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	outside := t.TempDir()
	tree{"d/f": "f", "d/sub/g": "g", "d/plain/h": "h", "d/link": "-> f"}.write(t, outside)
	t.Cleanup(func() { // else they cannot be removed
		for _, dir := range []string{a.path("d"), a.path("d/sub"), b.path("d"), b.path("d/sub")} {
			os.Chmod(dir, 0o755)
		}
	})
	for p, value := range map[string]string{"d": acl(7), "d/plain": acl(5)} {
		if err := unix.Setxattr(outside+"/"+p, beneath.XattrDefaultACL, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, err := range []error{
		unix.Setxattr(outside+"/d/sub", "user.note", []byte("of sub"), 0), unix.Setxattr(outside+"/d/f", "user.note", []byte("of f"), 0),
		os.Chmod(outside+"/d/sub", 0o555), os.Chtimes(outside+"/d/sub", old, old), os.Chtimes(outside+"/d", old, old),
		os.Rename(outside+"/d", a.path("d")), os.Chmod(a.path("d"), 0o555),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{"d", "d/f", "d/sub", "d/sub/g", "d/plain", "d/plain/h"}
	until(t, "a has scanned", func() bool {
		seen := a.entry("d") != nil && a.entry("d").Mode == 0o555
		for _, p := range paths {
			seen = seen && a.entry(p) != nil
		}
		return seen
	})
	single := b.counts("apply.new")
	connect(a, b)
	converged(t, a, b)
	for _, p := range paths {
		sameMeta(t, p, a, b)
	}
	for _, p := range []string{"d", "d/sub"} {
		until(t, "the mtime of "+p+" is set", func() bool { return lstat(t, b.path(p)).ModTime().Equal(old) })
	}
	b.wantNoEcho()
	if n := single.Load(); n != 0 {
		t.Errorf("files put in place one by one: got %d, want 0", n)
	}
}
