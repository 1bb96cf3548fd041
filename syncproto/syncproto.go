// Package syncproto is what two nodes say to each other about one folder, over any stream: messages, framing, the
// exchange of tree levels that finds differences, and the exchange of blocks.
//
// A session has one control stream (Conn), on which either side speaks when it likes, and any number of block streams,
// on which one side asks (Fetcher) and the other answers (Serve), in order. Both carry frames: the length as a uvarint,
// then a protobuf message with exactly one field, whose number is the Kind of the message inside. Unknown fields are
// skipped and unknown kinds are told, so that versions of resonate can mix; anything malformed ends the stream.
//
// The peer is known by its key but not trusted: everything it sends is bounded, and memory grows only with bytes that
// have really come. Paths are checked for length and NULs alone; whether one leads outside is for package beneath.
package syncproto

import (
	"errors"
	"fmt"

	"resonate/merkle"
)

// Protocol is the version of the protocol spoken here, as told in Hello.
const Protocol = 1

// Bounds of what is exchanged, in bytes where not said otherwise.
const (
	MaxFrame    = 4 << 20         // a frame of a control stream
	MaxHello    = 64 << 10        // the first frame of a control stream
	MaxPath     = 64 << 10        // a path
	MaxName     = 4 << 10         // a name in a level
	MaxText     = 255             // a node's name, its software
	MaxReason   = 1 << 10         // why a node leaves
	MaxInline   = merkle.MinBlock // the content of a file in its announcement
	MaxBlocks   = 4096            // blocks listed in an announcement or in one ListReply
	MaxPlaces   = 256             // levels asked for or told in one frame, and asked for at one time
	MaxPaths    = 65536           // paths in one AskEntries or AskSubtrees
	MaxAcks     = 65536           // numbers in one Ack
	MaxWants    = 32              // wants in one BlockRequest
	FrameTarget = 256 << 10       // what frames that can be split are split at

	maxBlockFrame = 1 << 20 // a frame of a block stream
	maxEdits      = 1024    // edits in one ListReply or Difference
)

// Errors that callers test for. Bytes that are not what they should be wrap merkle.ErrFormat.
var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("stream closed")
	// ErrSlow is returned when the peer does not take what is sent to it. The Conn is closed.
	ErrSlow = errors.New("peer too slow: too much is waiting to be sent")
	// ErrGone is returned for a content that the peer no longer has at that path. A Source returns it too.
	ErrGone = errors.New("content no longer there")
	// ErrFailed is returned where the peer could not read a content, for a reason of its own.
	ErrFailed = errors.New("peer could not read it")
	// ErrWrongHash is returned for data that is not what was asked for.
	ErrWrongHash = errors.New("data from peer does not match its hash")
)

// A TooLong is the error about a frame that exceeds its bound. Nothing of its body was read or sent.
type TooLong struct {
	Kind      Kind   // 0 where it is not known
	Size, Max uint64 // bytes
}

// Error implements error.
func (e *TooLong) Error() string {
	return fmt.Sprintf("%v message of %d bytes, more than %d", e.Kind, e.Size, e.Max)
}

// malformed returns an error that wraps merkle.ErrFormat.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), merkle.ErrFormat)
}
