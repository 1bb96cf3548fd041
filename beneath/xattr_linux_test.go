package beneath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// acl returns a POSIX ACL as its attribute holds it (linux/posix_acl_xattr.h): version 2, then tag, permissions and ID of each entry.
// user 1000 is named beside owner, group and others; perm is that user's, and the mask.
func acl(perm uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, uint32(perm), 1000}, {4, 4, 1<<32 - 1}, {16, uint32(perm), 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

// withXattrs skips a test where the file system of dir has no user attributes or no ACLs.
func withXattrs(t *testing.T, dir string) {
	t.Helper()
	for name, value := range map[string][]byte{"user.probe": {1}, XattrDefaultACL: acl(7)} {
		if err := unix.Setxattr(dir, name, value, 0); err != nil {
			skip(t, fmt.Sprintf("the file system of %s has no %s: %v", dir, name, err))
		}
		must(t, unix.Removexattr(dir, name))
	}
}

func TestXattrs(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		withXattrs(t, dir)
		write(t, dir+"/d/file", "x")
		big := bytes.Repeat([]byte{7}, 3000)
		for _, want := range [][]Xattr{
			{{"user.a", []byte{}}, {"user.b", []byte("\x00\xff")}},
			{{XattrAccessACL, acl(7)}, {"user.b", big}},
			{{XattrAccessACL, acl(5)}},
			nil,
		} {
			for _, path := range []string{"d/file", "d", "."} {
				if refused, err := r.SetXattrs("t", path, want); err != nil || refused != nil {
					t.Fatalf("SetXattrs(%s) = %v, %v, want none", path, refused, err)
				}
				if got, over, err := r.Xattrs(path); err != nil || over != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("Xattrs(%s) = %v, %v, %v, want %v", path, got, over, err, want)
				}
			}
		}
	})
}

func TestOpenFilesXattrs(t *testing.T) {
	dir := t.TempDir()
	withXattrs(t, dir)
	must(t, unix.Setxattr(dir, XattrDefaultACL, acl(7), 0))
	r := openTest(t, dir, openBeneath)
	f, err := r.Create("t", "new", 0o600)
	must(t, err)
	defer f.Close()
	if list, _, err := FXattrs(f); err != nil || len(list) != 1 {
		t.Fatalf("FXattrs = %v, %v, want the ACL that the directory gives", list, err)
	}
	want := []Xattr{{"user.own", []byte("1")}}
	if refused, err := r.FSetXattrs("t", f, want); err != nil || refused != nil {
		t.Fatalf("FSetXattrs = %v, %v, want none", refused, err)
	}
	if got, _, err := FXattrs(f); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("FXattrs = %v, %v, want %v", got, err, want)
	}
}

func TestRefusedXattrs(t *testing.T) {
	dir := t.TempDir()
	withXattrs(t, dir)
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/file", "x")
	must(t, unix.Setxattr(dir+"/file", "user.old", []byte("1"), 0))
	want := []Xattr{
		{"system.elsewhere", []byte("1")}, // no business of ours: left out without a word
		{XattrAccessACL, []byte("no ACL")},
		{XattrDefaultACL, acl(7)}, // of a file
		{"trusted.t", []byte("1")},
		{"user.ok", []byte("1")},
		{"user.x", bytes.Repeat([]byte{1}, 64<<10+1)},
	}
	refused, err := r.SetXattrs("t", "file", want)
	must(t, err)
	var names []string
	for _, x := range refused {
		names = append(names, x.Name)
		if x.Err == nil {
			t.Errorf("%s is refused without a reason", x.Name)
		}
	}
	if got, want := fmt.Sprint(names), fmt.Sprint([]string{XattrAccessACL, XattrDefaultACL, "user.x"}); got != want {
		t.Errorf("refused = %s, want %s", got, want)
	}
	if got, _, err := r.Xattrs("file"); err != nil || !reflect.DeepEqual(got, want[4:5]) {
		t.Errorf("Xattrs = %v, %v, want %v", got, err, want[4:5])
	}
}

