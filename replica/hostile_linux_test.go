package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
	"resonate/syncproto"
)

// choices are what a generator decides by: bytes, from a fuzzer or at random.
type choices struct{ left []byte }

func (c *choices) below(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return int(b) % n
}

func one[T any](c *choices, list ...T) T { return list[c.below(len(list))] }

// A hostile is a member that says whatever could lead out of a folder, or cost its node too much. Where a lie ends the session
// it begins another one.
type hostile struct {
	t       testing.TB
	n       *node
	outside *outside
	c       *choices
	seq     uint64

	l    *liar
	stop context.CancelFunc
	work sync.WaitGroup

	mu   sync.Mutex
	told []byte // by the node
}

// paths that lead out, into the state, through links, through what is no directory, or nowhere.
func (h *hostile) path() string {
	c := h.c
	return one(c,
		"victim", "d", "d/f", "d/new", "new", "a/b/c", "way", "way/secret", "way/new", "way/sub/deep", "way/empty", "out", "out/secret", "out/new", "out/sub/deep",
		"up", "up/canary/secret", "up/canary/new", "planted", "planted/secret", "planted/new", "victim/below", "d/f/below",
		"..", "../canary", "../canary/secret", "../canary/new", "d/../../canary/secret", "d/..", ".", "./d", "d/.", "d//f", "d/", "/", "//", "/etc/passwd",
		h.outside.canary, h.outside.canary+"/secret", h.outside.canary+"/new", strings.TrimPrefix(h.outside.canary, "/")+"/secret",
		StateDir, StateDir+"/", StateDir+"/marker", StateDir+"/lock", StateDir+"/new", StateDir+"/tmp/new", StateDir+"/history/new", StateDir+"/shelf/new", "./"+StateDir+"/marker",
		"d/../"+StateDir+"/marker", "d/"+StateDir, "d/"+StateDir+"/marker", ".RESONATE/marker", StateDir+"x", ".resonateignore", "d/.resonateignore",
		"d\x00", "\x00", StateDir+"\x00", "d/\x00/f", "../canary/secret\x00.txt",
		strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("d/", 60)+"f", strings.Repeat("../", 1000)+"etc",
		strings.Repeat("p", syncproto.MaxPath), "\xff\xfe", "new\nline", "-rf", "~", "$HOME", "d\\..\\..", "‥/canary",
	)
}

var contents = []string{"", "x", "evil", strings.Repeat("evil ", 100), strings.Repeat("long evil ", 20000), "[[[\n!../..\n/../canary\n"}

func (h *hostile) attributes() merkle.Attributes {
	c := h.c
	a := merkle.Attributes{
		Kind: one(c, merkle.File, merkle.File, merkle.Dir, merkle.Dir, merkle.Symlink, merkle.Tombstone, merkle.Tombstone+1, 99),
		Mode: one[uint32](c, 0o644, 0o755, 0, 0o7777, 0o4755, 0o2755, 0o1777, 0o20666, 0o60666, 0o10644, 0o140755, math.MaxUint32),
	}
	switch a.Kind {
	case merkle.File:
		f := file(one(c, contents...))
		a.Content, a.Size = f.Content, f.Size
		a.Size = one(c, a.Size, a.Size, a.Size, a.Size, 0, 1<<20, 1<<45, math.MaxInt64)
	case merkle.Symlink:
		a.Target = one(c, h.outside.canary, h.outside.canary+"/secret", "../canary", "..", "/", ".", StateDir, StateDir+"/marker", "way", "planted", "/dev/zero", strings.Repeat("t", 4095), strings.Repeat("t", merkle.MaxTarget))
	}
	a.MTime = one[int64](c, 1, 0, -1, math.MaxInt64, math.MinInt64)
	if c.below(3) == 0 {
		a.Owner = one(c, "root:root", "nobody:nogroup", "12345:12345", "0:0", "x", ":", strings.Repeat("o", 1000))
	}
	if c.below(3) == 0 {
		name := one(c, "security.capability", "system.posix_acl_access", "trusted.overlay.opaque", "user.x", "security.selinux", strings.Repeat("x", 300))
		capability := "\x01\x00\x00\x02\x80\x00\x00\x00" + strings.Repeat("\x00", 12) // cap_setuid
		a.Xattrs = []merkle.Xattr{{Name: name, Value: []byte(one(c, capability, "", "x", strings.Repeat("v", 1<<10)))}}
	}
	if c.below(4) == 0 {
		a.Link = one(c, merkle.Hash{1}, merkle.Hash{2})
	}
	return a
}

