package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// warmed is how much memory is touched ahead of a step, in bytes: more than any step takes anew.
const warmed = 2 << 30

// warm touches memory and gives it back, just before something is measured. A virtual machine may get a page from its host only when it
// touches it, at ten times the cost of using one that it has (2.8 s a GiB were seen, and 0.2 s), and gives back what it has
// not used for some seconds: without this, a time tells how much memory was in use before.
func warm() error {
	const piece = 256 << 20
	var held [][]byte
	defer func() {
		for _, b := range held {
			_ = syscall.Munmap(b) // this process's own, and touched
		}
	}()
	for left := min(available()/2, warmed); left >= piece; left -= piece {
		b, err := syscall.Mmap(-1, 0, piece, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("touch memory ahead: %w", err)
		}
		held = append(held, b)
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1
		}
	}
	return nil
}

// available returns how many bytes of memory could be used now; 0 where the system does not say.
func available() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
