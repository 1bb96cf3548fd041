package members

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files: a change of a format that is fixed for good")

// mustSay makes a statement of a node that a test calls by a letter.
func mustSay(t testing.TB, by byte, k kind, seq uint64, a about) *Statement {
	t.Helper()
	s, err := newStatement(keyOf(by), k, seq, seq, a)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// samples are statements of all kinds, by A and B, about A to D.
func samples(t testing.TB) []*Statement {
	return []*Statement{
		mustSay(t, 'A', kindAdmit, 1, about{key: public('B'), name: "laptop"}),
		mustSay(t, 'B', kindAdmit, 1_800_000_000_000_000, about{key: public('A')}),
		mustSay(t, 'B', kindAdmit, 1_800_000_000_000_001, about{key: public('C'), name: "büro"}),
		mustSay(t, 'B', kindAdmit, 1_800_000_000_000_002, about{key: public('D'), name: "Ada's"}),
		mustSay(t, 'A', kindForget, 2, about{whom: idOf('B'), brought: []ID{idOf('A'), idOf('C')}}),
		mustSay(t, 'A', kindForget, 3, about{whom: idOf('D')}),
		mustSay(t, 'A', kindProfile, 4, about{name: "desktop", addresses: []string{"desktop.local:1234", "[fd00::1]:65535"}}),
		mustSay(t, 'B', kindProfile, 5, about{}),
		mustSay(t, 'A', kindRename, 6, about{whom: idOf('C'), name: "office"}),
		mustSay(t, 'B', kindRename, 7, about{whom: idOf('C')}),
		mustSay(t, 'A', 5, 8, about{name: "of a kind that comes later"}),
	}
}

func sampleSet(t testing.TB) *Set {
	t.Helper()
	s := New(keyOf('A'))
	if changed, err := s.Merge(samples(t)); !changed || err != nil {
		t.Fatalf("got %v, %v; want a change", changed, err)
	}
	return s
}

// hostile signs a body that no honest node makes.
func hostile(t testing.TB, body []byte) []byte {
	t.Helper()
	h := hashOf(body)
	signed := appendBytes(nil, signedBody, body)
	return appendBytes(nil, setStatement, appendBytes(signed, signedSignature, ed25519.Sign(keyOf('A'), h[:])))
}

// body makes one of A's.
func body(k kind, inside []byte) []byte {
	b := appendUint(nil, bodyKind, uint64(k))
	key := public('A')
	b = appendBytes(b, bodySigner, key[:])
	b = appendUint(b, bodySeq, 1)
	b = appendUint(b, bodyTime, 1)
	return appendBytes(b, bodyAbout, inside)
}

func TestGolden(t *testing.T) {
	s := sampleSet(t)
	if got, want := len(decoded(t, s)), len(samples(t)); got != want {
		t.Errorf("got %d statements, want %d", got, want)
	}
	digest := s.Digest()
	for name, got := range map[string][]byte{"set": s.Encode(), "digest": digest[:], "file": s.store()} {
		file, got := filepath.Join("testdata", name+".hex"), hex.Dump(got)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s changed: nodes of other versions would no longer agree\ngot:\n%swant:\n%s", file, got, want)
		}
	}
}