// entry is one that has seen what is at a path, mostly, and so replaces it.
func (h *hostile) entry(path string) *merkle.Entry {
	h.seq++
	e := h.l.entry(h.attributes())
	stamp := merkle.Stamp(h.seq) // grows over the sessions
	e.Version = merkle.Version{Vector: merkle.Vector{}.With(h.l.id, stamp), Author: h.l.id, Stamp: stamp}
	if mine := h.n.entry(path); mine != nil && h.c.below(5) != 0 {
		e.Version.Vector = e.Version.Vector.Join(mine.Version.Vector)
	}
	if h.c.below(8) == 0 {
		e.Version.Token = merkle.Token{Generation: math.MaxUint64, Index: math.MaxUint64}
	}
	return e
}

func (h *hostile) announcement() syncproto.Announcement {
	path := h.path()
	a := syncproto.Announcement{Seq: h.seq, Path: path, Entry: h.entry(path), Below: one[uint64](h.c, 0, 0, 1, 5, math.MaxUint64), Hint: one[int64](h.c, 0, 1, math.MinInt64)}
	if h.c.below(2) == 0 {
		a.Data = []byte(one(h.c, contents[:4]...))
	}
	if h.c.below(4) == 0 {
		a.Blocks = merkle.BlockList{{Hash: merkle.HashBlock([]byte("evil")), Size: one[uint32](h.c, 4, 0, 1, merkle.MaxBlock)}}
		a.BlockCount = one[uint64](h.c, 0, 1, math.MaxUint64)
	}
	return a
}

// message is one of any kind, at random.
func (h *hostile) message() syncproto.Message {
	c := h.c
	switch c.below(16) {
	default:
		m := &syncproto.Announcements{}
		for range 1 + c.below(3) {
			m.List = append(m.List, h.announcement())
		}
		return m
	case 6, 7:
		m := &syncproto.Move{Seq: h.seq, From: h.path(), To: h.path(), Author: h.l.id, Stamp: merkle.Stamp(h.seq + 1)}
		m.State, m.Stood = h.states(m.From, m.To)
		h.seq++
		return m
	case 8:
		m := &syncproto.RemoveAll{Seq: h.seq, Path: h.path(), Author: h.l.id, Stamp: merkle.Stamp(h.seq + 1)}
		m.State, _ = h.states(m.Path, "")
		h.seq++
		return m
	case 9:
		return one[syncproto.Message](c, &syncproto.AskEntries{Paths: []string{h.path(), h.path()}}, &syncproto.AskSubtrees{Paths: []string{h.path()}},
			&syncproto.AskLevels{Places: []merkle.Place{{Dir: h.path()}, {}, {Dir: h.path(), Prefix: "\x01\x0f"}}})
	case 10:
		return &syncproto.Offer{
			Path: h.path(), Name: merkle.Hash{byte(c.below(3))}, Size: one[int64](c, 1<<20, 1<<45, math.MaxInt64), From: one[uint64](c, 0, 1),
			Blocks: merkle.BlockList{{Hash: merkle.HashBlock([]byte("evil")), Size: 4}},
		}
	case 11:
		known := []syncproto.Known{{Node: h.l.id, Seen: merkle.Vector{{Node: h.l.id, Stamp: math.MaxUint64}}}}
		return one[syncproto.Message](c, &syncproto.Root{State: merkle.Hash{byte(c.below(3))}, Members: known}, &syncproto.Ack{Seqs: []uint64{0, 1, math.MaxUint64}},
			&syncproto.Expand{Seq: uint64(c.below(5))}, &syncproto.Members{Set: []byte("no set")}, &syncproto.Unknown{Kind: 9999},
			&syncproto.Levels{List: []merkle.Level{{Place: merkle.Place{Dir: h.path()}, Items: []merkle.Item{{Name: one(c, "..", ".", "a/b", StateDir, "x"), Entry: merkle.Hash{1}}}}}},
			&syncproto.Hello{Node: h.l.id}, &syncproto.Accept{}, &syncproto.Bye{Reason: strings.Repeat("r", 1000)})
	}
}

