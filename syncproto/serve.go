package syncproto

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"resonate/merkle"
)

// Content is an open file.
type Content interface {
	io.ReaderAt
	io.Closer
}

// A Source is where Serve takes files from. Paths come from the peer as they are: a Source looks nowhere but below its
// root. Errors that are ErrGone say that the path does not have that content, or no longer.
type Source interface {
	OpenContent(path string, content merkle.Hash) (Content, error)
	List(path string, content merkle.Hash) (merkle.BlockList, error)
}

// A server answers one block stream.
type server struct {
	w   *bufio.Writer
	out timedWriter // below w
	src Source

	open    Content // the last file, since the next want is mostly of the same one; nil: none
	path    string
	content merkle.Hash

	packer      packer
	data, frame []byte // scratch
}

// Serve answers the requests on stream from src until the peer ends the stream, which is no error. It does not check
// that data is what its hash says: the peer does. The stream remains the caller's to close; to close it ends Serve.
func Serve(stream io.ReadWriter, src Source) error {
	s := &server{out: timedWriter{w: stream}, src: src}
	s.w = bufio.NewWriterSize(&s.out, streamBuffer)
	defer s.close()
	r := newFrameReader(stream)
	for {
		frame, err := r.next(maxBlockFrame)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = s.answer(frame)
		}
		if err != nil {
			return fmt.Errorf("serve blocks: %w", err)
		}
	}
}

// answer answers one request. It leaves nothing unwritten, for the next request may depend on it.
func (s *server) answer(frame []byte) error {
	m, err := decode(frame, newBlock)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *ListRequest:
		err = s.list(m)
	case *BlockRequest:
		err = s.blocks(m)
	default:
		err = malformed("%v is no request", m.kind()) // to skip it would put the replies out of order
	}
	if err != nil {
		return err
	}
	return s.w.Flush()
}

func (s *server) close() {
	if s.open != nil {
		_ = s.open.Close() // was only read
		s.open = nil
	}
}

func (s *server) reply(m Message) (err error) {
	if s.frame, err = appendFrame(s.frame[:0], m, maxBlockFrame); err != nil {
		return err
	}
	_, err = s.w.Write(s.frame)
	return err
}

func statusOf(err error) Status {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrGone):
		return Gone
	}
	return Failed
}

func (s *server) blocks(m *BlockRequest) error {
	for i := range m.Wants {
		data, err := s.read(&m.Wants[i])
		reply := &BlockReply{Status: statusOf(err), Data: data}
		if m.Codec == codecZstd && err == nil {
			reply.Data, reply.Codec = s.packer.pack(data, &s.out.meter)
		}
		if err := s.reply(reply); err != nil {
			return err
		}
	}
	return nil
}

// read returns the block that w names, or an error of the source.
func (s *server) read(w *Want) ([]byte, error) {
	if s.open == nil || s.path != w.Path || s.content != w.Content {
		s.close()
		open, err := s.src.OpenContent(w.Path, w.Content)
		if err != nil {
			return nil, err
		}
		s.open, s.path, s.content = open, w.Path, w.Content
		s.packer.reset()
	}
	size := int(w.Block.Size)
	if len(s.data) < size {
		s.data = make([]byte, size)
	}
	n, err := s.open.ReadAt(s.data[:size], w.Offset)
	switch {
	case n == size:
		return s.data[:size], nil
	case err == io.EOF: // shorter than it was: another content
		return nil, ErrGone
	}
	return nil, err
}

// list answers with the list, told as the difference to the asker's where the source still knows that one.
func (s *server) list(m *ListRequest) error {
	list, err := s.src.List(m.Path, m.Content)
	if err != nil {
		return s.reply(&ListReply{Status: statusOf(err), Last: true})
	}
	var base merkle.BlockList
	if !m.Base.IsZero() {
		if base, err = s.src.List(m.Path, m.Base); err != nil {
			base = nil
		}
	}
	piece := &ListReply{Status: OK, Total: uint64(len(list))}
	told, room := uint64(0), MaxBlocks
	for e := range edits(base, list) {
		if len(e.New) > room || len(piece.Edits) == maxEdits {
			if err := s.reply(piece); err != nil {
				return err
			}
			piece = &ListReply{Status: OK, Total: piece.Total, From: told}
			room = MaxBlocks
		}
		piece.Edits = append(piece.Edits, e)
		told += e.Count + uint64(len(e.New))
		room -= len(e.New)
	}
	piece.Last = true
	return s.reply(piece)
}
