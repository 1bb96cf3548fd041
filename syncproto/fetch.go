package syncproto

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"resonate/merkle"
)

const (
	maxOutstanding = 4 << 20   // bytes of blocks asked for and not yet come: SSH's window, twice
	maxRequest     = 512 << 10 // bytes of blocks asked for in one request of several
)

// A Fetcher is the asking side of a block stream. Its methods are for one goroutine at a time, save Close. There are no
// timeouts here: who waits too long closes it. A Fetcher must be closed.
type Fetcher struct {
	stream io.ReadWriteCloser
	reader *frameReader
	unpacker

	mu  sync.Mutex
	err error // why the stream is closed
}

// NewFetcher returns a Fetcher over stream, which it closes in the end. Closing the stream must end its reads and
// writes.
func NewFetcher(stream io.ReadWriteCloser) *Fetcher {
	return &Fetcher{stream: stream, reader: newFrameReader(stream)}
}

// Close closes the stream and ends calls that wait, which return ErrClosed. To close again does nothing more.
func (f *Fetcher) Close() error {
	_ = f.fail(ErrClosed)
	return nil
}

// fail closes the stream because of err, and returns why it was closed first.
func (f *Fetcher) fail(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		_ = f.stream.Close() // nothing is left to be done about an error
	}
	return f.err
}

// start tells whether a new request can be made: with none open, nothing may have come.
func (f *Fetcher) start() error {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	if err == nil && f.reader.r.Buffered() > 0 {
		err = f.fail(malformed("reply that nobody asked for"))
	}
	return err
}

// send writes a request in one piece.
func (f *Fetcher) send(m Message) error {
	frame, err := appendFrame(nil, m, maxBlockFrame)
	if err != nil {
		return err
	}
	_, err = f.stream.Write(frame)
	return err
}

