package replica

import (
	"io"

	"resonate/beneath"
	"resonate/merkle"
	"resonate/syncproto"
)

// A blockSource serves this node's files to a peer.
type blockSource struct{ r *Replica }

// OpenContent implements syncproto.Source. What is offered is known by the name of the offer.
func (s blockSource) OpenContent(path string, content merkle.Hash) (syncproto.Content, error) {
	if beneath.Valid(path) != nil || isOurs(path) {
		return nil, syncproto.ErrGone
	}
	if s.r.offers.has(path, content) {
		return s.open(path)
	}
	var has bool
	at := path
	err := s.r.do(s.r.ctx, func() {
		e := s.r.tree.Get(path)
		if has = e.Live() && e.Kind == merkle.File && e.Content == content; has {
			at, has = s.r.contentAt(path, e)
		}
	})
	if err != nil || !has {
		return nil, syncproto.ErrGone
	}
	return s.open(at)
}

func (s blockSource) open(path string) (syncproto.Content, error) {
	f, err := s.r.root.OpenFile(path)
	if err != nil {
		return nil, syncproto.ErrGone
	}
	return f, nil
}

// List implements syncproto.Source. The list of a version that was replaced is still told, for as long as it is remembered:
// another can be told as the difference to it.
func (s blockSource) List(path string, content merkle.Hash) (list merkle.BlockList, err error) {
	f, err := s.OpenContent(path, content)
	if err != nil {
		if list := s.r.oldLists.get(content); list != nil {
			return list, nil
		}
		return nil, err
	}
	defer f.Close()
	if doErr := s.r.do(s.r.ctx, func() { list, err = s.r.blockList(path) }); doErr != nil {
		return nil, syncproto.ErrGone
	}
	if err == nil && list.Root() == content {
		return list, nil
	}
	list, _, err = merkle.Split(io.NewSectionReader(f, 0, 1<<62), nil) // not at hand: a conflict copy, or after a crash
	if err != nil || list.Root() != content {
		return nil, syncproto.ErrGone
	}
	return list, nil
}
