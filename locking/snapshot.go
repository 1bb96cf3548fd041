package locking

import "fmt"

// snapshotFormat is the version of the format, in its first field.
const snapshotFormat = 1

// maxSnapshot bounds a snapshot in bytes: as much as a full table could have.
const maxSnapshot = 1 << 30

// Field numbers; part of the format.
const (
	snapFormat     = 1 // varint
	snapGeneration = 2 // varint
	snapIndex      = 3 // varint
	snapLast       = 4 // varint: index of the last token
	snapSeq        = 5 // varint
	snapOwner      = 6 // repeated message, by node
	snapClaim      = 7 // repeated message, by seq
	snapLeft       = 8 // repeated message, oldest first
	snapFinished   = 9 // repeated message, oldest first

	ownerSession = 1 // message: session
	ownerHost    = 2 // bytes
	ownerLength  = 3 // varint, ms

	keptLeft   = 1 // message: left
	keptExcept = 2 // repeated bytes: one path; 3: a tree; 4: a name
	keptIndex  = 5 // varint

	finishedRequest = 1 // bytes, 16
	finishedReason  = 2 // varint
)

// Snapshot returns all of the table: the same bytes on every machine that has taken the same commands.
func (t *Table) Snapshot() []byte {
	b := appendUint(nil, snapFormat, snapshotFormat)
	b = appendUint(b, snapGeneration, t.generation)
	b = appendUint(b, snapIndex, t.index)
	b = appendUint(b, snapLast, t.last)
	b = appendUint(b, snapSeq, t.seq)
	for _, o := range t.sortedOwners() {
		b = appendMessage(b, snapOwner, func(b []byte) []byte {
			b = appendText(appendSession(b, ownerSession, o.session()), ownerHost, o.host)
			return appendDuration(b, ownerLength, o.length)
		})
	}
	for _, c := range t.sortedClaims() {
		b = appendMessage(b, snapClaim, c.append)
	}
	for at := t.lefts.order.Front(); at != nil; at = at.Next() {
		l := at.Value.(*left)
		b = appendMessage(b, snapLeft, func(b []byte) []byte {
			b = appendScopes(appendLeft(b, keptLeft, l.Left), keptExcept, l.except...)
			return appendUint(b, keptIndex, l.index)
		})
	}
	for _, id := range t.finished.order[t.finished.begin:] {
		b = appendMessage(b, snapFinished, func(b []byte) []byte {
			return appendUint(appendID(b, finishedRequest, id), finishedReason, uint64(t.finished.reasons[id]))
		})
	}
	return b
}

// Restore replaces all of the table by what Snapshot wrote. After an error the table is as it was.
func (t *Table) Restore(snapshot []byte) error {
	if len(snapshot) > maxSnapshot {
		return fmt.Errorf("restore lock table: %w", malformed("%d bytes", len(snapshot)))
	}
	n := NewTable(nil)
	r := &restoring{Table: n}
	err := fields(string(snapshot), r.field)
	if err == nil {
		err = r.build()
	}
	if err != nil {
		return fmt.Errorf("restore lock table: %w", err)
	}
	n.watch = t.watch
	*t = *n
	if t.watch != nil {
		t.watch(Change{Index: t.index, What: TableRestored})
	}
	return nil
}

// A restoring is a table that is read from a snapshot.
type restoring struct {
	*Table
	format uint64
	read   []*claim
}

func (r *restoring) field(f field) error {
	if f.number != snapFormat && r.format != snapshotFormat {
		return malformed("format %d, want %d: a newer version of this program wrote it", r.format, snapshotFormat)
	}
	switch f.number {
	case snapFormat:
		return takeUint(f, &r.format)
	case snapGeneration:
		return takeUint(f, &r.generation)
	case snapIndex:
		return takeUint(f, &r.index)
	case snapLast:
		return takeUint(f, &r.last)
	case snapSeq:
		return takeUint(f, &r.seq)
	case snapOwner:
		return r.takeOwner(f)
	case snapClaim:
		c := new(claim)
		r.read = append(r.read, c)
		return takeMessage(f, c.field)
	case snapLeft:
		return r.takeLeft(f)
	case snapFinished:
		return r.takeFinished(f)
	}
	return nil
}

