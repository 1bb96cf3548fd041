package syncproto

import "resonate/merkle"

// Members tells who belongs to the cluster, as far as the sender knows: what members.Set.Encode gives. It is told after the hellos,
// and again whenever it changes.
type Members struct{ Set []byte }

// MaxMembers is the longest set in bytes.
const MaxMembers = 1 << 20

const membersSet = 1 // field number; part of the format

func (m *Members) kind() Kind { return KindMembers }

func (m *Members) append(b []byte) []byte { return merkle.AppendBytes(b, membersSet, string(m.Set)) }

func (m *Members) field(f merkle.Field) error {
	if f.Number == membersSet {
		return takeBytes(f, &m.Set)
	}
	return nil
}

func (m *Members) check() error {
	if len(m.Set) > MaxMembers {
		return malformed("set of members of %d bytes", len(m.Set))
	}
	return nil
}
