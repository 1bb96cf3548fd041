package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// restDoc has the session of testdata/rest.sh in it.
const restDoc = "../../docs/rest.md"

// TestRESTSession runs the script whose session docs/rest.md shows, and compares the two.
func TestRESTSession(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, tool)
		}
	}
	exe, err := os.Executable() // by the name resonate, the test binary is the program
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "../../testdata/rest.sh")
	cmd.Env = append(os.Environ(), "RESONATE="+exe, envLocks+"="+clusterLocks, "GORACE=atexit_sleep_ms=0", "TMPDIR="+scratch(t))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rest.sh: %v\n%s%s", err, out, stderr.Bytes())
	}
	var now strings.Builder
	for line := range strings.Lines(string(out)) {
		now.WriteString("    " + line)
	}
	doc, err := os.ReadFile(restDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, shown, found := strings.Cut(string(doc), "    $ at() {")
	if !found {
		t.Fatalf("%s has no session that begins with at()", restDoc)
	}
	shown, after, _ := strings.Cut("    $ at() {"+shown, "\n\n")
	shown += "\n"
	if *update {
		if err := os.WriteFile(restDoc, []byte(before+now.String()+"\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, want := steady(now.String()), steady(shown); got != want {
		t.Errorf("got\n%s\n%s shows\n%s\nrewrite it with -update, if that is right", got, restDoc, want)
	}
}

// changing is what is not the same in two runs of rest.sh.
var changing = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`"voters":\[.*\]`), `"voters":[]`},
	{regexp.MustCompile(`[^ "]+:[abc]\b`), "HOST"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`"token":"[0-9a-f.]+"`), `"token":"TOKEN"`},
	{regexp.MustCompile(`"node":"[a-z2-7]+"`), `"node":"NODE"`},
	{regexp.MustCompile(`"version":"[^"]+"`), `"version":"VERSION"`},
	{regexp.MustCompile(`"generation":\d+`), `"generation":N`},
	{regexp.MustCompile(`kill -9 \d+`), "kill -9 PID"},
}

func steady(session string) string {
	for _, c := range changing {
		session = c.what.ReplaceAllString(session, c.by)
	}
	return session
}

// restAnswer is what a node says to a script.
type restAnswer struct {
	status   int
	LockID   string       `json:"lock_id"`
	Token    string       `json:"token"`
	State    string       `json:"state"`
	Error    string       `json:"error"`
	Message  string       `json:"message"`
	Health   string       `json:"health"`
	Released bool         `json:"released"`
	Total    int          `json:"total"`
	Held     []restAnswer `json:"locks"`
}

// scriptsServed is where a daemon with -http says that it serves scripts, and where the token for them is.
var scriptsServed = regexp.MustCompile(`Scripts are served on (http://[0-9.:]+)" token=(\S+)`)

// call makes a call of a daemon's REST. That it cannot be reached is an error.
func (d *daemon) call(ctx context.Context, method, path string, body map[string]any) (a restAnswer, err error) {
	log, err := os.ReadFile(d.log)
	if err != nil {
		return a, err
	}
	served := scriptsServed.FindAllSubmatch(log, -1)
	if len(served) == 0 {
		return a, fmt.Errorf("%s serves no scripts", d.name)
	}
	at := served[len(served)-1]
	token, err := os.ReadFile(string(at[2]))
	if err != nil {
		return a, err
	}
	text := []byte(nil)
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return a, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, string(at[1])+path, bytes.NewReader(text))
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	if text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return a, err
	}
	if path == "/status" { // its locks are no list
		return a, nil
	}
	return a, json.Unmarshal(text, &a)
}

// must is call for what has to be answered with status.
func (d *daemon) must(t *testing.T, status int, method, path string, body map[string]any) restAnswer {
	t.Helper()
	a, err := d.call(t.Context(), method, path, body)
	if err != nil || a.status != status {
		t.Fatalf("%s %s %v of %s: got %+v, %v; want %d", method, path, body, d.name, a, err, status)
	}
	return a
}

