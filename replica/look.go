package replica

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"

	"resonate/beneath"
	"resonate/ignore"
	"resonate/index"
	"resonate/merkle"
	"resonate/watcher"
)

// inlineData is the largest file whose bytes travel with its announcement.
const inlineData = 16 << 10

// racy is how close before being read a file's mtime may lie for a later write to leave it unchanged: kernels before
// 6.13 count time in ticks of up to 10 ms.
const racy = 20 * time.Millisecond

// A hashJob is one file to be read.
type hashJob struct {
	path string
	size int64 // as it was found
	scan bool  // found by a scan, not by an event
}

// A hashResult is what reading a file gave.
type hashResult struct {
	info   beneath.Info
	blocks merkle.BlockList
	data   []byte // of a small file
	stable bool   // it did not change meanwhile
	begun  int64  // when reading began, nanoseconds since 1970
	err    error
	attributes
}

// observe takes in what the watcher reports.
func (r *Replica) observe(b watcher.Batch) {
	for _, path := range b.Paths { // rules first: they count for whatever else has changed
		if dir, name := merkle.SplitPath(path); name == ignore.Name && (dir == "" || r.diskNow(dir).Kind == merkle.Dir) {
			r.refreshRules(dir)
		}
	}
	type standing struct {
		path string
		info beneath.Info
	}
	var there []standing
	for _, path := range b.Paths { // what is gone first: it may be what is found elsewhere
		if info, err := r.root.Lstat(path); err != nil || path == "." || isOurs(path) {
			r.look(path, false)
		} else {
			there = append(there, standing{path, info})
		}
	}
	for _, s := range there {
		r.found(s.path, s.info, false)
	}
	for _, dir := range b.Rescan {
		if dir == "." {
			dir = ""
		}
		r.startScan(dir, false)
	}
}

// look finds out what stands at path now, and sets going what follows if that is not what the record says.
func (r *Replica) look(path string, scan bool) {
	if path == "" || path == "." || isOurs(path) {
		if isOurs(path) {
			r.lastMarker = time.Time{} // look at the marker now
		}
		return
	}
	if dir, name := merkle.SplitPath(path); name == ignore.Name {
		r.refreshRules(dir)
	}
	info, err := r.root.Lstat(path)
	switch {
	case absent(err):
		r.foundMissing(path, scan)
		r.foundOtherwise(path, err, scan)
	case err != nil:
		r.problem(path, err.Error(), makeReadable)
	default:
		r.found(path, info, scan)
	}
}

// absent tells whether an error means that nothing stands at a path: a file or a link may stand in the way to it.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, beneath.ErrOutside)
}

// found compares what stands at path with the record.
func (r *Replica) found(path string, info beneath.Info, scan bool) {
	r.own.drop(path)
	r.metMark(path, info)
	if r.ignores(path, info.Kind == beneath.Dir) {
		r.foundIgnored(path, info, scan)
		return
	}
	if r.uncover(path, info) {
		return
	}
	rec := r.records[path]
	if info.Kind != beneath.Dir && rec != nil && rec.disk().Kind == merkle.Dir {
		r.foundMissingBelow(path, scan)
	}
	if rec != nil && rec.inode != info.Inode {
		r.lookBeyond(path)
	}
	r.movedTo(path, info)
	switch info.Kind {
	case beneath.Dir:
		if !scan && !r.timedHere(path, info) {
			r.foundGoneIn(path) // it may be another directory than before
		}
		if r.unreadable(path) {
			r.startScan(path, false) // perhaps it can be listed by now
		}
		r.foundSimple(path, merkle.Attributes{Kind: merkle.Dir, Mode: info.Mode}, info, scan)
	case beneath.Symlink:
		target, err := r.root.Readlink(path)
		if err != nil {
			r.problem(path, err.Error(), makeReadable)
			return
		}
		r.foundSimple(path, merkle.Attributes{Kind: merkle.Symlink, MTime: info.MTime, Target: target}, info, scan)
	case beneath.File:
		r.foundFile(path, info, scan)
	default:
		r.foundMissing(path, scan)
		r.problem(path, "sockets, pipes and devices are not synchronised", "remove it, or leave it here: everything else is synchronised all the same")
	}
}

