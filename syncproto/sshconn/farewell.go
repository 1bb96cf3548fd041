package sshconn

import (
	"context"
	"errors"

	"golang.org/x/crypto/ssh"
)

var (
	// ErrGone is what errors.Is finds where a peer gave no sign of life in time.
	ErrGone = errors.New("peer does not answer")

	errClosed   = errors.New("session was closed")
	errReplaced = errors.New("replaced by a newer connection of the same peer")
	errFinished = errors.New("session is finished")
)

// FarewellError is the reason a peer gave for ending a session.
type FarewellError struct {
	Reason  string
	refused bool
}

func (e *FarewellError) Error() string { return "peer ended the session: " + e.Reason }

// Is makes a farewell after an error of the peer's an ErrRefused.
func (e *FarewellError) Is(target error) bool { return target == ErrRefused && e.refused }

// serveError marks a cause as the error of the session's own service.
type serveError struct{ error }

func (e serveError) Unwrap() error { return e.error }

// farewell is the payload of byeRequest.
type farewell struct {
	Refused bool // the sender cannot work with this peer, as opposed to: it leaves
	Reason  string
}

const maxReasonSize = 1000

// farewellFor gives what to tell the peer; false where there is nobody to tell.
func farewellFor(cause error) ([]byte, bool) {
	var theirs *FarewellError
	var ours serveError
	switch {
	case errors.As(cause, &theirs), errors.Is(cause, errLinkLost), errors.Is(cause, ErrGone):
		return nil, false
	case errors.As(cause, &ours):
		return ssh.Marshal(&farewell{Refused: true, Reason: printable(ours.Error(), maxReasonSize)}), true
	case errors.Is(cause, context.Canceled):
		return ssh.Marshal(&farewell{Reason: "it shuts down"}), true
	}
	return ssh.Marshal(&farewell{Reason: printable(cause.Error(), maxReasonSize)}), true
}

func parseFarewell(payload []byte) *FarewellError {
	var f farewell
	if err := ssh.Unmarshal(payload, &f); err != nil {
		return &FarewellError{Reason: "(its reason cannot be read)"}
	}
	return &FarewellError{Reason: printable(f.Reason, maxReasonSize), refused: f.Refused}
}