// receive returns the next reply, which is valid until the next call.
func (f *Fetcher) receive() (Message, error) {
	frame, err := f.reader.next(maxBlockFrame)
	if err == io.EOF {
		err = fmt.Errorf("read reply: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, err
	}
	return decode(frame, newBlock)
}

// List returns the block list of the file at path with the given content and size in bytes. base is the list of
// another version of that file, to which the peer may refer to save bytes; nil: none. That the list has this root and
// size is checked: if not, the error is ErrWrongHash. ErrGone and ErrFailed are the peer's. After these three f can be
// used on; after any other it is closed.
func (f *Fetcher) List(path string, content merkle.Hash, size int64, base merkle.BlockList) (merkle.BlockList, error) {
	list, err := f.list(path, content, size, base)
	switch {
	case err != nil:
	case list.Size() != size || list.Root() != content:
		err = ErrWrongHash
	default:
		return list, nil
	}
	return nil, fmt.Errorf("fetch block list of %.200q: %w", path, err)
}

func (f *Fetcher) list(path string, content merkle.Hash, size int64, base merkle.BlockList) (merkle.BlockList, error) {
	request := &ListRequest{Path: path, Content: content}
	if len(base) > 0 {
		request.Base = base.Root()
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if err := f.start(); err != nil {
		return nil, err
	}
	if err := f.send(request); err != nil {
		return nil, f.fail(err)
	}
	most := mostBlocks(size)
	var list merkle.BlockList
	for {
		m, err := f.receive()
		if err != nil {
			return nil, f.fail(err)
		}
		r, ok := m.(*ListReply)
		if !ok {
			return nil, f.fail(malformed("%v instead of list reply", m.kind()))
		}
		if err := r.Status.err(); err != nil {
			return nil, err
		}
		if list, err = r.extend(list, base, most); err != nil {
			return nil, f.fail(err)
		}
		if r.Last {
			return list, nil
		}
	}
}

// Blocks fetches wants and calls got for each, in order: with its data, checked for size and hash and valid during the
// call, or with the error that this want alone met: ErrGone, ErrFailed or ErrWrongHash, which name the path. Requests
// are made ahead of the replies, for up to 4 MiB of data.
//
// An error of got, or of the stream, ends the call and closes f. Malformed wants are refused before anything is sent.
func (f *Fetcher) Blocks(wants []Want, got func(i int, data []byte, err error) error) error {
	for i := range wants {
		if err := wants[i].check(); err != nil {
			return fmt.Errorf("fetch blocks: %w", err)
		}
	}
	if len(wants) == 0 {
		return nil
	}
	if err := f.start(); err != nil {
		return fmt.Errorf("fetch blocks: %w", err)
	}
	w := newWindow(maxOutstanding)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if err := f.ask(wants, w); err != nil {
			_ = f.fail(err) // which ends the reading below
		}
	}()
	err := f.take(wants, w, got)
	if err != nil {
		err = f.fail(err)
	}
	w.close()
	<-asked
	if err != nil {
		return fmt.Errorf("fetch blocks: %w", err)
	}
	return nil
}

// ask sends requests for wants as w has room.
func (f *Fetcher) ask(wants []Want, w *window) error {
	for len(wants) > 0 {
		n, size := request(wants)
		if !w.acquire(size) {
			return nil
		}
		if err := f.send(&BlockRequest{Wants: wants[:n], Codec: codecZstd}); err != nil {
			return err
		}
		wants = wants[n:]
	}
	return nil
}

// request returns how many of wants go into the next request, at least one, and the bytes that they ask for.
func request(wants []Want) (n, size int) {
	bytes := 0
	for _, w := range wants[:min(len(wants), MaxWants)] {
		bytes += len(w.Path)
		if n > 0 && (size+int(w.Block.Size) > maxRequest || bytes > FrameTarget) {
			break
		}
		n++
		size += int(w.Block.Size)
	}
	return n, size
}

// take receives a reply for each of wants.
func (f *Fetcher) take(wants []Want, w *window, got func(i int, data []byte, err error) error) error {
	for i := range wants {
		m, err := f.receive()
		if err != nil {
			return err
		}
		r, ok := m.(*BlockReply)
		if !ok {
			return malformed("%v instead of block reply", m.kind())
		}
		w.release(int(wants[i].Block.Size))
		data, err := f.verify(r, &wants[i])
		if err := got(i, data, err); err != nil {
			return err
		}
	}
	return nil
}

// verify returns the data of r if it is what w asked for. It is valid until the next call.
func (f *Fetcher) verify(r *BlockReply, w *Want) ([]byte, error) {
	data, err := r.Data, r.Status.err()
	switch {
	case err != nil || r.Codec == codecNone:
	case r.Codec == codecZstd:
		data, err = f.unpack(r.Data, int(w.Block.Size))
	default:
		err = fmt.Errorf("compressed with codec %d: %w", r.Codec, errors.ErrUnsupported)
	}
	if err == nil && (len(data) != int(w.Block.Size) || merkle.HashBlock(data) != w.Block.Hash) {
		err = ErrWrongHash
	}
	if err == nil {
		return data, nil
	}
	return nil, fmt.Errorf("fetch block at %d of %.200q: %w", w.Offset, w.Path, err)
}

// A window bounds what is outstanding.
type window struct {
	mu     sync.Mutex
	cond   sync.Cond
	used   int
	size   int
	closed bool
}

func newWindow(size int) *window {
	w := &window{size: size}
	w.cond.L = &w.mu
	return w
}

// acquire waits until n fits, or nothing else is outstanding. It returns false once w is closed.
func (w *window) acquire(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed && w.used > 0 && w.used+n > w.size {
		w.cond.Wait()
	}
	w.used += n
	return !w.closed
}

func (w *window) release(n int) {
	w.mu.Lock()
	w.used -= n
	w.mu.Unlock()
	w.cond.Signal()
}

func (w *window) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cond.Signal()
}