// TestManyXattrs needs a file system that takes more than MaxXattrs, as tmpfs does.
func TestManyXattrs(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "resonate")
	if err != nil {
		skip(t, "no tmpfs: "+err.Error())
	}
	defer os.RemoveAll(dir)
	withXattrs(t, dir)
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/file", "x")
	var names []string
	for i := range 10 {
		name := fmt.Sprintf("user.%d", i)
		if err := unix.Setxattr(dir+"/file", name, make([]byte, 60<<10), 0); err != nil {
			skip(t, "too many attributes for this tmpfs: "+err.Error())
		}
		names = append(names, name)
	}
	list, over, err := r.Xattrs("file")
	if err != nil || len(list) != 8 || !reflect.DeepEqual(over, names[8:]) {
		t.Errorf("Xattrs = %d attributes, over %v, %v, want 8 and over %v", len(list), over, err, names[8:])
	}
	if _, err := r.SetXattrs("t", "file", nil); err != nil {
		t.Fatal(err)
	}
	if list, _, err := r.Xattrs("file"); err != nil || len(list) != 2 { // what was not seen is not taken away
		t.Errorf("Xattrs = %d attributes, %v, want the two that were left out", len(list), err)
	}
}

func TestXattrFault(t *testing.T) {
	dir := t.TempDir()
	withXattrs(t, dir)
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/file", "x")
	must(t, unix.Setxattr(dir+"/file", "user.old", []byte("1"), 0))
	want := []Xattr{{"user.a", []byte("1")}, {"user.b", []byte("1")}}
	for _, row := range []struct {
		fault, err error
		refused    int
	}{{unix.EIO, unix.EIO, 0}, {unix.EOPNOTSUPP, nil, 2}} {
		r.SetFault(func(l Label) error {
			if l != "t" {
				t.Errorf("label = %q, want t", l)
			}
			return row.fault
		})
		refused, err := r.SetXattrs("t", "file", want)
		if !errors.Is(err, row.err) || len(refused) != row.refused {
			t.Errorf("%v: SetXattrs = %v, %v, want %d refused and %v", row.fault, refused, err, row.refused, row.err)
		}
		if list, _, err := r.Xattrs("file"); err != nil || len(list) != 1 || list[0].Name != "user.old" {
			t.Errorf("%v: Xattrs = %v, %v, want what was there", row.fault, list, err)
		}
	}
}

func TestXattrsOfWhatHasNone(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/file", "x")
		must(t, os.Symlink("file", dir+"/link"))
		must(t, unix.Mkfifo(dir+"/pipe", 0o600))
		for path, want := range map[string]error{"link": ErrOutside, "pipe": ErrNotRegular, "none": os.ErrNotExist, "../x": ErrInvalidPath} {
			if _, _, err := r.Xattrs(path); !errors.Is(err, want) {
				t.Errorf("Xattrs(%s): %v, want %v", path, err, want)
			}
			if _, err := r.SetXattrs("t", path, nil); !errors.Is(err, want) {
				t.Errorf("SetXattrs(%s): %v, want %v", path, err, want)
			}
		}
		if list, over, err := r.Xattrs("file"); err != nil || list != nil || over != nil {
			t.Errorf("Xattrs(file) = %v, %v, %v, want none", list, over, err)
		}
	})
}

func TestOwnXattr(t *testing.T) {
	own := []string{"user.x", XattrAccessACL, XattrDefaultACL, XattrCapability}
	others := []string{"", "user", "user.", "trusted.x", "security.selinux", "system.nfs4_acl", strings.ToUpper("user.x")}
	for _, name := range own {
		if !OwnXattr(name) {
			t.Errorf("OwnXattr(%q) = false, want true", name)
		}
	}
	for _, name := range others {
		if OwnXattr(name) {
			t.Errorf("OwnXattr(%q) = true, want false", name)
		}
	}
}