func (r *Replica) foundFile(path string, info beneath.Info, scan bool) {
	if r.holdsAsFound(path, info, scan) {
		return
	}
	rec := r.records[path]
	if rec != nil && rec.disk().Kind == merkle.File && rec.disk().Inode == info.Inode && rec.disk().Size == info.Size &&
		rec.disk().MTime == info.MTime && (scan || rec.disk().Checked-rec.disk().MTime > int64(racy)) {
		var attrs merkle.Attributes
		e, disk := r.tree.Get(path), rec.disk()
		if e.Live() {
			attrs = e.Attributes
		}
		second := info.Links > 1 && e.Live() && e.Link.IsZero()
		if !r.attributesDiffer(path, info, !scan, &attrs, &disk) && rec.disk().Mode == info.Mode && !second {
			r.lookedAt(path, disk, scan)
			r.unchanged(path)
			return
		}
		if e.Live() && e.Kind == merkle.File && r.hashing[path] == nil {
			attrs.Mode, disk.Mode = info.Mode, info.Mode
			r.changed(&change{path: path, attrs: &attrs, disk: disk, ctime: info.CTime, scan: scan, keepBlocks: true, links: info.Links})
			return
		}
	}
	r.hash(path, info, scan)
}

// foundSimple handles what has no content to be read: directories and symlinks.
func (r *Replica) foundSimple(path string, attrs merkle.Attributes, info beneath.Info, scan bool) {
	rec := r.records[path]
	disk := diskOf(info)
	same := rec != nil && sameDisk(rec.disk(), info)
	if same {
		disk = rec.disk()
	}
	differ := r.attributesDiffer(path, info, !scan, &attrs, &disk)
	switch {
	case same && !differ:
		r.lookedAt(path, disk, scan)
		r.unchanged(path)
		return
	case rec != nil && attrs.Kind == merkle.Dir && rec.disk().Kind == merkle.Dir && rec.disk().Mode == info.Mode &&
		disk.XattrHash == rec.disk().XattrHash && disk.Owner == rec.disk().Owner:
		disk.Refused = rec.disk().Refused
		r.setDisk(path, disk, nil) // another directory of the same name: what lies in it is looked at by itself
		r.unchanged(path)
		return
	}
	r.changed(&change{path: path, attrs: &attrs, disk: disk, scan: scan})
}

// sameDisk tells whether something other than a file's content is as recorded. A directory's size and mtime change
// with what lies in it.
func sameDisk(d index.Disk, info beneath.Info) bool {
	if d.Kind != kindOf(info.Kind) || d.Inode != info.Inode {
		return false
	}
	switch d.Kind {
	case merkle.Dir:
		return d.Mode == info.Mode
	case merkle.Symlink:
		return d.MTime == info.MTime && d.Size == info.Size
	}
	return d.Mode == info.Mode && d.MTime == info.MTime && d.Size == info.Size
}

func kindOf(k beneath.Kind) merkle.Kind {
	switch k {
	case beneath.File:
		return merkle.File
	case beneath.Dir:
		return merkle.Dir
	case beneath.Symlink:
		return merkle.Symlink
	}
	return 0
}

func diskOf(info beneath.Info) index.Disk {
	return index.Disk{
		Kind: kindOf(info.Kind), Mode: info.Mode, Inode: info.Inode, Size: info.Size, MTime: info.MTime,
		Checked: time.Now().UnixNano(),
	}
}

// unchanged notes that path is as recorded: an earlier change that waits has been taken back.
func (r *Replica) unchanged(path string) {
	delete(r.changes, path)
	if rec := r.records[path]; rec != nil && (rec.suspect || r.held[path] != nil) {
		rec.suspect = false
		r.touch(path)
	}
	delete(r.held, path)
	if !r.left[path] {
		r.problem(path, "", "")
	}
	r.resume(path)
}

// foundMissing notes that nothing stands at path.
func (r *Replica) foundMissing(path string, scan bool) {
	r.foundMissingBelow(path, scan)
	r.missing(path, scan)
	r.rules.forget(path)
}

func (r *Replica) foundMissingBelow(path string, scan bool) {
	for below := range r.tree.All(path) {
		r.missing(below, scan)
	}
}

