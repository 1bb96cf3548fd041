package main

import (
	"flag"
	"fmt"
)

// origin is where the value of a flag comes from, if it is not the default.
type origin struct {
	from string // fromFlag, fromVariable or fromFile
	file string // fromFile: its path
	line int    // fromFile; 0 if it is not known
}

// Where a value comes from, in the order in which they count.
const (
	fromFlag     = "flag"
	fromVariable = "variable"
	fromFile     = "file"
	fromDefault  = "default"
)

// name is what a message calls the flag, so that its reader finds the place.
func (o origin) name(flag string) string {
	switch o.from {
	case fromVariable:
		return variable(flag)
	case fromFile:
		return fmt.Sprintf("%s in %s", flag, place(o.file, o.line))
	}
	return "-" + flag
}

// place is a line of a file as messages name it: FILE:LINE.
func place(file string, line int) string {
	if line == 0 {
		return shown(file)
	}
	return fmt.Sprintf("%s:%d", shown(file), line)
}

// noteOrigins notes which of the settings args and variables have set. It is called once, after parse.
func (s *settings) noteOrigins(env func(string) string) {
	s.from = map[string]origin{}
	s.set.VisitAll(func(f *flag.Flag) {
		if env(variable(f.Name)) != "" {
			s.from[f.Name] = origin{from: fromVariable}
		}
	})
	s.set.Visit(func(f *flag.Flag) { s.from[f.Name] = origin{from: fromFlag} })
}

// named is what a message calls a setting.
func (s *settings) named(flag string) string { return s.from[flag].name(flag) }
