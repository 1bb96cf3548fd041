package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestFilesSession runs the script whose session docs/rest.md shows, and compares the two.
func TestFilesSession(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	const document, begins = "../../docs/rest.md", "    $ at a files/"
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("RESONATE_CI") == "1" {
				t.Fatalf("%s is not there", tool)
			}
			t.Skipf("%s is not there", tool)
		}
	}
	exe, err := os.Executable() // by the name resonate, the test binary is the program
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "../../testdata/files.sh")
	cmd.Env = append(os.Environ(), "RESONATE="+exe, envLocks+"="+clusterLocks, "GORACE=atexit_sleep_ms=0", "TMPDIR="+scratch(t))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("files.sh: %v\n%s%s", err, out, stderr.Bytes())
	}
	_, out, _ = bytes.Cut(out, []byte("\n")) // how at is defined is told before, with the other calls
	var now strings.Builder
	for line := range strings.Lines(string(out)) {
		now.WriteString("    " + line)
	}
	doc, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, shown, found := strings.Cut(string(doc), begins)
	if !found {
		t.Fatalf("%s has no session that begins with %q", document, begins)
	}
	shown, after, _ := strings.Cut(begins+shown, "\n\n")
	shown += "\n"
	if *update {
		if err := os.WriteFile(document, []byte(before+now.String()+"\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, want := steadyFiles(now.String()), steadyFiles(shown); got != want {
		t.Errorf("got\n%s\n%s shows\n%s\nrewrite it with -update, if that is right", got, document, want)
	}
}

// steadyFiles takes out of a session what is not the same in two runs.
func steadyFiles(session string) string {
	for what, by := range map[string]string{
		`[^ "]+:[abc]\b`: "HOST", `\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-][0-9:]+)`: "TIME", `[0-9a-f]{16}\.[0-9a-f]{16}`: "TOKEN",
		`"node":"[a-z2-7]+"`: `"node":"NODE"`, `"stamp":\d+`: `"stamp":N`,
	} {
		session = regexp.MustCompile(what).ReplaceAllString(session, by)
	}
	return session
}
