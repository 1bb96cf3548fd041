package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// configHead is the first line of a configuration that install has written, with a sum over the rest: while that is right,
// nobody has put anything into the file that would be lost with it.
const configHead = "# Written by resonate service install, and removed by uninstall as long as nobody has changed it (%x).\n"

func configSum(rest string) []byte {
	sum := sha256.Sum256([]byte(rest))
	return sum[:4]
}

// configText writes the folder, and what flags and variables have set, as a configuration.
func (s *settings) configText() (string, error) {
	var b strings.Builder
	var problems []error
	b.WriteString("# Its keys are the flags of the daemon: see resonate help daemon.\n\n")
	s.set.VisitAll(func(f *flag.Flag) {
		known := newSettings().set.Lookup(f.Name) != nil && notInFile[f.Name] == ""
		if !known || f.Name != "dir" && s.from[f.Name].from == "" {
			return
		}
		text, err := literal(f)
		if err != nil {
			problems = append(problems, fmt.Errorf("write %s to a configuration: %w", f.Name, err))
		}
		fmt.Fprintf(&b, "%s = %s\n", f.Name, text)
	})
	return fmt.Sprintf(configHead, configSum(b.String())) + b.String(), errors.Join(problems...)
}

// unchanged tells whether a configuration is as install has written it.
func unchanged(text string) bool {
	head, rest, _ := strings.Cut(text, "\n")
	return head+"\n" == fmt.Sprintf(configHead, configSum(rest))
}

// create writes a file that is not there.
func (f configFile) create(text string) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("make the folder of configurations: %w", err)
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", errors.Join(err, os.Remove(f.path)))
	}
	return nil
}

// removeUnchanged removes the file if install has written it and nobody has touched it since.
func (f configFile) removeUnchanged() (bool, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !unchanged(string(text)) {
		return false, nil
	}
	if err == nil {
		err = os.Remove(f.path)
	}
	if err != nil {
		return false, fmt.Errorf("remove configuration: %w", err)
	}
	return true, nil
}
