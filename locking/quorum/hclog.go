package quorum

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logger gives the libraries a log that ends in ours. All they say is for who looks into them: what a user has to know, Status
// tells.
func logger(to *slog.Logger) hclog.Logger {
	if !to.Enabled(context.Background(), slog.LevelDebug) {
		return hclog.NewNullLogger()
	}
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(sink{to})
	return l
}

type sink struct{ to *slog.Logger }

func (s sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	if level < hclog.Info {
		return
	}
	s.to.Debug("raft: "+message, args...)
}
