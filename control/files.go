package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// What scripts can tell apart of files, beside ErrNoMajority, a *HeldError, and what is said of all calls.
var (
	// ErrNoFile: nothing is agreed at that path, also by the peers that were asked.
	ErrNoFile = errors.New("no such file")
	// ErrNotAFile: a directory, a link or something else is in the way.
	ErrNotAFile = errors.New("no plain file can be there")
	// ErrNotSynced: this node has no part in what is agreed there, or not now.
	ErrNotSynced = errors.New("not synchronised on this node")
	// ErrTooLarge: the content has more than MaxFile bytes.
	ErrTooLarge = fmt.Errorf("want at most %d bytes", MaxFile)
	// ErrNoSpace: the disk of this node is full.
	ErrNoSpace = errors.New("no space left on the disk")
)

const (
	// MaxFile is the most bytes that a script can put at once.
	MaxFile = 1 << 30
	// MinFileWait is the shortest time for which a put waits for its lock: a delegation of another node is had back within it.
	MinFileWait = time.Second
)

// Files is what one running node offers of the folder's files to scripts. All methods may be called at the same time and obey ctx.
type Files interface {
	// Put makes content the newest version at a path, in the whole cluster: it takes the lock of the path, has the newest version that
	// there is known here, and puts content in its place if that is what q wants; what stood there goes to the history. When it returns without
	// an error, more than half of the nodes that keep the locks have the version, so that every later Put sees it, through whatever
	// node. created tells that nothing was there. Fails with a *ChangedError where q wants something else, with ErrNoMajority
	// where that cannot be known; after ErrTimeout the version may stand or not.
	Put(ctx context.Context, q FilePut, content io.Reader) (v FileVersion, created bool, err error)
	// Open returns what is agreed at a path, which is fetched where it is not on this disk. Before it fails with ErrNoFile, the peers are asked.
	Open(ctx context.Context, path string) (*OpenFile, error)
}

// FilePut says where a content is to be put, and over what.
type FilePut struct {
	Path   string        // relative to the folder, with slashes; bytes
	Absent bool          // only where nothing is
	Match  []string      // only over a file whose content has one of these hashes, "*" stands for any; nil: whatever is there
	Wait   time.Duration // for how long the lock is waited for
}

// Wants tells whether q lets v be replaced; nil: nothing was ever there.
func (q FilePut) Wants(v *FileVersion) bool {
	is := v != nil && v.Kind != deletedKind
	switch {
	case q.Absent:
		return !is
	case q.Match == nil:
		return true
	}
	return is && v.Hash != "" && slices.ContainsFunc(q.Match, func(hash string) bool { return hash == "*" || hash == v.Hash })
}

// deletedKind is the Kind of what is no more.
const deletedKind = "deleted"

// FileVersion is what is agreed of a path, and who made it so.
type FileVersion struct {
	Kind  string     `json:"kind"` // "file", "directory", "symlink", "deleted"
	Hash  string     `json:"hash,omitempty"`
	Size  int64      `json:"size"`
	MTime *time.Time `json:"mtime,omitempty"`
	Node  string     `json:"node"`            // ID of its author
	Name  string     `json:"name,omitempty"`  // of that node
	Stamp uint64     `json:"stamp"`           // of the change, which only its author gives
	Time  time.Time  `json:"time"`            // by its author's clock
	Token *Token     `json:"token,omitempty"` // of the lock that it was made under; nil: none
}

// OpenFile is a content that is read from a version. It is to be closed.
type OpenFile struct {
	FileVersion
	Content io.ReadSeekCloser
}

// ChangedError tells that a put wants something else than is there.
type ChangedError struct {
	Path    string
	Current *FileVersion // nil: nothing was ever there
}

// errChanged is what every ChangedError is.
var errChanged = errors.New("changed")

// Is makes it tell from other errors.
func (e *ChangedError) Is(target error) bool { return target == errChanged }

func (e *ChangedError) Error() string {
	switch c := e.Current; {
	case c == nil:
		return e.Path + ": nothing is there"
	case c.Kind == deletedKind:
		return fmt.Sprintf("%s: nothing is there, since it was deleted on %s at %s", e.Path, e.author(), c.Time.UTC().Format(time.RFC3339))
	default:
		return fmt.Sprintf("%s: a %s is there, made on %s at %s", e.Path, c.Kind, e.author(), c.Time.UTC().Format(time.RFC3339))
	}
}

func (e *ChangedError) author() string {
	if e.Current.Name != "" {
		return e.Current.Name
	}
	return e.Current.Node
}

// parseMatch reads the value of If-Match: "*", or hashes as an ETag has them, quoted or plain, with commas between.
func parseMatch(value string) ([]string, error) {
	var out []string
	for one := range strings.SplitSeq(value, ",") {
		one = strings.TrimSpace(one)
		if n := len(one); n >= 2 && one[0] == '"' && one[n-1] == '"' {
			one = one[1 : n-1]
		}
		if one == "" || len(one) > maxHash || strings.ContainsFunc(one, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			return nil, fmt.Errorf("If-Match %.100q: want what GET gave as ETag, or *: %w", value, ErrBadArgument)
		}
		out = append(out, one)
	}
	return out, nil
}

// maxHash is more characters than a hash has.
const maxHash = 128
