package ignore

import "strings"

// A class is a set of bytes.
type class [4]uint64

func (c *class) has(b byte) bool { return c[b>>6]>>(b&63)&1 != 0 }

func (c *class) add(from, to byte) {
	for b := int(from); b <= int(to); b++ {
		c[b>>6] |= 1 << (b & 63)
	}
}

func (c *class) invert() {
	for i := range c {
		c[i] = ^c[i]
	}
}

// named are the classes of POSIX as git has them: of ASCII alone, and with a space that is blank, tab or the end of a line.
var named = map[string][]string{ // ranges, as pairs of bytes
	"alnum":  {"09", "AZ", "az"},
	"alpha":  {"AZ", "az"},
	"blank":  {"  ", "\t\t"},
	"cntrl":  {"\x00\x1f", "\x7f\x7f"},
	"digit":  {"09"},
	"graph":  {"!~"},
	"lower":  {"az"},
	"print":  {" ~"},
	"punct":  {"!/", ":@", "[`", "{~"},
	"space":  {"  ", "\t\n", "\r\r"},
	"upper":  {"AZ"},
	"xdigit": {"09", "AF", "af"},
}

// parseClass reads the set that begins with the bracket at text[i], and returns where the pattern goes on after it; false
// where the set does not end or names a class that is not known. A bracket that comes first does not end it.
func parseClass(text string, i int) (c *class, next int, ok bool) {
	c = &class{}
	i++
	negated := i < len(text) && (text[i] == '!' || text[i] == '^')
	if negated {
		i++
	}
	before := -1 // the byte with which a range may begin
	for first := true; ; first = false {
		if i >= len(text) {
			return nil, 0, false
		}
		b := text[i]
		switch {
		case b == ']' && !first:
			if negated {
				c.invert()
			}
			return c, i + 1, true
		case b == '-' && before >= 0 && i+1 < len(text) && text[i+1] != ']':
			if i++; text[i] == '\\' {
				if i++; i == len(text) {
					return nil, 0, false
				}
			}
			c.add(byte(before), text[i])
			before = -1
		case b == '[' && strings.HasPrefix(text[i+1:], ":"):
			end := strings.IndexByte(text[i+2:], ']')
			if end < 0 {
				return nil, 0, false
			}
			name, isName := strings.CutSuffix(text[i+2:i+2+end], ":")
			if !isName {
				c.add('[', '[')
				before = '['
				break
			}
			ranges, known := named[name]
			if !known {
				return nil, 0, false
			}
			for _, r := range ranges {
				c.add(r[0], r[1])
			}
			i += 2 + end
			before = -1
		default:
			if b == '\\' {
				if i++; i == len(text) {
					return nil, 0, false
				}
				b = text[i]
			}
			c.add(b, b)
			before = int(b)
		}
		i++
	}
}