func (r *Replica) missing(path string, scan bool) {
	r.problem(path, "", "")
	if r.own.drop(path) {
		if info, err := r.root.Lstat(path); err == nil && info.Kind != beneath.Dir {
			r.found(path, info, scan) // it came back before the watcher was told to mind
			return
		}
	}
	if r.missingIgnored(path) {
		return
	}
	r.gone[r.records[path].disk().Inode] = path
	r.lookBeyond(path)
	r.changed(&change{path: path, scan: scan})
}

// foundGoneIn looks for what was known in a directory and is gone. What is new in it is reported by itself.
func (r *Replica) foundGoneIn(dir string) {
	for name := range r.tree.Children(dir) {
		path := merkle.Join(dir, name)
		if r.diskAt(path).Kind == 0 {
			continue
		}
		if _, err := r.root.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			r.foundMissing(path, false)
		}
	}
}

// hash has the file at path read. One that is being read already is read again afterwards.
func (r *Replica) hash(path string, info beneath.Info, scan bool) {
	if h := r.hashing[path]; h != nil {
		h.again, h.info = true, info
		return
	}
	r.hashing[path] = &hashState{info: info, waiting: r.waitsForReading(path, info.Size)}
	if job := (hashJob{path, info.Size, scan}); scan {
		r.scanQueue = append(r.scanQueue, job)
	} else {
		r.hashQueue = append(r.hashQueue, job)
	}
	r.feedHashers()
}

// Of what a scan has found, so many files are read at a time, or so many bytes of them.
const (
	scanFiles = 32
	scanBytes = 1 << 20
)

// feedHashers hands queued jobs to the readers, as many as they take.
func (r *Replica) feedHashers() {
	r.hashQueue = feed(r.hashQueue, r.hashJobs, 1)
	r.scanQueue = feed(r.scanQueue, r.scanJobs, scanFiles)
}

// feed hands over a queue, at most so many jobs at a time, and returns what is left of it.
func feed(queue []hashJob, to chan<- []hashJob, most int) []hashJob {
	for len(queue) > 0 {
		n := 1
		for size := queue[0].size; n < min(len(queue), most) && size+queue[n].size <= scanBytes; n++ {
			size += queue[n].size
		}
		select {
		case to <- queue[:n:n]:
			queue = queue[n:]
		default:
			return queue
		}
	}
	return queue
}

// hashers is how many goroutines read files of which events tell, and how many those that scans have found.
func hashers() int { return max(2, runtime.NumCPU()) }

// startHashers starts the readers. What scans have found has its own, so that what an event tells of does not wait for it.
func (r *Replica) startHashers() {
	for range hashers() {
		r.workers.Go(func() { r.hashFrom(r.hashJobs) })
		r.workers.Go(func() { r.hashFrom(r.scanJobs) })
	}
}

func (r *Replica) hashFrom(jobs <-chan []hashJob) {
	var buf []byte
	for {
		select {
		case <-r.ctx.Done():
			return
		case batch := <-jobs:
			var results []hashResult
			results, buf = r.readAll(batch, buf)
			r.post(func() {
				for i, job := range batch {
					r.hashed(job, results[i])
				}
			})
		}
	}
}

// readAll reads files that were all found by a scan, or none of them.
func (r *Replica) readAll(batch []hashJob, buf []byte) ([]hashResult, []byte) {
	if batch[0].scan {
		defer r.disk.last()()
	}
	results := make([]hashResult, len(batch))
	for i, job := range batch {
		results[i], buf = r.read(job, buf)
	}
	return results, buf
}

// read reads a file into blocks, and tells whether it stayed the same meanwhile.
func (r *Replica) read(job hashJob, buf []byte) (res hashResult, _ []byte) {
	path := job.path
	f, err := r.root.OpenFile(path)
	if err != nil {
		return hashResult{err: err}, buf
	}
	defer f.Close()
	res.begun = time.Now().UnixNano()
	before, err := r.fstat(f)
	if err != nil {
		return hashResult{err: err}, buf
	}
	switch source := (cancelReader{f, r, job.scan}); {
	case before.Size <= inlineData:
		if res.data, err = io.ReadAll(io.LimitReader(f, inlineData+1)); err == nil {
			res.blocks, buf, err = merkle.Split(newBytesReader(res.data), buf)
		}
	case before.Size < longFile:
		res.blocks, buf, err = merkle.Split(source, buf)
	default:
		res.blocks, err = r.readLong(path, source, before)
	}
	if err != nil {
		return hashResult{err: fmt.Errorf("read %s: %w", path, err)}, buf
	}
	if res.attributes, err = r.attributesOf(f, before); err != nil {
		return hashResult{err: err}, buf
	}
	res.info, res.err = r.fstat(f)
	res.stable = res.err == nil && before == res.info && res.blocks.Size() == res.info.Size
	return res, buf
}

