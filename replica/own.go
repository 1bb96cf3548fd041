package replica

import (
	"io/fs"
	"sync"

	"resonate/index"
)

// ownFiles are the files and symlinks that were put in place a moment ago, so that the watcher can pass over the events of
// that: they are recorded already. One that is not here, or no longer, is looked at like any other. It is safe for concurrent
// use.
type ownFiles struct {
	mu       sync.Mutex
	now, old map[string]ownFile
}

// An ownFile is what a file was when it was put in place.
type ownFile struct {
	inode       uint64
	size, mtime int64
	mode        uint32
}

// maxOwn is how many files a generation has; there are two.
const maxOwn = 4096

// add notes that disk is about to be put at path.
func (o *ownFiles) add(path string, disk index.Disk) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil || len(o.now) >= maxOwn {
		o.old, o.now = o.now, make(map[string]ownFile)
	}
	o.now[path] = ownFile{disk.Inode, disk.Size, disk.MTime, disk.Mode}
}

// has tells whether what stands at path is what was put there. It is for the watcher.
func (o *ownFiles) has(path string, inode uint64, fi fs.FileInfo) bool {
	o.mu.Lock()
	f, ok := o.now[path]
	if !ok {
		f, ok = o.old[path]
	}
	o.mu.Unlock()
	return ok && f.inode == inode && f.size == fi.Size() && f.mtime == fi.ModTime().UnixNano() &&
		(fi.Mode().Type() == fs.ModeSymlink || fi.Mode().Perm() == fs.FileMode(f.mode)&fs.ModePerm)
}

// drop notes that path is looked at: from now on, what the record says counts. What was put there may go, and come back when its
// deletion is out already. It tells whether something was put there.
func (o *ownFiles) drop(path string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, now := o.now[path]
	_, old := o.old[path]
	delete(o.now, path)
	delete(o.old, path)
	return now || old
}

// forget gives the memory back when all is quiet.
func (o *ownFiles) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now, o.old = nil, nil
}
