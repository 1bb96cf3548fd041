package foldtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What the process that serves a mount finds in its environment.
const (
	envDir     = "RESONATE_FOLDTEST_DIR"
	envBacking = "RESONATE_FOLDTEST_BACKING"
	envRefuse  = "RESONATE_FOLDTEST_REFUSE"
)

func init() {
	if dir := os.Getenv(envDir); dir != "" {
		os.Exit(serve(dir, &volume{backing: os.Getenv(envBacking), o: Options{Refuse: os.Getenv(envRefuse)}}))
	}
}

// Mount mounts dir, which must exist, over backing, and takes the mount away when the test ends, however it ends. The error says
// why this machine cannot.
func Mount(t testing.TB, backing, dir string, o Options) error {
	if os.Geteuid() != 0 {
		return syscall.EPERM // fusermount may be lacking, or let only its caller in
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envDir+"="+dir, envBacking+"="+backing, envRefuse+"="+o.Refuse)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	told, err := bufio.NewReader(out).ReadString('\n')
	if told = strings.TrimSpace(told); told != mounted {
		in.Close()
		return errors.Join(err, cmd.Wait(), errors.New(told))
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Logf("unmount %s: %v", dir, err)
		}
	})
	return nil
}

// mounted is the line by which the serving process tells that all is well.
const mounted = "mounted"

// serve mounts dir, and serves it until its input ends: when the test wishes it, or is no more.
func serve(dir string, v *volume) (code int) {
	server, err := fs.Mount(dir, &node{v: v}, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "foldtest", Name: "foldtest"},
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(mounted)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Unmount(); err != nil {
		fmt.Fprintf(os.Stderr, "unmount %s: %v: detached\n", dir, err)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	server.Wait()
	return 0
}

// A volume is what all nodes of one mount share.
type volume struct {
	backing string
	o       Options
}

// spelled returns the path, in the backing directory, of a name in the directory at, as it is spelled there; and whether it
// is there. Of one that is not, the path is that which it would get.
func (v *volume) spelled(at, name string) (string, bool) {
	full := filepath.Join(at, name)
	entries, err := os.ReadDir(at)
	if err != nil {
		return full, false
	}
	k := key(name)
	for _, e := range entries {
		if key(e.Name()) == k {
			return filepath.Join(at, e.Name()), true
		}
	}
	return full, false
}

// free returns where a name that is to be made goes, or why it cannot be.
func (v *volume) free(at, name string) (string, syscall.Errno) {
	if strings.ContainsAny(name, v.o.Refuse) {
		return "", syscall.EINVAL
	}
	full, taken := v.spelled(at, name)
	if taken {
		return "", syscall.EEXIST
	}
	return full, 0
}

// A node is a file or directory. It holds nothing but where the kernel last found it.
type node struct {
	fs.Inode
	v *volume
}

// path returns where the node lies in the backing directory.
func (n *node) path() string {
	at := n.v.backing
	for name := range strings.SplitSeq(n.Path(n.Root()), "/") {
		if name != "" {
			at, _ = n.v.spelled(at, name)
		}
	}
	return at
}

// child makes the node of what stands at full.
func (n *node) child(ctx context.Context, full string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	var st syscall.Stat_t
	if err := syscall.Lstat(full, &st); err != nil {
		return nil, fs.ToErrno(err)
	}
	out.FromStat(&st)
	return n.NewInode(ctx, &node{v: n.v}, fs.StableAttr{Mode: st.Mode, Ino: st.Ino}), 0
}

// made does what makes a name, and returns its node.
func (n *node) made(ctx context.Context, name string, out *fuse.EntryOut, do func(full string) error) (*fs.Inode, syscall.Errno) {
	full, errno := n.v.free(n.path(), name)
	if errno != 0 {
		return nil, errno
	}
	if err := do(full); err != nil {
		return nil, fs.ToErrno(err)
	}
	return n.child(ctx, full, out)
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	full, there := n.v.spelled(n.path(), name)
	if !there {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, full, out)
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.made(ctx, name, out, func(full string) error { return syscall.Mkdir(full, mode) })
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.made(ctx, name, out, func(full string) error { return syscall.Symlink(target, full) })
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	from := target.(*node).path()
	return n.made(ctx, name, out, func(full string) error { return syscall.Link(from, full) })
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (
	inode *fs.Inode, file fs.FileHandle, fuseFlags uint32, errno syscall.Errno) {
	fd := -1
	inode, errno = n.made(ctx, name, out, func(full string) (err error) {
		fd, err = syscall.Open(full, int(flags)&^syscall.O_APPEND|syscall.O_CREAT|syscall.O_EXCL, mode)
		return err
	})
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return inode, fs.NewLoopbackFile(fd), 0, 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	full, _ := n.v.spelled(n.path(), name)
	return fs.ToErrno(syscall.Unlink(full))
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	full, _ := n.v.spelled(n.path(), name)
	return fs.ToErrno(syscall.Rmdir(full))
}

// Rename implements rename(2) and renameat2(2). What replaces nothing takes the very file under another spelling for something.
func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	from, there := n.v.spelled(n.path(), name)
	if !there {
		return syscall.ENOENT
	}
	full, errno := n.v.free(parent.(*node).path(), to)
	switch {
	case errno == syscall.EEXIST && flags&unix.RENAME_NOREPLACE == 0:
		full, _ = n.v.spelled(parent.(*node).path(), to)
	case errno != 0:
		return errno
	}
	return fs.ToErrno(unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, full, uint(flags)))
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	return fs.NewLoopbackDirStream(n.path())
}

func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) {
	target, err := os.Readlink(n.path())
	return []byte(target), fs.ToErrno(err)
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	fd, err := syscall.Open(n.path(), int(flags)&^syscall.O_APPEND, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return fs.NewLoopbackFile(fd), 0, 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var st syscall.Statfs_t
	err := syscall.Statfs(n.v.backing, &st)
	out.FromStatfsT(&st)
	return fs.ToErrno(err)
}

func (n *node) Getattr(ctx context.Context, file fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if f, ok := file.(fs.FileGetattrer); ok {
		return f.Getattr(ctx, out)
	}
	var st syscall.Stat_t
	err := syscall.Lstat(n.path(), &st)
	out.FromStat(&st)
	return fs.ToErrno(err)
}

func (n *node) Setattr(ctx context.Context, file fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if f, ok := file.(fs.FileSetattrer); ok {
		if errno := f.Setattr(ctx, in, out); errno != 0 {
			return errno
		}
		return n.Getattr(ctx, file, out)
	}
	full := n.path()
	if mode, ok := in.GetMode(); ok {
		if err := syscall.Chmod(full, mode); err != nil {
			return fs.ToErrno(err)
		}
	}
	if size, ok := in.GetSize(); ok {
		if err := syscall.Truncate(full, int64(size)); err != nil {
			return fs.ToErrno(err)
		}
	}
	if mtime, ok := in.GetMTime(); ok {
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(mtime.UnixNano())}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, full, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fs.ToErrno(err)
		}
	}
	return n.Getattr(ctx, nil, out)
}
