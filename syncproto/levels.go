package syncproto

import (
	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// AskLevels asks for the levels of the peer's tree at at most MaxPlaces places.
type AskLevels struct{ Places []merkle.Place }

// Levels are answers to AskLevels, in the order asked, over as many messages as it takes; at most MaxPlaces in each.
type Levels struct{ List []merkle.Level }

// AskEntries asks for the announcements of entries at at most MaxPaths paths.
type AskEntries struct{ Paths []string }

// AskSubtrees asks for the announcements of all entries below at most MaxPaths paths.
type AskSubtrees struct{ Paths []string }

// Field numbers; part of the format.
const (
	askPlace = 1 // repeated message: a level of fields 1 and 2

	levelsLevel   = 1 // repeated message
	levelDir      = 1
	levelPrefix   = 2 // one byte a nibble
	levelItem     = 3 // repeated message
	levelBranches = 4 // sixteen hashes in a row

	itemName  = 1
	itemEntry = 2
	itemBelow = 3

	askPath = 1 // repeated
)

func (m *AskLevels) kind() Kind { return KindAskLevels }

func (m *AskLevels) append(b []byte) []byte {
	for _, p := range m.Places {
		b = appendMessage(b, askPlace, func(b []byte) []byte { return appendPlace(b, p) })
	}
	return b
}

func (m *AskLevels) field(f merkle.Field) error {
	if f.Number != askPlace {
		return nil
	}
	if len(m.Places) == MaxPlaces {
		return malformed("more than %d places", MaxPlaces)
	}
	var p merkle.Place
	err := takeMessage(f, func(f merkle.Field) error { return placeField(f, &p) })
	m.Places = append(m.Places, p)
	return err
}

func (m *AskLevels) check() error {
	if len(m.Places) > MaxPlaces {
		return malformed("more than %d places", MaxPlaces)
	}
	for _, p := range m.Places {
		if err := checkLevel(merkle.Level{Place: p}); err != nil {
			return err
		}
	}
	return nil
}

func appendPlace(b []byte, p merkle.Place) []byte {
	b = merkle.AppendBytes(b, levelDir, p.Dir)
	return merkle.AppendBytes(b, levelPrefix, p.Prefix)
}

func placeField(f merkle.Field, p *merkle.Place) error {
	switch f.Number {
	case levelDir:
		return takeString(f, &p.Dir)
	case levelPrefix:
		return takeString(f, &p.Prefix)
	}
	return nil
}

func (m *Levels) kind() Kind { return KindLevels }

func (m *Levels) append(b []byte) []byte {
	for i := range m.List {
		b = appendMessage(b, levelsLevel, func(b []byte) []byte { return appendLevel(b, &m.List[i]) })
	}
	return b
}

func appendLevel(b []byte, l *merkle.Level) []byte {
	b = appendPlace(b, l.Place)
	for i := range l.Items {
		b = appendMessage(b, levelItem, func(b []byte) []byte { return appendItem(b, &l.Items[i]) })
	}
	if l.Branches == nil {
		return b
	}
	return appendMessage(b, levelBranches, func(b []byte) []byte {
		for i := range l.Branches {
			b = append(b, l.Branches[i][:]...)
		}
		return b
	})
}

func appendItem(b []byte, i *merkle.Item) []byte {
	b = merkle.AppendBytes(b, itemName, i.Name)
	b = appendArray(b, itemEntry, i.Entry[:])
	return appendArray(b, itemBelow, i.Below[:])
}

func (m *Levels) field(f merkle.Field) error {
	if f.Number != levelsLevel {
		return nil
	}
	if len(m.List) == MaxPlaces {
		return malformed("more than %d levels", MaxPlaces)
	}
	var l merkle.Level
	err := takeMessage(f, func(f merkle.Field) error { return levelField(f, &l) })
	m.List = append(m.List, l)
	return err
}

func levelField(f merkle.Field, l *merkle.Level) error {
	switch f.Number {
	case levelItem:
		if len(l.Items) == merkle.MaxItems {
			return malformed("more than %d items", merkle.MaxItems)
		}
		var item merkle.Item
		err := takeMessage(f, func(f merkle.Field) error { return itemField(f, &item) })
		l.Items = append(l.Items, item)
		return err
	case levelBranches:
		var row [16 * merkle.HashSize]byte
		if err := takeArray(f, row[:]); err != nil {
			return err
		}
		l.Branches = new([16]merkle.Hash)
		for i := range l.Branches {
			l.Branches[i] = merkle.Hash(row[i*merkle.HashSize:])
		}
		return nil
	}
	return placeField(f, &l.Place)
}

func itemField(f merkle.Field, i *merkle.Item) error {
	switch f.Number {
	case itemName:
		return takeString(f, &i.Name)
	case itemEntry:
		return takeArray(f, i.Entry[:])
	case itemBelow:
		return takeArray(f, i.Below[:])
	}
	return nil
}

func (m *Levels) check() error {
	if len(m.List) > MaxPlaces {
		return malformed("more than %d levels", MaxPlaces)
	}
	for _, l := range m.List {
		if err := checkLevel(l); err != nil {
			return err
		}
	}
	return nil
}

// checkLevel adds to merkle's own check what bounds the exchange: paths that still fit with a name behind them, and a
// trie that ends where the hashes of names do.
func checkLevel(l merkle.Level) error {
	if err := l.Check(); err != nil {
		return err
	}
	if l.Dir != "" {
		if err := checkPath(l.Dir); err != nil {
			return err
		}
	}
	if l.Branches != nil && len(l.Prefix) >= 2*merkle.HashSize-1 {
		return malformed("trie deeper than the %d nibbles of a hash", 2*merkle.HashSize)
	}
	for _, i := range l.Items {
		if len(i.Name) > MaxName || len(l.Dir)+1+len(i.Name) > MaxPath {
			return malformed("name of %d bytes in %.200q", len(i.Name), l.Dir)
		}
	}
	return nil
}

func (m *AskEntries) kind() Kind { return KindAskEntries }

func (m *AskEntries) append(b []byte) []byte { return appendPaths(b, m.Paths) }

func (m *AskEntries) field(f merkle.Field) error { return pathField(f, &m.Paths) }

func (m *AskEntries) check() error { return checkPaths(m.Paths) }

func (m *AskSubtrees) kind() Kind { return KindAskSubtrees }

func (m *AskSubtrees) append(b []byte) []byte { return appendPaths(b, m.Paths) }

func (m *AskSubtrees) field(f merkle.Field) error { return pathField(f, &m.Paths) }

func (m *AskSubtrees) check() error { return checkPaths(m.Paths) }

func appendPaths(b []byte, paths []string) []byte {
	for _, p := range paths {
		b = merkle.AppendBytes(b, askPath, p)
	}
	return b
}

func pathField(f merkle.Field, paths *[]string) error {
	if f.Number != askPath {
		return nil
	}
	if len(*paths) == MaxPaths {
		return malformed("more than %d paths", MaxPaths)
	}
	*paths = append(*paths, string(f.Bytes))
	return expect(f, protowire.BytesType)
}

func checkPaths(paths []string) error {
	if len(paths) > MaxPaths {
		return malformed("more than %d paths", MaxPaths)
	}
	for _, p := range paths {
		if err := checkPath(p); err != nil {
			return err
		}
	}
	return nil
}
