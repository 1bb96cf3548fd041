package ignore

import "strings"

// A glob is a pattern as a list of steps. It knows names alone, or whole paths, in which only "**" goes past a slash.
type glob struct {
	steps []step
	least int // the shortest text that can match, in bytes
}

// A step is one part of a pattern.
type step struct {
	kind  stepKind
	text  string // of a literal
	class *class // of a set
}

type stepKind uint8

const (
	literal stepKind = iota
	anyByte          // "?": any byte but a slash
	set              // "[...]": a byte of a class, never a slash
	star             // "*": any bytes but slashes
	deep             // "**" that stands for itself between slashes: any bytes
	dirs             // "**/": nothing, or any bytes up to and with a slash
)

// compile makes a glob of a pattern, of whole paths or of names; false where it can match nothing: an escape or a set
// that does not end, or a class that nobody knows.
func compile(text string, paths bool) (*glob, bool) {
	g := &glob{}
	for i := 0; i < len(text); {
		switch text[i] {
		case '*':
			i = g.stars(text, i, paths)
		case '?':
			g.steps = append(g.steps, step{kind: anyByte})
			g.least++
			i++
		case '[':
			c, next, ok := parseClass(text, i)
			if !ok {
				return nil, false
			}
			g.steps = append(g.steps, step{kind: set, class: c})
			g.least++
			i = next
		case '\\':
			if i++; i == len(text) {
				return nil, false
			}
			fallthrough
		default:
			g.literal(text[i : i+1])
			i++
		}
	}
	return g, true
}

// literal adds text that is compared as it is.
func (g *glob) literal(text string) {
	g.least += len(text)
	if n := len(g.steps); n > 0 && g.steps[n-1].kind == literal {
		g.steps[n-1].text += text
		return
	}
	g.steps = append(g.steps, step{kind: literal, text: text})
}

// stars adds the step for a run of asterisks at text[i], and returns where the pattern goes on.
func (g *glob) stars(text string, i int, paths bool) int {
	end := i
	for end < len(text) && text[end] == '*' {
		end++
	}
	rest := text[end:]
	alone := paths && end-i > 1 && (i == 0 || text[i-1] == '/')
	kind := star
	switch {
	case alone && strings.HasPrefix(rest, "/"):
		kind = dirs
		end++
	case alone && (rest == "" || strings.HasPrefix(rest, `\/`)):
		kind = deep
	}
	if n := len(g.steps); kind != dirs || n == 0 || g.steps[n-1].kind != dirs { // "**/**/" is "**/"
		g.steps = append(g.steps, step{kind: kind})
	}
	return end
}

// match tells whether the whole of s matches. Only the last "*", and only the last "**", is ever tried longer: whatever
// an earlier one could reach by being longer, the later one reaches as well, save past a slash, where the earlier "*" could not
// go either. So the work is bounded by the lengths of both, multiplied.
func (g *glob) match(s string) bool {
	if len(s) < g.least {
		return false
	}
	p, i := 0, 0
	lastStar, starEnd := -1, 0 // where the text that the last "*" stands for ends
	lastDeep, deepEnd := -1, 0
	for {
		if p == len(g.steps) && i == len(s) {
			return true
		}
		if p < len(g.steps) {
			switch t := &g.steps[p]; t.kind {
			case star:
				if p == len(g.steps)-1 && strings.IndexByte(s[i:], '/') < 0 {
					return true
				}
				lastStar, starEnd = p, i
				p++
				continue
			case deep, dirs:
				if t.kind == deep && p == len(g.steps)-1 {
					return true
				}
				lastStar, lastDeep, deepEnd = -1, p, i
				p++
				continue
			default:
				if n := t.length(s[i:]); n > 0 {
					i += n
					p++
					continue
				}
			}
		}
		switch {
		case lastStar >= 0 && starEnd < len(s) && s[starEnd] != '/':
			starEnd++
			p, i = lastStar+1, starEnd
		case lastDeep >= 0 && g.lengthen(lastDeep, s, &deepEnd):
			lastStar = -1
			p, i = lastDeep+1, deepEnd
		default:
			return false
		}
	}
}

// length returns how many bytes at the start of s a step of fixed length stands for, 0 if it does not match.
func (t *step) length(s string) int {
	switch {
	case t.kind == literal:
		if strings.HasPrefix(s, t.text) {
			return len(t.text)
		}
	case s == "" || s[0] == '/':
	case t.kind == anyByte, t.class.has(s[0]):
		return 1
	}
	return 0
}

// lengthen makes the text that a "**" stands for end at the next place that it may; false if there is none.
func (g *glob) lengthen(p int, s string, end *int) bool {
	if *end >= len(s) {
		return false
	}
	if g.steps[p].kind == deep {
		*end++
		return true
	}
	slash := strings.IndexByte(s[*end:], '/')
	*end += slash + 1
	return slash >= 0
}