// states are the hashes that make the node take a move or a deletion for one of what it has.
func (h *hostile) states(from, to string) (state, stood merkle.Hash) {
	h.n.inLoop(func(r *Replica) {
		state = r.tree.State(from)
		if to != "" {
			stood = r.tree.State(to)
		}
	})
	return state, stood
}

// frame encodes a message that no honest node could send, because a path in it holds a NUL: as it would be.
func (h *hostile) frame(m syncproto.Message) (frame []byte, err error) {
	x, y := streamPair(nil)
	conn := syncproto.NewConn(x)
	defer conn.Close()
	if err := conn.Send(m); err != nil {
		return nil, err
	}
	conn.Close()
	return io.ReadAll(y)
}

// say sends one message, or bytes.
func (h *hostile) say() {
	if h.c.below(12) == 0 {
		h.sayRaw()
		return
	}
	_ = h.l.conn.Send(h.message()) // refused: a NUL, or the session has ended
}

func (h *hostile) sayRaw() {
	for start := time.Now(); h.l.conn.Queued() > 0 && time.Since(start) < time.Second; {
		select {
		case <-h.ended():
			return
		case <-h.l.conn.Drained():
		case <-time.After(time.Millisecond):
		}
	}
	var raw []byte
	switch h.c.below(4) {
	case 0: // a NUL in a path
		marked := one(h.c, "d\x01", "../canary/secret\x01", StateDir+"/marker\x01", "way/secret\x01x")
		f, err := h.frame(&syncproto.Announcements{List: []syncproto.Announcement{{Seq: 1, Path: marked, Entry: h.entry("new"), Data: []byte("x")}}})
		if err != nil {
			return
		}
		raw = bytes.ReplaceAll(f, []byte(marked), []byte(strings.ReplaceAll(marked, "\x01", "\x00")))
	case 1: // a path beyond all bounds
		ask := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), strings.Repeat("p", syncproto.MaxPath+1))
		raw = protowire.AppendBytes(protowire.AppendTag(nil, protowire.Number(syncproto.KindAskEntries), protowire.BytesType), ask)
		raw = append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)
	case 2: // a frame beyond all bounds
		raw = binary.AppendUvarint(nil, one[uint64](h.c, 1<<40, math.MaxUint64, 1<<24))
	default: // bytes that changed on the way
		f, err := h.frame(h.message())
		if err != nil || len(f) == 0 || len(f) > 1<<10 {
			return
		}
		for range 1 + h.c.below(3) {
			f[(h.c.below(256)<<8|h.c.below(256))%len(f)] ^= byte(1 << h.c.below(8))
		}
		raw = f
	}
	_, _ = h.l.end.control.Write(raw)
}

// asks the node for contents, as a fetcher does: what it has agreed, what lies outside, by paths of any sort.
func (h *hostile) asks() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := h.l.end.OpenBlocks(ctx)
	if err != nil {
		return
	}
	f := syncproto.NewFetcher(&overheard{s, h})
	defer f.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	for range 3 {
		path := h.path()
		content, size := h.secretList().Root(), int64(len(h.outside.secret))
		if e := h.n.entry(path); e != nil && h.c.below(2) == 0 {
			content, size = e.Content, e.Size
		}
		if _, err := f.List(path, content, size, nil); err != nil && !answered(err) {
			return
		}
		want := syncproto.Want{Path: path, Content: content, Offset: one[int64](h.c, 0, 1, math.MaxInt64), Block: h.secretList()[0]}
		_ = f.Blocks([]syncproto.Want{want}, func(int, []byte, error) error { return nil })
	}
}

func answered(err error) bool {
	return strings.Contains(err.Error(), syncproto.ErrGone.Error()) || strings.Contains(err.Error(), syncproto.ErrFailed.Error())
}

func (h *hostile) secretList() merkle.BlockList {
	return merkle.BlockList{{Hash: merkle.HashBlock(h.outside.secret), Size: uint32(len(h.outside.secret))}}
}

// An overheard stream lets the judge see all that is read from it.
type overheard struct {
	io.ReadWriteCloser
	h *hostile
}

func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.ReadWriteCloser.Read(p)
	o.h.hear(p[:n])
	return n, err
}

func (h *hostile) hear(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, b...)
}

// truth is a source of what the member has told of; and, for all else, of zeros.
type truth struct{}

func (truth) OpenContent(_ string, content merkle.Hash) (syncproto.Content, error) {
	for _, c := range contents {
		if file(c).Content == content {
			return readable{strings.NewReader(c)}, nil
		}
	}
	return zeros{}, nil
}

