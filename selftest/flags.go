package selftest

import "fmt"

// Flags tell what is wrong, a bit for each kind. The low byte is about what locks promise, the middle one about the tester itself, the high
// one about the folders. That a bit is set says nothing of the others. The numbers are for scripts to rely on.
type Flags uint32

// The kinds of what can be wrong.
const (
	TwoHolders Flags = 1 << 0 // two held an exclusive lock at once
	TokenFell  Flags = 1 << 1 // a lock's token was not above that of the lock before it on the same name
	LockLost   Flags = 1 << 2 // a lock was over before its time, and before it was let go
	Starved    Flags = 1 << 3 // a lock was not had in 30 s, although nobody keeps one for long

	Hindered Flags = 1 << 8 // the daemon did not do what it was asked for, or a file could not be written: see the errors
	LeftOver Flags = 1 << 9 // files or locks of the tester are left over

	NotArrived  Flags = 1 << 16 // a peer that is connected did not have an edit in 10 s
	TreesDiffer Flags = 1 << 17 // a peer's tree is another, though nothing changes any more
	OtherFiles  Flags = 1 << 18 // the tester's directory does not hold what was written there
)

// String writes all three bytes, in hexadecimal digits.
func (f Flags) String() string { return fmt.Sprintf("0x%06x", uint32(f)) }

// MarshalText writes what String does.
func (f Flags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
