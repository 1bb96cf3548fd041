package replica

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resonate/beneath"
	"resonate/merkle"
)

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "only root may give files away")
	}
}

// owned tells owner, group and mode of what stands at p.
func (n *node) owned(p string) string {
	info, err := os.Lstat(n.path(p))
	if err != nil {
		return "absent"
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
}

func (n *node) chown(p string, uid, gid int, mode uint32) {
	n.t.Helper()
	err := os.Lchown(n.path(p), uid, gid)
	if info, statErr := os.Lstat(n.path(p)); statErr == nil && info.Mode()&os.ModeSymlink == 0 {
		err = errors.Join(err, unix.Chmod(n.path(p), mode))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func TestOwnersTravel(t *testing.T) {
	needsRoot(t)
	base := tree{"file": "content", "dir/": "", "link": "-> file"}
	a, b := newNode(t, "a", base), newNode(t, "b", nil)
	a.o.KeepOwner, b.o.KeepOwner = true, true
	want := map[string]string{}
	give := func(n *node, uid, gid int, mode uint32) {
		for p := range base {
			n.chown(p, uid, gid, mode)
			want[p] = n.owned(p)
		}
	}
	same := func(from *node, others ...*node) {
		t.Helper()
		from.flushed()
		for p := range want {
			eventually(t, "owner of "+p, func() string {
				for _, n := range others {
					if got := n.owned(p); got != want[p] {
						return fmt.Sprintf("%s has %s, want %s", n.name, got, want[p])
					}
				}
				return ""
			})
		}
		holds(t, base, a, b)
	}
	give(a, 65534, 12345, 0o4751)
	a.start()
	b.start()
	w := connect(a, b)
	same(a, a, b)
	give(b, 12345, 65534, 0o2755)
	same(b, a, b)
	a.write("file", "edited") // content alone: the owner stays, setuid and setgid go, as write(2) has it
	base["file"], want["file"] = "edited", a.owned("file")
	same(a, a, b)
	if !strings.Contains(want["file"], "12345:65534") {
		t.Errorf("the edited file has %s, want owner and group as they were", want["file"])
	}
	for _, n := range []*node{a, b} {
		n.committed()
	}
	w.cut()
	b.end()
	give(b, 7, 8, 0o700) // while nobody watches
	b.start()
	w.restore()
	same(b, a, b)
	for p := range want {
		a.stays(strings.TrimSuffix(p, "/"))
		b.stays(strings.TrimSuffix(p, "/"))
	}
}

// TestOwnersThatCannotBeSet has a receiver that does not keep owners, or does not know the user: the owner stays agreed, whatever is
// done there, and is told where it is kept at all.
func TestOwnersThatCannotBeSet(t *testing.T) {
	needsRoot(t)
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("-keep-owner=%v", keep), func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"file": "content"}), newNode(t, "b", nil)
			a.chown("file", 54321, 54321, 0o4755)
			a.setXattr("file", beneath.XattrCapability, "\x01\x00\x00\x02\x00\x04"+strings.Repeat("\x00", 14))
			a.o.KeepOwner, b.o.KeepOwner = true, keep
			a.tune = func(r *Replica) { r.owners.byID = map[[2]uint32]string{{54321, 54321}: "nobody-here:nor-there"} }
			a.start()
			b.start()
			connect(a, b)
			holds(t, tree{"file": "content"}, a, b)
			want := "0:0 755"
			if keep {
				want = "0:0 4755"
			}
			if got := b.owned("file"); got != want {
				t.Errorf("b has %s, want %s", got, want)
			}
			told := strings.Contains(fmt.Sprint(b.status().Problems), "its owner")
			if told != keep {
				t.Errorf("problems of b: %+v, want its owner told: %v", b.status().Problems, keep)
			}
			if has := strings.Contains(b.meta("file"), beneath.XattrCapability); has != keep {
				t.Errorf("b has %s, want capabilities: %v", b.meta("file"), keep)
			}
			if list := b.entry("file").Xattrs; len(list) != 1 || list[0].Name != beneath.XattrCapability {
				t.Errorf("agreed attributes: got %v, want the capabilities kept", list)
			}
			b.stays("file")
			if err := os.Chmod(b.path("file"), 0o600); err != nil {
				t.Fatal(err)
			}
			until(t, "the edit is published", func() bool { return b.entry("file").Mode&0o777 == 0o600 })
			b.write("file", "edited")
			holds(t, tree{"file": "edited"}, a, b)
			eventually(t, "the owner stays", func() string {
				if got := a.owned("file"); got != "0:0 600" && got != "54321:54321 600" {
					return got
				}
				return ""
			})
			if got := b.entry("file").Owner; got != "nobody-here:nor-there" {
				t.Errorf("agreed owner is %q, want it kept", got)
			}
		})
	}
}

func TestOwnerNames(t *testing.T) {
	var o owners
	for name, want := range map[string]string{
		"0:0": "0:0", "54321:54322": "54321:54322", o.name(0, 0): "0:0", o.name(54321, 54322): "54321:54322",
		"": "", "root": "", "nobody-here:0": "", "0:nobody-here": "", "4294967295:0": "", "0:-1": "", "1:2:3": "",
	} {
		uid, gid, err := o.ids(name)
		if want == "" {
			if err == nil {
				t.Errorf("ids(%q) = %d, %d, want an error", name, uid, gid)
			}
			continue
		}
		if got := fmt.Sprintf("%d:%d", uid, gid); err != nil || got != want {
			t.Errorf("ids(%q) = %s, %v, want %s", name, got, err, want)
		}
	}
}

// TestOwnerIsReadWithAttributes has the owner change between the first look at a file and that at its attributes.
func TestOwnerIsReadWithAttributes(t *testing.T) {
	needsRoot(t)
	a := newNode(t, "a", tree{"f": "base"})
	a.o.KeepOwner = true
	a.start()
	a.flushed()
	a.inLoop(func(r *Replica) {
		before, err := r.root.Lstat("f")
		if err != nil {
			t.Fatal(err)
		}
		before.CTime = time.Now().UnixNano() // something else has changed, too
		a.chown("f", 1, 1, 0o644)
		var attrs merkle.Attributes
		disk := r.diskAt("f")
		if !r.attributesDiffer("f", before, true, &attrs, &disk) || disk.Owner != "1:1" || attrs.Owner != r.owners.name(1, 1) {
			t.Errorf("the owner is read as %q, %q; want 1:1", disk.Owner, attrs.Owner)
		}
	})
}

// TestOwnerOfWhatMakesWay has a directory that is given away replaced by a file on one side and written to on the other: it stays, with
// one owner everywhere.
func TestOwnerOfWhatMakesWay(t *testing.T) {
	needsRoot(t)
	a, b := newNode(t, "a", tree{"d/x": "x"}), newNode(t, "b", nil)
	for _, n := range []*node{a, b} {
		n.o.KeepOwner = true
		n.start()
	}
	a.flushed()
	w := connect(a, b)
	a.chown("d", 1, 2, 0o755)
	a.flushed()
	holds(t, tree{"d/x": "x"}, a, b)
	w.cut()
	b.remove("d")
	b.write("d", "file")
	a.write("d/x", "changed")
	a.flushed()
	b.flushed()
	w.restore()
	eventually(t, "the directory stays, with one owner", func() string {
		converged(t, a, b)
		if inA, inB := a.owned("d"), b.owned("d"); inA != inB || a.tree()["d/x"] != "changed" {
			return fmt.Sprintf("d is %s in a, %s in b, the tree %v", inA, inB, a.tree())
		}
		return ""
	})
}