// Whatever bit is changed on the way, the statement is not taken.
func TestTamperedStatementsAreRefused(t *testing.T) {
	s := New(keyOf('Z'))
	for _, name := range []byte("AB") {
		if _, err := s.Admit(public(name), "", at(0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Merge(samples(t)[:4]); err != nil {
		t.Fatal(err)
	}
	before := s.Digest()
	for i, st := range samples(t)[4:] {
		b := st.append(nil)
		for bit := range 8 * len(b) {
			bad := slices.Clone(b)
			bad[bit/8] ^= 1 << (bit % 8)
			in, err := Decode(bad)
			if err == nil {
				_, err = s.Merge(in)
			}
			if err != nil && !errors.Is(err, ErrFormat) {
				t.Errorf("statement %d, bit %d: got %v, want ErrFormat", i, bit, err)
			}
			if s.Digest() != before {
				t.Fatalf("statement %d, bit %d: taken", i, bit)
			}
		}
	}
	for i, st := range samples(t)[4:] {
		if changed, err := s.Merge([]*Statement{st}); !changed || err != nil {
			t.Errorf("statement %d as it was: got %v, %v; want a change", i, changed, err)
		}
	}
}

func TestWrongSignatureStopsAll(t *testing.T) {
	s := New(keyOf('A'))
	in := samples(t)
	in[5].signature[3]++
	if changed, err := s.Merge(in); changed || !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), idOf('A').String()) {
		t.Errorf("got %v, %v; want ErrFormat that names the signer", changed, err)
	}
	if got := s.List(); len(got) != 1 {
		t.Errorf("got %v, want nothing to be taken", got)
	}
}

func TestStrangersGetNoMemory(t *testing.T) {
	s := New(keyOf('Z'))
	if changed, err := s.Merge(samples(t)); changed || err != nil {
		t.Errorf("got %v, %v; want no change", changed, err)
	}
	if got := len(s.Encode()); got != 0 {
		t.Errorf("%d bytes are kept of strangers", got)
	}
	if _, err := s.Admit(public('A'), "", at(0)); err != nil {
		t.Fatal(err)
	}
	stranger := mustSay(t, 'A', kindForget, 1, about{whom: idOf('Q')})
	named := mustSay(t, 'A', kindRename, 1, about{whom: idOf('Q'), name: "q"})
	if changed, err := s.Merge([]*Statement{stranger, named}); changed || err != nil {
		t.Errorf("about a stranger: got %v, %v; want no change", changed, err)
	}
	admit := mustSay(t, 'A', kindAdmit, 2, about{key: public('Q')})
	if _, err := s.Merge([]*Statement{named, stranger, admit}); err != nil || !s.Forgotten(idOf('Q')) {
		t.Errorf("who is admitted in the same message: got %v, want forgotten", err)
	}
}

func TestMalformedStatements(t *testing.T) {
	whom, key := idOf('B'), public('B')
	rename := func(name string) []byte {
		return body(kindRename, appendBytes(appendBytes(nil, aboutWhom, whom[:]), aboutName, name))
	}
	profile := func(addresses ...string) []byte {
		return body(kindProfile, appendAbout(nil, kindProfile, about{addresses: addresses}))
	}
	forget := func(n int) []byte {
		return body(kindForget, appendBytes(appendBytes(nil, aboutWhom, whom[:]), aboutBrought, make([]byte, n)))
	}
	const some = 1900 // a statement of about the most, with all lengths of two bytes
	most := some + maxStatement - (len(hostile(t, body(99, make([]byte, some)))) - 3)
	long := strings.Repeat("a", MaxAddress-4) + ":123"
	rows := []struct {
		name string
		body []byte
		good bool
	}{
		{"least", body(kindProfile, nil), true},
		{"name of 64 bytes", rename(strings.Repeat("é", 32)), true},
		{"name of 65 bytes", rename(strings.Repeat("a", 65)), false},
		{"name with an escape", rename("\x1b[2J"), false},
		{"name with a newline", rename("a\nb"), false},
		{"name that changes direction", rename("a\u202eb"), false},
		{"name that is no UTF-8", rename("a\xff"), false},
		{"16 addresses", profile(slices.Repeat([]string{"a:1"}, 16)...), true},
		{"17 addresses", profile(slices.Repeat([]string{"a:1"}, 17)...), false},
		{"address of 255 bytes", profile(long), true},
		{"address of 256 bytes", profile("a" + long), false},
		{"IPv6", profile("[fe80::1%eth0]:1"), true},
		{"no port", profile("host"), false},
		{"no host", profile(":1"), false},
		{"port 0", profile("a:0"), false},
		{"port 65536", profile("a:65536"), false},
		{"port with a sign", profile("a:+1"), false},
		{"address with a space", profile("a b:1"), false},
		{"empty address", body(kindProfile, []byte{aboutAddress<<3 | 2, 0}), false},
		{"100 brought in", forget(1600), true},
		{"101 brought in", forget(1616), false},
		{"half an ID", forget(24), false},
		{"forget nobody", body(kindForget, nil), false},
		{"forget with a key", body(kindForget, appendBytes(nil, aboutWhom, key[:])), false},
		{"admit an ID", body(kindAdmit, appendBytes(nil, aboutWhom, whom[:])), false},
		{"profile of another", body(kindProfile, appendBytes(nil, aboutWhom, whom[:])), false},
		{"name twice", body(kindProfile, appendBytes(appendBytes(nil, aboutName, "a"), aboutName, "b")), false},
		{"name as a number", body(kindProfile, appendUint(nil, aboutName, 1)), false},
		{"unknown field", body(kindProfile, appendBytes(nil, 9, "later")), true},
		{"unknown kind", body(99, []byte{0xff}), true},
		{"2 KiB", body(99, make([]byte, most)), true},
		{"more than 2 KiB", body(99, make([]byte, most+1)), false},
		{"no kind", body(0, nil), false},
		{"no number", bytes.Replace(body(99, nil), []byte{bodySeq << 3, 1}, nil, 1), false},
		{"no time", bytes.Replace(body(99, nil), []byte{bodyTime << 3, 1}, nil, 1), false},
		{"no signer", appendUint(appendUint(appendUint(nil, bodyKind, 99), bodySeq, 1), bodyTime, 1), false},
		{"number too high", appendUint(bytes.Replace(body(99, nil), []byte{bodySeq << 3, 1}, nil, 1), bodySeq, maxNumber+1), false},
		{"time too high", appendUint(bytes.Replace(body(99, nil), []byte{bodyTime << 3, 1}, nil, 1), bodyTime, maxNumber+1), false},
		{"cut short", body(99, []byte("abc"))[:44], false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in, err := Decode(hostile(t, row.body))
			if row.good && (err != nil || in[0].verify() != nil) || !row.good && !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want good %v", err, row.good)
			}
		})
	}
	for name, b := range map[string][]byte{
		"no signature":         appendBytes(nil, setStatement, appendBytes(nil, signedBody, body(99, nil))),
		"too many bytes":       make([]byte, MaxMessage+1),
		"too many statements":  bytes.Repeat(hostile(t, body(99, nil)), maxStatements+1),
		"statement as number":  appendUint(nil, setStatement, 1),
		"group":                {setStatement<<3 | 3},
		"empty":                {setStatement<<3 | 2, 0},
		"cut short":            hostile(t, body(99, nil))[:90],
		"signature of 63 byte": appendBytes(nil, setStatement, appendBytes(appendBytes(nil, signedBody, body(99, nil)), signedSignature, make([]byte, 63))),
	} {
		if _, err := Decode(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
}

func TestUnknownKindsAreKeptAndRelayed(t *testing.T) {
	s := New(keyOf('A'))
	var in []*Statement
	for i := range 3 * maxUnknown {
		in = append(in, mustSay(t, 'A', 9, uint64(1+i%(2*maxUnknown)), about{name: strings.Repeat("x", i)}))
	}
	other := New(keyOf('A'))
	if _, err := s.Merge(in); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(in)
	for _, st := range in {
		if _, err := other.Merge([]*Statement{st}); err != nil {
			t.Fatal(err)
		}
	}
	if changed, err := s.Merge(in); changed || err != nil {
		t.Errorf("merged again: got %v, %v; want no change", changed, err)
	}
	kept := decoded(t, s)
	if len(kept) != maxUnknown || s.Digest() != other.Digest() {
		t.Errorf("got %d statements, want %d, the same in any order", len(kept), maxUnknown)
	}
	for _, st := range kept {
		if st.seq <= maxUnknown {
			t.Errorf("number %d is kept, and not the newest ones", st.seq)
		}
	}
}

func TestFullSetStillForgets(t *testing.T) {
	s := New(keyOf('A'))
	name := strings.Repeat("n", MaxName)
	var in []*Statement
	for i := range 5000 {
		in = append(in, mustSay(t, 'A', kindAdmit, uint64(1+i), about{key: Key{byte(i), byte(i >> 8), 1}, name: name}))
	}
	if changed, err := s.Merge(in); changed || !errors.Is(err, ErrFull) {
		t.Fatalf("too much at once: got %v, %v; want ErrFull", changed, err)
	}
	fits, size := 0, 0
	for ; size+in[fits].size() <= MaxMessage-reservedBytes; fits++ {
		size += in[fits].size()
	}
	if changed, err := s.Merge(in[:fits+1]); changed || !errors.Is(err, ErrFull) {
		t.Fatalf("what is for forgetting: got %v, %v; want ErrFull", changed, err)
	}
	if _, err := s.Merge(in[:fits]); err != nil {
		t.Fatal(err)
	}
	if got := len(s.Encode()); got != size {
		t.Errorf("got %d bytes, want %d", got, size)
	}
	forget := mustSay(t, 'A', kindForget, 5000, about{whom: in[7].whom})
	if changed, err := s.Merge(append(in[fits:], forget)); !changed || !errors.Is(err, ErrFull) || !s.Forgotten(in[7].whom) {
		t.Errorf("got %v, %v; want ErrFull, and the node forgotten nevertheless", changed, err)
	}
	if _, err := s.Admit(public('B'), name, at(0)); err == nil {
		t.Error("admits more than a forgetting can name")
	}
	if changed, err := s.Forget(in[8].whom, at(0)); !changed || err != nil {
		t.Errorf("forget: got %v, %v; want a change", changed, err)
	}
}

// A node never gives a number twice, also when its file was restored from a backup.
func TestNumbersOnlyGrow(t *testing.T) {
	s := New(keyOf('A'))
	seq := func() uint64 { return s.current.Load().profiles[idOf('A')].seq }
	var last uint64
	for i, name := range []string{"a", "b", "c", "d"} {
		if _, err := s.Profile(name, nil, false, at(-i)); err != nil { // the clock goes back
			t.Fatal(err)
		}
		if seq() <= last {
			t.Errorf("got number %d after %d", seq(), last)
		}
		last = seq()
	}
	if first := uint64(at(0).UnixMicro()); last != first+3 {
		t.Errorf("got number %d, want the clock's %d and three more", last, first)
	}
	if _, err := s.Profile("e", nil, false, at(9)); err != nil || seq() != uint64(at(9).UnixMicro()) {
		t.Errorf("got number %d, %v; want the clock's", seq(), err)
	}
	mine := mustSay(t, 'A', kindProfile, seq()+100_000_000, about{name: "by a copy"}) // told by a peer
	if _, err := s.Merge([]*Statement{mine}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Profile("f", nil, false, at(10)); err != nil || seq() != mine.seq+1 {
		t.Errorf("got number %d, %v; want %d", seq(), err, mine.seq+1)
	}
}

func TestWhatCannotBeSaid(t *testing.T) {
	s := New(keyOf('A'))
	for what, do := range map[string]func() (bool, error){
		"long name":  func() (bool, error) { return s.Admit(public('B'), strings.Repeat("a", 65), at(0)) },
		"bad name":   func() (bool, error) { return s.Profile("\x00", nil, false, at(0)) },
		"no port":    func() (bool, error) { return s.Profile("a", []string{"host"}, false, at(0)) },
		"in 7000 AD": func() (bool, error) { return s.Profile("a", nil, false, at(5000*366*86400)) },
	} {
		if changed, err := do(); changed || err == nil {
			t.Errorf("%s: got %v, %v; want an error", what, changed, err)
		}
	}
	for i := range maxAdmits {
		if _, err := s.Admit(Key{1, byte(i)}, "", at(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Admit(public('B'), "", at(0)); err == nil || !strings.Contains(err.Error(), "another member") {
		t.Errorf("one more than a forgetting can name: got %v, want the remedy", err)
	}
	// Nobody of them is lost when the node leaves.
	if _, err := s.Forget(idOf('A'), at(0)); err != nil {
		t.Fatal(err)
	}
	if got := len(s.List()); got != maxAdmits+1 {
		t.Errorf("got %d, want all %d", got, maxAdmits+1)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sampleSet(f).Encode())
	for _, s := range samples(f) {
		f.Add(s.append(nil))
	}
	f.Add(hostile(f, body(99, []byte("later"))))
	known := sampleSet(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			return
		}
		var again []byte
		for _, s := range in {
			before := len(again)
			again = s.append(again)
			if got := len(again) - before; got != s.size() {
				t.Errorf("%d bytes, want %d", got, s.size())
			}
		}
		back, err := Decode(again)
		if len(again) <= MaxMessage && (err != nil || len(back) != len(in)) {
			t.Fatalf("encoded again: got %d statements, %v; want %d", len(back), err, len(in))
		}
		for i := range back {
			if back[i].hash != in[i].hash || back[i].slot() != in[i].slot() {
				t.Errorf("statement %d: got another", i)
			}
		}
		s := New(keyOf('A'))
		if _, err := s.Merge(in); err != nil && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
		if members := s.List(); len(members) > len(known.List()) {
			t.Errorf("got %v: the signature of A or B was forged", members)
		}
	})
}
