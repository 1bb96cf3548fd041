//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "far: only Linux has networks of a process's own: run this there, as root")
	os.Exit(1)
}
