//go:build !linux

package replica

// A diskTurn does nothing: only Linux lets a thread's priority at the disk be set.
type diskTurn struct{}

func usualTurn() diskTurn { return diskTurn{} }

func (diskTurn) last() (end func()) { return func() {} }
