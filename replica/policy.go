package replica

import (
	"errors"
	"slices"
)

// A Policy says what is done about a conflict by who has the lock of its path. Without a lock it is always Copy.
type Policy int

// The policies.
const (
	Merge  Policy = iota // texts are merged where their common base is known and the changes do not touch; else as Copy
	Copy                 // one keeps the name, the other is kept beside it
	Latest               // what is let out last keeps the name, the other goes to the history
)

var policies = []string{"merge", "copy", "latest"}

// String returns p as a flag has it.
func (p Policy) String() string { return policies[p] }

// MarshalText implements encoding.TextMarshaler.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Policy) UnmarshalText(text []byte) error {
	i := slices.Index(policies, string(text))
	if i < 0 {
		return errors.New("want merge, copy or latest")
	}
	*p = Policy(i)
	return nil
}
