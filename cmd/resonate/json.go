package main

import (
	"encoding/json"
	"fmt"
	"io"
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
