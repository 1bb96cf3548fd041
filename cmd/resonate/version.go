package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

func versionCommand() command {
	return command{
		name:     "version",
		operands: "[-json]",
		short:    "print the version",
		define: func(set *flag.FlagSet, c console) action {
			asJSON := jsonFlag(set)
			return func(_ context.Context, operands []string) error {
				if err := noOperands("version", operands); err != nil {
					return err
				}
				info, _ := debug.ReadBuildInfo()
				v := describeBuild(info)
				if *asJSON {
					return printJSON(c.Out, v)
				}
				_, err := fmt.Fprintf(c.Out, "resonate %s %s %s\n", v.Version, v.Go, v.Platform)
				return err
			}
		},
	}
}

// build is what "resonate version -json" prints.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// describeBuild reads what the go command recorded in the binary; info may be nil. A build without a released
// version goes by its revision.
func describeBuild(info *debug.BuildInfo) build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	switch {
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		b.Version = info.Main.Version
	case b.Revision != "":
		b.Version = "devel-" + b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			b.Version += "+dirty"
		}
	}
	return b
}
