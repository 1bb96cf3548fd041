package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// daemons are processes, and the folder that all they write is in.
type daemons struct {
	dir  string
	cmds []*exec.Cmd
}

// start starts a process, whose output goes to a log of that name.
func (d *daemons) start(name string, env []string, argv ...string) error {
	log, err := os.Create(d.log(name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmds = append(d.cmds, cmd)
	return nil
}

func (d *daemons) log(name string) string { return filepath.Join(d.dir, name+".log") }

func (d *daemons) stop() {
	for _, cmd := range d.cmds {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}

// resonates are three nodes of one user, each with a folder that nothing is in.
type resonates struct{ daemons }

func startResonate(ctx context.Context, o options) (service, error) {
	r := &resonates{daemons{dir: filepath.Join(o.work, "resonate")}}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, err
	}
	env := []string{"HOME=" + r.dir, "XDG_STATE_HOME=" + r.dir + "/state", "XDG_CONFIG_HOME=" + r.dir + "/config", "XDG_RUNTIME_DIR=" + r.dir + "/run"}
	var peers []string
	for i := range nodes {
		if err := os.Mkdir(r.folder(i), 0o755); err != nil {
			return r, err
		}
		argv := append([]string{o.resonate, "-dir", r.folder(i), "-port", "0"}, peers...)
		if err := r.start(fmt.Sprint(i), env, argv...); err != nil {
			return r, err
		}
		port, err := r.port(ctx, i)
		if err != nil {
			return r, err
		}
		peers = append(peers, "-peer", "127.0.0.1:"+port)
	}
	return r, until(ctx, "three nodes of resonate keep the locks", func() error { return r.ready(ctx) })
}

func (r *resonates) name() string { return "resonate" }

func (r *resonates) folder(i int) string { return filepath.Join(r.dir, fmt.Sprint("node", i)) }

var listening = regexp.MustCompile(`Listening on 127\.0\.0\.1:(\d+)`)

func (r *resonates) port(ctx context.Context, i int) (port string, err error) {
	err = until(ctx, "the daemon listens", func() error {
		log, err := os.ReadFile(r.log(fmt.Sprint(i)))
		if found := listening.FindSubmatch(log); found != nil {
			port = string(found[1])
			return nil
		}
		return fmt.Errorf("%v: %s", err, log)
	})
	return port, err
}

// ready returns nil when all nodes have locks, and the one that leads knows of three that keep them.
func (r *resonates) ready(ctx context.Context) error {
	leaders := 0
	for i := range nodes {
		c, err := r.client(ctx, i)
		if err != nil {
			return err
		}
		defer c.close()
		var status struct {
			Locks struct {
				Majority bool
				Voters   []struct{ Self, Leader, Connected bool }
			}
		}
		if err := c.(*restClient).call(ctx, http.MethodGet, "/status", nil, &status); err != nil {
			return err
		}
		if !status.Locks.Majority {
			return fmt.Errorf("node %d has no locks", i)
		}
		for _, v := range status.Locks.Voters {
			if v.Self && v.Leader && len(status.Locks.Voters) == nodes {
				leaders++
			}
		}
	}
	if leaders != 1 {
		return fmt.Errorf("%d nodes lead three", leaders)
	}
	return nil
}

// until waits for a condition: a function that returns nil.
func until(ctx context.Context, what string, condition func() error) error {
	for end := time.Now().Add(time.Minute); ; {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within a minute: %s: %w", what, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// restClient asks one node over its socket: see docs/rest.md.
type restClient struct{ http http.Client }

func (r *resonates) client(ctx context.Context, node int) (client, error) {
	socket, err := os.ReadFile(filepath.Join(r.folder(node), ".resonate", "control"))
	if err != nil {
		return nil, err
	}
	return &restClient{http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", strings.TrimSpace(string(socket)))
	}}}}, nil
}

func (c *restClient) close() { c.http.CloseIdleConnections() }

func (c *restClient) lock(ctx context.Context, name string) (func(context.Context) error, error) {
	var l struct {
		ID string `json:"lock_id"`
	}
	if err := c.call(ctx, http.MethodPost, "/lock", map[string]any{"resource": name, "ttl": "60s", "wait": "60s"}, &l); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return c.call(ctx, http.MethodPost, "/unlock", map[string]any{"lock_id": l.ID}, nil)
	}, nil
}

func (c *restClient) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
