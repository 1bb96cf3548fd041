package main

import (
	"os"
	"os/exec"
	"testing"
)

// TestThreeHosts pairs three machines, cuts one off, and has one forgotten; TestReadmePairing runs the README's lines on terminals. Both
// are scripts that anybody can run, in testdata of the repository, and make their machines of network namespaces.
func TestThreeHosts(t *testing.T)    { runHosts(t, "three-hosts.sh") }
func TestReadmePairing(t *testing.T) { runHosts(t, "readme-pairing.sh") }

// TestNetworks does to two machines what networks do.
func TestNetworks(t *testing.T) { runHosts(t, "network.sh") }

// TestLogin reaches a folder through a real sshd.
func TestLogin(t *testing.T) { runHosts(t, "login.sh", "sshd", "ssh", "ssh-keygen", "ss", "pgrep") }

// TestDiscover has two machines find each other that know no address, and a stranger listen.
func TestDiscover(t *testing.T) { runHosts(t, "discover.sh", "go") }

func runHosts(t *testing.T, script string, tools ...string) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel() // each has a network of its own
	if os.Geteuid() != 0 {
		skip(t, "root, for network namespaces")
	}
	for _, tool := range append(tools, "bash", "ip", "iptables", "unshare", "script", "diff") {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, tool)
		}
	}
	exe, err := os.Executable() // by the name resonate, the test binary is the program
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "../../testdata/"+script)
	cmd.Env = append(os.Environ(), "RESONATE="+exe, "GORACE=atexit_sleep_ms=0", "TMPDIR="+scratch(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s", out)
}
