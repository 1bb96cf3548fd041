package syncproto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"resonate/merkle"
)

// lying calls f with a Fetcher whose first request is answered with the bytes reply, and with nothing more.
func lying(t *testing.T, reply []byte, f func(f *Fetcher)) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		if _, err := newFrameReader(b).next(maxBlockFrame); err != nil {
			t.Error(err)
		}
		_, _ = b.Write(reply) // the other end may have had enough
	}()
	fetcher := NewFetcher(a)
	f(fetcher)
	fetcher.Close()
	<-done
}

func frames(messages ...Message) (b []byte) {
	for _, m := range messages {
		b = append(b, mustFrame(m)...)
	}
	return b
}

func TestFetchFromLiar(t *testing.T) {
	data := []byte("the truth")
	want := Want{Path: "a", Block: merkle.Block{Hash: merkle.HashBlock(data), Size: uint32(len(data))}}
	good := &BlockReply{Status: OK, Data: data}
	rows := []struct {
		name  string
		reply []byte
		first error              // of the first want
		end   func(e error) bool // of the call; nil: none
	}{
		{"honest", frames(good, good), nil, nil},
		{"wrong data", frames(&BlockReply{Status: OK, Data: []byte("a fiction")}, good), ErrWrongHash, nil},
		{"short data", frames(&BlockReply{Status: OK, Data: data[:3]}, good), ErrWrongHash, nil},
		{"long data", frames(&BlockReply{Status: OK, Data: make([]byte, merkle.MaxBlock)}, good), ErrWrongHash, nil},
		{"no data", frames(&BlockReply{Status: OK}, good), ErrWrongHash, nil},
		{"status of the future", frames(&BlockReply{Status: 77, Data: data}, good), ErrFailed, nil},
		{"codec of the future", frames(&BlockReply{Status: OK, Data: data, Codec: 9}, good), errors.ErrUnsupported, nil},
		{"one reply", frames(good), nil, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"half a reply", frames(good, good)[:20], nil, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"other kind", frames(good, &ListReply{Status: OK, Last: true}), nil, isFormat},
		{"unknown kind", append(frames(good), 3, 0xf2, 7, 0), nil, isFormat},
		{"garbage", append(frames(good), 3, 1, 2, 3), nil, isFormat},
		{"over-long", append(frames(good), 0xff, 0xff, 0xff, 0x7f), nil, isTooLong},
	}
	for _, row := range rows {
		lying(t, row.reply, func(f *Fetcher) {
			var got []error
			err := f.Blocks([]Want{want, want}, func(i int, data []byte, err error) error {
				if (err == nil) != (string(data) == "the truth") {
					t.Errorf("%s: got %q, %v", row.name, data, err)
				}
				got = append(got, err)
				return nil
			})
			if len(got) == 0 || !errors.Is(got[0], row.first) {
				t.Errorf("%s: got %v, want %v first", row.name, got, row.first)
			}
			if row.end == nil && err != nil || row.end != nil && !row.end(err) {
				t.Errorf("%s: the call ended with %v", row.name, err)
			}
		})
	}
}

// Replies beyond those asked for end the stream before they can be taken for others.
func TestFetchExtraReplies(t *testing.T) {
	data := []byte("the truth")
	want := Want{Path: "a", Block: merkle.Block{Hash: merkle.HashBlock(data), Size: uint32(len(data))}}
	good := &BlockReply{Status: OK, Data: data}
	lying(t, frames(good, good), func(f *Fetcher) {
		if err := f.Blocks([]Want{want}, func(_ int, _ []byte, err error) error { return err }); err != nil {
			t.Error(err)
		}
		if _, err := f.List("a", hash(1), 1, nil); !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("got %v, want ErrFormat", err)
		}
	})
}

func TestListFromLiar(t *testing.T) {
	block := merkle.Block{Hash: hash(1), Size: 10}
	list := merkle.BlockList{block}
	one := []Edit{{New: list}}
	other := []Edit{{New: merkle.BlockList{{Hash: hash(2), Size: 10}}}}
	base := merkle.BlockList{{Hash: hash(2), Size: 3}, {Hash: hash(3), Size: 4}}
	rows := []struct {
		name  string
		reply []byte
		want  func(error) bool // nil: no error
	}{
		{"honest", frames(&ListReply{Status: OK, Total: 1, Edits: one, Last: true}), nil},
		{"wrong list", frames(&ListReply{Status: OK, Total: 1, Edits: []Edit{{Index: 1, Count: 1}}, Last: true}),
			func(err error) bool { return errors.Is(err, ErrWrongHash) }},
		{"other list", frames(&ListReply{Status: OK, Total: 1, Edits: other, Last: true}),
			func(err error) bool { return errors.Is(err, ErrWrongHash) }},
		{"too many", frames(&ListReply{Status: OK, Total: 2, Edits: one}), isFormat},
		{"more than told", frames(&ListReply{Status: OK, Total: 0, Edits: one, Last: true}), isFormat},
		{"less than told", frames(&ListReply{Status: OK, Total: 1, Last: true}), isFormat},
		{"gap", frames(&ListReply{Status: OK, Total: 1, From: 1, Edits: one, Last: true}), isFormat},
		{"beyond base", frames(&ListReply{Status: OK, Total: 1, Edits: []Edit{{Index: 2, Count: 1}}, Last: true}), isFormat},
		{"far beyond base", frames(&ListReply{Status: OK, Total: 1, Edits: []Edit{{Index: 1<<64 - 1, Count: 2}}}), isFormat},
		{"much of base", frames(&ListReply{Status: OK, Total: 1, Edits: []Edit{{Count: 1<<64 - 1}}}), isFormat},
		{"all of base", frames(&ListReply{Status: OK, Total: 1, Edits: []Edit{{Count: 2}}}), isFormat},
		{"no end", frames(&ListReply{Status: OK, Total: 1, Edits: one}),
			func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"other kind", frames(&BlockReply{Status: OK}), isFormat},
	}
	for _, row := range rows {
		lying(t, row.reply, func(f *Fetcher) {
			got, err := f.List("a", list.Root(), 10, base)
			if row.want == nil && (err != nil || len(got) != 1) || row.want != nil && !row.want(err) {
				t.Errorf("%s: got %v, %v", row.name, got, err)
			}
		})
	}
}

func TestServeRefuses(t *testing.T) {
	rows := []struct {
		name     string
		requests []byte
		want     func(error) bool // nil: no error
	}{
		{"nothing", nil, nil},
		{"request for nothing", frames(&BlockRequest{}), nil},
		{"cut", frames(&ListRequest{Path: "a"})[:3], func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"garbage", []byte{3, 1, 2, 3}, isFormat},
		{"reply", frames(&BlockReply{Status: OK}), isFormat},
		{"unknown kind", []byte{3, 0xf2, 7, 0}, isFormat},
		{"control message", frames(&Accept{}), isFormat},
		{"over-long", []byte{0xff, 0xff, 0xff, 0x7f}, isTooLong},
	}
	for _, row := range rows {
		var replies bytes.Buffer
		err := Serve(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(row.requests), &replies}, newMemSource())
		if row.want == nil && err != nil || row.want != nil && !row.want(err) || replies.Len() > 0 {
			t.Errorf("%s: got %v and %d bytes of replies", row.name, err, replies.Len())
		}
	}
}
