//go:build linux && !race

package main

// How much data tests work on.
const (
	gitFiles = 10_000 // of the repository that TestGitRepository makes
	goTree   = "."    // what TestGOROOT copies of a Go installation
)
