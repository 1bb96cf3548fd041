package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// What rsync and unison reach the second folder through: OpenSSH's server on a port of its own, with keys of its own, that knows
// this user alone.

// startTime bounds the time from starting a server to its first connection.
const startTime = 30 * time.Second

// privilegeSeparation is a folder without which sshd does not start as root; distributions make it with the service.
const privilegeSeparation = "/run/sshd"

func prepareSSHD(ctx context.Context, p *pair) error {
	for _, key := range []string{"host-key", "user-key"} {
		if err := p.crew.call(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", p.state(key)); err != nil {
			return err
		}
	}
	server := []string{
		fmt.Sprintf("Port %d", p.ports[0]), "ListenAddress 127.0.0.1", "HostKey " + p.state("host-key"),
		"AuthorizedKeysFile " + p.state("user-key.pub"), "StrictModes no", "UsePAM no", "PasswordAuthentication no",
		"PidFile none", "UseDNS no",
		fmt.Sprintf("SetEnv HOME=%s PATH=%s UNISON=%s", p.state("home"), os.Getenv("PATH"), p.state("unison-far")),
	}
	client := []string{
		fmt.Sprintf("Port %d", p.ports[0]), "IdentityFile " + p.state("user-key"), "IdentitiesOnly yes",
		"UserKnownHostsFile /dev/null", "StrictHostKeyChecking no", "LogLevel ERROR",
	}
	for name, lines := range map[string][]string{"sshd_config": server, "ssh_config": client} {
		if err := os.WriteFile(p.state(name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func startSSHD(ctx context.Context, p *pair) error {
	server, err := exec.LookPath("sshd")
	if err != nil {
		server = "/usr/sbin/sshd" // it insists on an absolute path, and is seldom on a user's PATH
	}
	if os.Geteuid() == 0 {
		if err := os.Mkdir(privilegeSeparation, 0o755); err == nil {
			p.undo = func() { os.Remove(privilegeSeparation) }
		} else if !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := p.crew.spawn(server, "-D", "-e", "-f", p.state("sshd_config")); err != nil {
		return err
	}
	return p.await(ctx, startTime, lookOften, func() bool { return listening(p.ports[0]) })
}

func pushRsync(ctx context.Context, p *pair) error {
	return p.crew.call(ctx, "rsync", "-a", "--delete", "-e", "ssh -F "+p.state("ssh_config"), p.a+"/", "127.0.0.1:"+p.b+"/")
}

func prepareUnison(ctx context.Context, p *pair) error {
	p.crew.env = append(p.crew.env, "UNISON="+p.state("unison-near"))
	return prepareSSHD(ctx, p)
}

func startUnison(ctx context.Context, p *pair) error {
	if err := startSSHD(ctx, p); err != nil {
		return err
	}
	program, err := exec.LookPath("unison")
	if err != nil {
		return err
	}
	repeat := "1"
	if _, err := exec.LookPath("unison-fsmonitor"); err == nil {
		repeat = "watch"
	}
	return p.crew.spawn(program, p.a, "ssh://127.0.0.1/"+filepath.ToSlash(p.b), "-sshargs", "-F "+p.state("ssh_config"),
		"-servercmd", program, "-ui", "text", "-batch", "-auto", "-confirmbigdel=false", "-repeat", repeat)
}
