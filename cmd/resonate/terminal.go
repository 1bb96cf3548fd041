package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// onTerminal tells whether what a user types reaches us through in.
func onTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// errNobody: there is no terminal.
var errNobody = errors.New("nobody can be asked")

// confirm asks on the terminal, and tells whether the answer is yes.
func confirm(c console, question string) (bool, error) {
	if !onTerminal(c.In) {
		return false, errNobody
	}
	fmt.Fprint(c.Out, question)
	answer, err := bufio.NewReader(c.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// eraseLine goes to the start of the line and clears it (ECMA-48: CR, EL 2).
const eraseLine = "\r\x1b[2K"

// footer is a terminal whose last line shows the state, and above which log lines scroll by: each Write erases
// the line, writes, and draws it again, so that the two are never mixed. It may be used by several goroutines.
type footer struct {
	mu   sync.Mutex
	out  io.Writer
	line string // what stands there; "" nothing
}

// Write writes log lines, which end with a newline, above the line of state.
func (f *footer) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b bytes.Buffer
	if f.line != "" {
		b.WriteString(eraseLine)
	}
	b.Write(p)
	b.WriteString(f.line)
	if _, err := f.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Draw replaces the line of state; "" takes it away. What stands there already costs nothing.
func (f *footer) Draw(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if line == f.line {
		return
	}
	f.line = line
	// A terminal that is gone is no reason to stop synchronising.
	_, _ = io.WriteString(f.out, eraseLine+line)
}
