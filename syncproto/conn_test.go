package syncproto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"resonate/merkle"
)

// overStreams runs f over an unbuffered pipe and over TCP. f closes both ends.
func overStreams(t *testing.T, f func(t *testing.T, a, b net.Conn)) {
	t.Run("pipe", func(t *testing.T) {
		a, b := net.Pipe()
		f(t, a, b)
	})
	t.Run("tcp", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f(t, a, b)
	})
}

func TestConnBothWays(t *testing.T) {
	overStreams(t, func(t *testing.T, a, b net.Conn) {
		var messages []Message
		messages = append(messages, &Hello{Node: node(1)})
		for _, s := range append(controlSamples(), treeSamples()...) {
			messages = append(messages, s.m)
		}
		ends := []*Conn{NewConn(a), NewConn(b)}
		var wg sync.WaitGroup
		for _, c := range ends {
			wg.Go(func() {
				for _, want := range messages {
					got, err := c.Receive()
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("got %.300v, %v; want %.300v", got, err, want)
						return
					}
				}
			})
			for _, m := range messages {
				if err := c.Send(m); err != nil {
					t.Fatal(err)
				}
			}
		}
		wg.Wait()
		for _, c := range ends {
			got, n := c.Counts(), uint64(len(messages))
			if got.MessagesSent != n || got.MessagesReceived != n || got.BytesReceived < 200<<10 {
				t.Errorf("got %+v, want %d messages each way", got, n)
			}
			c.Close()
		}
		if sent, received := ends[0].Counts().BytesSent, ends[1].Counts().BytesReceived; sent != received {
			t.Errorf("%d bytes sent, %d received", sent, received)
		}
	})
}

// What is sent last arrives before the end of the stream does.
func TestConnCloseFlushes(t *testing.T) {
	overStreams(t, func(t *testing.T, a, b net.Conn) {
		left, right := NewConn(a), NewConn(b)
		for i := range 100 {
			if err := left.Send(&Expand{uint64(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := left.Send(&Bye{"that is all"}); err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			left.Close()
			close(closed)
		}()
		var last Message
		for {
			m, err := right.Receive()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			last = m
		}
		if bye, ok := last.(*Bye); !ok || bye.Reason != "that is all" {
			t.Errorf("got %v last, want the bye", last)
		}
		<-closed
		if err := left.Send(&Expand{}); !errors.Is(err, ErrClosed) {
			t.Errorf("send after close: got %v, want ErrClosed", err)
		}
		if _, err := left.Receive(); !errors.Is(err, ErrClosed) {
			t.Errorf("receive after close: got %v, want ErrClosed", err)
		}
		left.Close()
		right.Close()
	})
}

func TestConnCloseWakesReceive(t *testing.T) {
	overStreams(t, func(t *testing.T, a, b net.Conn) {
		defer b.Close()
		c := NewConn(a)
		got := make(chan error)
		go func() {
			_, err := c.Receive()
			got <- err
		}()
		c.Close()
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

// Nobody reads at the other end: Send never waits, Close not for long.
func TestConnCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		c := NewConn(a)
		if err := c.Send(&Bye{"nobody listens"}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		c.Close()
		if got := time.Since(start); got != closeWait {
			t.Errorf("close took %v, want %v", got, closeWait)
		}
	})
}

func TestConnSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		c := NewConn(a)
		if err := c.Send(&Hello{Node: node(1)}); err != nil {
			t.Fatal(err)
		}
		m := &AskEntries{make([]string, 16)}
		for i := range m.Paths {
			m.Paths[i] = longest
		}
		var err error
		sent := 0
		for err == nil && sent < 100<<20 {
			if err = c.Send(m); err == nil {
				sent += len(m.Paths) * MaxPath
			}
		}
		if !errors.Is(err, ErrSlow) || sent < 60<<20 || sent > maxQueued {
			t.Errorf("got %v after %d bytes, want ErrSlow at %d", err, sent, maxQueued)
		}
		if err := c.Send(&Bye{}); !errors.Is(err, ErrSlow) {
			t.Errorf("send: got %v, want ErrSlow", err)
		}
		if _, err := c.Receive(); !errors.Is(err, ErrSlow) {
			t.Errorf("receive: got %v, want ErrSlow", err)
		}
		start := time.Now()
		c.Close()
		if got := time.Since(start); got != 0 {
			t.Errorf("close took %v", got)
		}
	})
}

func TestConnDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewConn(a)
		m := &AskEntries{[]string{strings.Repeat("a", 50<<10)}}
		for range 20 {
			if err := c.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		select {
		case <-c.Drained():
			t.Errorf("drained with %d bytes queued", c.Queued())
		default:
		}
		queued := c.Queued()
		go io.Copy(io.Discard, b)
		<-c.Drained()
		if got := c.Queued(); queued < 1000<<10 || got >= lowQueued {
			t.Errorf("drained from %d to %d bytes, want from more than 1000 KiB to less than %d", queued, got, lowQueued)
		}
		synctest.Wait()
		if got := c.Queued(); got != 0 {
			t.Errorf("%d bytes left in the queue", got)
		}
		c.Close()
		b.Close()
	})
}

