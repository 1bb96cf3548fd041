package main

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"
)

func TestPlainHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newPlainHandler(&out, slog.LevelInfo))
	log.Info("stopped")
	log.Debug("not shown")
	log.With("peer", "k7f3a").Warn("cannot connect", "cause", "connection refused\x1b[2J")
	log.WithGroup("g").Error("evil\x1b]0;x", "msg", 1)
	want := `stopped
warn: cannot connect  peer=k7f3a cause="connection refused\x1b[2J"
error: evil ]0;x  g.msg=1
`
	got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(out.String(), "")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !regexp.MustCompile(`^\d\d:\d\d:\d\d `).Match(out.Bytes()) {
		t.Errorf("no time of day in %q", out.String())
	}
}
