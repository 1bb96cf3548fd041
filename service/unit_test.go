package service

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var templates = []Template{Folder, Mount}

// What install writes is what packages have, but for the program.
func TestTextIsThatOfPackages(t *testing.T) {
	for _, u := range templates {
		packaged, err := os.ReadFile(filepath.Join("units", u.File()))
		if err != nil {
			t.Fatal(err)
		}
		text, err := u.Text("/opt/my tools/100%/resonate")
		if err != nil {
			t.Fatal(err)
		}
		if want := "# " + u.File() + ": "; !strings.HasPrefix(text, want) || !u.ours(packaged) {
			t.Errorf("%s begins %.40q, want %q", u, text, want)
		}
		old, written := strings.Split(string(packaged), "\n"), strings.Split(text, "\n")
		if len(old) != len(written) {
			t.Fatalf("%s: got %d lines, want %d", u, len(written), len(old))
		}
		var differ []string
		for i := range old {
			if old[i] != written[i] {
				differ = append(differ, old[i], written[i])
			}
		}
		if len(differ) != 2 || differ[0] != "ExecStart=/usr/bin/resonate -config %i" || differ[1] != `ExecStart="/opt/my tools/100%%/resonate" -config %i` {
			t.Errorf("%s: lines differ: %q", u, differ)
		}
	}
	for _, bad := range []string{"resonate", "/a\"b", "/a\nb", "/a$b", `/a\b`} {
		if text, err := Folder.Text(bad); err == nil {
			t.Errorf("%q: got %q, want an error", bad, text)
		}
	}
}

// TestSystemdTakesTheUnits has systemd read them: it warns of what it does not know, and counts what they deny.
func TestSystemdTakesTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("RESONATE_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	// The exposure that systemd counts, in tenths: at most so much. It takes the service for root's, with all of root's
	// capabilities, which a user's has not.
	for u, most := range map[Template]string{Folder: "68", Mount: "98"} {
		dir := t.TempDir()
		unit := filepath.Join(dir, u.Unit("x")) // by its path, an instance needs a file of its own
		text, err := u.Text("/bin/true")
		if err = errors.Join(err, os.WriteFile(unit, []byte(text), 0o644), os.WriteFile(filepath.Join(dir, u.File()), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"verify"}, {"security", "--offline=true", "--threshold=" + most}} {
			cmd := exec.Command("systemd-analyze", append(append([]string{"--user", "--no-pager"}, args...), unit)...)
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir, "XDG_CONFIG_HOME="+dir)
			out, err := cmd.CombinedOutput()
			if args[0] == "verify" && len(out) > 0 || err != nil {
				t.Errorf("%q: %v\n%s", cmd.Args, err, out)
			}
			if args[0] == "security" {
				t.Logf("%s", out[max(0, bytes.LastIndex(out, []byte("Overall"))):])
			}
		}
	}
}

// The mount needs fusermount3 to gain privileges, and to be seen by others.
func TestNothingIsInTheWayOfAMount(t *testing.T) {
	text, err := Mount.Text("/usr/bin/resonate")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		for _, bad := range []string{"NoNewPrivileges", "SystemCall", "Restrict", "Lock", "MemoryDeny", "Private", "Protect", "ReadOnly", "Inaccessible"} {
			if strings.HasPrefix(line, bad) && !strings.HasPrefix(line, "RestartPrevent") {
				t.Errorf("the mount does not work with %s", line)
			}
		}
	}
	for _, both := range []string{"Type=notify", "NotifyAccess=main", "WatchdogSec=", "Restart=on-failure", "RestartPreventExitStatus=2", "Environment=GOTRACEBACK=crash"} {
		folder, err := Folder.Text("/usr/bin/resonate")
		if err != nil || !strings.Contains(text, both) || !strings.Contains(folder, both) {
			t.Errorf("%s is not in both units: %v", both, err)
		}
	}
}

func TestNames(t *testing.T) {
	for folder, want := range map[string]string{
		"/home/u/shared": "shared", "/home/u/My Files": "My-Files", "/home/u/.hidden": "hidden", "/": "folder", "/x/--": "folder",
		"/x/ü": "folder", "/x/a@b:c": "a-b-c", "/x/" + strings.Repeat("n", 100): strings.Repeat("n", MaxName), "/x/über  uns.d": "ber-uns.d",
	} {
		got := FitName(folder)
		if got != want {
			t.Errorf("%q: got %q, want %q", folder, got, want)
		}
		if err := CheckName(got); err != nil {
			t.Errorf("%q: the name %q does not fit: %v", folder, got, err)
		}
	}
	for _, bad := range []string{"", "-a", ".a", "a b", "a/b", "a@b", `a\x2db`, "ü", "a%b", strings.Repeat("n", MaxName+1)} {
		if CheckName(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzFitName(f *testing.F) {
	f.Add("/home/u/shared")
	f.Add("\xff/..-")
	f.Fuzz(func(t *testing.T, folder string) {
		if name := FitName(folder); CheckName(name) != nil {
			t.Errorf("%q becomes %q: %v", folder, name, CheckName(name))
		}
	})
}

func TestUnitsOfOthersAreLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "systemd", "user")
	path, changed, err := Folder.write(dir, "# resonate@.service: 1")
	if err != nil || !changed {
		t.Fatalf("written to an empty folder: %v, %v", changed, err)
	}
	if _, changed, err := Folder.write(dir, "# resonate@.service: 1"); err != nil || changed {
		t.Errorf("written once more: %v, %v, want it left", changed, err)
	}
	if _, changed, err := Folder.write(dir, "# resonate@.service: 2"); err != nil || !changed {
		t.Errorf("of an older version: %v, %v, want it replaced", changed, err)
	}
	if err := os.WriteFile(path, []byte("[Service]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := Folder.write(dir, "# resonate@.service: 2"); err == nil || changed || !strings.Contains(err.Error(), "move it away first") {
		t.Errorf("somebody else's: %v, %v, want the remedy", changed, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "[Service]\n" {
		t.Errorf("got %q, %v, want it as it was", text, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left over: %v, %v", names, err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Folder.write(dir, "x"); err == nil {
		t.Error("a folder in its place: got no error")
	}
}
