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

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modes, string(text))
	if i < 0 {
		return errors.New("want both, send or receive")
	}
	*m = Mode(i)
	return nil
}
