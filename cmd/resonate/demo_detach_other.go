//go:build !linux

package main

import "syscall"

// detached puts a child into a process group of its own, so that Ctrl-C reaches the demo alone, which ends the
// children in order.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
