package discover

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

const (
	nonceSize = 8
	macSize   = 8 // enough: who guesses one wins a dial
	tagDomain = "resonate discovery tag"
)

var tagAlphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// newTag makes a tag for the owner of a key: nonce and HMAC-SHA-256 over tagDomain and the nonce, cut to macSize, as 26 letters and
// digits.
func newTag(own Key) string {
	var nonce [nonceSize]byte
	rand.Read(nonce[:]) // never fails, says crypto/rand
	return strings.ToLower(tagAlphabet.EncodeToString(append(nonce[:], own.mac(nonce[:])...)))
}

func (k Key) mac(nonce []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte(tagDomain))
	h.Write(nonce)
	return h.Sum(nil)[:macSize]
}

// made tells whether a tag, from anybody, is one of the key's owner.
func (k Key) made(tag string) bool {
	if len(tag) != tagAlphabet.EncodedLen(nonceSize+macSize) {
		return false
	}
	raw, err := tagAlphabet.DecodeString(strings.ToUpper(tag))
	return err == nil && hmac.Equal(raw[nonceSize:], k.mac(raw[:nonceSize]))
}
