package replica

import (
	"io"
	"sync"
	"time"

	"resonate/beneath"
	"resonate/merkle"
	"resonate/syncproto"
)

// A long new file is offered to the peers while it is being read: they fetch its blocks before it is announced, so that
// reading and sending take as long as the longer of the two. What is agreed already, or has the size of something that is,
// and may be a copy of it, is not offered: most of it would be there already.

// offerPause is how long a file must have been read before it is offered, and how much later what has come to be known
// since is told.
const offerPause = 100 * time.Millisecond

// maxOffer is how many blocks of a file are offered at most, some 38 GB. What is beyond is fetched when it is announced.
const maxOffer = 1 << 18

// An offer is a long file that is being read.
type offer struct {
	path string
	name merkle.Hash // drawn: stands for the file hash, which is not known yet
	info beneath.Info

	told    map[*peer]int // how many blocks each peer was told of; the loop's
	refused bool          // it is not to be offered; the loop's

	mu   sync.Mutex
	list merkle.BlockList // as far as it was read
	last time.Time        // when peers were told, or reading began
	made bool             // they were told at all
}

// offers are what may be asked for by the names of offers: one of a file that is being read, and the one before, of which
// peers may still be fetching. It is safe for concurrent use.
type offers struct {
	pause time.Duration

	mu            sync.Mutex
	open, earlier *offer
}

// begin opens an offer; nil while another is open, and where the file was offered already: it is read again because it was renamed,
// or was heard of while it was read.
func (o *offers) begin(path string, info beneath.Info) *offer {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open != nil || o.earlier != nil && o.earlier.info.Inode == info.Inode && o.earlier.info.MTime == info.MTime {
		return nil
	}
	o.open = &offer{path: path, info: info, told: make(map[*peer]int), last: time.Now()}
	fillRandom(o.open.name[:])
	return o.open
}

// end makes room for the next.
func (o *offers) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open.made {
		o.earlier = o.open
	}
	o.open = nil
}

// has tells whether a path was offered under a name.
func (o *offers) has(path string, name merkle.Hash) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, offer := range []*offer{o.open, o.earlier} {
		if offer != nil && offer.path == path && offer.name == name {
			return true
		}
	}
	return false
}

// readLong reads a long file into blocks, and offers it meanwhile.
func (r *Replica) readLong(path string, source io.ReaderAt, info beneath.Info) (merkle.BlockList, error) {
	if info.Links > 1 {
		return r.splitLong(source, info.Size, nil)
	}
	o := r.offers.begin(path, info)
	if o == nil {
		return r.splitLong(source, info.Size, nil)
	}
	defer r.offers.end()
	list, err := r.splitLong(source, info.Size, func(l merkle.BlockList) { r.grown(o, l) })
	if o.made {
		r.post(func() { r.tellOffer(o) })
		if err == nil {
			err = r.root.At("offer.read")
		}
	}
	return list, err
}

// grown takes in blocks that were read, and has the peers told of them now and then.
func (r *Replica) grown(o *offer, list merkle.BlockList) {
	o.mu.Lock()
	o.list = append(o.list, list...)
	due := time.Since(o.last) >= r.offers.pause
	if due {
		o.last, o.made = time.Now(), true
	}
	o.mu.Unlock()
	if due {
		r.post(func() { r.tellOffer(o) })
	}
}

// tellOffer tells each peer of the blocks that it was not told of yet.
func (r *Replica) tellOffer(o *offer) {
	if len(o.told) == 0 {
		_, moved := r.gone[o.info.Inode]
		o.refused = r.unclean || r.o.Mode == Receive || moved || r.tree.Get(o.path).Live() || len(r.incoming[o.path]) > 0 || r.mayBeCopy(o.info.Size)
	}
	if o.refused {
		return
	}
	o.mu.Lock()
	list := o.list[:min(len(o.list), maxOffer)]
	o.mu.Unlock()
	for _, p := range r.peers {
		if p.deaf {
			continue
		}
		for at := o.told[p]; at < len(list) && p.conn.Queued() < maxQueued; at = o.told[p] {
			blocks := list[at:min(at+syncproto.MaxOffered, len(list))]
			o.told[p] = at + len(blocks)
			r.send(p, &syncproto.Offer{Path: o.path, Name: o.name, Size: o.info.Size, From: uint64(at), Blocks: blocks})
		}
	}
}

// withdrawOffer ends what was offered of path: it has changed since. Where it was only renamed, what was offered is still good.
func (r *Replica) withdrawOffer(path string, now beneath.Info) {
	o := r.offers.takeBack(path, now)
	if o == nil {
		return
	}
	for p := range o.told {
		if r.peers[p.id] == p {
			r.send(p, &syncproto.Offer{Path: o.path, Name: o.name, Size: o.info.Size})
		}
	}
}

// takeBack forgets an offer of path that is over, and returns it; nil: there is none, or the file was not written to since.
func (o *offers) takeBack(path string, now beneath.Info) *offer {
	o.mu.Lock()
	defer o.mu.Unlock()
	offer := o.earlier
	if offer == nil || offer.path != path || offer.info.MTime == now.MTime && offer.info.Size == now.Size {
		return nil
	}
	o.earlier = nil
	return offer
}
