package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// printJSON writes v for scripts and people alike: indented, with file names as they are.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// A jsonList writes a list as printJSON does, one item after the other, so that it never is in memory as a whole.
type jsonList struct {
	w      io.Writer
	prefix string // how far the list is indented
	before string // what comes before it, on its first line
	count  int
}

func (l *jsonList) add(v any) error {
	before := ",\n"
	if l.count == 0 {
		before = l.before + "[\n"
	}
	l.count++
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent(l.prefix+"  ", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	_, err := io.WriteString(l.w, before+l.prefix+"  "+strings.TrimSuffix(b.String(), "\n"))
	return err
}

// end ends the list; one in an object is not the end of a line.
func (l *jsonList) end() error {
	text := "\n" + l.prefix + "]"
	if l.count == 0 {
		text = l.before + "[]"
	}
	if l.prefix == "" {
		text += "\n"
	}
	_, err := io.WriteString(l.w, text)
	return err
}
