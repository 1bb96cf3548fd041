package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"resonate/control"
)

func statusCommand() command {
	return command{
		name:     "status",
		operands: "[-json]",
		short:    "show what the daemon does, its peers, and what cannot be synced",
		long: `Shows the folder, its root hashes (equal content: equal folders), the peers with what is still to send and
to receive, the messages sent, how the folder is watched, and every change that is held or path that cannot
be synced, with cause and remedy.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("status", operands); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					st, err := client.Status(ctx)
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, st)
					}
					_, err = io.WriteString(c.Out, renderStatus(st, time.Now()))
					return err
				})
			}
		},
	}
}

// noOperands refuses operands for a command that takes none.
func noOperands(command string, operands []string) error {
	if len(operands) > 0 {
		return usageError{command: command, cause: fmt.Sprintf("unexpected operand %s", shown(operands[0]))}
	}
	return nil
}

// renderStatus writes a status for people, as of now.
func renderStatus(s control.Status, now time.Time) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	shared := "not yet shared"
	if s.Folder.Shared {
		shared = "shared"
	}
	line("folder", "%s  (id %s, %s)", shown(s.Folder.Path), s.Folder.ID, shared)
	line("state", "%s", harmless(s.State))
	if s.Paused != nil {
		line("", "for %s%s", formatSpan(now.Sub(s.Paused.Since)), untilWords(*s.Paused, now.Location()))
	}
	if way := modeWord(s.Mode); way != "" {
		line("mode", "%s", way)
	}
	if s.Locks != "" {
		line("locks", "%s", harmless(s.Locks))
	}
	if s.Progress != nil {
		line("", "%s", renderProgress(*s.Progress, barWidth))
	}
	line("content", "%s, %s, %s, %s", formatCount(s.Files, "file", "files"), formatCount(s.Directories, "directory", "directories"),
		formatCount(s.Symlinks, "symlink", "symlinks"), formatBytes(s.Bytes))
	line("roots", "content %s, state %s", brief(s.Roots.Content), brief(s.Roots.State))
	line("node", "%s at %s, pid %d, up %s, version %s", s.Node, s.Listen, s.PID, formatSpan(now.Sub(s.Started)), s.Version)
	line("traffic", "sent %s (%s), received %s (%s), keep-alives %s and %s",
		formatCount(s.MessagesSent, "message", "messages"), formatBytes(int64(s.BytesSent)),
		formatCount(s.MessagesReceived, "message", "messages"), formatBytes(int64(s.BytesReceived)),
		thousands(s.KeepalivesSent), thousands(s.KeepalivesReceived))
	renderWatch(&b, s.Watch)
	renderPeers(&b, s.Peers, now)
	renderHeld(&b, s.Held, s.HeldMore)
	renderUntaken(&b, s.Untaken, s.UntakenMore)
	renderProblems(&b, s.Problems, s.ProblemsMore)
	return b.String()
}

// modeWord tells which way changes go, where that is not both.
func modeWord(mode string) string {
	switch mode {
	case "send":
		return "this node only sends: nothing of the peers' is taken"
	case "receive":
		return "this node only receives: what is changed here is held"
	case "witness":
		return "this node is a witness: it has no files, and votes on locks"
	}
	return ""
}

func renderWatch(b *strings.Builder, w control.Watch) {
	fmt.Fprintf(b, "%-10s %s, %s", "watch", w.Mode, formatCount(w.Directories, "directory", "directories"))
	if w.Overflows > 0 {
		fmt.Fprintf(b, ", %s", formatCount(w.Overflows, "overflow", "overflows"))
	}
	b.WriteByte('\n')
	if w.Cause != "" {
		fmt.Fprintf(b, "%-10s %s; %s\n", "", harmless(w.Cause), harmless(w.Remedy))
	}
	for _, path := range w.Uncovered {
		fmt.Fprintf(b, "%-10s polled: %s\n", "", shown(path))
	}
}

func renderPeers(b *strings.Builder, peers []control.Peer, now time.Time) {
	if len(peers) == 0 {
		fmt.Fprintf(b, "%-10s none\n", "peers")
		return
	}
	fmt.Fprintf(b, "\npeers (%d)\n", len(peers))
	for _, p := range peers {
		parts := []string{fmt.Sprintf("%s for %s", harmless(p.State), formatSpan(now.Sub(p.Since)))}
		if p.State == "connected" {
			parts = append(parts, peerWork(p))
		}
		switch {
		case p.Witness:
			parts = append(parts, "witness")
		case p.SendsOnly:
			parts = append(parts, "only sends")
		}
		if p.RTTMillis > 0 {
			parts = append(parts, fmt.Sprintf("round trip %.1f ms", p.RTTMillis))
		}
		if p.NextTry != nil {
			parts = append(parts, "next try in "+formatSpan(p.NextTry.Sub(now)))
		}
		fmt.Fprintf(b, "  %s  %s\n", peerName(p), strings.Join(parts, ", "))
		if p.Error != "" {
			fmt.Fprintf(b, "      %s\n", harmless(p.Error))
		}
	}
}

// peerName names a peer by what is known of it.
func peerName(p control.Peer) string {
	var known []string
	for _, s := range []string{p.ID, p.Name, p.Address} {
		if s != "" {
			known = append(known, shown(s))
		}
	}
	return strings.Join(known, " ")
}

// peerWork tells what is still to do between this node and a peer.
func peerWork(p control.Peer) string {
	if p.InSync {
		return "in sync"
	}
	var parts []string
	if w := p.ToSend; w != (control.Work{}) {
		parts = append(parts, fmt.Sprintf("to send %s (%s)", formatCount(w.Files, "file", "files"), formatBytes(w.Bytes)))
	}
	if w := p.ToReceive; w != (control.Work{}) {
		parts = append(parts, fmt.Sprintf("to receive %s (%s)", formatCount(w.Files, "file", "files"), formatBytes(w.Bytes)))
	}
	if len(parts) == 0 {
		return "comparing"
	}
	return strings.Join(parts, ", ")
}

// A status lists so many changes and problems; the rest is counted.
const (
	heldShown     = 10
	problemsShown = 20
)

func renderHeld(b *strings.Builder, held []control.Held, more int) {
	if len(held) == 0 {
		return
	}
	fmt.Fprintf(b, "\nheld (%s)\n", thousands(len(held)+more))
	more += max(0, len(held)-heldShown)
	for _, group := range byCause(held[:min(len(held), heldShown)]) {
		fmt.Fprintf(b, "  %s; %s\n", harmless(group[0].Cause), harmless(group[0].Remedy))
		for _, h := range group {
			fmt.Fprintf(b, "      %-9s  %s\n", h.Kind, shown(h.Path))
		}
	}
	renderMore(b, more, "resonate held")
}

func renderUntaken(b *strings.Builder, untaken []control.Untaken, more int) {
	if len(untaken) == 0 {
		return
	}
	all := len(untaken) + more
	fmt.Fprintf(b, "\nnot taken (%s)\n", thousands(all))
	verb := "are"
	if all == 1 {
		verb = "is"
	}
	fmt.Fprintf(b, "  %s of peers %s not taken: this node only sends; run it without -mode send to take them\n", formatCount(all, "change", "changes"), verb)
	more += max(0, len(untaken)-heldShown)
	for _, u := range untaken[:min(len(untaken), heldShown)] {
		fmt.Fprintf(b, "      %s  (%s)\n", shown(u.Path), shown(u.Peer))
	}
	renderMore(b, more, "resonate status -json")
}

func renderProblems(b *strings.Builder, problems []control.Problem, more int) {
	if len(problems) == 0 {
		return
	}
	fmt.Fprintf(b, "\nnot synced (%s)\n", thousands(len(problems)+more))
	more += max(0, len(problems)-problemsShown)
	for _, p := range problems[:min(len(problems), problemsShown)] {
		fmt.Fprintf(b, "  %s: %s\n      %s\n", shown(p.Path), harmless(p.Cause), harmless(p.Remedy))
	}
	renderMore(b, more, "resonate status -json")
}

func renderMore(b *strings.Builder, more int, where string) {
	if more > 0 {
		fmt.Fprintf(b, "  and %s more (see: %s)\n", thousands(more), where)
	}
}

// brief is as much of a hash as a person compares.
func brief(hash string) string {
	if len(hash) > 16 {
		return hash[:16]
	}
	return hash
}
