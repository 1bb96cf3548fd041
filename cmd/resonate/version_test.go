package main

import (
	"runtime/debug"
	"testing"
)

func TestDescribeBuild(t *testing.T) {
	with := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}
	rows := []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"nothing known", nil, "devel"},
		{"released", with("v1.2.3", revision), "v1.2.3"},
		{"a checkout", with("(devel)", revision), "devel-0123456789ab"},
		{"a changed checkout", with("", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "devel-0123456789ab+dirty"},
	}
	for _, row := range rows {
		if got := describeBuild(row.info).Version; got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}
