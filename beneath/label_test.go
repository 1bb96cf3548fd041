package beneath

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// operations are all those that bear a label, each on a tree that layLabels has laid. The label is the name of the operation.
func operations(r *Root) map[string]func() error {
	return map[string]func() error{
		"Create": func() error {
			f, err := r.Create("Create", "d/new", 0o644)
			if err == nil {
				f.Close()
			}
			return err
		},
		"Reopen": func() error {
			f, err := r.Reopen("Reopen", "d/b")
			if err == nil {
				err = errors.Join(f.Truncate(1), f.Close())
			}
			return err
		},
		"Mkdir":     func() error { return r.Mkdir("Mkdir", "d/newdir", 0o755) },
		"MkdirAll":  func() error { return r.MkdirAll("MkdirAll", "d/x/y", 0o755) },
		"Symlink":   func() error { return r.Symlink("Symlink", "target", "d/newlink") },
		"Move":      func() error { return r.Move("Move", "d/a", "moved") },
		"Exchange":  func() error { return r.Exchange("Exchange", "d/b", "c") },
		"Remove":    func() error { return r.Remove("Remove", "d/gone") },
		"RemoveDir": func() error { return r.RemoveDir("RemoveDir", "empty") },
		"Chmod":     func() error { return r.Chmod("Chmod", "c", 0o600) },
		"SetMTime":  func() error { return r.SetMTime("SetMTime", "d/b", 1) },
		"Link":      func() error { return r.Link("Link", "d/b", "d/second") },
	}
}

func layLabels(t *testing.T, dir string) {
	t.Helper()
	for _, path := range []string{"d/a", "d/b", "d/gone", "c"} {
		write(t, filepath.Join(dir, path), path)
	}
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
}

// snapshot is everything below dir that an operation could change.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		all[path] = info.Mode().String() + info.ModTime().String() + string(content)
		return err
	}))
	return all
}

func TestFault(t *testing.T) {
	fault := errors.New("fault")
	for name := range operations(nil) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openTest(t, dir, openBeneath)
			layLabels(t, dir)
			before := snapshot(t, dir)

			var got []Label
			r.SetFault(func(l Label) error { got = append(got, l); return fault })
			wantError(t, name, operations(r)[name](), fault)
			if len(got) != 1 || string(got[0]) != name {
				t.Errorf("labels = %q, want [%q]", got, name)
			}
			if after := snapshot(t, dir); !maps.Equal(after, before) {
				t.Errorf("%s acted before it failed: %v, was %v", name, after, before)
			}

			r.SetFault(func(Label) error { return nil })
			must(t, operations(r)[name]())
			if after := snapshot(t, dir); maps.Equal(after, before) {
				t.Errorf("%s changed nothing", name)
			}
		})
	}
}

func TestFaultAtRoot(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, openBeneath)
	before := snapshot(t, dir)
	fault := errors.New("fault")
	r.SetFault(func(Label) error { return fault })
	wantError(t, "Chmod", r.Chmod("t", ".", 0o700), fault)
	wantError(t, "SetMTime", r.SetMTime("t", ".", 1), fault)
	wantError(t, "MkdirAll", r.MkdirAll("t", ".", 0o700), fault)
	wantError(t, "Chown", r.Chown("t", ".", 0, 0), fault)
	if after := snapshot(t, dir); !maps.Equal(after, before) {
		t.Errorf("acted before it failed: %v, was %v", after, before)
	}
}

func TestAt(t *testing.T) {
	r := openTest(t, t.TempDir(), openBeneath)
	must(t, r.At("between"))
	fault := errors.New("fault")
	r.SetFault(func(l Label) error {
		if l == "between" {
			return fault
		}
		return nil
	})
	wantError(t, "At", r.At("between"), fault)
	must(t, r.At("elsewhere"))
	r.SetFault(nil)
	must(t, r.At("between"))
}