func (r *restoring) takeOwner(f field) error {
	o := new(owner)
	var s Session
	err := takeMessage(f, func(f field) error {
		switch f.number {
		case ownerSession:
			return takeSession(f, &s)
		case ownerHost:
			return takeText(f, &o.host)
		case ownerLength:
			return takeDuration(f, &o.length)
		}
		return nil
	})
	o.node, o.epoch = s.Node, s.Epoch
	if err == nil && (o.node == NodeID{} || r.owners[o.node] != nil || len(r.owners) >= maxOwners) {
		err = malformed("owner %x", o.node)
	}
	r.owners[o.node] = o
	return err
}

func (c *claim) append(b []byte) []byte {
	b = c.Claim.append(b)
	b = appendUint(b, claimSeq, c.seq)
	if c.desired != (Scope{}) {
		b = appendScopes(b, claimDesired, c.desired)
	}
	return appendBool(b, claimChanged, c.changed)
}

func (c *claim) field(f field) error {
	switch f.number {
	case claimSeq:
		return takeUint(f, &c.seq)
	case claimDesired + 1:
		c.desired.Kind = Tree
		return takeText(f, &c.desired.Path)
	case claimChanged:
		return takeBool(f, &c.changed)
	}
	return c.Claim.field(f)
}

func (r *restoring) takeLeft(f field) error {
	var kept []Left
	var except []Scope
	var index uint64
	err := takeMessage(f, func(f field) error {
		switch f.number {
		case keptLeft:
			return takeLeft(f, &kept, 1)
		case keptExcept, keptExcept + 1, keptExcept + 2:
			return takeScope(f, keptExcept, &except, MaxExcept)
		case keptIndex:
			return takeUint(f, &index)
		}
		return nil
	})
	if err == nil && len(kept) != 1 {
		err = malformed("%d versions left behind in one", len(kept))
	}
	if err == nil {
		err = checkScopes([]Scope{kept[0].Scope}, 1)
	}
	if err == nil && len(kept[0].Version) > MaxVersion {
		err = malformed("version of %d bytes", len(kept[0].Version))
	}
	if err == nil {
		err = checkScopes(except, MaxExcept)
	}
	if err == nil {
		r.lefts.note(kept[0], except, index, ^uint64(0))
	}
	return err
}

func (r *restoring) takeFinished(f field) error {
	var id RequestID
	var reason Reason
	err := takeMessage(f, func(f field) error {
		switch f.number {
		case finishedRequest:
			return takeID(f, &id)
		case finishedReason:
			return takeUint(f, &reason)
		}
		return nil
	})
	if err == nil {
		r.finished.add(id, reason)
	}
	return err
}

// build enters the claims.
func (r *restoring) build() error {
	if r.format != snapshotFormat {
		return malformed("empty snapshot")
	}
	for i, c := range r.read {
		if i > 0 && c.seq <= r.read[i-1].seq || c.seq > r.seq {
			return malformed("claims out of order")
		}
		c.owner = r.owners[c.Session.Node]
		switch {
		case c.owner == nil:
			return malformed("claim of node %x, which is not there", c.Session.Node)
		case r.claims[c.Request] != nil || c.Mode > Permits || len(c.Scopes) == 0 || c.Held == (c.Token == Token{}):
			return malformed("claim %x", c.Request)
		case len(r.claims) >= maxClaims || r.scopes+len(c.Scopes) > maxTableScopes:
			return malformed("too many claims")
		}
		if err := checkScopes(c.Scopes, MaxScopes); err != nil {
			return err
		}
		if err := checkScopes(c.Except, MaxExcept); err != nil {
			return err
		}
		r.claims[c.Request] = c
		c.owner.claims = append(c.owner.claims, c)
		r.resize(c, len(c.Scopes))
		if !c.Held {
			r.waiting++
			c.owner.pending++
		}
		r.places.insert(c)
	}
	return nil
}
