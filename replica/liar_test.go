package replica

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/members"
	"resonate/merkle"
	"resonate/syncproto"
)

// A liar is a hand-made node at the other end of a session.
type liar struct {
	t    testing.TB
	n    *node
	id   merkle.NodeID
	end  *pipe
	conn *syncproto.Conn
	done chan error // what Serve of the replica returned
	seq  uint64
}

// newLiar opens a session with a replica; nothing was said yet.
func newLiar(n *node, first byte) *liar {
	n.t.Helper()
	key := members.New(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{first}, ed25519.SeedSize))).Key()
	l := &liar{t: n.t, n: n, id: merkle.NodeID(key.ID()), done: make(chan error, 1)}
	r := n.replica()
	atReplica, atLiar := newPipes(r.Members().Key(), key, nil)
	l.end, l.conn = atLiar, syncproto.NewConn(atLiar.control)
	go func() {
		l.done <- r.Serve(context.Background(), atReplica)
		atReplica.Close()
	}()
	n.t.Cleanup(func() {
		l.conn.Close()
		atLiar.Close()
	})
	return l
}

func (l *liar) send(m syncproto.Message) {
	l.t.Helper()
	if err := l.conn.Send(m); err != nil {
		l.t.Fatalf("send %T: %v", m, err)
	}
}

// next returns the next message of type M, skipping others.
func next[M syncproto.Message](l *liar) M {
	l.t.Helper()
	for {
		m, err := l.conn.Receive()
		if err != nil {
			l.t.Fatalf("receive: %v", err)
		}
		if want, ok := m.(M); ok {
			return want
		}
	}
}

// hello returns an honest hello in answer to the replica's.
func (l *liar) hello() *syncproto.Hello {
	l.t.Helper()
	theirs := next[*syncproto.Hello](l)
	return &syncproto.Hello{
		Protocol: syncproto.Protocol, Node: l.id, Name: "liar", Folder: theirs.Folder, Shared: theirs.Shared,
		SharedAt: theirs.SharedAt, Root: theirs.Root,
	}
}

// meet says hello and agrees on the folder.
func (l *liar) meet() {
	l.t.Helper()
	h := l.hello()
	l.send(h)
	l.send(&syncproto.Accept{Folder: h.Folder})
	next[*syncproto.Accept](l)
}

// entry returns one by the liar.
func (l *liar) entry(a merkle.Attributes) *merkle.Entry {
	l.seq++
	v := merkle.Version{Vector: merkle.Vector{}.With(l.id, merkle.Stamp(l.seq)), Author: l.id, Stamp: merkle.Stamp(l.seq)}
	return &merkle.Entry{Attributes: a, Version: v}
}

func file(content string) merkle.Attributes {
	blocks, _, _ := merkle.Split(strings.NewReader(content), nil)
	return merkle.Attributes{Kind: merkle.File, Mode: 0o644, Size: int64(len(content)), MTime: 1, Content: blocks.Root()}
}

// tells announces an entry.
func (l *liar) tells(a syncproto.Announcement) {
	l.t.Helper()
	a.Seq = l.seq
	l.send(&syncproto.Announcements{List: []syncproto.Announcement{a}})
}

// wantEnd waits for the end of the session and for an error that holds all of want.
func (l *liar) wantEnd(want ...string) {
	l.t.Helper()
	select {
	case err := <-l.done:
		for _, w := range append(want, l.id.Short()) {
			if err == nil || !strings.Contains(err.Error(), w) {
				l.t.Errorf("end of the session: got %v, want %q in it", err, w)
			}
		}
	case <-time.After(patience):
		l.t.Fatal("the session goes on")
	}
}

// wantServesOthers sees the replica accept another node and take a file from it.
func (n *node) wantServesOthers() {
	n.t.Helper()
	l := newLiar(n, 0x77)
	l.meet()
	l.tells(syncproto.Announcement{Path: "honest", Entry: l.entry(file("honest")), Data: []byte("honest")})
	until(n.t, "the replica serves others", func() bool { return n.tree()["honest"] == "honest" })
}

