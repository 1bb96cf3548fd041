package replica

import (
	"errors"
	"slices"
)

// A Mode says which way changes go between this node and its peers.
type Mode int

// The modes.
const (
	Both    Mode = iota
	Send         // what is changed here is published; what peers publish is not taken (sendonly.go)
	Receive      // what peers publish is taken; what is changed here is held (receiveonly.go)
)

var modes = []string{"both", "send", "receive"}

// String returns m as a flag has it.
func (m Mode) String() string { return modes[m] }

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// A Partition says what a node does with changes of its own while no lock is to be had: it is cut off from a majority.
type Partition int

// What is done then.
const (
	Writable Partition = iota // they go out, and meet those of the others later
	ReadOnly                  // they wait
)

var partitions = []string{"writable", "readonly"}

// String returns p as a flag has it.
func (p Partition) String() string { return partitions[p] }

// MarshalText implements encoding.TextMarshaler.
func (p Partition) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Partition) UnmarshalText(text []byte) error {
	i := slices.Index(partitions, string(text))
	if i < 0 {
		return errors.New("want writable or readonly")
	}
	*p = Partition(i)
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modes, string(text))
	if i < 0 {
		return errors.New("want both, send or receive")
	}
	*m = Mode(i)
	return nil
}
