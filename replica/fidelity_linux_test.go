package replica

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resonate/beneath"
)

// TestRsyncFindsNothingToDo has a tree as a system has it, with every oddity that is kept, travel; and asks rsync, which judges by rules of
// its own, whether the two sides differ. RESONATE_SYSTEM_TREE names a tree to be copied in beside it, such as /usr/share.
func TestRsyncFindsNothingToDo(t *testing.T) {
	needsRoot(t)
	withXattrs(t)
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		skip(t, "rsync: %v", err)
	}
	a, b := newNode(t, "a", nil), newNode(t, "b", nil)
	a.o.KeepOwner, b.o.KeepOwner = true, true
	layOddTree(t, a)
	limit := patience
	if from := os.Getenv("RESONATE_SYSTEM_TREE"); from != "" {
		limit *= 15
		if out, err := exec.Command("cp", "-a", from, a.path("system")).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	a.start()
	b.start()
	connect(a, b)
	differ := func() string {
		cmd := exec.Command(rsync, "-aHAXnci", "--delete", "--exclude=/"+StateDir, a.path("top")+"/../", b.path("top")+"/../")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return err.Error() + ": " + string(out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if strings.HasSuffix(lines[0], " ./") { // the folder itself has no entry
			lines = lines[1:]
		}
		return strings.Join(lines, "\n")
	}
	within(t, limit, "rsync finds nothing to do", func() string {
		if x, y := a.status().Roots, b.status().Roots; x != y {
			return "the roots differ"
		}
		return differ()
	})
}

// layOddTree makes one of everything below "top".
func layOddTree(t testing.TB, n *node) {
	t.Helper()
	tree{
		"top/plain": "plain", "top/setuid": "x", "top/unreadable": "x", "top/linked": "linked", "top/dir/in": "x", "top/readonly/in": "x",
		"top/sticky/": "", "top/link": "-> nowhere", "top/new\nline": "x", "top/\xff": "x", "top/acl": "x", "top/inherits/": "",
		"top/old": "before 1970", "top/capable": "x",
	}.write(t, n.dir)
	n.hardLink("top/linked", "top/dir/linked")
	n.hardLink("top/linked", "elsewhere")
	n.setXattr("top/linked", "user.tag", "\x00v")
	n.setXattr("top/sticky", "user.tag", "of a directory")
	n.setXattr("top/acl", beneath.XattrAccessACL, acl(7))
	n.setXattr("top/inherits", beneath.XattrDefaultACL, acl(5))
	n.chown("top/setuid", 65534, 12345, 0o6755)
	n.chown("top/link", 1234, 4321, 0)
	n.chown("top/sticky", 7, 8, 0o3777)
	n.chown("top/unreadable", 0, 0, 0)
	n.chown("top/capable", 9, 9, 0o755)
	n.setXattr("top/capable", beneath.XattrCapability, "\x01\x00\x00\x02\x00\x04"+strings.Repeat("\x00", 14))
	old := time.Unix(-1, 500)
	err := errors.Join(os.Chtimes(n.path("top/old"), old, old), os.Truncate(n.path("top/dir/in"), 3<<20))
	times := []unix.Timespec{unix.NsecToTimespec(1), unix.NsecToTimespec(1e18 + 7)}
	err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, n.path("top/link"), times, unix.AT_SYMLINK_NOFOLLOW))
	for _, dir := range []string{"top/readonly", "top/sticky"} {
		err = errors.Join(err, os.Chtimes(n.path(dir), old, time.Unix(1e9, 7)))
	}
	err = errors.Join(err, os.Chmod(filepath.Join(n.dir, "top/readonly"), 0o555))
	if err != nil {
		t.Fatal(err)
	}
}
