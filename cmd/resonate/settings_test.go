package main

import (
	"strings"
	"testing"
)

func TestOnlyRootKeepsOwners(t *testing.T) {
	for _, row := range []struct {
		keep   bool
		user   int
		wanted bool
	}{{false, 1000, true}, {false, 0, true}, {true, 0, true}, {true, 1000, false}} {
		err := (&settings{keepOwner: row.keep}).checkOwner(row.user)
		if (err == nil) != row.wanted {
			t.Errorf("-keep-owner=%v as user %d: %v", row.keep, row.user, err)
		}
		if err == nil {
			continue
		}
		if code := exitCode(err); code != exitUsage || !strings.Contains(err.(usageError).advice(), "as root") {
			t.Errorf("exit code %d, advice %q, want %d and what to do", code, err.(usageError).advice(), exitUsage)
		}
	}
}
