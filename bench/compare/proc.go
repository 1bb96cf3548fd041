package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every architecture that Go runs on.
const tick = time.Second / 100

// procStat is what /proc/PID/stat tells of a process.
type procStat struct {
	pid, parent int
	cpu         time.Duration // in user and system mode, with that of its children that it has waited for
	started     int64         // ticks since boot; with the pid it names a process for good
}

// parseStat reads the text of /proc/PID/stat: proc_pid_stat(5). The name, in parentheses, may hold anything.
func parseStat(text []byte) (procStat, error) {
	bad := fmt.Errorf("malformed process status %.80q", text)
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procStat{}, bad
	}
	fields := strings.Fields(string(text[end+1:])) // from the third on
	if len(fields) < 20 {
		return procStat{}, bad
	}
	var s procStat
	var err error
	number := func(text string) int64 {
		n, e := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		err = errors.Join(err, e)
		return n
	}
	s.pid, s.parent = int(number(string(text[:open]))), int(number(fields[1]))
	for _, f := range fields[11:15] {
		s.cpu += time.Duration(number(f)) * tick
	}
	s.started = number(fields[19])
	if err != nil {
		return procStat{}, bad
	}
	return s, nil
}

// readStat gives the status of a process that is there.
func readStat(pid int) (procStat, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, false
	}
	s, err := parseStat(text)
	return s, err == nil
}

// allStats gives the status of every process; nothing where there is no /proc.
func allStats() []procStat {
	var all []procStat
	names, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		if s, ok := readStat(pid); ok {
			all = append(all, s)
		}
	}
	return all
}

// descendants picks the roots and all that descend from them.
func descendants(all []procStat, roots []int) []procStat {
	var out []procStat
	for queue := roots; len(queue) > 0; queue = queue[1:] {
		for _, s := range all {
			switch {
			case s.pid == queue[0]:
				out = append(out, s)
			case s.parent == queue[0] && !slices.Contains(roots, s.pid):
				queue = append(slices.Clip(queue), s.pid)
			}
		}
	}
	return out
}

// parsePSS finds the proportional set size, in bytes, in the text of /proc/PID/smaps_rollup: proc_pid_smaps(5).
func parsePSS(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "Pss:" && f[2] == "kB" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}

func readPSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return parsePSS(text)
}

// busy is a moment, and the CPU time that the machine and this program with its tools have used until then.
type busy struct {
	at            time.Time
	machine, ours time.Duration
	known         bool
}

func machineBusy() busy {
	b := busy{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return b
	}
	b.machine, err = parseBusy(text)
	b.known = err == nil
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var use syscall.Rusage
		if err := syscall.Getrusage(who, &use); err == nil {
			b.ours += time.Duration(use.Utime.Nano() + use.Stime.Nano())
		}
	}
	return b
}

// parseBusy adds up, in the text of /proc/stat, what all CPUs did that was neither idling nor waiting for a disk: proc_stat(5).
func parseBusy(text []byte) (time.Duration, error) {
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("malformed CPU times %.80q", first)
	}
	var sum time.Duration
	for i, f := range fields[1:9] { // the rest, of guests, is in the first two already
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("malformed CPU times %.80q", first)
		}
		if i != 3 && i != 4 {
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// describeMachine tells where and how undisturbed the figures were got since begin.
func describeMachine(work string, begin busy) string {
	parts := []string{fmt.Sprintf("%d CPUs", runtime.NumCPU())}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			model, _, _ := strings.Cut(rest, "\n")
			parts[0] += " (" + strings.TrimSpace(strings.TrimLeft(model, "\t :")) + ")"
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		parts = append(parts, "Linux "+strings.TrimSpace(string(text)))
	} else {
		parts = append(parts, runtime.GOOS)
	}
	parts = append(parts, runtime.Version(), "below "+filepath.Dir(work))
	if end := machineBusy(); begin.known && end.known {
		others := (end.machine - begin.machine) - (end.ours - begin.ours)
		parts = append(parts, fmt.Sprintf("other programs used %.1f CPUs on average", max(0, others.Seconds()/end.at.Sub(begin.at).Seconds())))
	}
	return strings.Join(parts, ", ") + "."
}