// TestRESTOfAnyNode asks three nodes for the same locks, of which the one that leads is killed and started again. Who waits for a lock
// through that one asks again through another: it is the same request, whether its turn comes before the dead node's session is over, or after.
func TestRESTOfAnyNode(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	nodes := startLockers(t, 3, 3, "-session", "5s", "-http", "localhost:0")
	a, b, c := nodes[0], nodes[1], nodes[2] // a leads
	type m = map[string]any
	kept := m{"resource": "kept", "ttl": "1m", "request_id": "the-one-that-is-kept"}
	keptLock := a.must(t, 200, "POST", "/lock", kept)
	held, waiting := map[string]restAnswer{}, map[string]chan restAnswer{}
	for _, name := range []string{"soon", "late"} {
		held[name] = b.must(t, 200, "POST", "/lock", m{"resource": name, "ttl": "1m"})
		if got := c.must(t, 409, "POST", "/lock", m{"resource": name}); got.Error != "LOCK_HELD" {
			t.Errorf("%s is held: got %+v", name, got)
		}
		waiting[name] = make(chan restAnswer, 1)
		go func() {
			q := m{"resource": name, "ttl": "1m", "wait": "40s", "request_id": "somebody-waits-for-" + name}
			if got, err := a.call(t.Context(), "POST", "/lock", q); err == nil {
				t.Errorf("%s through the node that was killed: got %+v", name, got)
			}
			got, err := c.call(t.Context(), "POST", "/lock", q)
			if err != nil {
				t.Errorf("%s asked for again: %v", name, err)
			}
			waiting[name] <- got
		}()
		b.c.until(time.Minute, func() error {
			if got := b.must(t, 200, "GET", "/locks/"+name, nil); got.Total != 2 || got.Held[1].State != "waiting" {
				return fmt.Errorf("%s: %+v", name, got)
			}
			return nil
		})
	}
	a.kill()
	killed := time.Now()

	c.must(t, 200, "POST", "/unlock", m{"lock_id": held["soon"].LockID})
	soon := <-waiting["soon"]
	if took := time.Since(killed); soon.status != 200 || soon.Token <= held["soon"].Token || took > 20*time.Second {
		t.Errorf("the next one after %v: got %+v, want it within 20 s, with a token above %s", took, soon, held["soon"].Token)
	}
	for _, d := range []*daemon{b, c} {
		if got := d.must(t, 200, "POST", "/lock", kept); got.LockID != keptLock.LockID || got.Token != keptLock.Token {
			t.Errorf("asked again, through %s: got %+v, want %+v", d.name, got, keptLock)
		}
		if got := d.must(t, 200, "POST", "/renew", m{"lock_id": keptLock.LockID, "ttl": "2m"}); got.Token != keptLock.Token {
			t.Errorf("renewed through %s: got %+v, want %+v", d.name, got, keptLock)
		}
		d.must(t, 409, "POST", "/lock", m{"resource": "kept"})
		d.must(t, 200, "GET", "/status", nil)
		if got := d.must(t, 200, "GET", "/health", nil); got.Health != "ok" {
			t.Errorf("health of %s: got %+v", d.name, got)
		}
	}

	b.c.until(time.Minute, func() error { // the session of a ends, and what waits through it with that; then it waits through c
		got := b.must(t, 200, "GET", "/locks/late", nil)
		if got.Total != 2 || time.Since(killed) < 5*time.Second || got.Held[1].LockID == "" {
			return fmt.Errorf("%+v", got)
		}
		list, err := b.client.Locks(t.Context(), resourceNamed("late"))
		if err != nil || len(list) != 2 || list[1].Host == list[0].Host || !strings.HasSuffix(list[1].Host, ":"+c.name) {
			return fmt.Errorf("%+v, %v", list, err)
		}
		return nil
	})
	c.must(t, 200, "POST", "/unlock", m{"lock_id": held["late"].LockID})
	late := <-waiting["late"]
	if late.status != 200 || late.Token <= held["late"].Token {
		t.Errorf("the next one: got %+v, want a token above %s", late, held["late"].Token)
	}

	a.start(envLocks + "=" + clusterLocks)
	a.c.until(time.Minute, func() error {
		if got, err := a.call(t.Context(), "GET", "/health", nil); err != nil || got.status != 200 {
			return fmt.Errorf("%+v, %v", got, err)
		}
		return nil
	})
	if got := a.must(t, 200, "POST", "/lock", kept); got.LockID != keptLock.LockID || got.Token != keptLock.Token {
		t.Errorf("asked again after a restart: got %+v, want %+v", got, keptLock)
	}
	a.must(t, 200, "POST", "/renew", m{"lock_id": keptLock.LockID})
	for _, d := range nodes { // the second and third time it does no harm
		if got := d.must(t, 200, "POST", "/unlock", m{"lock_id": keptLock.LockID}); !got.Released {
			t.Errorf("unlock through %s: got %+v", d.name, got)
		}
	}
	for _, d := range nodes {
		if got := d.must(t, 409, "POST", "/lock", kept); got.Error != "LOCK_NOT_HELD" {
			t.Errorf("the same request when its lock is over, through %s: got %+v", d.name, got)
		}
		if got := d.must(t, 200, "GET", "/locks/kept", nil); got.Total != 0 {
			t.Errorf("%s lists %+v, want nothing", d.name, got)
		}
	}
}

func resourceNamed(name string) control.Resource { return control.Resource{Name: name} }
