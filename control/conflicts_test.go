package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func (f *fake) Conflicts(_ context.Context, path string) ([]Conflict, error) {
	f.note("conflicts %q", path)
	return f.conflicts, f.err
}

func (f *fake) Conflict(_ context.Context, path string) (Conflict, error) {
	f.note("conflict %q", path)
	if f.err != nil {
		return Conflict{}, f.err
	}
	return f.conflicts[0], nil
}

func (f *fake) ConflictDiff(_ context.Context, path string, w io.Writer) error {
	f.note("diff %q", path)
	return f.bytes(w)
}

func (f *fake) ConflictText(_ context.Context, path string, w io.Writer) error {
	f.note("text %q", path)
	return f.bytes(w)
}

func (f *fake) ConflictBase(_ context.Context, path string, w io.Writer) error {
	f.note("base %q", path)
	return f.bytes(w)
}

// bytes writes what there is, and then fails.
func (f *fake) bytes(w io.Writer) error {
	for len(f.text) > 0 {
		n := min(len(f.text), 1<<16)
		if _, err := w.Write(f.text[:n]); err != nil {
			return err
		}
		f.text = f.text[n:]
	}
	return f.err
}

func (f *fake) Resolve(_ context.Context, path string, keep Keep) (Resolved, error) {
	f.note("resolve %q %s", path, keep)
	return f.resolved, f.err
}

func (f *fake) ResolveMerged(_ context.Context, c Conflict, r io.Reader) (Resolved, error) {
	text, err := io.ReadAll(r)
	f.note("merged %q %s, %q %s: %d bytes, %v", c.Path, c.Mine.Hash, c.Copies[0].Path, c.Copies[0].Hash, len(text), err)
	return f.resolved, f.err
}

func TestConflictsRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	mine := ConflictVersion{"n\xc3.txt", "abc", "nas", at, "file", 7, &at, "m1", "", "yes"}
	theirs := ConflictVersion{"n\xc3.conflict.txt", "def", "", at, "file", 8, &at, "t1", "", "no"}
	f := &fake{
		conflicts: []Conflict{{"n\xc3.txt", &mine, []ConflictVersion{theirs}}, {Path: "gone", Copies: []ConflictVersion{}}},
		resolved:  Resolved{"n\xc3.txt", "both", []ResolvedCopy{{"n\xc3.conflict.txt", "n\xc3-nas.txt"}}},
		text:      bytes.Repeat([]byte("\x00\xff\n"), 100_000),
	}
	c := start(t, socketName(t), f)
	ctx := t.Context()
	if got, err := c.Conflicts(ctx, "d\xc3"); err != nil || !reflect.DeepEqual(got, f.conflicts) {
		t.Errorf("conflicts: got %+v, %v", got, err)
	}
	if got, err := c.Conflict(ctx, "d\xc3"); err != nil || !reflect.DeepEqual(got, f.conflicts[0]) {
		t.Errorf("conflict: got %+v, %v", got, err)
	}
	if got, err := c.Resolve(ctx, "d\xc3", KeepBoth); err != nil || !reflect.DeepEqual(got, f.resolved) {
		t.Errorf("resolve: got %+v, %v", got, err)
	}
	large := strings.Repeat("x", 3*maxBodyBytes) // it is not bounded as a form is
	if got, err := c.ResolveMerged(ctx, f.conflicts[0], strings.NewReader(large)); err != nil || !reflect.DeepEqual(got, f.resolved) {
		t.Errorf("resolve merged: got %+v, %v", got, err)
	}
	want := bytes.Clone(f.text)
	var out bytes.Buffer
	if err := c.ConflictText(ctx, "d\xc3", &out); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("text: got %d bytes, %v, want %d", out.Len(), err, len(want))
	}
	if err := c.ConflictDiff(ctx, "d\xc3", &out); err != nil || out.Len() != len(want) {
		t.Errorf("an empty diff: got %d bytes more, %v", out.Len()-len(want), err)
	}
	asked := []string{`conflicts "d\xc3"`, `conflict "d\xc3"`, `resolve "d\xc3" both`,
		fmt.Sprintf(`merged "n\xc3.txt" m1, "n\xc3.conflict.txt" t1: %d bytes, <nil>`, len(large)), `text "d\xc3"`, `diff "d\xc3"`}
	if !reflect.DeepEqual(f.asked, asked) {
		t.Errorf("asked: got %q\nwant %q", f.asked, asked)
	}
}

func TestConflictsErrors(t *testing.T) {
	f := &fake{err: fmt.Errorf("f: %w", ErrNotFound)}
	c := start(t, socketName(t), f)
	ctx := t.Context()
	of := Conflict{Path: "f", Mine: &ConflictVersion{}, Copies: []ConflictVersion{{}}}
	for name, do := range map[string]func() error{
		"conflicts":      func() error { _, err := c.Conflicts(ctx, "f"); return err },
		"conflict":       func() error { _, err := c.Conflict(ctx, "f"); return err },
		"diff":           func() error { return c.ConflictDiff(ctx, "f", io.Discard) },
		"text":           func() error { return c.ConflictText(ctx, "f", io.Discard) },
		"base":           func() error { return c.ConflictBase(ctx, "f", io.Discard) },
		"resolve":        func() error { _, err := c.Resolve(ctx, "f", KeepMine); return err },
		"resolve merged": func() error { _, err := c.ResolveMerged(ctx, of, strings.NewReader("")); return err },
	} {
		if err := do(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if _, err := c.Resolve(ctx, "f", "neither"); !errors.Is(err, ErrBadArgument) {
		t.Errorf("keep neither: got %v, want ErrBadArgument", err)
	}
	of.Copies = nil
	if _, err := c.ResolveMerged(ctx, of, http.NoBody); !errors.Is(err, ErrBadArgument) {
		t.Errorf("merged of nothing: got %v, want ErrBadArgument", err)
	}
	f.text = bytes.Repeat([]byte("x"), 1<<20) // it fails when much of it is out
	if err := c.ConflictText(ctx, "f", io.Discard); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("text that breaks off: got %v, want an error", err)
	}
}
