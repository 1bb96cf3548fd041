package service

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Template is a unit of systemd for any number of folders, each with a name. Its text is what packages install, with
// the program's path put in.
type Template string

const (
	Folder Template = "resonate"       // for a daemon that keeps a folder in step
	Mount  Template = "resonate-mount" // for one that mounts it, too
)

//go:embed units/*.service
var units embed.FS

// packagedProgram is where the texts of the units have the program.
const packagedProgram = "/usr/bin/resonate"

// File is the name of the template's file.
func (t Template) File() string { return string(t) + "@.service" }

// Unit is the name of the unit for the folder called name.
func (t Template) Unit(name string) string { return string(t) + "@" + name + ".service" }

// Text returns the template for the program of the given path. Not every path can stand in a unit.
func (t Template) Text(program string) (string, error) {
	text, err := units.ReadFile("units/" + t.File())
	if err != nil {
		return "", fmt.Errorf("read unit: %w", err)
	}
	if !filepath.IsAbs(program) || strings.ContainsFunc(program, func(r rune) bool { return r < ' ' || strings.ContainsRune("\"'\\$;\x7f", r) }) {
		return "", fmt.Errorf("write a unit for %q: its path has characters that systemd takes for something else: put the program elsewhere", program)
	}
	word := strings.ReplaceAll(program, "%", "%%")
	if strings.Contains(word, " ") {
		word = `"` + word + `"`
	}
	return strings.Replace(string(text), "ExecStart="+packagedProgram, "ExecStart="+word, 1), nil
}

// ours tells whether the text of a unit is one of ours, perhaps of another version or for another program.
func (t Template) ours(text []byte) bool {
	return strings.HasPrefix(string(text), "# "+t.File()+": ")
}

// MaxName is the length of the longest name, in bytes: with it a unit's name is within systemd's 255.
const MaxName = 64

// CheckName tells what is wrong with the name of a folder: it is part of a unit's name, and must mean itself there.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > MaxName:
		return fmt.Errorf("it is longer than %d characters", MaxName)
	case strings.ContainsRune("-.", rune(name[0])):
		return fmt.Errorf("it begins with %q", name[0])
	case strings.ContainsFunc(name, func(r rune) bool { return !fits(r) }):
		return errors.New("want letters from A to z, digits and _ . - only: systemd would have others escaped")
	}
	return nil
}

func fits(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r)
}

// FitName makes a name of a folder's path that CheckName takes.
func FitName(folder string) string {
	var b strings.Builder
	for _, r := range filepath.Base(folder) {
		switch {
		case fits(r):
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.TrimLeft(b.String(), "-.")
	name = strings.TrimRight(name[:min(len(name), MaxName)], "-.")
	if name == "" {
		return "folder"
	}
	return name
}

// write puts a template into place in dir, whole, unless it is there as it should be. A file of the same name that is not
// ours is left alone.
func (t Template) write(dir, text string) (path string, changed bool, err error) {
	path = filepath.Join(dir, t.File())
	old, err := os.ReadFile(path)
	switch {
	case err == nil && string(old) == text:
		return path, false, nil
	case err == nil && !t.ours(old):
		return path, false, fmt.Errorf("write unit %s: it is there, and was not made by resonate: move it away first", path)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return path, false, fmt.Errorf("read unit: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return path, false, fmt.Errorf("make the folder of units: %w", err)
	}
	temp := path + ".new"
	if err := errors.Join(os.WriteFile(temp, []byte(text), 0o644), os.Rename(temp, path)); err != nil {
		return path, false, fmt.Errorf("write unit: %w", errors.Join(err, os.Remove(temp)))
	}
	return path, true, nil
}
