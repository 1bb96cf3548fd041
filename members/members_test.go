package members

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyOf makes the private key of the node that tests call by a letter: always the same one.
func keyOf(name byte) ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	seed[0] = name
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(name byte) Key { return Key(keyOf(name).Public().(ed25519.PublicKey)) }

func idOf(name byte) ID { return public(name).ID() }

// at returns a time, in seconds since some moment.
func at(seconds int) time.Time { return time.Unix(1_800_000_000+int64(seconds), 0) }

// A cluster is the sets of some nodes, each called by a letter.
type cluster struct {
	t    testing.TB
	sets map[byte]*Set
	now  int
}

func newCluster(t testing.TB, names string) *cluster {
	c := &cluster{t: t, sets: make(map[byte]*Set)}
	for _, name := range []byte(names) {
		c.sets[name] = New(keyOf(name))
	}
	return c
}

// tick returns a time after all earlier ones.
func (c *cluster) tick() time.Time {
	c.now++
	return at(c.now)
}

// done takes the result of something that must change something.
func (c *cluster) done(changed bool, err error) {
	c.t.Helper()
	if !changed || err != nil {
		c.t.Fatalf("got changed %v, %v; want a change", changed, err)
	}
}

func (c *cluster) admit(by, whom byte) {
	c.t.Helper()
	c.done(c.sets[by].Admit(public(whom), strings.ToLower(string(whom)), c.tick()))
}

// join has two nodes admit each other and tell each other everything.
func (c *cluster) join(inviter, guest byte) {
	c.t.Helper()
	c.admit(inviter, guest)
	c.admit(guest, inviter)
	c.meet(inviter, guest)
}

func (c *cluster) forget(by, whom byte) {
	c.t.Helper()
	c.done(c.sets[by].Forget(idOf(whom), c.tick()))
}

// tell merges all that a node keeps into another's set.
func (c *cluster) tell(to, from byte) {
	c.t.Helper()
	if _, err := c.sets[to].Merge(decoded(c.t, c.sets[from])); err != nil {
		c.t.Fatalf("%c tells %c: %v", from, to, err)
	}
}

func (c *cluster) meet(a, b byte) {
	c.t.Helper()
	c.tell(a, b)
	c.tell(b, a)
}

