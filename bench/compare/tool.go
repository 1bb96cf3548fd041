package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// An ability says what a tool can be asked for.
type ability int

const (
	copies   ability = iota + 1 // copies a folder, once
	updates                     // brings the second folder up to the first, each time it is told to
	keepsTwo                    // keeps running, and carries changes both ways
)

// A tool is one program that is compared. What prepare does (keys, configuration) is done once by a user and is in no time.
type tool struct {
	name    string
	program string // has to be on the PATH; empty for resonate, which is built
	ability ability
	prepare func(ctx context.Context, p *pair) error // may be nil
	start   func(ctx context.Context, p *pair) error // starts what keeps running; may be nil
	push    func(ctx context.Context, p *pair) error // copies now, from a to b; nil where what runs does it by itself
}

func (t tool) title() string { return t.name }

// toolbox holds all tools, in the order of the table's columns.
var toolbox = []tool{
	{name: "resonate", ability: keepsTwo, prepare: prepareResonate, start: startResonate},
	{name: "cp", program: "cp", ability: copies, push: pushCp},
	{
		name: "rsync", program: "rsync", ability: updates,
		prepare: prepareSSHD, start: startSSHD, push: pushRsync,
	},
	{
		name: "unison", program: "unison", ability: keepsTwo,
		prepare: prepareUnison, start: startUnison,
	},
	{
		name: "syncthing", program: "syncthing", ability: keepsTwo,
		prepare: prepareSyncthing, start: startSyncthing,
	},
}

// A pair is two folders that a tool keeps the same, and what it needs for that.
type pair struct {
	tool     tool
	resonate string // the binary
	root     string
	a, b     string // the folders
	ports    []int  // two, free when the pair was made
	crew     crew
	undo     func() // takes back what was done outside of root; nil: nothing was
}

// newPair makes two empty folders below work, ready for the tool to be started.
func newPair(ctx context.Context, t tool, work, resonate string) (*pair, error) {
	root, err := os.MkdirTemp(work, t.name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder to work in: %w", err)
	}
	p := &pair{tool: t, resonate: resonate, root: root, a: filepath.Join(root, "a"), b: filepath.Join(root, "b")}
	home := p.state("home")
	for _, dir := range []string{p.a, p.b, home} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder to work in: %w", err)
		}
	}
	if p.ports, err = freePorts(2); err != nil {
		return nil, err
	}
	p.crew.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "USER=" + os.Getenv("USER"), "LANG=C.UTF-8"}
	if p.crew.log, err = os.Create(filepath.Join(root, "log")); err != nil {
		return nil, fmt.Errorf("make a log: %w", err)
	}
	if t.prepare != nil {
		if err := t.prepare(ctx, p); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", t.name, err)
		}
	}
	return p, nil
}

// state is the path of something that the tool keeps outside of the folders.
func (p *pair) state(elements ...string) string {
	return filepath.Join(append([]string{p.root, "state"}, elements...)...)
}

// begin starts the tool; one that does not run by itself copies for the first time.
func (p *pair) begin(ctx context.Context) error {
	if p.tool.start != nil {
		if err := p.tool.start(ctx, p); err != nil {
			return err
		}
	}
	return p.push(ctx)
}

// push has a tool copy that has to be told to.
func (p *pair) push(ctx context.Context) error {
	if p.tool.push == nil {
		return nil
	}
	return p.tool.push(ctx, p)
}

// end stops the tool and removes all of the pair.
func (p *pair) end() error {
	err := p.crew.stop()
	p.crew.log.Close()
	if p.undo != nil {
		p.undo()
	}
	if e := os.RemoveAll(p.root); err == nil {
		err = e
	}
	return err
}

// missing tells whether the tool is not installed.
func (t tool) missing() bool {
	if t.program == "" {
		return false
	}
	_, err := exec.LookPath(t.program)
	return err != nil
}

func prepareResonate(_ context.Context, p *pair) error {
	for _, kind := range []string{"STATE_HOME", "CONFIG_HOME", "RUNTIME_DIR"} {
		dir := p.state(kind)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		p.crew.env = append(p.crew.env, "XDG_"+kind+"="+dir)
	}
	return nil
}

func startResonate(_ context.Context, p *pair) error {
	for i, dir := range []string{p.b, p.a} { // the daemons may start in any order
		port, peer := fmt.Sprint(p.ports[i]), fmt.Sprintf("127.0.0.1:%d", p.ports[1-i])
		if err := p.crew.spawn(p.resonate, "-dir", dir, "-port", port, "-peer", peer); err != nil {
			return err
		}
	}
	return nil
}

func pushCp(ctx context.Context, p *pair) error {
	return p.crew.call(ctx, "cp", "-a", p.a+"/.", p.b)
}
