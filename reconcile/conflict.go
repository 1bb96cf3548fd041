package reconcile

import (
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"resonate/merkle"
)

// maxName is the most bytes that a file name may have (NAME_MAX).
const maxName = 255

// conflictTag stands in every conflict copy's name.
const conflictTag = ".conflict-"

// ConflictPath returns where the loser of a conflict at path is kept: NAME.conflict-NODE-TIME.EXT beside it, after its
// author and stamp, so that it is the same file everywhere, once. Names that would grow beyond 255 bytes are cut, and
// tagged with a hash of the whole name.
func ConflictPath(path string, loser *merkle.Entry) string {
	dir, name := merkle.SplitPath(path)
	base, ext := splitExt(name)
	tag := tagOf(loser)
	if over := len(base) + len(tag) + len(ext) - maxName; over > 0 {
		whole := merkle.HashBlock([]byte(name))
		mark := "~" + hex.EncodeToString(whole[:4])
		if len(ext) > 16 {
			base, ext = name, ""
		}
		base = cut(base, maxName-len(tag)-len(ext)-len(mark)) + mark
	}
	return merkle.Join(dir, base+tag+ext)
}

// IsCopy tells whether e is at path as a conflict copy, as it was made: under the name that its version gives it.
func IsCopy(path string, e *merkle.Entry) bool {
	_, name := merkle.SplitPath(path)
	return strings.Contains(name, tagOf(e))
}

// tagOf returns what stands in the name of a conflict copy of e.
func tagOf(e *merkle.Entry) string {
	at := time.UnixMicro(int64(e.Version.Stamp)).UTC().Format("20060102-150405.000000")
	return conflictTag + e.Version.Author.Short() + "-" + strings.Replace(at, ".", "-", 1)
}

// splitExt splits off the extension; a leading dot begins a name, not an extension.
func splitExt(name string) (base, ext string) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 {
		return name, ""
	}
	return name[:i], name[i:]
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
