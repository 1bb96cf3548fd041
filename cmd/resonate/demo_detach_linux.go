package main

import "syscall"

// detached puts a child into a process group of its own, so that Ctrl-C reaches the demo alone, which ends the
// children in order; and has the kernel end it when the demo is killed.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
