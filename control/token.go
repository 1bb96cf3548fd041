package control

import (
	"cmp"
	"fmt"
)

// A Token is the number of a grant. Of two grants of one resource the later has the greater token, over restarts, other leaders and new
// tables too. Whoever acts under a lock hands it to what it acts on, which refuses one that is lower than the highest it has seen:
// then a holder that was too slow, and does not know that its lock is over, does no harm.
type Token struct {
	Generation uint64 // of the lock table
	Index      uint64 // within it
}

// tokenFormat has a fixed length, so that tokens can be compared as text, too: by a shell, or a database.
const tokenFormat = "%016x.%016x"

// Compare returns -1, 0 or 1 as t is lower than, equal to or greater than o.
func (t Token) Compare(o Token) int {
	return cmp.Or(cmp.Compare(t.Generation, o.Generation), cmp.Compare(t.Index, o.Index))
}

// String writes t so that of two such texts the one that is greater as text is the greater token.
func (t Token) String() string { return fmt.Sprintf(tokenFormat, t.Generation, t.Index) }

// ParseToken reads what String writes. Errors wrap ErrBadArgument.
func ParseToken(s string) (Token, error) {
	var t Token
	if _, err := fmt.Sscanf(s, "%16x.%16x", &t.Generation, &t.Index); err != nil || t.String() != s {
		return Token{}, fmt.Errorf("read token %.40q: want 16 hexadecimal digits, a point, and 16 more: %w", s, ErrBadArgument)
	}
	return t, nil
}

// MarshalText writes what String does.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *Token) UnmarshalText(text []byte) error {
	v, err := ParseToken(string(text))
	if err == nil {
		*t = v
	}
	return err
}
