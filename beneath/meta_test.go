package beneath

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// An odd time, one before 1970, and one beyond 32 bits, to the nanosecond.
var times = []int64{1_234_567_890_123_456_789, -1_000_000_001, 5_000_000_000_000_000_007}

func TestSetMTime(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/d/file", "x")
		must(t, os.Symlink("file", dir+"/d/link"))
		must(t, os.Symlink("nowhere", dir+"/dangling"))
		for _, ns := range times {
			for _, path := range []string{"d/file", "d/link", "dangling", "d", "."} {
				var before, after unix.Stat_t
				must(t, unix.Lstat(dir+"/"+path, &before))
				must(t, r.SetMTime("t", path, ns))
				must(t, unix.Lstat(dir+"/"+path, &after))
				if info, err := r.Lstat(path); err != nil || info.MTime != ns {
					t.Errorf("%s: mtime = %d, %v, want %d", path, info.MTime, err, ns)
				}
				if before.Atim != after.Atim {
					t.Errorf("%s: atime changed from %v to %v", path, before.Atim, after.Atim)
				}
			}
		}
	})
}

func TestChmod(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/d/file", "x")
		must(t, os.Symlink("file", dir+"/d/link"))
		for _, perm := range []uint32{0o600, 0o4755, 0, 0o1777, 0o755} {
			for _, path := range []string{"d/file", "d", "."} {
				if path == "." {
					perm |= 0o100 // without it only root gets in again
				}
				must(t, r.Chmod("t", path, perm))
				if info, err := r.Lstat(path); err != nil || info.Mode != perm {
					t.Errorf("%s: mode = %o, %v, want %o", path, info.Mode, err, perm)
				}
				must(t, r.Chmod("t", path, 0o755))
			}
		}
		before, err := r.Lstat("d/file")
		must(t, err)
		_ = r.Chmod("t", "d/link", 0o600) // refused or done to the link itself, as the system has it
		if after, err := r.Lstat("d/file"); err != nil || after != before {
			t.Errorf("chmod of a link changed its target to %+v, %v, was %+v", after, err, before)
		}
	})
}

func TestFchmodMTime(t *testing.T) {
	r := openTest(t, t.TempDir(), openBeneath)
	f, err := r.Create("t", "file", 0o600)
	must(t, err)
	defer f.Close()
	for _, ns := range times {
		for _, perm := range []uint32{0o444, 0o6755} {
			must(t, FchmodMTime(f, perm, ns))
			if got, err := Fstat(f); err != nil || got.Mode != perm || !sameTime(got.MTime, ns) {
				t.Errorf("Fstat = mode %o mtime %d, %v, want %o %d", got.Mode, got.MTime, err, perm, ns)
			}
		}
	}
	must(t, f.Close())
	if err := FchmodMTime(f, 0o600, 0); err == nil {
		t.Error("FchmodMTime of a closed file: no error")
	}
}

func TestChown(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "only root may give files away")
	}
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/d/file", "x")
		must(t, os.Symlink("file", dir+"/d/link"))
		for i, path := range []string{"d/link", "d/file", "d"} {
			uid, gid := uint32(1000+i), uint32(2000+i)
			must(t, r.Chown("t", path, uid, gid))
			if info, err := r.Lstat(path); err != nil || info.UID != uid || info.GID != gid {
				t.Errorf("%s: owner %d:%d, %v, want %d:%d", path, info.UID, info.GID, err, uid, gid)
			}
		}
		f, err := r.Create("t", "new", 0o600)
		must(t, err)
		defer f.Close()
		must(t, Fchown(f, 7, 8))
		if info, err := Fstat(f); err != nil || info.UID != 7 || info.GID != 8 {
			t.Errorf("new: owner %d:%d, %v, want 7:8", info.UID, info.GID, err)
		}
	})
}

func TestLink(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/d/file", "x")
		must(t, os.Symlink("file", dir+"/link"))
		before, err := r.Lstat("d/file")
		must(t, err)
		must(t, r.Link("t", "d/file", "second"))
		if info, err := r.Lstat("second"); err != nil || info.Inode != before.Inode || info.Links != 2 || info.CTime < before.CTime {
			t.Errorf("second = %+v, %v, want inode %d with two links", info, err, before.Inode)
		}
		wantError(t, "onto what is there", r.Link("t", "d/file", "second"), os.ErrExist)
		wantError(t, "of a symlink", r.Link("t", "link", "third"), ErrNotRegular)
		wantError(t, "of a directory", r.Link("t", "d", "third"), ErrNotRegular)
		wantError(t, "of nothing", r.Link("t", "none", "third"), os.ErrNotExist)
	})
}
