package syncproto

import (
	"fmt"
	"net"
	"testing"

	"resonate/merkle"
)

func thousand() *Announcements {
	var m Announcements
	for i := range 1000 {
		content := hash(byte(i))
		e := fileEntry(content, 4096, merkle.Stamp(1.7e15)+merkle.Stamp(i))
		m.List = append(m.List, Announcement{
			Seq: uint64(i), Path: fmt.Sprintf("some/directory/file-%d.txt", i), Entry: e,
			Blocks: merkle.BlockList{{Hash: content, Size: 4096}},
		})
	}
	return &m
}

func BenchmarkEncodeThousandAnnouncements(b *testing.B) {
	m := thousand()
	var buf []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = appendFrame(buf[:0], m, MaxFrame); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeThousandAnnouncements(b *testing.B) {
	frame := envelope(b, thousand())
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(frame, newControl); err != nil {
			b.Fatal(err)
		}
	}
}

// blockReply is a reply with a block of the average size.
func blockReply() *BlockReply { return &BlockReply{Status: OK, Data: randomData(1, merkle.AvgBlock)} }

func BenchmarkEncodeBlockReply(b *testing.B) {
	m := blockReply()
	var buf []byte
	var err error
	b.SetBytes(merkle.AvgBlock)
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = appendFrame(buf[:0], m, MaxFrame); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeBlockReply does not touch the block, which stays where the frame has it.
func BenchmarkDecodeBlockReply(b *testing.B) {
	frame := envelope(b, blockReply())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(frame, newBlock); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch fetches 64 MiB over loopback TCP, the server in the same process.
func BenchmarkFetch(b *testing.B) {
	src := newMemSource()
	wants := src.add(b, "large", randomData(1, 64<<20))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(server, src) }()
	f := NewFetcher(client)
	b.SetBytes(64 << 20)
	for b.Loop() {
		if err := f.Blocks(wants, func(_ int, _ []byte, err error) error { return err }); err != nil {
			b.Fatal(err)
		}
	}
	f.Close()
	if err := <-served; err != nil {
		b.Error(err)
	}
	server.Close()
}
