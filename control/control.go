// Package control is the local API of a running daemon: HTTP with JSON over a unix socket that only the
// daemon's own user can open. The daemon implements the interface [Daemon] and serves it with [Serve]; a
// command reaches it with [Dial], whose [Client] implements the same interface, so that a caller cannot tell
// the two apart: errors that matter to a caller keep their identity across the socket.
//
// The API is versioned in its paths (/v1/...). Parameters travel as form values, because file names are bytes
// and JSON strings are not; answers are JSON with snake_case names. What JSON cannot carry of a path follows
// beside it in "path_base64".
package control

import (
	"context"
	"errors"
	"time"
)

// What a caller can tell apart. They survive the socket: errors.Is holds on both sides.
var (
	// ErrNotFound: the path, or a kept version of it, does not exist.
	ErrNotFound = errors.New("not found")
	// ErrTimeout: the time given was over before the work was done.
	ErrTimeout = errors.New("timed out")
	// ErrBadArgument: the request itself is wrong, whatever the state of the folder.
	ErrBadArgument = errors.New("bad argument")
	// ErrPaused: the node is paused, so that no peer will have anything before it is resumed.
	ErrPaused = errors.New("this node is paused")
	// ErrBusy: as many as may do that at once are doing it.
	ErrBusy = errors.New("too many at once")
	// ErrNoDaemon: nobody answers at the socket. Only [Client] returns it.
	ErrNoDaemon = errors.New("no daemon is running")
	// ErrInUse: a live daemon answers at the socket already. Only [Listen] returns it.
	ErrInUse = errors.New("another daemon is running")
)

// Daemon is what one running node offers to its user. Paths are relative to the folder, with slashes; ""
// stands for the whole folder. All methods may be called at the same time and obey ctx.
type Daemon interface {
	// Status describes the node at this moment. It does not wait for work in progress.
	Status(ctx context.Context) (Status, error)
	// Wait returns when all connected peers have everything that is in the folder now, or what is at and
	// below path. When ctx's deadline passes first, the error is ErrTimeout; when the node is paused, ErrPaused.
	Wait(ctx context.Context, path string) error
	// History lists what is kept at and below path, or of everything: by path, the newest first of each.
	History(ctx context.Context, path string) ([]Kept, error)
	// Restore puts back the version of path that was there at the given time; the zero time means the
	// newest kept one. What it replaces is kept in turn. It returns what it put back, or ErrNotFound.
	Restore(ctx context.Context, path string, at time.Time) (Kept, error)
	// Held lists the changes that wait for the user's word.
	Held(ctx context.Context) ([]Held, error)
	// Approve lets out the held changes of the given paths, of all with none given, and tells how many.
	Approve(ctx context.Context, paths []string) (int, error)
	// Revert undoes the held changes of the given paths, of all with none given, and tells how many.
	Revert(ctx context.Context, paths []string) (int, error)
	// Pause ends all exchange with peers for so long, with 0 until Resume. While it is paused, it sets another end.
	Pause(ctx context.Context, length time.Duration) (Paused, error)
	// Resume ends a pause, and tells whether there was one.
	Resume(ctx context.Context) (bool, error)
	// Ignored lists the ignore patterns of this machine alone, in the order in which they count.
	Ignored(ctx context.Context) ([]Pattern, error)
	// Ignore adds patterns to these, and Unignore takes some out; both tell how many were not (or were) there.
	Ignore(ctx context.Context, patterns []string) (int, error)
	Unignore(ctx context.Context, patterns []string) (int, error)
	// Tree lists what is agreed at and below a path, a page at a time. It is ErrNotFound where nothing is.
	Tree(ctx context.Context, q TreeQuery) (TreePage, error)
	// Why tells all that is known of a path, whether it is synchronised or not.
	Why(ctx context.Context, path string) (Why, error)
	// Check proves the index against the folder. It calls report with each difference as it is found, now and then with
	// how far it is, and last with a summary; it ends with the first error of report.
	Check(ctx context.Context, o CheckOptions, report func(CheckReport) error) error
	// Events calls report with what happens from now on, beginning with EventListening, until ctx ends or report fails, and
	// returns why. Who is too slow loses events, and is told how many. It is ErrBusy where too many listen already.
	Events(ctx context.Context, report func(Event) error) error
	// Audit returns where the audit lies, when all that it is to hold by now is written there, or could not be.
	Audit(ctx context.Context) (AuditPlace, error)
	Resolver
}
