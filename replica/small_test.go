package replica

import (
	"fmt"
	"strings"
	"testing"

	"resonate/merkle"
	"resonate/syncproto"
)

// TestSmallFilesGoAlong has a newcomer take many small files in without asking for a single block.
func TestSmallFilesGoAlong(t *testing.T) {
	t.Parallel()
	tr := tree{"empty": ""}
	for i := range 300 {
		tr[fmt.Sprintf("d%d/f%d", i%7, i)] = strings.Repeat(fmt.Sprint(i), i)
	}
	a, b := startNode(t, "a", tr), startNode(t, "b", nil)
	until(t, "a has scanned", func() bool { return a.entry("d6/f300") == nil && a.entry("d5/f299") != nil })
	connect(a, b)
	holds(t, tr, a, b)
	if got := b.replica().receivedBytes.Load(); got != 0 {
		t.Errorf("bytes of blocks: got %d, want 0", got)
	}
}

// TestOtherBytesCameAlong has bytes of another version come with an announcement: the right ones are asked for.
func TestOtherBytesCameAlong(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", nil)
	l := newLiar(n, 0x11)
	l.serve(texts{"f": "right"})
	l.meet()
	l.tells(syncproto.Announcement{Path: "f", Entry: l.entry(file("right")), Data: []byte("wrong")})
	until(t, "f is there", func() bool { return n.tree()["f"] == "right" })
}

// texts serves files of one block.
type texts map[string]string

type textFile struct{ *strings.Reader }

func (textFile) Close() error { return nil }

func (t texts) OpenContent(path string, _ merkle.Hash) (syncproto.Content, error) {
	return textFile{strings.NewReader(t[path])}, nil
}

func (t texts) List(path string, _ merkle.Hash) (merkle.BlockList, error) {
	list, _, err := merkle.Split(strings.NewReader(t[path]), nil)
	return list, err
}

// TestOwnFiles is the rule by which the watcher passes over what was put in place.
func TestOwnFiles(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", nil)
	l := newLiar(n, 0x11)
	l.meet()
	l.tells(syncproto.Announcement{Path: "f", Entry: l.entry(file("x")), Data: []byte("x")})
	next[*syncproto.Ack](l)
	n.inLoop(func(r *Replica) {
		if len(r.own.now) != 1 {
			t.Errorf("own files: got %v, want f", r.own.now)
		}
	})
	n.write("f", "mine now")
	until(t, "the change of an own file is published", func() bool {
		e := n.entry("f")
		return e != nil && e.Version.Author == n.replica().self
	})
}
