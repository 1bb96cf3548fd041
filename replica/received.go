package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"resonate/control"
	"resonate/index"
	"resonate/merkle"
)

// maxReceiving is how many contents of scripts are received at a time: each takes a buffer of some MiB.
const maxReceiving = 16

// A Received is content of a script that is to be put at some path: a temporary file of the folder's file system, with its blocks. It is one
// goroutine's at a time.
type Received struct {
	r      *Replica
	temp   string // until it is in place
	file   *os.File
	blocks merkle.BlockList
	data   []byte // of a small one

	attrs   merkle.Attributes // with which it is to be put in place
	disk    index.Disk
	in      incoming            // what is tried
	version control.FileVersion // once it is in place
	told    map[*peer]bool      // who was told of it then
}

// Receive reads content to its end. The caller discards it in any case.
func (r *Replica) Receive(ctx context.Context, content io.Reader) (*Received, error) {
	select {
	case r.receiving <- struct{}{}:
		defer func() { <-r.receiving }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	w := &Received{r: r, temp: r.tempName() + partial}
	var err error
	if w.file, err = r.root.Create("put.create", w.temp, 0o600); err != nil {
		return nil, ofScript(err)
	}
	out := &sparseWriter{f: w.file}
	w.blocks, _, err = merkle.Split(io.TeeReader(content, out), nil)
	if w.blocks == nil {
		w.blocks = merkle.BlockList{}
	}
	if err == nil {
		err = endSparse(w.file, w.blocks.Size())
	}
	if err == nil && w.blocks.Size() <= inlineData {
		w.data = make([]byte, w.blocks.Size())
		_, err = w.file.ReadAt(w.data, 0)
	}
	if err != nil {
		w.Discard()
		return nil, fmt.Errorf("receive the content: %w", ofScript(err))
	}
	return w, nil
}

// Discard removes what was received, unless it is in place.
func (w *Received) Discard() {
	if err := w.file.Close(); err != nil {
		w.r.log.Debug("a file of a script cannot be closed", "cause", err)
	}
	if w.temp == "" {
		return
	}
	gone := func() {
		if _, left := w.r.leftovers[w.temp]; !left { // else it is by now what was displaced
			w.r.removeOrLeave("put.remove", w.temp)
		}
	}
	if w.r.do(context.Background(), gone) != nil {
		return // it is removed at the next start
	}
}

// sparseWriter writes a new file from its beginning on.
type sparseWriter struct {
	f  *os.File
	at int64
}

func (s *sparseWriter) Write(p []byte) (int, error) {
	if err := writeSparse(s.f, p, s.at); err != nil {
		return 0, err
	}
	s.at += int64(len(p))
	return len(p), nil
}

// ofScript is an error of the file system as scripts can tell it from others.
func ofScript(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", control.ErrNoSpace, err)
	}
	return err
}
