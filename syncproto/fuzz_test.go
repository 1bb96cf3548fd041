package syncproto

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"resonate/merkle"
)

// decoding must not cost more memory than this: a share for each byte, and what the fuzzer itself needs meanwhile.
func allowed(n int) uint64 { return uint64(n)*64 + 16<<20 }

// fuzzDecode checks that frame is refused or stands for a message that encodes to what means the same.
func fuzzDecode(t *testing.T, frame []byte, fresh func(Kind) Message) {
	var m Message
	var err error
	if got := allocatedBy(func() { m, err = decode(frame, fresh) }); got > allowed(len(frame)) {
		t.Errorf("%d bytes allocated for a frame of %d", got, len(frame))
	}
	if err != nil {
		if !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("got %v, want ErrFormat", err)
		}
		return
	}
	if _, unknown := m.(*Unknown); unknown {
		return
	}
	again, err := decode(envelope(t, m), fresh)
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("got %+v, %v; want %+v", again, err, m)
	}
}

// seed adds every sample but the long ones, on which the fuzzer would spend all its time.
func seed(f *testing.F, samples []sample) {
	for _, s := range samples {
		if b := envelope(f, s.m); len(b) < 4<<10 {
			f.Add(b)
		}
	}
}

func FuzzDecodeControl(f *testing.F) {
	seed(f, append(controlSamples(), treeSamples()...))
	f.Fuzz(func(t *testing.T, frame []byte) { fuzzDecode(t, frame, newControl) })
}

// FuzzDecodeBlockStream takes bytes for a message of a block stream, for requests to a server, and for the replies of
// one.
func FuzzDecodeBlockStream(f *testing.F) {
	seed(f, blockSamples())
	f.Add(frames(&BlockReply{Status: OK, Data: []byte("the truth")}, &BlockReply{Status: Gone}))
	f.Add(frames(&BlockReply{Status: OK, Data: zstdOf(f, []byte("the truth")), Codec: codecZstd}, &BlockReply{Status: Gone}))
	f.Add(frames(&ListRequest{Path: "a"}, &BlockRequest{Wants: []Want{{Path: "a", Block: merkle.Block{Size: 1}}}}))
	f.Add(frames(&ListReply{Status: OK, Total: 3, Edits: []Edit{{Index: 1, Count: 3}}, Last: true}))
	data := []byte("the truth")
	want := Want{Path: "a", Block: merkle.Block{Hash: merkle.HashBlock(data), Size: uint32(len(data))}}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzDecode(t, b, newBlock)
		src := newMemSource()
		src.add(t, "a", data)
		_ = Serve(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), io.Discard}, src)
		if n := src.open.Load(); n != 0 {
			t.Errorf("%d files left open", n)
		}
		_ = NewFetcher(replay{bytes.NewReader(b)}).Blocks([]Want{want, want}, func(_ int, got []byte, err error) error {
			if err == nil && !bytes.Equal(got, data) {
				t.Errorf("got %q", got)
			}
			return nil
		})
		base := manyBlocks(10)
		list, err := NewFetcher(replay{bytes.NewReader(b)}).List("a", hash(1), 1<<20, base)
		if err == nil {
			t.Errorf("got a list of %d blocks with a root that nothing has", len(list))
		}
	})
}

// A replay is a stream on which the replies are there before the requests.
type replay struct{ io.Reader }

func (replay) Write(b []byte) (int, error) { return len(b), nil }
func (replay) Close() error                { return nil }