func (truth) List(_ string, content merkle.Hash) (merkle.BlockList, error) {
	for _, c := range contents {
		if list, _, _ := merkle.Split(strings.NewReader(c), nil); list.Root() == content {
			return list, nil
		}
	}
	return lies{}.List("", content)
}

type readable struct{ *strings.Reader }

func (readable) Close() error { return nil }

// open begins a session, unless one goes on.
func (h *hostile) open() {
	if h.l != nil {
		select {
		case <-h.ended():
			h.close()
		default:
			return
		}
	}
	h.l = newLiar(h.n, 0x66)
	h.l.meet()
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	l := h.l
	h.work.Go(func() { // serves blocks
		for {
			s, err := l.end.AcceptBlocks(ctx)
			if err != nil {
				return
			}
			h.work.Go(func() { _ = syncproto.Serve(s, truth{}) })
		}
	})
	h.work.Go(func() { // listens
		for {
			m, err := l.conn.Receive()
			if err != nil {
				return
			}
			if m, ok := m.(*syncproto.Announcements); ok {
				for _, a := range m.List {
					h.hear(a.Data)
				}
			}
		}
	})
}

// ended is closed, or has something, when the node has ended the session.
func (h *hostile) ended() <-chan struct{} { return h.l.end.done }

func (h *hostile) close() {
	if h.l == nil {
		return
	}
	h.stop()
	h.l.conn.Close()
	h.l.end.Close()
	<-h.l.done
	h.work.Wait()
	h.l = nil
}

// act does what the choices say, until they are used up, and has the judge look now and then.
func (h *hostile) act() {
	defer h.close()
	for i := 0; len(h.c.left) > 0; i++ {
		h.open()
		if h.c.below(8) == 0 {
			h.asks()
		} else {
			h.say()
		}
		if i%50 == 49 {
			h.judge()
		}
	}
	h.n.inLoop(func(*Replica) {})
	h.judge()
}

func (h *hostile) judge() {
	h.outside.check(h.t)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outside.checkTold(h.t, h.told)
	h.told = h.told[max(0, len(h.told)-len(h.outside.secret)):]
}

// startVictim starts a node with links that lead out, and a user who swaps a directory and such a link, again and again.
func startVictim(t testing.TB) *outside {
	n := newNode(t, "n", tree{
		"victim": "mine", "d/f": "f", "way/secret": "inside", "way/sub/deep": "inside", "way/empty/": "", "up": "-> ..",
	})
	canary := filepath.Join(filepath.Dir(n.dir), "canary")
	tree{"out": "-> " + canary, "way.link": "-> " + canary}.write(t, n.dir)
	n.start()
	n.wantServesOthers() // with which the folder is shared, and the marker says so
	return watchOutside(n)
}

// swap exchanges the directory way and a link that leads out, until the test ends.
func swap(t testing.TB, n *node) {
	done, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(done); <-ended })
	way, link := n.path("way"), n.path("way.link")
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if unix.Renameat2(unix.AT_FDCWD, way, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) != nil {
					_ = os.Mkdir(way, 0o755) // the member had one of them removed
					_ = os.Symlink(n.path("../canary"), link)
				}
			}
		}
	}()
}

// TestHostileMember has a member say what it likes, while a user swaps a directory and a link that leads out.
func TestHostileMember(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := startVictim(t)
			swap(t, o.n)
			data := make([]byte, 6000)
			rng := rand.NewChaCha8(sha256.Sum256([]byte{byte(seed)}))
			rng.Read(data)
			h := &hostile{t: t, n: o.n, outside: o, c: &choices{data}}
			h.act()
			o.n.wantServesOthers()
		})
	}
}

// FuzzHostileMember does the same by the fuzzer's bytes, on one node for each of its processes.
func FuzzHostileMember(f *testing.F) {
	for seed := range 8 {
		data := make([]byte, 100)
		rand.NewChaCha8(sha256.Sum256([]byte{1, byte(seed)})).Read(data)
		f.Add(data)
	}
	o := startVictim(f)
	swap(f, o.n)
	var seq uint64
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 400 {
			return
		}
		o.n.t = t
		h := &hostile{t: t, n: o.n, outside: o, c: &choices{data}, seq: seq}
		h.act()
		seq = h.seq
		o.n.log.reset()
	})
}
