//go:build linux && race

package main

// The race detector makes everything several times as slow. It finds in a part what it finds in the whole; that the whole goes well is
// shown without it.
const (
	gitFiles = 3_000
	goTree   = "src/cmd" // some thousand files
)