func TestLiesEndTheSession(t *testing.T) {
	announce := func(path string) func(l *liar) {
		return func(l *liar) {
			l.tells(syncproto.Announcement{Path: path, Entry: l.entry(file("x")), Data: []byte("x")})
		}
	}
	for _, row := range []struct {
		name string
		lie  func(l *liar)
		want string
	}{
		{"path that leads up", announce("../x"), "../x"},
		{"path that leads up inside", announce("d/../../x"), "d/../../x"},
		{"absolute path", announce("/etc/x"), "/etc/x"},
		{"dot", announce("."), "path"},
		{"doubled slash", announce("d//x"), "d//x"},
		{"our state", announce(".resonate"), "resonate's own"},
		{"in our state", announce(".resonate/marker"), "resonate's own"},
		{"path with NUL", func(l *liar) {
			m := &syncproto.Announcements{List: []syncproto.Announcement{{Seq: 1, Path: "a?b", Entry: l.entry(file("x"))}}}
			l.raw(bytes.Replace(l.encode(m), []byte("a?b"), []byte("a\x00b"), 1))
		}, "malformed"},
		{"asks for what is outside", func(l *liar) { l.send(&syncproto.AskEntries{Paths: []string{"../x"}}) }, "../x"},
		{"asks for a subtree outside", func(l *liar) { l.send(&syncproto.AskSubtrees{Paths: []string{"d/../.."}}) }, "d/../.."},
		{"asks for our state", func(l *liar) { l.send(&syncproto.AskSubtrees{Paths: []string{".resonate"}}) }, "resonate's own"},
		{"offers what is outside", func(l *liar) { l.send(&syncproto.Offer{Path: "../x", Name: merkle.Hash{1}}) }, "../x"},
		{"offers our state", func(l *liar) { l.send(&syncproto.Offer{Path: ".resonate/key", Name: merkle.Hash{1}}) }, "resonate's own"},
		{"levels that nobody asked for", func(l *liar) { l.send(&syncproto.Levels{List: []merkle.Level{{Place: merkle.Place{Dir: "never"}}}}) }, "breaks the protocol"},
		{"another hello", func(l *liar) { l.send(&syncproto.Hello{Protocol: 1, Node: l.id}) }, "out of order"},
		{"another accept", func(l *liar) { l.send(&syncproto.Accept{}) }, "out of order"},
		{"garbage", func(l *liar) { l.raw([]byte("\x05garbage that is no frame")) }, "malformed"},
		{"a frame too long", func(l *liar) { l.raw(binary.AppendUvarint(nil, 1<<40)) }, "1099511627776 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "n", tree{"d/f": "f"})
			l := newLiar(n, 0x11)
			l.meet()
			row.lie(l)
			l.wantEnd(row.want)
			n.wantServesOthers()
			if d := n.tree().diff(tree{"d/f": "f", "honest": "honest"}); d != "" {
				t.Error(d)
			}
			if names, _ := os.ReadDir(filepath.Dir(n.dir)); len(names) != 2 {
				t.Errorf("beside the folder: got %v, want the folder and its state alone", names)
			}
		})
	}
}

// encode returns the frame of a message.
func (l *liar) encode(m syncproto.Message) []byte {
	l.t.Helper()
	x, y := streamPair(nil)
	conn := syncproto.NewConn(x)
	if err := conn.Send(m); err != nil {
		l.t.Fatal(err)
	}
	conn.Close()
	frame, err := io.ReadAll(y)
	if err != nil {
		l.t.Fatal(err)
	}
	return frame
}

// raw sends bytes as they are.
func (l *liar) raw(b []byte) {
	l.t.Helper()
	until(l.t, "queue sent", func() bool { return l.conn.Queued() == 0 })
	if _, err := l.end.control.Write(b); err != nil {
		l.t.Fatal(err)
	}
}