// longFile is the size in bytes from which on several goroutines read a file.
const longFile = 8 << 20

// splitLong reads a long file on all processors, where no other file is being read so: then on one. One that is shorter
// than it was is as if it had no blocks: it is read again. grown is as merkle.SplitAt has it.
func (r *Replica) splitLong(source io.ReaderAt, size int64, grown func(merkle.BlockList)) (merkle.BlockList, error) {
	workers := 1
	if r.splitting.TryLock() {
		defer r.splitting.Unlock()
		workers = runtime.NumCPU()
	}
	list, err := merkle.SplitAt(source, size, workers, grown)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	return list, err
}

// cancelReader ends reading a long file when the replica stops.
type cancelReader struct {
	f    *os.File
	r    *Replica
	last bool // several goroutines may read it, each of which is to come last at the disk
}

func (c cancelReader) Read(p []byte) (int, error) {
	if err := c.r.ctx.Err(); err != nil {
		return 0, err
	}
	return c.f.Read(p)
}

func (c cancelReader) ReadAt(p []byte, at int64) (int, error) {
	if err := c.r.ctx.Err(); err != nil {
		return 0, err
	}
	if c.last {
		defer c.r.disk.last()()
	}
	return c.f.ReadAt(p, at)
}

// hashed goes on with a file that was read.
func (r *Replica) hashed(job hashJob, res hashResult) {
	h := r.hashing[job.path]
	delete(r.hashing, job.path)
	if h != nil {
		wasRead(h.waiting)
	}
	r.feedHashers()
	if res.err == nil && !res.stable {
		r.withdrawOffer(job.path, res.info)
	}
	switch {
	case h == nil:
	case errors.Is(res.err, fs.ErrNotExist), errors.Is(res.err, beneath.ErrNotRegular), errors.Is(res.err, beneath.ErrOutside):
		r.look(job.path, job.scan)
	case res.err != nil:
		if r.ctx.Err() == nil {
			r.problem(job.path, "cannot be read: "+res.err.Error(), makeReadable)
		}
		r.resume(job.path)
	case !res.stable || h.again:
		r.hash(job.path, h.info, job.scan)
	case job.scan: // whatever happened to the name meanwhile has raised an event, or is below a directory that is compared again
		r.foundContent(job, res, res.info)
	default:
		now, err := r.root.Lstat(job.path)
		if err != nil || now.Inode != res.info.Inode || now.CTime != res.info.CTime || now.Size != res.info.Size {
			r.look(job.path, job.scan)
			return
		}
		r.foundContent(job, res, now)
	}
}

func (r *Replica) foundContent(job hashJob, res hashResult, info beneath.Info) {
	r.problem(job.path, "", "")
	attrs := &merkle.Attributes{
		Kind: merkle.File, Mode: info.Mode, Size: info.Size, MTime: info.MTime, Content: res.blocks.Root(),
		Xattrs: res.xattrs, Owner: r.ownerName(info),
	}
	r.tellOver(job.path, res.over)
	blocks := res.blocks
	if blocks == nil {
		blocks = merkle.BlockList{}
	}
	c := &change{path: job.path, attrs: attrs, disk: diskOf(info), ctime: info.CTime, blocks: blocks, data: res.data, scan: job.scan, links: info.Links}
	c.disk.Checked = res.begun
	res.on(&c.disk)
	if job.scan {
		c.data = nil
	}
	r.changed(c)
}

// busyWriting tells the watcher whether somebody has the file open for writing.
func (r *Replica) busyWriting(path string) bool {
	f, err := r.root.OpenFile(path)
	if err != nil {
		return false
	}
	defer f.Close()
	busy, err := beneath.BusyWriting(f)
	return busy && err == nil
}