// decoded returns the statements of a set, as another node gets them.
func decoded(t testing.TB, s *Set) []*Statement {
	t.Helper()
	b := s.Encode()
	out, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// members returns the letters of whom a node takes for members, and of whom it knows to be forgotten.
func (c *cluster) members(of byte) (members, forgotten string) {
	return c.letters(c.sets[of].List(), false), c.letters(c.sets[of].List(), true)
}

func (c *cluster) letters(list []Member, forgotten bool) string {
	var out []byte
	for _, m := range list {
		for name := byte('A'); name <= 'Z'; name++ {
			if m.Forgotten == forgotten && m.ID == idOf(name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return string(out)
}

// want checks whom each of some nodes takes for members, and for forgotten.
func (c *cluster) want(nodes, members, forgotten string) {
	c.t.Helper()
	for _, name := range []byte(nodes) {
		if m, f := c.members(name); m != members || f != forgotten {
			c.t.Errorf("node %c: got members %q, forgotten %q; want %q, %q", name, m, f, members, forgotten)
		}
		if got, want := c.sets[name].Digest(), c.sets[nodes[0]].Digest(); got != want {
			c.t.Errorf("digests of %c and %c differ", name, nodes[0])
		}
	}
}

func TestWhoIsAMember(t *testing.T) {
	rows := []struct {
		name               string
		run                func(c *cluster)
		same               string // nodes that must agree
		members, forgotten string
	}{
		{"alone", func(c *cluster) {}, "A", "A", ""},
		{"two that admitted each other", func(c *cluster) { c.join('A', 'B') }, "AB", "AB", ""},
		{"third joins through the second", func(c *cluster) {
			c.join('A', 'B')
			c.join('B', 'C')
			c.meet('A', 'C')
		}, "ABC", "ABC", ""},
		{"two clusters become one", func(c *cluster) {
			c.join('A', 'B')
			c.join('C', 'D')
			c.join('B', 'D')
			c.meet('A', 'B')
			c.meet('C', 'D')
		}, "ABCD", "ABCD", ""},
		{"admitted, but admits nobody", func(c *cluster) {
			c.admit('A', 'B')
			c.admit('C', 'A')
			c.tell('A', 'B')
			c.tell('A', 'C')
		}, "A", "AB", ""},
		{"whom the forgotten brought in stays", func(c *cluster) {
			c.join('A', 'B')
			c.join('B', 'C')
			c.meet('A', 'C')
			c.forget('A', 'B')
			c.meet('A', 'C')
		}, "AC", "AC", "B"},
		{"whom the forgotten brings in later does not", func(c *cluster) {
			c.join('A', 'B')
			c.join('A', 'D')
			c.meet('B', 'D')
			c.forget('A', 'B')
			c.join('B', 'C')
			c.meet('B', 'D') // D has not heard
			c.meet('C', 'D')
			c.meet('A', 'D')
		}, "AD", "AD", "B"},
		{"nor whom its helper brings in", func(c *cluster) {
			c.join('A', 'B')
			c.forget('A', 'B')
			c.join('B', 'C')
			c.join('C', 'D')
			c.tell('B', 'C')
			c.tell('A', 'B')
		}, "A", "A", "B"},
		{"each forgets the other", func(c *cluster) {
			c.join('A', 'C')
			c.join('A', 'B')
			c.meet('C', 'B')
			c.forget('A', 'B')
			c.forget('B', 'A')
			c.tell('C', 'A')
			c.tell('C', 'B')
		}, "C", "C", "AB"},
		{"its forgetter is forgotten, by one who had not heard", func(c *cluster) {
			c.join('A', 'B')
			c.join('A', 'C')
			c.meet('B', 'C')
			c.forget('A', 'B')
			c.forget('C', 'A')
			c.tell('C', 'A')
		}, "C", "C", "AB"},
		{"a forgetter did not know of a guest", func(c *cluster) {
			c.join('A', 'B')
			c.join('A', 'C')
			c.meet('B', 'C')
			c.join('B', 'D')
			c.meet('A', 'B')
			c.forget('A', 'B') // knows of D
			c.forget('C', 'B') // does not
			c.meet('A', 'C')
		}, "AC", "AC", "B"},
		{"a guest of the forgotten is admitted by another", func(c *cluster) {
			c.join('A', 'B')
			c.forget('A', 'B')
			c.join('B', 'D')
			c.join('A', 'D')
		}, "AD", "AD", "B"},
		{"leaves", func(c *cluster) {
			c.join('A', 'B')
			c.join('B', 'C')
			c.meet('A', 'C')
			c.forget('B', 'B')
			c.tell('C', 'B')
			c.meet('A', 'C')
		}, "AC", "AC", "B"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, "ABCD")
			row.run(c)
			c.want(row.same, row.members, row.forgotten)
		})
	}
}

func TestForgottenNeverComesBack(t *testing.T) {
	c := newCluster(t, "ABC")
	c.join('A', 'B')
	c.join('A', 'C')
	c.meet('B', 'C')
	c.forget('A', 'B')
	a, b := c.sets['A'], c.sets['B']
	if changed, err := a.Admit(public('B'), "b", c.tick()); changed || !errors.Is(err, ErrForgotten) {
		t.Errorf("admitted again: got %v, %v; want ErrForgotten", changed, err)
	}
	if changed, err := a.Forget(idOf('B'), c.tick()); changed || err != nil {
		t.Errorf("forgotten again: got %v, %v; want no change", changed, err)
	}
	c.tell('B', 'A')
	if !b.Forgotten(idOf('B')) {
		t.Error("the forgotten node does not know it")
	}
	if m, ok := b.Member(idOf('B')); !ok || m.ForgottenBy != idOf('A') {
		t.Errorf("got %+v, %v; want forgotten by A", m, ok)
	}
	for what, do := range map[string]func() (bool, error){
		"admit":   func() (bool, error) { return b.Admit(public('D'), "", c.tick()) },
		"forget":  func() (bool, error) { return b.Forget(idOf('C'), c.tick()) },
		"rename":  func() (bool, error) { return b.Rename(idOf('C'), "x", c.tick()) },
		"profile": func() (bool, error) { return b.Profile("x", nil, false, c.tick()) },
	} {
		if changed, err := do(); changed || !errors.Is(err, ErrForgotten) {
			t.Errorf("%s by the forgotten: got %v, %v; want ErrForgotten", what, changed, err)
		}
	}
	// C admits it, before it has heard.
	if _, err := c.sets['C'].Admit(public('B'), "b", c.tick()); err != nil {
		t.Fatal(err)
	}
	c.meet('A', 'C')
	c.want("AC", "AC", "B")
	if a.Is(public('B')) || !a.Is(public('C')) {
		t.Error("Is does not agree with List")
	}
}

func TestWhoAndWhen(t *testing.T) {
	for _, forgetters := range []string{"AC", "CA"} { // the hash of a statement must not decide
		t.Run(forgetters, func(t *testing.T) { whoAndWhen(t, forgetters[0], forgetters[1]) })
	}
}

func whoAndWhen(t *testing.T, first, second byte) {
	c := newCluster(t, "ABCD")
	c.join('A', 'B') // at 1 and 2
	c.join('A', 'C') // at 3 and 4
	c.meet('B', 'C')
	c.join('B', 'C') // at 5 and 6
	c.join('A', 'D') // at 7 and 8
	c.meet('A', 'B')
	c.meet('A', 'C')
	c.forget(first, 'D')  // at 9
	c.forget(second, 'D') // at 10
	c.meet('A', 'C')
	want := []Member{
		{ID: idOf('B'), Name: "b", AdmittedBy: idOf('A'), Since: at(1)},
		{ID: idOf('A'), Name: "a", AdmittedBy: idOf('B'), Since: at(2)},
		{ID: idOf('C'), Name: "c", AdmittedBy: idOf('A'), Since: at(3)},
		{ID: idOf('D'), Name: "d", AdmittedBy: idOf('A'), Since: at(7), Forgotten: true, ForgottenBy: idOf(first), ForgottenAt: at(9)},
	}
	got := c.sets['A'].List()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, w := range want {
		g := got[i]
		if g.ID != w.ID || g.Name != w.Name || g.AdmittedBy != w.AdmittedBy || !g.Since.Equal(w.Since) ||
			g.Forgotten != w.Forgotten || g.ForgottenBy != w.ForgottenBy || !g.ForgottenAt.Equal(w.ForgottenAt) {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
}

// A thief may sign with any number and any time.
func TestStolenKeyBringsInNobody(t *testing.T) {
	c := newCluster(t, "ABCD")
	c.join('A', 'B')
	c.join('A', 'C')
	c.meet('B', 'C')
	c.forget('A', 'B')
	for i, seq := range []uint64{1, uint64(at(0).UnixMicro()), maxNumber} {
		s, err := newStatement(keyOf('B'), kindAdmit, seq, 1, about{key: public('D')})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.sets['C'].Merge([]*Statement{s}); err != nil { // C has not heard yet
			t.Fatal(err)
		}
		if _, err := c.sets['A'].Merge([]*Statement{s}); err != nil {
			t.Fatal(err)
		}
		if !c.sets['C'].Is(public('D')) && i == 0 {
			t.Error("who had not heard of it does not take the thief's word: what does this test show?")
		}
		if c.sets['A'].Is(public('D')) {
			t.Errorf("number %d: admitted by a key that is known to be stolen", seq)
		}
		c.meet('A', 'C')
		c.want("AC", "AC", "B")
		if got := c.letters(c.sets['A'].Orphans(), false); got != "D" {
			t.Errorf("orphans: got %q, want D", got)
		}
	}
	c.forget('A', 'D')
	if got := c.sets['A'].Orphans(); len(got) != 0 {
		t.Errorf("forgotten: got %v, want no orphans", got)
	}
}

func TestOrphanKnowsIt(t *testing.T) {
	c := newCluster(t, "ABD")
	c.join('A', 'B')
	c.forget('A', 'B')
	c.join('B', 'D')
	if got := c.sets['D'].Orphans(); len(got) != 0 {
		t.Errorf("before it heard: got %v, want none", got)
	}
	c.tell('D', 'A')
	if got := c.letters(c.sets['D'].Orphans(), false); got != "D" {
		t.Errorf("orphans: got %q, want the own node", got)
	}
	c.join('A', 'D')
	c.want("AD", "AD", "B")
	if got := c.sets['D'].Orphans(); len(got) != 0 {
		t.Errorf("admitted again: got %v, want none", got)
	}
}

func TestNames(t *testing.T) {
	c := newCluster(t, "AB")
	c.join('A', 'B')
	a, b := c.sets['A'], c.sets['B']
	want := func(name string) {
		t.Helper()
		c.meet('A', 'B')
		for _, s := range c.sets {
			if m, _ := s.Member(idOf('B')); m.Name != name {
				t.Errorf("got name %q, want %q", m.Name, name)
			}
		}
	}
	want("b")
	c.done(b.Profile("laptop", []string{"laptop.local:1234", "[fe80::1]:22"}, false, c.tick()))
	want("laptop")
	if m, _ := a.Member(idOf('B')); !slices.Equal(m.Addresses, []string{"laptop.local:1234", "[fe80::1]:22"}) {
		t.Errorf("got addresses %q", m.Addresses)
	}
	c.done(a.Rename(idOf('B'), "Ada", at(1000)))
	want("Ada")
	c.done(b.Profile("notebook", nil, false, c.tick()))
	want("Ada")
	for _, witness := range []bool{true, false} {
		c.done(b.Profile("notebook", nil, witness, c.tick()))
		want("Ada")
		if m, _ := a.Member(idOf('B')); m.Witness != witness {
			t.Errorf("got witness %v, want %v", m.Witness, witness)
		}
	}
	c.done(b.Rename(idOf('B'), "Bob", c.tick())) // its clock is behind
	want("Bob")
	c.done(a.Rename(idOf('B'), "", c.tick()))
	want("notebook")
	for what, do := range map[string]func() (bool, error){
		"same name":      func() (bool, error) { return a.Rename(idOf('B'), "", c.tick()) },
		"never named":    func() (bool, error) { return a.Rename(idOf('A'), "", c.tick()) },
		"same profile":   func() (bool, error) { return b.Profile("notebook", nil, false, c.tick()) },
		"admitted again": func() (bool, error) { return b.Admit(public('A'), "other", c.tick()) },
	} {
		if changed, err := do(); changed || err != nil {
			t.Errorf("%s: got %v, %v; want no change", what, changed, err)
		}
	}
	if _, err := a.Rename(idOf('Z'), "x", c.tick()); !errors.Is(err, ErrUnknown) {
		t.Errorf("rename of a stranger: got %v, want ErrUnknown", err)
	}
	if _, err := a.Forget(idOf('Z'), c.tick()); !errors.Is(err, ErrUnknown) {
		t.Errorf("forget of a stranger: got %v, want ErrUnknown", err)
	}
	if _, err := a.Admit(public('A'), "x", c.tick()); err == nil {
		t.Error("admits itself")
	}
	if got := len(a.current.Load().kept); got > 2+1+2 {
		t.Errorf("%d statements are kept: what was replaced is still there", got)
	}
}

// What a forgotten node called others stands only where nobody else gives a name, whatever its clock says.
func TestNamesByTheForgotten(t *testing.T) {
	c := newCluster(t, "ABC")
	c.join('A', 'B')
	c.join('A', 'C')
	s, err := newStatement(keyOf('B'), kindRename, 9, maxNumber, about{whom: idOf('C'), name: "mud"})
	if err != nil {
		t.Fatal(err)
	}
	a := c.sets['A']
	c.done(a.Merge([]*Statement{s}))
	if _, err := a.Rename(idOf('C'), "Cid", c.tick()); err == nil || !strings.Contains(err.Error(), idOf('B').String()) {
		t.Errorf("got %v, want who is in the way", err)
	}
	c.forget('A', 'B')
	if m, _ := a.Member(idOf('C')); m.Name != "mud" {
		t.Errorf("got %q, want the name to stay until another is given", m.Name)
	}
	c.done(a.Rename(idOf('C'), "Cid", c.tick()))
	if m, _ := a.Member(idOf('C')); m.Name != "Cid" {
		t.Errorf("got %q, want Cid", m.Name)
	}
}

func TestKeyInWireForm(t *testing.T) {
	k := public('A')
	wire := k.Wire()
	if n := binary.BigEndian.Uint32(wire); string(wire[4:4+n]) != "ssh-ed25519" || len(wire) != 51 {
		t.Errorf("got %q", wire)
	}
	if got, err := ParseKey(wire); got != k || err != nil {
		t.Errorf("got %v, %v; want the key", got, err)
	}
	for i := range wire[:19] {
		bad := slices.Clone(wire)
		bad[i] ^= 1
		if _, err := ParseKey(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("byte %d changed: got %v, want ErrFormat", i, err)
		}
	}
	for _, bad := range [][]byte{nil, wire[:50], append(wire, 0)} {
		if _, err := ParseKey(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: got %v, want ErrFormat", len(bad), err)
		}
	}
	// What `ssh-keygen -lf` prints of this key, in base32.
	if got, want := idOf('A').String(), "wjvq7fdhixjkcfosg2a6chovzq"; got != want {
		t.Errorf("ID: got %s, want %s", got, want)
	}
}

// TestInvitationIsGivenBack has somebody show the code and then join, or not.
func TestInvitationIsGivenBack(t *testing.T) {
	var i Invitation
	now := time.Unix(1e9, 0)
	key := New(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))).Key()
	take := func(c Code, want bool) {
		t.Helper()
		if ok, _ := i.Take(c.Secret, now); ok != want {
			t.Errorf("take: got %v, want %v", ok, want)
		}
	}
	use := func(c Code, want bool) {
		t.Helper()
		if got := i.Use(c.Secret); got != want {
			t.Errorf("use: got %v, want %v", got, want)
		}
	}
	c := i.New(key, time.Minute, now)
	use(c, false) // nobody has shown it
	take(c, true)
	take(c, false) // it serves one at a time
	i.GiveBack(c.Secret)
	take(c, true)
	use(c, true)
	use(c, false)
	i.GiveBack(c.Secret)
	take(c, false) // it has served

	c = i.New(key, time.Minute, now)
	take(c, true)
	if !i.Cancel(now) {
		t.Error("cancel: there was one")
	}
	use(c, false)
	i.GiveBack(c.Secret)
	take(c, false)

	c = i.New(key, time.Minute, now)
	take(c, true)
	other := i.New(key, time.Minute, now)
	use(c, false)
	i.GiveBack(c.Secret)
	take(other, true)
}
