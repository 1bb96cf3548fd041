package main

import "syscall"

// dieWithUs has the process get SIGTERM when we are killed: the lock it runs under is not renewed any more.
func dieWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }
