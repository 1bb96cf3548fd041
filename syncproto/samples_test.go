package syncproto

import (
	"math"
	"strings"

	"resonate/merkle"
)

// A sample is a message that a peer may send.
type sample struct {
	name string
	m    Message
}

func hash(c byte) (h merkle.Hash) {
	for i := range h {
		h[i] = c + byte(i)
	}
	return h
}

func node(c byte) (n merkle.NodeID) {
	for i := range n {
		n[i] = c
	}
	return n
}

func fileEntry(content merkle.Hash, size int64, stamp merkle.Stamp) *merkle.Entry {
	return &merkle.Entry{
		Attributes: merkle.Attributes{Kind: merkle.File, Mode: 0o644, Size: size, MTime: 1.7e18, Content: content},
		Version: merkle.Version{
			Vector: merkle.Vector{{Node: node(1), Stamp: stamp}}, Author: node(1), Stamp: stamp,
		},
	}
}

func dirEntry(stamp merkle.Stamp) *merkle.Entry {
	e := fileEntry(merkle.Hash{}, 0, stamp)
	e.Attributes = merkle.Attributes{Kind: merkle.Dir, Mode: 0o755}
	return e
}

var (
	vector  = merkle.Vector{{Node: node(1), Stamp: 5}, {Node: node(2), Stamp: math.MaxUint64}}
	members = []Known{{Node: node(1), Seen: vector}, {Node: node(3)}}
	longest = strings.Repeat("p", MaxPath)
	xattrs  = []merkle.Xattr{{Name: "user.a", Value: []byte("b")}}
)

// samples returns messages of every kind: with next to nothing in them, usual ones, extreme ones.
func samples() []sample {
	return append(append(controlSamples(), treeSamples()...), blockSamples()...)
}

func controlSamples() []sample {
	odd := fileEntry(hash(7), 3, 9)
	odd.Xattrs, odd.Owner, odd.Link = xattrs, "root:root", hash(8)
	hint := dirEntry(9)
	return []sample{
		{"hello-least", &Hello{Node: node(1)}},
		{"hello", &Hello{
			Protocol: 1, Node: node(1), Instance: node(2), Name: "laptop", Software: "resonate 1.0",
			Folder: FolderID(node(3)), Shared: true, SharedAt: 1.7e9, Highest: 12345, Members: members,
			Horizon: vector, Root: hash(1),
		}},
		{"hello-extreme", &Hello{
			Protocol: math.MaxUint32, Node: node(255), SharedAt: math.MinInt64, Highest: math.MaxUint64,
			Name: strings.Repeat("n", MaxText), Software: strings.Repeat("\xff", MaxText),
		}},
		{"hello-sends-only", &Hello{Node: node(1), SendsOnly: true}},
		{"accept-least", &Accept{}},
		{"accept", &Accept{FolderID(node(3))}},
		{"announcements-least", &Announcements{}},
		{"announcements", &Announcements{[]Announcement{
			{Seq: 1, Path: "a/b", Entry: fileEntry(hash(1), 5, 7), Data: []byte("hello")},
			{Seq: 2, Path: "c", Entry: odd, Blocks: merkle.BlockList{{Hash: hash(2), Size: 3}}, BlockCount: 1},
			{Seq: 3, Path: "d", Entry: hint, Hint: -1, Below: 300},
			{Path: "e", Entry: fileEntry(hash(3), math.MaxInt64, math.MaxUint64), BlockCount: math.MaxUint64},
		}}},
		{"announcements-difference", &Announcements{[]Announcement{{
			Seq: 5, Path: "a", Entry: fileEntry(hash(1), 5, 7), BlockCount: 3,
			Difference: &Difference{Base: hash(2), Edits: []Edit{{Index: 1, Count: 2}, {New: merkle.BlockList{{Hash: hash(3), Size: 4}}}}},
		}}}},
		{"announcements-extreme", &Announcements{[]Announcement{{
			Seq: math.MaxUint64, Path: longest, Entry: odd, Hint: math.MinInt64, Blocks: manyBlocks(MaxBlocks),
			BlockCount: MaxBlocks, Data: make([]byte, MaxInline),
		}}}},
		{"move", &Move{
			Seq: 1, From: "a", To: "b/c", State: hash(1), Author: node(1), Stamp: 3,
			Token: merkle.Token{Generation: 1, Index: 2},
		}},
		{"move-extreme", &Move{
			Seq: math.MaxUint64, From: longest, To: longest, Stood: hash(2), Stamp: math.MaxUint64,
			Token: merkle.Token{Generation: math.MaxUint64, Index: math.MaxUint64},
		}},
		{"removeall", &RemoveAll{
			Seq: 1, Path: "a", State: hash(1), Author: node(1), Stamp: 3,
			Token: merkle.Token{Generation: 1, Index: 2},
		}},
		{"expand-least", &Expand{}},
		{"expand", &Expand{math.MaxUint64}},
		{"ack-least", &Ack{}},
		{"ack", &Ack{[]uint64{0, 1, 300, math.MaxUint64}}},
		{"root-least", &Root{}},
		{"root", &Root{State: hash(1), Content: hash(2), Members: members, Horizon: vector}},
		{"bye-least", &Bye{}},
		{"bye", &Bye{"going home"}},
		{"bye-extreme", &Bye{strings.Repeat("r", MaxReason)}},
		{"offer-least", &Offer{Path: "a", Name: hash(1)}},
		{"offer", &Offer{Path: "a/b", Name: hash(1), Size: 1 << 20, From: 3, Blocks: merkle.BlockList{{Hash: hash(2), Size: 5}}}},
		{"offer-extreme", &Offer{
			Path: longest, Name: hash(1), Size: math.MaxInt64, From: math.MaxInt64/merkle.MinBlock + 1, Blocks: manyBlocks(MaxOffered),
		}},
		{"members-least", &Members{}},
		{"members", &Members{[]byte("statements")}},
		{"barrier-least", &Barrier{}},
		{"barrier", &Barrier{ID: math.MaxUint64, Passed: true}},
	}
}

func treeSamples() []sample {
	var branches [16]merkle.Hash
	branches[3], branches[15] = hash(1), hash(2)
	list := merkle.Level{
		Place: merkle.Place{Dir: "a/b", Prefix: "\x00\x0f"},
		Items: []merkle.Item{{Name: "x", Entry: hash(1)}, {Name: "y", Below: hash(2)}},
	}
	return []sample{
		{"asklevels-least", &AskLevels{}},
		{"asklevels", &AskLevels{[]merkle.Place{{}, {Dir: "a/b", Prefix: "\x00\x0f"}}}},
		{"asklevels-extreme", &AskLevels{[]merkle.Place{{Dir: longest, Prefix: strings.Repeat("\x0f", 63)}}}},
		{"levels-least", &Levels{}},
		{"levels", &Levels{[]merkle.Level{{}, list, {Branches: &branches}}}},
		{"askentries-least", &AskEntries{}},
		{"askentries", &AskEntries{[]string{"a", "b/c", longest}}},
		{"asksubtrees-least", &AskSubtrees{}},
		{"asksubtrees", &AskSubtrees{[]string{"a", "b/c"}}},
	}
}

func blockSamples() []sample {
	block := merkle.Block{Hash: hash(1), Size: merkle.MaxBlock}
	return []sample{
		{"listrequest", &ListRequest{Path: "a/b", Content: hash(1), Base: hash(2)}},
		{"listrequest-least", &ListRequest{Path: "a"}},
		{"listreply", &ListReply{Status: OK, Total: 10, From: 4, Edits: []Edit{
			{Index: 3, Count: 2}, {Count: 1}, {New: merkle.BlockList{block, {Hash: hash(2), Size: 1}}},
		}}},
		{"listreply-gone", &ListReply{Status: Gone, Last: true}},
		{"listreply-extreme", &ListReply{Status: OK, Total: math.MaxUint64, From: math.MaxUint64, Edits: []Edit{
			{Index: math.MaxUint64, Count: math.MaxUint64}, {New: manyBlocks(MaxBlocks)},
		}}},
		{"blockrequest-least", &BlockRequest{}},
		{"blockrequest", &BlockRequest{Wants: []Want{
			{Path: "a", Content: hash(3), Block: block},
			{Path: "a", Content: hash(3), Offset: math.MaxInt64, Block: merkle.Block{Size: 1}},
		}}},
		{"blockrequest-codec", &BlockRequest{Wants: []Want{{Path: "a", Block: block}}, Codec: 1}},
		{"blockreply", &BlockReply{Status: OK, Data: []byte("data")}},
		{"blockreply-failed", &BlockReply{Status: Failed}},
		{"blockreply-extreme", &BlockReply{Status: 255, Data: make([]byte, merkle.MaxBlock), Codec: math.MaxUint32}},
	}
}

func manyBlocks(n int) merkle.BlockList {
	list := make(merkle.BlockList, n)
	for i := range list {
		list[i] = merkle.Block{Hash: merkle.HashBlock([]byte{byte(i), byte(i >> 8)}), Size: uint32(i%100 + 1)}
	}
	return list
}

// fresh makes the messages of the sort of stream that m belongs to.
func fresh(m Message) func(Kind) Message {
	if m.kind() < 32 {
		return newControl
	}
	return newBlock
}
