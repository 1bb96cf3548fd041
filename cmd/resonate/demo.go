package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// demoRoot is where the demo lives, below the working directory.
	demoRoot = "resonate-demo"
	// demoMarker tells a demo's directory from one that happens to have its name.
	demoMarker = ".made-by-resonate-demo"
	// demoEdits is how long the edits go on when the demo is to stay up.
	demoEdits = 10 * time.Second
	// demoPatience bounds every wait for the nodes to agree.
	demoPatience = 5 * time.Minute
)

func demoCommand() command {
	return command{
		name:     "demo",
		operands: "[-for TIME]",
		short:    "run three nodes on this machine and watch them",
		long: `Starts three daemons on ./resonate-demo/a, b and c, puts a real tree into one of them (the sources of Go, if they
are installed), and edits files on all three, telling how long each edit took to be everywhere. Then it stays
up to be played with until Ctrl-C. With -for it edits for that long, ends by itself, and exits 0 only if all
three folders are equal. State and keys go to ./resonate-demo/state; your own are not touched. Nothing is removed
at the end; the next run starts anew.`,
		define: func(set *flag.FlagSet, c console) action {
			var length duration
			set.Var(&length, "for", "edit for this `time`, compare the folders, and end; 0: stay up until Ctrl-C")
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("demo", operands); err != nil {
					return err
				}
				root, err := filepath.Abs(demoRoot)
				if err != nil {
					return fmt.Errorf("find %s: %w", demoRoot, err)
				}
				return runDemo(ctx, &demo{root: root, out: c.Out}, time.Duration(length))
			}
		},
	}
}

// runDemo is the demo from beginning to end. However it ends, no daemon is left behind.
func runDemo(ctx context.Context, d *demo, length time.Duration) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		return d.interrupted(ctx, err, length)
	}
	if err := d.fill(ctx); err != nil {
		return d.interrupted(ctx, err, length)
	}
	if length > 0 {
		if err := d.editFor(ctx, length); err != nil {
			return d.interrupted(ctx, err, length)
		}
		return d.interrupted(ctx, d.judge(ctx), length)
	}
	if err := d.editFor(ctx, demoEdits); err != nil {
		return d.interrupted(ctx, err, length)
	}
	d.invite()
	return d.interrupted(ctx, d.watch(ctx), length)
}

// interrupted makes Ctrl-C the good end of a demo that stays up; one with an end of its own must reach it.
func (d *demo) interrupted(ctx context.Context, err error, length time.Duration) error {
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case length > 0:
		return errors.New("the demo was interrupted before the folders were compared")
	}
	d.say("ending")
	return nil
}

// prepare makes an empty resonate-demo, unless another demo is using it.
func (d *demo) prepare(ctx context.Context) error {
	if err := d.claim(); err != nil {
		return err
	}
	state := filepath.Join(d.root, "state")
	for _, name := range []string{"a", "b", "c"} {
		n := &demoNode{name: name, dir: filepath.Join(d.root, name), log: filepath.Join(state, name+".log")}
		if client, err := dialFolder(ctx, n.dir); err == nil {
			client.Close()
			return stateError{"start the demo in " + shown(d.root), errors.New("another one is running there"), "end that one first"}
		}
		d.nodes = append(d.nodes, n)
	}
	for _, name := range []string{"a", "b", "c", "state"} {
		if err := os.RemoveAll(filepath.Join(d.root, name)); err != nil {
			return fmt.Errorf("empty the demo of an earlier run: %w", err)
		}
	}
	for _, name := range []string{"a", "b", "c", "state/state", "state/config", "state/run", "state/edits"} {
		if err := os.MkdirAll(filepath.Join(d.root, name), 0o700); err != nil {
			return fmt.Errorf("make the demo's folders: %w", err)
		}
	}
	return nil
}

