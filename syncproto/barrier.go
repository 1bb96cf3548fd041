package syncproto

import "resonate/merkle"

// Barrier asks the peer to say when all that it has agreed by now has been announced on this stream: the answer is the same message, as
// Passed. Who was granted a lock asks so, to have the newest version of what it changes.
type Barrier struct {
	ID     uint64 // the asker's
	Passed bool
}

const (
	barrierID     = 1 // varint
	barrierPassed = 2 // varint, absent when 0
)

func (m *Barrier) kind() Kind { return KindBarrier }

func (m *Barrier) append(b []byte) []byte {
	b = merkle.AppendUint(b, barrierID, m.ID)
	if m.Passed {
		b = merkle.AppendUint(b, barrierPassed, 1)
	}
	return b
}

func (m *Barrier) field(f merkle.Field) error {
	switch f.Number {
	case barrierID:
		return takeUint(f, &m.ID)
	case barrierPassed:
		var v uint64
		err := takeUint(f, &v)
		m.Passed = v != 0
		return err
	}
	return nil
}

func (m *Barrier) check() error { return nil }
