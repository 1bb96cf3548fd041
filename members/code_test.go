package members

import (
	"strings"
	"testing"
	"time"
)

func TestCode(t *testing.T) {
	c := newCode(public('A'))
	if d := newCode(public('A')); d.fingerprint != c.fingerprint || d.Secret == c.Secret {
		t.Errorf("got %v and %v, want the same fingerprint and other secrets", c, d)
	}
	if !c.Of(public('A')) || c.Of(public('B')) {
		t.Error("Of does not tell whose code it is")
	}
	c.Secret = Secret{0, 1, 2, 0xfc, 0xfd, 0xfe, 0xff, 0x42, 0x24, 0x81}
	// Python's base64.b32encode of the 20 bytes, in Crockford's letters.
	const want = "P9NG-Z537-8Q9A-25EJ-000G-5Z7X-ZVZM-4941"
	if got := c.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, text := range map[string]string{
		"as shown":          want,
		"lower case":        strings.ToLower(want),
		"without dashes":    strings.ReplaceAll(want, "-", ""),
		"spaces":            " " + strings.ReplaceAll(want, "-", "  ") + "\n",
		"a program's dash":  strings.ReplaceAll(want, "-", "–"),
		"letters for digit": strings.NewReplacer("0", "o", "1", "l").Replace(want),
		"capitals":          strings.NewReplacer("0", "O", "1", "I").Replace(want),
		"capital L":         strings.NewReplacer("1", "L").Replace(want),
	} {
		if got, err := ParseCode(text); got != c || err != nil {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, c)
		}
	}
	for name, row := range map[string][2]string{
		"empty":         {"", "has 0 letters"},
		"one less":      {want[1:], "has 31 letters"},
		"one more":      {want + "Z", "has 33 letters"},
		"letter U":      {"U" + want[1:], `character 1 is 'U'`},
		"a sign":        {want[:5] + "$" + want[6:], `character 5 is '$'`},
		"no UTF-8":      {want[:5] + "\xff" + want[6:], "character 5"},
		"out of bounds": {strings.Repeat("A", maxCodeText+1), "1025 bytes"},
	} {
		if _, err := ParseCode(row[0]); err == nil || !strings.Contains(err.Error(), row[1]) {
			t.Errorf("%s: got %v, want %q", name, err, row[1])
		}
	}
}

func FuzzParseCode(f *testing.F) {
	f.Add(newCode(public('A')).String())
	f.Add("o0-Ll iI")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCode(text)
		if err != nil {
			return
		}
		if again, err := ParseCode(c.String()); again != c || err != nil {
			t.Errorf("got %v, %v; want %v", again, err, c)
		}
	})
}

func TestInvitation(t *testing.T) {
	var i Invitation
	take := func(secret Secret, now time.Time, want bool) {
		t.Helper()
		if got, _ := i.Take(secret, now); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	take(Secret{}, at(0), false) // there is none
	first := i.New(public('A'), DefaultTTL, at(0))
	if i.Wrong() != 0 || !i.Open(at(599)).Equal(at(600)) || !i.Open(at(600)).IsZero() {
		t.Errorf("got %d wrong, open until %v, %v", i.Wrong(), i.Open(at(599)), i.Open(at(600)))
	}
	take(Secret{}, at(1), false)
	take(first.Secret, at(600), false) // too late
	take(first.Secret, at(599), true)
	take(first.Secret, at(599), false) // served
	if i.Wrong() != 3 {
		t.Errorf("got %d wrong, want 3", i.Wrong())
	}
	second := i.New(public('A'), time.Minute, at(700))
	third := i.New(public('A'), time.Minute, at(700))
	take(second.Secret, at(701), false) // replaced
	if !i.Cancel(at(702)) || i.Cancel(at(702)) {
		t.Error("Cancel does not tell whether there was an invitation")
	}
	take(third.Secret, at(703), false)
	i.New(public('A'), time.Minute, at(800))
	if i.Cancel(at(900)) {
		t.Error("cancelled what had ended")
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	var i Invitation
	code := i.New(public('A'), DefaultTTL, at(0))
	for n, want := range []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		ok, got := i.Take(Secret{}, at(1))
		if want *= time.Millisecond; ok || got != want {
			t.Errorf("guess %d: got %v after %v, want false after %v", n, ok, got, want)
		}
	}
	i.wrong = 1 << 40
	if ok, got := i.Take(code.Secret, at(1)); !ok || got != lastPause {
		t.Errorf("the right one: got %v after %v, want true after %v", ok, got, lastPause)
	}
}
