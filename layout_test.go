// Package resonate_test holds the code to the layout that the design gives it: who may import whom, and the plain rules
// that keep a folder findable.
package resonate_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the name of this module; the packages in the tables below are named from its root.
const module = "resonate"

// imports says which of our packages may import which. Arrows point down: a package stands below all that import it.
var imports = map[string][]string{
	"audit":         {"merkle"},
	"bases":         {"merkle"},
	"bench/compare": nil,
	"bench/far":     nil,
	"cmd/resonate":  {"control", "members", "node", "reconcile", "replica", "selftest", "service"},
	"node":          {"audit", "control", "discover", "locking", "locking/desk", "members", "merkle", "replica", "syncproto/sshconn"},
	"replica": {
		"audit", "bases", "beneath", "control", "ignore", "index", "locking", "locking/desk", "members", "merkle", "reconcile", "syncproto",
		"syncproto/sshconn", "textmerge", "watcher",
	},
	"reconcile":         {"merkle"},
	"index":             {"merkle"},
	"syncproto":         {"merkle"},
	"syncproto/sshconn": nil,
	"beneath":           nil,
	"fusefs/foldtest":   nil, // for tests alone: no other package may import it
	"ignore":            nil,
	"control":           nil,
	"discover":          nil,
	"control/locktest":  {"control"}, // for tests alone, as foldtest
	"examples/payment":  nil,
	"locking":           nil,
	"locking/desk":      {"locking", "locking/quorum"},
	"locking/quorum":    nil,
	"members":           nil,
	"merkle":            nil,
	"selftest":          {"control"},
	"service":           nil,
	"textmerge":         nil,
	"watcher":           nil,
}

// libraries says which of our packages may import which library of somebody else, or what lies below it.
var libraries = map[string][]string{
	"github.com/BurntSushi/toml":                    {"cmd/resonate"},
	"github.com/fsnotify/fsnotify":                  {"watcher"},
	"github.com/hanwen/go-fuse/v2":                  {"fusefs/foldtest"},
	"github.com/hashicorp/go-hclog":                 {"locking/quorum"},
	"github.com/hashicorp/raft":                     {"locking/quorum"},
	"github.com/hashicorp/raft-wal":                 {"locking/quorum"},
	"github.com/klauspost/compress/zstd":            {"bases", "syncproto"},
	"github.com/pion/logging":                       {"discover"},
	"github.com/pion/mdns/v2":                       {"discover"},
	"github.com/zeebo/blake3":                       {"merkle"},
	"go.etcd.io/bbolt":                              {"index"},
	"golang.org/x/crypto/ssh":                       {"syncproto/sshconn"},
	"golang.org/x/net":                              {"discover"},
	"golang.org/x/sync/errgroup":                    {"cmd/resonate", "node"},
	"golang.org/x/sys/unix":                         {"beneath", "bench/compare", "bench/far", "control", "fusefs/foldtest", "locking/desk", "replica", "service", "syncproto/sshconn"},
	"golang.org/x/term":                             {"cmd/resonate"},
	"golang.org/x/text":                             {"fusefs/foldtest"},
	"golang.org/x/time/rate":                        {"syncproto/sshconn"},
	"google.golang.org/protobuf/encoding/protowire": {"index", "locking", "locking/quorum", "members", "merkle", "syncproto"},
}

// pure are the packages that decide and do not act; impure is what they therefore cannot need.
var (
	pure   = []string{"ignore", "locking", "merkle", "reconcile", "textmerge"}
	impure = []string{"context", "io/fs", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "path/filepath", "syscall"}
)

// nameless are names that say nothing of what is in a package.
var nameless = []string{"base", "common", "helper", "helpers", "lib", "misc", "shared", "types", "util", "utils"}

const (
	maxFileLines     = 600
	maxFunctionLines = 100
)

// A source is one Go file that is no test.
type source struct {
	pkg  string // its folder, from the root of the module
	path string
	file *ast.File
	set  *token.FileSet
}

// sources parses all Go files of the module that are no tests, whatever system they are for.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name() == "testdata" || name == "resonate-demo" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() && name != "." && isModule(name): // of its own, with libraries of its own
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		out = append(out, source{pkg: path.Dir(name), path: name, file: file, set: set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no Go files found")
	}
	return out
}

