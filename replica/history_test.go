package replica

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

func TestHistoryKeepsWhatPeersDisplace(t *testing.T) {
	t.Parallel()
	base := tree{"f": "one", "d/g.txt": "g", "l": "-> first", "d/e/deep": "deep"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.write("f", "two")
	holds(t, tree{"f": "two", "d/g.txt": "g", "l": "-> first", "d/e/deep": "deep"}, a, b)
	a.write("f", "three")
	a.remove("d")
	a.link("l", "second", time.Now())
	holds(t, tree{"f": "three", "l": "-> second"}, a, b)
	want := map[string][]string{"f": {"two", "one"}, "d/g.txt": {"g"}, "l": {"-> first"}, "d/e/deep": {"deep"}}
	got := b.history()
	for p, list := range want {
		if !slices.Equal(got[p], list) {
			t.Errorf("history of %s: got %q, want %q", p, got[p], list)
		}
	}
	if len(got) != len(want) {
		t.Errorf("history: got %v, want %v", got, want)
	}
	if got := a.history(); len(got) != 0 {
		t.Errorf("history of a: got %v, want none", got)
	}
	list, err := b.replica().History(t.Context(), "d")
	if err != nil || len(list) != 2 || list[0].Path != "d/e/deep" || list[1].Path != "d/g.txt" || list[1].Size != 1 || list[1].Kind != "file" {
		t.Errorf("history of d: got %+v, %v", list, err)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 250)
	base := tree{"f": "one", "d/g": "g", "l": "-> first", long: "long"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.write("f", "two")
	until(t, "two at b", func() bool { return b.tree()["f"] == "two" })
	between := time.Now()
	a.write("f", "three")
	a.remove("d")
	a.remove("l")
	a.remove(long)
	holds(t, tree{"f": "three"}, a, b)

	restore := func(p string, at time.Time) control.Kept {
		t.Helper()
		k, err := b.replica().Restore(t.Context(), p, at)
		if err != nil {
			t.Fatalf("restore %.20s: %v", p, err)
		}
		return k
	}
	if k := restore("f", time.Time{}); k.Path != "f" || k.Size != 3 {
		t.Errorf("restored: got %+v, want f of 3 bytes", k)
	}
	holds(t, tree{"f": "two"}, a, b)
	restore("f", between.Add(-time.Hour))
	holds(t, tree{"f": "one"}, a, b)
	restore("d", time.Time{})
	holds(t, tree{"f": "one", "d/g": "g"}, a, b)
	restore("l", time.Time{})
	restore(long, time.Time{})
	holds(t, tree{"f": "one", "d/g": "g", "l": "-> first", long: "long"}, a, b)
	if !b.keeps("three") {
		t.Error("what the restored file displaced is lost")
	}
	_, err := b.replica().Restore(t.Context(), "never", time.Time{})
	if !errors.Is(err, control.ErrNotFound) || !strings.Contains(err.Error(), "resonate history") {
		t.Errorf("restore of what is not kept: got %v, want ErrNotFound with the remedy", err)
	}
	if _, err := b.replica().Restore(t.Context(), "f", time.Now().Add(time.Hour)); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("restore as of the future: got %v, want ErrNotFound", err)
	}
}

func TestTrimHistory(t *testing.T) {
	t.Parallel()
	now := time.Now()
	hour := func(n int) time.Time { return now.Add(-time.Duration(n) * time.Hour) }
	for _, row := range []struct {
		name string
		age  time.Duration
		size int64
		want []string
	}{
		{"no bounds", 0, 0, []string{"d/new", "d/old", "mid"}},
		{"by age", 90 * time.Minute, 0, []string{"d/new"}},
		{"by size, oldest first", 0, 25, []string{"d/new", "mid"}},
		{"by both", 150 * time.Minute, 15, []string{"d/new"}},
		{"nothing fits", 0, 1, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := newNode(t, "n", nil)
			r, err := Open(n.o)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for p, at := range map[string]time.Time{"d/old": hour(3), "mid": hour(2), "d/new": hour(1)} {
				writeFile(t, n.path(keptPath(p, at)), "ten bytes.")
			}
			r.o.HistoryAge, r.o.HistorySize = row.age, row.size
			if err := r.trimHistory(now); err != nil {
				t.Fatal(err)
			}
			var got []string
			list, err := r.History(t.Context(), "")
			for _, k := range list {
				got = append(got, k.Path)
			}
			if err != nil || !slices.Equal(got, row.want) {
				t.Errorf("kept: got %q, %v, want %q", got, err, row.want)
			}
			if _, err := os.Stat(n.path(historyDir + "/d")); (err == nil) != slices.Contains(row.want, "d/new") {
				t.Errorf("directory of what is gone: got %v", err)
			}
		})
	}
}

func TestKeptNames(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89000, time.UTC)
	for _, row := range []struct{ path, want string }{
		{"f", historyDir + "/f~20260304T050607.000089Z"},
		{"d/e~x", historyDir + "/d/e~x~20260304T050607.000089Z"},
	} {
		if got := keptPath(row.path, at); got != row.want {
			t.Errorf("%s: got %s, want %s", row.path, got, row.want)
		}
	}
	names := make(map[string]bool)
	for _, tail := range []string{"a", "b"} {
		name := strings.TrimPrefix(keptPath(strings.Repeat("é", 127)+tail, at), historyDir+"/")
		if len(name) > 255 {
			t.Errorf("kept name: got %d bytes, want at most 255", len(name))
		}
		names[name] = true
		base, back, ok := parseKept(name)
		if !ok || !back.Equal(at) || keptName(base) != base {
			t.Errorf("parse %s: got %s, %v, %t", name, base, back, ok)
		}
	}
	if len(names) != 2 {
		t.Error("two long names that differ at the end are kept under one")
	}
	for _, bad := range []string{"", "f", "f~", "f~2026", "~20260304T050607Z"} {
		if _, _, ok := parseKept(bad); ok {
			t.Errorf("parse %q: got a time, want none", bad)
		}
	}
}
