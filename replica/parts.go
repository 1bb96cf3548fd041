package replica

import (
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"resonate/beneath"
	"resonate/merkle"
)

// What was fetched of a long file when a session broke, or the daemon ended, stays in its temporary file: the next try
// goes on from there, and so does that for a later version of the path. The name of the file tells of which path it is,
// so that this holds over a restart. At most maxParts are kept, none of them for longer than partAge.
const (
	maxParts   = 16
	partAge    = 24 * time.Hour
	offeredAge = 10 * time.Minute // of what was prefetched, without having been announced, once nothing else is missing
)

// A keptPart is a temporary file that holds some blocks of a long file.
type keptPart struct {
	temp    string // without its ending
	since   time.Time
	offered bool             // it was prefetched
	content merkle.Hash      // zero: not known
	list    merkle.BlockList // of the file, or of its beginning; nil: an earlier run made it, what is in it is not known
	have    []bool           // which blocks of list are in it
	sparse  bool             // nothing else was ever written to it
}

// partTag is what the name of a long file's temporary file ends with: it stands for the path.
func partTag(path string) string {
	h := merkle.HashBlock([]byte(path))
	return hex.EncodeToString(h[:16])
}

// tagOf returns the tag in the name of a temporary file; "" if there is none.
func tagOf(name string) string {
	name, ok := strings.CutSuffix(name, partial)
	i := strings.LastIndexByte(name, '-')
	if tag := name[i+1:]; ok && len(tag) == 32 {
		return tag
	}
	return ""
}

// takePart returns what an earlier try for path has left, or one for the same content under another name, which the caller now
// owns; nil if there is nothing.
func (r *Replica) takePart(path string, content merkle.Hash) *keptPart {
	tag := partTag(path)
	for t, p := range r.parts {
		if r.parts[tag] == nil && p.list != nil && p.content == content {
			tag = t
		}
	}
	p := r.parts[tag]
	delete(r.parts, tag)
	return p
}

// keepParts keeps what a job has fetched of a long file, if it is not whole, for the next try. What an earlier try left is
// in it; unless this one never came to look. A full disk has no room for any: other files may still fit.
func (r *Replica) keepParts(j *fetchJob, err error) {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if full {
		defer r.dropParts()
	}
	tag, kept := partTag(j.path), j.long.own.kept
	switch {
	case kept == nil:
	case j.long.have == nil:
		r.addPart(tag, kept)
	default:
		r.removeOrLeave("fetch.remove", kept.temp+partial)
	}
	if err != nil && j.hasSome() {
		r.addPart(tag, &keptPart{
			temp: j.temp, since: time.Now(), content: j.entry.Content, list: j.blocks, have: j.long.have,
		})
	}
}

// addPart keeps p for the path of tag, and drops what it takes the place of.
func (r *Replica) addPart(tag string, p *keptPart) {
	if old := r.parts[tag]; old != nil {
		r.removeOrLeave("fetch.remove", old.temp+partial)
	}
	r.parts[tag] = p
	if len(r.parts) <= maxParts {
		return
	}
	oldest := tag
	for t, p := range r.parts {
		if p.since.Before(r.parts[oldest].since) {
			oldest = t
		}
	}
	r.dropPart(oldest)
}

func (r *Replica) dropPart(tag string) {
	r.removeOrLeave("fetch.remove", r.parts[tag].temp+partial)
	delete(r.parts, tag)
}

// dropSettled drops what is of no use when nobody has anything that is not here: what was prefetched may still be announced.
func (r *Replica) dropSettled(now time.Time) {
	for tag, p := range r.parts {
		if !p.offered || now.Sub(p.since) > offeredAge {
			r.dropPart(tag)
		}
	}
}

// dropParts drops all.
func (r *Replica) dropParts() {
	for tag := range r.parts {
		r.dropPart(tag)
	}
}

// dropOldParts drops what nobody has come back for, or can: a fetch may have been given up after the trees had become equal. What a
// peer has told last may be late, too.
func (r *Replica) dropOldParts(now time.Time) {
	if len(r.parts) > 0 && len(r.incoming) == 0 && now.Sub(r.lastChange) > time.Second && r.idle() && r.equalToAny() {
		r.dropSettled(now)
	}
	for tag, p := range r.parts {
		if now.Sub(p.since) > partAge {
			r.dropPart(tag)
		}
	}
}

// equalToAny tells whether a connected peer has the same tree.
func (r *Replica) equalToAny() bool {
	root := r.tree.Root().State
	for _, p := range r.peers {
		if p.root == root {
			return true
		}
	}
	return false
}

// recoverPart keeps a temporary file of an earlier run, if it is of a long file and not old.
func (r *Replica) recoverPart(name string) bool {
	tag := tagOf(name)
	info, err := r.root.Lstat(name)
	since := time.Unix(0, info.MTime)
	if tag == "" || err != nil || info.Kind != beneath.File || time.Since(since) > partAge {
		return false
	}
	r.addPart(tag, &keptPart{temp: strings.TrimSuffix(name, partial), since: since})
	return true
}

// begins tells whether a list begins with what is known of p.
func (p *keptPart) begins(list merkle.BlockList) bool {
	return len(p.list) <= len(list) && slices.Equal(p.list, list[:len(p.list)])
}

// openPart opens the temporary file of a long job: the one that was kept, where that is of the same content, and marks
// in have what is in it; otherwise a new one.
func (r *Replica) openPart(j *fetchJob, have []bool) error {
	own := &j.long.own
	if p := own.kept; p != nil && p.begins(j.blocks) {
		file, err := r.root.Reopen("fetch.reopen", p.temp+partial)
		switch {
		case err != nil:
			own.kept = nil
		case r.adoptPart(j, p, file, have):
			j.temp, j.file, j.dense, own.kept = p.temp, file, !p.sparse, nil
			return file.Truncate(j.entry.Size)
		default:
			_ = file.Close() // was only read
		}
	}
	file, err := r.root.Create("fetch.create", j.temp+partial, 0o600)
	j.file = file
	return err
}

// adoptPart finds out which blocks of a job are in a kept file where they belong. If there are none in a file of which
// nothing is known, it is cut into blocks: it may hold an earlier version.
func (r *Replica) adoptPart(j *fetchJob, p *keptPart, file *os.File, have []bool) bool {
	if p.list != nil {
		copy(have, p.have)
		return true
	}
	r.checkInPlace(j.blocks, file, have)
	if slices.Contains(have, true) {
		return true
	}
	info, err := beneath.Fstat(file)
	if err == nil {
		p.list, err = r.splitLong(cancelReader{file, r, false}, info.Size, nil)
	}
	if err != nil {
		p.list = nil
	}
	p.have = slices.Repeat([]bool{true}, len(p.list))
	return false
}

// checkInPlace marks the blocks that are in file where a list has them.
func (r *Replica) checkInPlace(list merkle.BlockList, file io.ReaderAt, have []bool) {
	offsets := make([]int64, len(list))
	for i := range list[:max(len(list)-1, 0)] {
		offsets[i+1] = offsets[i] + int64(list[i].Size)
	}
	inParallel(len(list), func(buf []byte, i int) bool {
		data := buf[:list[i].Size]
		_, err := file.ReadAt(data, offsets[i])
		have[i] = err == nil && merkle.HashBlock(data) == list[i].Hash
		return r.ctx.Err() == nil
	})
}
