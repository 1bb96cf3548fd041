package replica

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpecialFiles has what cannot be synchronised in the folder: it is told, stays where it is, and hinders nothing else.
func TestSpecialFiles(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(t *testing.T, full string)
	}{
		{"pipe", func(t *testing.T, full string) {
			if err := unix.Mkfifo(full, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"socket", func(t *testing.T, full string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			dir, err := os.Open(strings.TrimSuffix(full, "/x")) // a socket's path has 107 bytes at most
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			l, err := net.Listen("unix", "/proc/self/fd/"+strconv.Itoa(int(dir.Fd()))+"/x")
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
		}},
		{"device", func(t *testing.T, full string) {
			needsRoot(t)
			if err := unix.Mknod(full, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
				skip(t, "no devices here: %v", err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"d/file": "content", "d/y": "to be replaced"}), startNode(t, "b", nil)
			row.make(t, a.path("d")+"/x")
			a.start()
			connect(a, b)
			told := func(p string) func() bool {
				return func() bool {
					for _, problem := range a.status().Problems {
						if problem.Path == p && problem.Cause != "" && problem.Remedy != "" {
							return true
						}
					}
					return false
				}
			}
			until(t, "it is told", told("d/x"))
			until(t, "the rest is there", func() bool { return hasContent(b.tree(), "content") && hasContent(b.tree(), "to be replaced") })
			special := func(p string) {
				t.Helper()
				if info, err := os.Lstat(a.path(p)); err != nil || info.Mode().IsRegular() || info.IsDir() {
					t.Errorf("%s is %v, %v, want it as it was", p, info, err)
				}
				if _, err := os.Lstat(b.path(p)); err == nil {
					t.Errorf("%s is at b", p)
				}
			}
			special("d/x")
			a.rename("d/x", "d/y") // over a file: that is deleted
			until(t, "it is told where it is now", told("d/y"))
			until(t, "the file is deleted", func() bool { return !hasContent(b.tree(), "to be replaced") })
			special("d/y")
			b.write("d/y", "the peer's") // what comes in does not replace it
			until(t, "the version is known", func() bool {
				var waits bool
				a.inLoop(func(r *Replica) { waits = len(r.incoming["d/y"]) > 0 && r.incoming["d/y"][0].local > 2 })
				return waits
			})
			until(t, "it is told", told("d/y"))
			if info, err := os.Lstat(a.path("d/y")); err != nil || info.Mode().IsRegular() {
				t.Errorf("d/y is %v, %v, want it as it was", info, err)
			}
			a.remove("d/y")
			holds(t, tree{"d/file": "content", "d/y": "the peer's"}, a, b)
			until(t, "nothing is left to be told", func() bool { return len(a.status().Problems) == 0 })
		})
	}
}
