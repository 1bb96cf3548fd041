package members

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A Set is what a node knows of the members of its cluster, itself among them. It is safe for concurrent use; questions
// never wait for a change. Make one with New, or have a File read it.
type Set struct {
	private ed25519.PrivateKey
	current atomic.Pointer[view]

	mu sync.Mutex // held by whoever changes the set
}

// New returns the set of the node whose key private is, which knows nobody else yet. It panics if private has not the
// length of an Ed25519 key.
func New(private ed25519.PrivateKey) *Set {
	s := &Set{private: private}
	s.current.Store(derive(Key(private.Public().(ed25519.PublicKey)), kept{}))
	return s
}

// Merge takes in what others say, and returns whether there was anything new. Statements of signers that are not known,
// also not through others of in, are passed over, and so are those that forget or name unknown nodes: as long as a peer
// keeps what this node does not, the digests differ, and it comes again. In whatever order and however often statements
// are merged, the set becomes the same.
//
// A wrong signature of a known signer is ErrFormat, and nothing of in is taken. If the set is full, the error is ErrFull,
// and what forgets nodes is taken nevertheless, if there is room for that.
func (s *Set) Merge(in []*Statement) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current.Load()
	all, err := v.kept.take(v.known, in)
	if errors.Is(err, ErrFull) {
		forgets := slices.DeleteFunc(slices.Clone(in), func(st *Statement) bool { return st.kind != kindForget })
		var still error
		if all, still = v.kept.take(v.known, forgets); still != nil {
			return false, err
		}
	} else if err != nil {
		return false, err
	}
	return s.set(all), err
}

// set makes k the statements of the set, and returns whether they are others than before. The caller holds mu.
func (s *Set) set(k kept) (changed bool) {
	v := s.current.Load()
	if maps.Equal(k, v.kept) {
		return false
	}
	s.current.Store(derive(v.self, k))
	return true
}

// Key returns the own key.
func (s *Set) Key() Key { return s.current.Load().self }

// Digest returns a hash over all statements that are kept. Where it is equal on two nodes, they have nothing to tell each
// other.
func (s *Set) Digest() [sha256.Size]byte { return s.current.Load().digest }

// Encode returns all statements as Decode reads them: at most MaxMessage bytes, the same for all nodes of one Digest.
func (s *Set) Encode() []byte { return s.current.Load().kept.encode() }

// Is tells whether the node whose key that is is a member. The own node is, until it is forgotten.
func (s *Set) Is(key Key) bool { return s.current.Load().isMember(key.ID()) }

// Forgotten tells whether a node is forgotten; if so, it never becomes a member again. Asked about the own node, it tells
// whether this node may still take part. Who did it, Member tells.
func (s *Set) Forgotten(id ID) bool { return s.current.Load().forgotten[id] != nil }

// Member returns what is known of a node, and whether it is a member or was one.
func (s *Set) Member(id ID) (m Member, ok bool) {
	v := s.current.Load()
	if !v.isMember(id) && v.forgotten[id] == nil {
		return Member{}, false
	}
	return v.member(id), true
}

// List returns the members, the own node among them, and the forgotten ones, which Member.Forgotten tells apart: in the
// order in which they came.
func (s *Set) List() []Member {
	v := s.current.Load()
	return v.list(func(id ID) bool { return v.isMember(id) || v.forgotten[id] != nil })
}

// Orphans returns nodes that are no members because who brought them in is forgotten, by somebody who did not know of
// them. Another member may admit them again. A thief's helpers are found here, too.
func (s *Set) Orphans() []Member {
	v := s.current.Load()
	invited := make(map[ID]bool)
	for _, admits := range v.admits {
		for _, st := range admits {
			invited[st.whom] = true
		}
	}
	return v.list(func(id ID) bool { return invited[id] && v.admitted[id] == nil && v.forgotten[id] == nil })
}