// claim makes the root and its marker, and refuses a directory that is not a demo's.
func (d *demo) claim() error {
	if err := os.Mkdir(d.root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	names, err := os.ReadDir(d.root)
	if err != nil {
		return fmt.Errorf("read the demo's directory: %w", err)
	}
	marker := filepath.Join(d.root, demoMarker)
	if _, err := os.Lstat(marker); err != nil && len(names) > 0 {
		return stateError{"use " + shown(d.root), errors.New("it was not made by resonate demo"),
			"move it away, or run the demo in another directory"}
	}
	if err := os.WriteFile(marker, []byte("Everything here is emptied by the next run of resonate demo.\n"), 0o644); err != nil {
		return fmt.Errorf("mark the demo's directory: %w", err)
	}
	return nil
}

// fill puts the tree into node a and follows it until it is everywhere.
func (d *demo) fill(ctx context.Context) error {
	source := goSources(ctx)
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, errors.New("the tree was not everywhere in time"))
	defer cancel()
	work, ctx := errgroup.WithContext(ctx)
	copied := make(chan struct{})
	work.Go(func() error {
		defer close(copied)
		var err error
		d.tree, err = plant(ctx, d.nodes[0].dir, source)
		if err == nil {
			d.say("put %s into a in %s", source.title, formatSpan(time.Since(began)))
		}
		return err
	})
	work.Go(func() error { return d.follow(ctx, copied) })
	if err := work.Wait(); err != nil {
		return d.explain(err)
	}
	d.say("the whole tree was everywhere %s after the first file was put into a", formatSpan(time.Since(began)))
	return nil
}

// follow prints what has arrived where, until all nodes agree after the tree was copied.
func (d *demo) follow(ctx context.Context, copied <-chan struct{}) error {
	quick, slow := time.NewTicker(20*time.Millisecond), time.NewTicker(time.Second)
	defer quick.Stop()
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-slow.C:
			all, err := d.statuses(ctx)
			if err != nil {
				return err
			}
			d.say("%s", flowLine(d.nodes, all))
		case <-quick.C:
			select {
			case <-copied:
			default:
				continue
			}
			all, err := d.statuses(ctx)
			if err != nil {
				return err
			}
			if agree(all) && all[0].Files >= d.tree.files {
				return nil
			}
		}
	}
}

// invite tells the user how to go on.
func (d *demo) invite() {
	a, b := d.nodes[0], d.nodes[1]
	d.say(`
The three folders are yours to play with until Ctrl-C:
    %s
    %s
    %s
Change, move and delete files in any of them. In another terminal:
    %s status -dir %s
    echo hello > %s; %[4]s wait -dir %[1]s
`, shellWord(a.dir), shellWord(b.dir), shellWord(d.nodes[2].dir), programWord(), shellWord(b.dir),
		shellWord(filepath.Join(a.dir, "hello.txt")))
}

// programWord is how the user runs this program from a shell: by its name, or where that is not to be found (go run), by
// its path.
func programWord() string {
	const name = "resonate"
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	exe, err := os.Executable()
	if err != nil {
		return name
	}
	return shellWord(exe)
}

// watch tells of every change that has become the same everywhere, until ctx ends or a node does.
func (d *demo) watch(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last, apart := "", false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		all, err := d.statuses(ctx)
		if err != nil {
			return d.explain(err)
		}
		switch now := all[0].Roots.Content; {
		case !agree(all):
			if !apart {
				d.say("%s", flowLine(d.nodes, all))
			}
			apart = true
		case now != last:
			d.say("the same everywhere: %s, %s, content %s", formatCount(all[0].Files, "file", "files"), formatBytes(all[0].Bytes), brief(now))
			last, apart = now, false
		default:
			apart = false
		}
	}
}

// judge waits for the nodes to agree, and then believes only the disk.
func (d *demo) judge(ctx context.Context) error {
	wait, cancel := context.WithTimeoutCause(ctx, demoPatience, errors.New("the nodes did not agree in time"))
	defer cancel()
	if err := d.converge(wait); err != nil {
		return d.explain(err)
	}
	dirs := make([]string, len(d.nodes))
	for i, n := range d.nodes {
		dirs[i] = n.dir
	}
	entries, differences, err := compareFolders(ctx, dirs)
	if err != nil {
		return err
	}
	if len(differences) == 0 {
		d.say("compared byte by byte: %s, equal in all three folders", formatCount(entries, "entry", "entries"))
		return nil
	}
	const most = 20
	for i, difference := range differences {
		if i == most {
			d.say("  and %d more", len(differences)-most)
			break
		}
		d.say("  %s", difference)
	}
	return fmt.Errorf("the folders differ in %s", formatCount(len(differences), "entry", "entries"))
}
