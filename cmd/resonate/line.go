package main

import (
	"fmt"
	"strings"
	"time"

	"resonate/control"
)

// barWidth is the number of cells in a progress bar where there is room.
const barWidth = 20

// statusLine renders a status as the one line that the daemon keeps at the foot of a terminal of the given
// width: a progress bar while long work is under way, else the state and what the folder holds. The line is
// shorter than the width, so that no terminal wraps it.
func statusLine(s control.Status, width int) string {
	if s.Progress == nil {
		return cut(stateWords(s), width-1)
	}
	for bar := barWidth; bar > 0; bar /= 2 { // the numbers say more than the bar
		if line := renderProgress(*s.Progress, bar); len(line) < width {
			return line
		}
	}
	return cut(stateWords(s), width-1)
}

// stateWords is that line in words alone, of any length.
func stateWords(s control.Status) string {
	if s.Progress != nil {
		return renderProgress(*s.Progress, 0)
	}
	return strings.Join(append([]string{harmless(s.State)}, facts(s)...), ", ")
}

// facts are the parts of the quiet line after the state.
func facts(s control.Status) []string {
	parts := []string{formatCount(s.Files, "file", "files"), formatBytes(s.Bytes)}
	if len(s.Peers) > 0 {
		connected, all := 0, 0
		for _, p := range s.Peers {
			if p.State != "self" {
				all++
			}
			if p.State == "connected" {
				connected++
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %s", connected, formatCount(all, "peer", "peers")))
	}
	if n := len(s.Held) + s.HeldMore; n > 0 {
		parts = append(parts, thousands(n)+" held (see: resonate held)")
	}
	if n := len(s.Problems) + s.ProblemsMore; n > 0 {
		parts = append(parts, thousands(n)+" not synced (see: resonate status)")
	}
	return parts
}

// renderProgress draws a bar of so many cells (0: none) with files, bytes, rate and time left, as far as they are
// known.
func renderProgress(p control.Progress, bar int) string {
	parts := []string{workWord(p.What)}
	if done, known := fraction(p); known {
		if full := int(done * float64(bar)); bar > 0 {
			parts = append(parts, "["+strings.Repeat("#", full)+strings.Repeat("-", bar-full)+"]")
		}
		parts = append(parts, fmt.Sprintf("%d%%", int(done*100)))
	}
	parts = append(parts, ofTotal(thousands(p.Files), thousands(p.FilesTotal), p.FilesTotal > 0)+" files")
	if p.Bytes > 0 || p.BytesTotal > 0 {
		parts = append(parts, ofTotal(formatBytes(p.Bytes), formatBytes(p.BytesTotal), p.BytesTotal > 0))
	}
	if p.BytesPerSecond > 0 {
		parts = append(parts, formatBytes(int64(p.BytesPerSecond))+"/s")
	}
	if left := time.Duration(p.SecondsLeft * float64(time.Second)); left > 0 {
		parts = append(parts, formatSpan(left.Round(time.Second))+" left")
	}
	return strings.Join(parts, "  ")
}

func workWord(what string) string {
	switch what {
	case "scan":
		return "scanning"
	case "receive":
		return "receiving"
	case "check":
		return "checking"
	}
	return harmless(what)
}

// fraction tells how much of the work is done, from 0 to 1: by bytes if their total is known, else by files.
func fraction(p control.Progress) (done float64, known bool) {
	switch {
	case p.BytesTotal > 0:
		done = float64(p.Bytes) / float64(p.BytesTotal)
	case p.FilesTotal > 0:
		done = float64(p.Files) / float64(p.FilesTotal)
	default:
		return 0, false
	}
	return min(max(done, 0), 1), true
}

func ofTotal(done, total string, known bool) string {
	if !known {
		return done
	}
	return done + " of " + total
}

// cut shortens a line to at most width cells, taking each rune for one.
func cut(line string, width int) string {
	runes := []rune(line)
	if len(runes) <= max(width, 0) {
		return line
	}
	if width < 3 {
		return string(runes[:max(width, 0)])
	}
	return string(runes[:width-2]) + ".."
}
