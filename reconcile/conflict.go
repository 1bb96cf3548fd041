package reconcile

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"resonate/merkle"
)

// maxName is the most bytes that a file name may have (NAME_MAX).
const maxName = 255

// conflictTag stands in every conflict copy's name.
const conflictTag = ".conflict-"

// stampLayout is a stamp in a name, up to the second; its microseconds follow, behind a dash.
const stampLayout = "20060102-150405"

// ConflictPath returns where the loser of a conflict at path is kept: NAME.conflict-NODE-TIME.EXT beside it, after its
// author and stamp, so that it is the same file everywhere, once. Names that would grow beyond 255 bytes are cut, and
// tagged with a hash of the whole name.
func ConflictPath(path string, loser *merkle.Entry) string {
	dir, name := merkle.SplitPath(path)
	return merkle.Join(dir, conflictName(name, tagOf(loser.Version.Author.Short(), loser.Version.Stamp)))
}

func conflictName(name, tag string) string {
	base, ext := splitExt(name)
	if over := len(base) + len(tag) + len(ext) - maxName; over > 0 {
		if len(ext) > 16 {
			base, ext = name, ""
		}
		mark := markOf(name)
		base = cut(base, maxName-len(tag)-len(ext)-len(mark)) + mark
	}
	return base + tag + ext
}

// markOf returns what stands for the rest of a name that is cut.
func markOf(name string) string {
	whole := merkle.HashBlock([]byte(name))
	return "~" + hex.EncodeToString(whole[:4])
}

// A CopyName is what the name of a conflict copy tells: the inverse of ConflictPath.
type CopyName struct {
	Path  string       // of what it is a copy; where Cut, it may rather be of a longer name: see Of
	Cut   bool         // its name ends as one that was cut
	Node  string       // the author's ID, as short as Short makes it
	Stamp merkle.Stamp // the author's

	copy string
}

// ParseCopy reads the name of a conflict copy. It is false for all other names, and for stamps beyond the year 9999.
func ParseCopy(path string) (c CopyName, ok bool) {
	dir, name := merkle.SplitPath(path)
	for at := len(name); ; { // an extension may look like a tag
		if at = strings.LastIndex(name[:at], conflictTag); at < 0 {
			return CopyName{}, false
		}
		node, stamp, size := parseTag(name[at:])
		if size == 0 {
			continue
		}
		plain := name[:at] + name[at+size:]
		c = CopyName{Path: merkle.Join(dir, plain), Cut: endsCut(name[:at]), Node: node, Stamp: stamp, copy: path}
		ext := name[at+size:]
		if c.Of(c.Path) || (c.Cut && (ext == "" || ext[0] == '.' && strings.LastIndexByte(ext, '.') == 0)) {
			return c, true
		}
	}
}

// Of tells whether c is the name of a copy of what stands at path.
func (c CopyName) Of(path string) bool {
	dir, name := merkle.SplitPath(path)
	return name != "" && merkle.Join(dir, conflictName(name, tagOf(c.Node, c.Stamp))) == c.copy
}

// parseTag reads the tag that text begins with, and returns its size; 0: there is none.
func parseTag(text string) (node string, stamp merkle.Stamp, size int) {
	const nodeAt = len(conflictTag)
	const timeAt = nodeAt + 7 + 1
	const microsAt = timeAt + len(stampLayout) + 1
	size = microsAt + 6
	if len(text) < size {
		return "", 0, 0
	}
	at, err := time.Parse(stampLayout, text[timeAt:timeAt+len(stampLayout)])
	micros, microsErr := strconv.ParseUint(text[microsAt:size], 10, 32)
	if err != nil || microsErr != nil || at.Unix() < 0 {
		return "", 0, 0
	}
	node = text[nodeAt : nodeAt+7]
	stamp = merkle.Stamp(at.UnixMicro()) + merkle.Stamp(micros)
	if strings.Trim(node, "abcdefghijklmnopqrstuvwxyz234567") != "" || tagOf(node, stamp) != text[:size] {
		return "", 0, 0
	}
	return node, stamp, size
}

// endsCut tells whether a name ends as cutting it makes it end.
func endsCut(base string) bool {
	mark := base[max(0, len(base)-len("~")-8):]
	return len(mark) == 9 && mark[0] == '~' && strings.Trim(mark[1:], "0123456789abcdef") == ""
}

// PlainPath returns a name for a copy of what stands at path, for it to be a file like any other: NAME-WHO.EXT beside it,
// and NAME-WHO-N.EXT for n above 1. What is no letter, digit, dot or underscore in who becomes a dash.
func PlainPath(path, who string, n int) string {
	for c, ok := ParseCopy(path); ok; c, ok = ParseCopy(path) { // a copy of a copy
		path = c.Path
	}
	dir, name := merkle.SplitPath(path)
	base, ext := splitExt(name)
	tail := "-" + strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '-'
	}, strings.ToValidUTF8(who, ""))
	if n > 1 {
		tail += "-" + strconv.Itoa(n)
	}
	if len(base)+len(tail)+len(ext) > maxName && len(ext) > 16 {
		base, ext = name, ""
	}
	return merkle.Join(dir, cut(base, maxName-len(tail)-len(ext))+tail+ext)
}

// IsCopy tells whether e is at path as a conflict copy, as it was made: under the name that its version gives it.
func IsCopy(path string, e *merkle.Entry) bool {
	_, name := merkle.SplitPath(path)
	return strings.Contains(name, tagOf(e.Version.Author.Short(), e.Version.Stamp))
}

// tagOf returns what stands in the name of a conflict copy of what a node made at a stamp.
func tagOf(node string, stamp merkle.Stamp) string {
	at := time.UnixMicro(int64(stamp)).UTC().Format(stampLayout + ".000000")
	return conflictTag + node + "-" + strings.Replace(at, ".", "-", 1)
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
