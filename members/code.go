package members

import (
	"crypto/rand"
	"fmt"
	"strings"
	"unicode"
)

const (
	fingerprintSize = 10 // bytes of a code that tell the inviter's key
	secretSize      = 10 // bytes of a code that only who was given it knows

	codeLetters = (fingerprintSize + secretSize) * 8 / 5
	codeGroup   = 4
	maxCodeText = 1024 // bytes of what is read as a code
)

// A Secret is the part of a code that serves once.
type Secret [secretSize]byte

// A Code is what the user of one machine reads out to the user of another. Its text is 32 letters and digits of Crockford's
// base32 (https://www.crockford.com/base32.html) in groups of four.
//
// There is no check letter: Crockford's is one of 37, five of them signs that are hard to read out and to paste into a
// shell, and what it would find is found anyway. A wrong fingerprint is refused by whoever dials, before anything is sent,
// and a wrong secret by the inviter, at the price of a short pause.
type Code struct {
	fingerprint [fingerprintSize]byte
	Secret      Secret
}

// newCode returns a code with a secret of its own, by which the node whose key that is invites.
func newCode(key Key) (c Code) {
	sum := key.fingerprint()
	c.fingerprint = [fingerprintSize]byte(sum[:])
	rand.Read(c.Secret[:]) // never fails
	return c
}

// Of tells whether the node whose key that is has made the code. Only then may it be told the secret.
func (c Code) Of(key Key) bool {
	sum := key.fingerprint()
	return c.fingerprint == [fingerprintSize]byte(sum[:])
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// String returns the code as it is read out: 8 groups of 4, joined by '-'.
func (c Code) String() string {
	var b strings.Builder
	bits, n, letters := uint(0), 0, 0
	for _, octet := range append(c.fingerprint[:], c.Secret[:]...) {
		bits, n = bits<<8|uint(octet), n+8
		for ; n >= 5; n, letters = n-5, letters+1 {
			if letters > 0 && letters%codeGroup == 0 {
				b.WriteByte('-')
			}
			b.WriteByte(crockford[bits>>(n-5)&31])
		}
	}
	return b.String()
}

// ParseCode reads a code as people write it: in either case, with or without spaces and dashes, with O for 0, and I or L
// for 1.
func ParseCode(text string) (c Code, err error) {
	if len(text) > maxCodeText {
		return Code{}, fmt.Errorf("code of %d bytes, want %d letters and digits", len(text), codeLetters)
	}
	var raw []byte
	bits, n, letters := uint(0), 0, 0
	for _, r := range text {
		if unicode.IsSpace(r) || unicode.Is(unicode.Dash, r) {
			continue
		}
		letters++
		value := strings.IndexRune(crockford, digitOf(r))
		if value < 0 {
			return Code{}, fmt.Errorf("code: character %d is %q, which no code has: compare it with what the inviter shows", letters, r)
		}
		bits, n = bits<<5|uint(value), n+5
		if n >= 8 {
			raw, n = append(raw, byte(bits>>(n-8))), n-8
		}
	}
	if letters != codeLetters {
		return Code{}, fmt.Errorf("code has %d letters and digits, want %d: compare it with what the inviter shows", letters, codeLetters)
	}
	copy(c.fingerprint[:], raw)
	copy(c.Secret[:], raw[fingerprintSize:])
	return c, nil
}

// digitOf returns the digit that a person meant.
func digitOf(r rune) rune {
	switch r = unicode.ToUpper(r); r {
	case 'O':
		return '0'
	case 'I', 'L':
		return '1'
	}
	return r
}