// The peer says why it leaves and hangs up; writing to it fails before that is read.
func TestConnLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var words bytes.Buffer
		frame, err := appendFrame(nil, &Bye{"because"}, MaxFrame)
		if err != nil {
			t.Fatal(err)
		}
		words.Write(frame)
		broken := errors.New("connection reset")
		s := &halfStream{Reader: &words, err: broken, closed: make(chan struct{})}
		c := NewConn(s)
		if err := c.Send(&Expand{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := c.Send(&Expand{}); !errors.Is(err, broken) {
			t.Errorf("send: got %v, want %v", err, broken)
		}
		if m, err := c.Receive(); err != nil || m.(*Bye).Reason != "because" {
			t.Errorf("got %v, %v; want the bye", m, err)
		}
		if _, err := c.Receive(); err != io.EOF {
			t.Errorf("got %v, want io.EOF", err)
		}
		select {
		case <-s.closed:
			t.Error("closed at once")
		case <-time.After(closeWait - 1):
		}
		<-s.closed // though nobody called Close
		c.Close()
	})
}

// A halfStream can be read only.
type halfStream struct {
	io.Reader
	err    error
	closed chan struct{}
}

func (s *halfStream) Write([]byte) (int, error) { return 0, s.err }
func (s *halfStream) Close() error              { close(s.closed); return nil }

func TestConnRefusesToSend(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := NewConn(a)
	defer c.Close()
	go io.Copy(io.Discard, b)

	var long *TooLong
	if err := c.Send(&AskEntries{[]string{longest}}); !errors.As(err, &long) || long.Kind != KindAskEntries {
		t.Errorf("first message of more than MaxHello: got %v, want TooLong", err)
	}
	if err := c.Send(&Hello{}); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("malformed: got %v, want ErrFormat", err)
	}
	if err := c.Send(&Hello{Node: node(1)}); err != nil {
		t.Errorf("after refusals: %v", err)
	}
	if err := c.Send(&AskEntries{[]string{longest}}); err != nil {
		t.Errorf("second message of more than MaxHello: %v", err)
	}
	var paths []string
	for range MaxFrame / MaxPath {
		paths = append(paths, longest)
	}
	if err := c.Send(&AskEntries{paths}); !errors.As(err, &long) || long.Max != MaxFrame {
		t.Errorf("more than MaxFrame: got %v, want TooLong", err)
	}
	if c.Send(&Unknown{99}) == nil || c.Send(&ListRequest{Path: "a"}) == nil {
		t.Error("sent what is no message of a control stream")
	}
}

func TestConnRefusesToReceive(t *testing.T) {
	hello := mustFrame(&Hello{Node: node(1)})
	big := mustFrame(&AskEntries{[]string{longest}})
	rows := []struct {
		name  string
		bytes []byte
		good  int                // messages before the error
		want  func(e error) bool // nil: io.EOF
	}{
		{"nothing", nil, 0, nil},
		{"long hello", big, 0, isTooLong},
		{"long second", append(bytes.Clone(hello), big...), 2, nil},
		{"unknown kind", append([]byte{3, 0xf2, 7, 0}, hello...), 2, nil},
		{"over-long", append(bytes.Clone(hello), 0x81, 0x80, 0x80, 2, byte(KindRoot)<<3|2), 1, isTooLong},
		{"garbage", []byte{5, 1, 2, 3, 4, 5}, 0, isFormat},
		{"empty frame", []byte{0}, 0, isFormat},
		{"cut", hello[:len(hello)-1], 0, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
	}
	for _, row := range rows {
		c := NewConn(&halfStream{Reader: bytes.NewReader(row.bytes), closed: make(chan struct{})})
		good := 0
		var err error
		for err == nil {
			if _, err = c.Receive(); err == nil {
				good++
			}
		}
		ok := err == io.EOF
		if row.want != nil {
			ok = row.want(err)
		}
		if !ok || good != row.good {
			t.Errorf("%s: got %v after %d messages, want %d", row.name, err, good, row.good)
		}
		c.Close()
	}
}

func isFormat(err error) bool { return errors.Is(err, merkle.ErrFormat) }

func isTooLong(err error) bool {
	var long *TooLong
	return errors.As(err, &long)
}

func mustFrame(m Message) []byte {
	frame, err := appendFrame(nil, m, MaxFrame)
	if err != nil {
		panic(err)
	}
	return frame
}