func TestHandshakeRefusals(t *testing.T) {
	for _, row := range []struct {
		name string
		say  func(l *liar)
		want []string
	}{
		{"another protocol", func(l *liar) { h := l.hello(); h.Protocol = 9; l.send(h) }, []string{"protocol 9", "same version"}},
		{"another node's ID", func(l *liar) { h := l.hello(); h.Node[0]++; l.send(h) }, []string{"hello of another node"}},
		{"another shared folder", func(l *liar) {
			h := l.hello()
			h.Folder[0]++
			h.Shared, h.SharedAt = true, 1
			l.send(h)
		}, []string{"another folder", "-fresh"}},
		{"no hello", func(l *liar) { l.send(&syncproto.Ack{Seqs: []uint64{1}}) }, []string{"breaks the protocol", "hello"}},
		{"garbage", func(l *liar) {
			l.raw([]byte("GET / HTTP/1.1\r\nHost: a-host-with-a-name\r\nAccept: */*\r\nUser-Agent: something\r\n\r\n"))
		}, []string{"breaks the protocol"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "n", tree{"f": "f"})
			n.tune = func(r *Replica) { r.place.marker.folder.Shared, r.place.marker.folder.Since = true, time.Unix(1, 0) }
			n.start()
			l := newLiar(n, 0x11)
			row.say(l)
			l.wantEnd(row.want...)
			if bye := next[*syncproto.Bye](l); bye.Reason == "" {
				t.Error("the peer is not told why")
			}
			n.wantServesOthers()
		})
	}
}

func TestNodeItselfIsRefused(t *testing.T) {
	for _, row := range []struct {
		name  string
		other bool // another process
		want  string
	}{{"itself", false, "this node itself"}, {"its copy", true, "-fresh"}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "n", nil)
			r := n.replica()
			mine, theirs := newPipes(r.Members().Key(), r.Members().Key(), nil)
			conn := syncproto.NewConn(theirs.control)
			defer conn.Close()
			done := make(chan error, 1)
			go func() { done <- r.Serve(context.Background(), mine) }()
			m, err := conn.Receive()
			if err != nil {
				t.Fatal(err)
			}
			hello := m.(*syncproto.Hello)
			if row.other {
				hello.Instance[0]++
			}
			if err := conn.Send(hello); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// serveLies serves blocks that are not what their hash says.
func (l *liar) serveLies() { l.serve(lies{}) }

// serve answers what the node asks for from src.
func (l *liar) serve(src syncproto.Source) {
	l.n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			s, err := l.end.AcceptBlocks(ctx)
			if err != nil {
				return
			}
			go syncproto.Serve(s, src)
		}
	}()
	l.t.Cleanup(func() { cancel(); <-done })
}

// lies is a Source that has everything, and all of it wrong.
type lies struct{}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
func (zeros) Close() error                          { return nil }

func (lies) OpenContent(string, merkle.Hash) (syncproto.Content, error) { return zeros{}, nil }
func (lies) List(string, merkle.Hash) (merkle.BlockList, error) {
	return merkle.BlockList{{Hash: merkle.HashBlock([]byte("few")), Size: 3}}, nil
}

func TestLiesAboutContent(t *testing.T) {
	long := strings.Repeat("long", 1<<14)
	blocks, _, err := merkle.Split(strings.NewReader(long), nil)
	if err != nil {
		t.Fatal(err)
	}
	huge := file("few")
	huge.Size = 1 << 45
	for _, row := range []struct {
		name string
		tell func(l *liar) syncproto.Announcement
	}{
		{"inline bytes of another content", func(l *liar) syncproto.Announcement {
			return syncproto.Announcement{Entry: l.entry(file("good")), Data: []byte("evil")}
		}},
		{"blocks of another content", func(l *liar) syncproto.Announcement {
			return syncproto.Announcement{Entry: l.entry(file(long)), Blocks: blocks}
		}},
		{"a list of another content", func(l *liar) syncproto.Announcement { return syncproto.Announcement{Entry: l.entry(file(long))} }},
		{"a huge size", func(l *liar) syncproto.Announcement { return syncproto.Announcement{Entry: l.entry(huge)} }},
		{"a huge size with a short list", func(l *liar) syncproto.Announcement {
			return syncproto.Announcement{Entry: l.entry(huge), Blocks: merkle.BlockList{{Hash: merkle.HashBlock([]byte("few")), Size: 3}}}
		}},
		{"a kind that is not known", func(l *liar) syncproto.Announcement {
			return syncproto.Announcement{Entry: l.entry(merkle.Attributes{Kind: 99, Mode: 0o644})}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "n", tree{"victim": "mine"})
			l := newLiar(n, 0x11)
			l.serveLies()
			l.meet()
			for _, p := range []string{"victim", "new"} {
				a := row.tell(l)
				a.Path = p
				if p == "victim" { // it claims to have seen what is here
					if e := n.entry(p); e != nil {
						v := a.Entry.Version
						v.Vector = v.Vector.Join(e.Version.Vector)
						a.Entry.Version = v
					}
				}
				l.tells(a)
			}
			eventually(t, "the lies are problems", func() string {
				told := make(map[string]bool)
				for _, p := range n.status().Problems {
					if p.Cause != "" && p.Remedy != "" {
						told[p.Path] = true
					}
				}
				if !told["new"] || !told["victim"] {
					return "no problem is told"
				}
				return ""
			})
			if d := n.tree().diff(tree{"victim": "mine"}); d != "" {
				t.Error(d)
			}
			n.wantServesOthers()
		})
	}
}

