package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// plainHandler writes log lines for a person at a terminal: the time of day, what happened, and then the facts as the
// structured log has them. It may be used by several goroutines.
type plainHandler struct {
	facts  slog.Handler // writes the attributes alone, to line
	shared *plainLine
}

// plainLine is what a handler and those derived from it write to.
type plainLine struct {
	mu   sync.Mutex
	out  io.Writer
	line bytes.Buffer
}

var _ slog.Handler = plainHandler{}

func newPlainHandler(w io.Writer, level slog.Leveler) plainHandler {
	shared := &plainLine{out: w}
	return plainHandler{shared: shared, facts: slog.NewTextHandler(&shared.line, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})}
}

// Enabled implements slog.Handler.
func (h plainHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.facts.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h plainHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return plainHandler{h.facts.WithAttrs(attrs), h.shared}
}

// WithGroup implements slog.Handler.
func (h plainHandler) WithGroup(name string) slog.Handler {
	return plainHandler{h.facts.WithGroup(name), h.shared}
}

// Handle implements slog.Handler.
func (h plainHandler) Handle(ctx context.Context, r slog.Record) error {
	s := h.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line.Reset()
	if err := h.facts.Handle(ctx, r); err != nil {
		return err
	}
	words := []string{r.Time.Format(time.TimeOnly)}
	if r.Level != slog.LevelInfo {
		words = append(words, strings.ToLower(r.Level.String())+":")
	}
	words = append(words, harmless(r.Message))
	if facts := strings.TrimSpace(s.line.String()); facts != "" {
		words = append(words, " "+facts)
	}
	_, err := io.WriteString(s.out, strings.Join(words, " ")+"\n")
	return err
}