// isModule tells whether another module begins in a folder.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// imported returns the paths that s imports.
func (s source) imported(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", s.path, err)
		}
		out = append(out, p)
	}
	return out
}

// within tells whether the import path p is the package above, or lies below it.
func within(p, above string) bool { return p == above || strings.HasPrefix(p, above+"/") }

func TestImportsPointDown(t *testing.T) {
	used := make(map[[2]string]bool)
	for _, s := range sources(t) {
		allowed, known := imports[s.pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table of imports", s.path, s.pkg)
		}
		for _, p := range s.imported(t) {
			ours, ok := strings.CutPrefix(p, module+"/")
			if !ok {
				continue
			}
			used[[2]string{s.pkg, ours}] = true
			if !slices.Contains(allowed, ours) {
				t.Errorf("%s: %s may not import %s", s.path, s.pkg, ours)
			}
		}
		used[[2]string{s.pkg}] = true
	}
	for pkg, allowed := range imports {
		if !used[[2]string{pkg}] {
			t.Errorf("the table names package %s, which is not there", pkg)
		}
		for _, below := range allowed {
			if !used[[2]string{pkg, below}] {
				t.Errorf("the table lets %s import %s, which it does not: take that out", pkg, below)
			}
		}
	}
}

func TestLibrariesStayInTheirPackages(t *testing.T) {
	used := make(map[[2]string]bool)
	for _, s := range sources(t) {
		for _, p := range s.imported(t) {
			if first, _, _ := strings.Cut(p, "/"); !strings.Contains(first, ".") {
				continue // ours, or the standard library's
			}
			library := ""
			for l := range maps.Keys(libraries) {
				if within(p, l) {
					library = l
				}
			}
			used[[2]string{library, s.pkg}] = true
			if !slices.Contains(libraries[library], s.pkg) {
				t.Errorf("%s: %s may not import %s", s.path, s.pkg, p)
			}
		}
	}
	for library, pkgs := range libraries {
		for _, pkg := range pkgs {
			if !used[[2]string{library, pkg}] {
				t.Errorf("the table lets %s import %s, which it does not: take that out", pkg, library)
			}
		}
	}
}

func TestWhatDecidesDoesNotAct(t *testing.T) {
	for _, s := range sources(t) {
		if !slices.Contains(pure, s.pkg) {
			continue
		}
		for _, p := range s.imported(t) {
			if slices.Contains(impure, p) {
				t.Errorf("%s: %s is pure, and may not import %s", s.path, s.pkg, p)
			}
		}
	}
}

// A package says what it is in one comment, which begins as godoc wants it: "Package x ..." or, for a command, "X ..." or
// "Command x ...".
func TestPackageComments(t *testing.T) {
	comments := make(map[string][]string) // package -> files with a comment
	for _, s := range sources(t) {
		found := comments[s.pkg]
		if s.file.Doc != nil {
			found = append(found, s.path)
		}
		comments[s.pkg] = found
		if s.file.Doc == nil {
			continue
		}
		name, text := s.file.Name.Name, s.file.Doc.Text()
		begins := []string{"Package " + name + " "}
		if name == "main" {
			command := path.Base(s.pkg)
			begins = []string{"Command " + command + " ", strings.ToUpper(command[:1]) + command[1:] + " "}
		}
		if !slices.ContainsFunc(begins, func(b string) bool { return strings.HasPrefix(text, b) }) {
			t.Errorf("%s: the package comment begins %.30q, want %q", s.path, text, begins)
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %q", pkg, len(files), files)
		}
	}
}

func TestPackageNamesSaySomething(t *testing.T) {
	for _, s := range sources(t) {
		for _, name := range append(strings.Split(s.pkg, "/"), s.file.Name.Name) {
			if slices.Contains(nameless, name) {
				t.Errorf("%s: %q does not say what is in it", s.path, name)
			}
		}
		if base := path.Base(s.pkg); s.file.Name.Name != "main" && s.file.Name.Name != base {
			t.Errorf("%s: package %s lies in the folder %s", s.path, s.file.Name.Name, base)
		}
	}
}

func TestFilesAndFunctionsCanBeReadInOneSitting(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.set.File(s.file.Pos()).LineCount(); n > maxFileLines {
			t.Errorf("%s: %d lines, want at most %d: does it hold two things?", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, want at most %d", s.path, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}