func TestUnknownMessagesAreSkipped(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", nil)
	l := newLiar(n, 0x11)
	l.meet()
	body := protowire.AppendBytes(protowire.AppendTag(nil, 9999, protowire.BytesType), []byte("from the future"))
	l.raw(append(binary.AppendUvarint(nil, uint64(len(body))), body...))
	l.tells(syncproto.Announcement{Path: "f", Entry: l.entry(file("x")), Data: []byte("x")})
	if ack := next[*syncproto.Ack](l); len(ack.Seqs) != 1 || ack.Seqs[0] != l.seq {
		t.Errorf("ack: got %v, want %d", ack.Seqs, l.seq)
	}
	if got := n.tree()["f"]; got != "x" {
		t.Errorf("f: got %q, want x", got)
	}
	if !strings.Contains(n.log.String(), "kind not known here") {
		t.Error("the unknown message is not told in the log")
	}
}

// TestLinkThatLeadsOutside has a peer write and delete through a symlink.
func TestLinkThatLeadsOutside(t *testing.T) {
	for _, row := range []struct {
		name string
		race bool // the link comes to be in the instant of the operation
		kind merkle.Kind
	}{
		{"a file below a link", false, merkle.File},
		{"a directory below a link", false, merkle.Dir},
		{"a deletion below a link", false, merkle.Tombstone},
		{"a file below what becomes a link", true, merkle.File},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			outside := t.TempDir()
			inside := tree{"precious": "precious"}
			inside.write(t, outside)
			base := tree{"out": "-> " + outside}
			if row.race {
				base = tree{"out/in": "in"}
			}
			n := startNode(t, "n", base)
			l := newLiar(n, 0x11)
			l.meet()
			if row.race {
				n.once("apply.new", func() {
					if err := errors.Join(os.RemoveAll(n.path("out")), os.Symlink(outside, n.path("out"))); err != nil {
						t.Error(err)
					}
				})
			}
			attrs := merkle.Attributes{Kind: row.kind, Mode: 0o755}
			if row.kind == merkle.File {
				attrs = file("evil")
			}
			for _, p := range []string{"out/precious", "out/new"} {
				a := syncproto.Announcement{Path: p, Entry: l.entry(attrs)}
				if row.kind == merkle.File {
					a.Data = []byte("evil")
				}
				l.tells(a)
			}
			l.tells(syncproto.Announcement{Path: "last", Entry: l.entry(file("last")), Data: []byte("last")})
			until(t, "all is taken in", func() bool {
				var idle bool
				n.inLoop(func(r *Replica) { idle = len(r.incoming) == 0 && len(r.hashing) == 0 && len(r.changes) == 0 })
				return idle && n.tree()["last"] == "last"
			})
			if d := readTree(t, outside).diff(inside); d != "" {
				t.Errorf("outside: %s", d)
			}
			if !hasContent(n.tree(), "-> "+outside) {
				t.Errorf("the link is lost: %v", n.tree())
			}
		})
	}
}
