//go:build !linux

package main

import "syscall"

// dieWithUs can do nothing here: where we are killed, the process runs on, though the lock it runs under is not renewed any more.
func dieWithUs(*syscall.SysProcAttr) {}
