// Package foldtest is for tests: it mounts a directory as a file system that takes names which differ in case, or in their
// form of Unicode, for the same, and keeps each as it was first spelled, as those of other systems do; and that refuses the
// names it is told to refuse. What it holds lies in a plain directory below it, so nothing of it is lost with the mount.
// Each operation finds its path anew, name by name, in what that directory lists: it is made to be right, not fast.
//
// It is served by a process of its own, the test binary executed again: a program that is at once the user and the server of
// a file system can come to wait for itself.
package foldtest

import (
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Options say how names are taken.
type Options struct {
	Refuse string // names with any of these characters cannot be made (EINVAL)
}

// key is what two names have in common that the file system takes for one.
func key(name string) string { return norm.NFD.String(cases.Fold().String(norm.NFD.String(name))) }
