package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"resonate/beneath"
)

// marksPath is where it is written down which files are marked: in the folder, whose modes it is about. A line "+ INODE BITS PATH" stands
// for a file that has lost these bits of its mode (octal), or is about to; "- INODE" for one that has them back. PATH is quoted as Go does.
const marksPath = StateDir + "/marked"

// Bounds of that file, in bytes.
const (
	maxMarksFile  = 64 << 20 // that is read
	fullMarksFile = 8 << 20  // from which on it is written anew
)

// markFile is that file.
type markFile struct {
	f    *os.File // nil: not opened yet
	size int64    // of the lines that are whole
}

// read returns the marks in the file, none where there is no file.
func (m *markFile) read(root *beneath.Root) ([]*lockMark, error) {
	f, err := root.OpenFile(marksPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(f, maxMarksFile))
		f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("read which files are marked as locked: %w; make it readable for this user", err)
	}
	m.size = int64(bytes.LastIndexByte(text, '\n') + 1)
	return parseMarks(text), nil
}

// parseMarks returns the marks that stand. A line that is not whole is of marks that were never made: those wait for it.
func parseMarks(text []byte) []*lockMark {
	var order []uint64
	marks := make(map[uint64]*lockMark)
	for line := range bytes.Lines(text) {
		what, rest, _ := strings.Cut(string(line), " ")
		rest, whole := strings.CutSuffix(rest, "\n")
		if !whole {
			break
		}
		switch what {
		case "+":
			if mark := parseMark(rest); mark != nil {
				if marks[mark.inode] == nil {
					order = append(order, mark.inode)
				}
				marks[mark.inode] = mark
			}
		case "-":
			if inode, err := strconv.ParseUint(rest, 10, 64); err == nil {
				delete(marks, inode)
			}
		}
	}
	var out []*lockMark
	for _, inode := range order {
		if mark := marks[inode]; mark != nil {
			out = append(out, mark)
			delete(marks, inode)
		}
	}
	return out
}

// parseMark reads "INODE BITS PATH"; nil: it is none.
func parseMark(text string) *lockMark {
	f := strings.SplitN(text, " ", 3)
	if len(f) != 3 {
		return nil
	}
	inode, err1 := strconv.ParseUint(f[0], 10, 64)
	bits, err2 := strconv.ParseUint(f[1], 8, 32)
	path, err3 := strconv.Unquote(f[2])
	if errors.Join(err1, err2, err3) != nil || bits == 0 || bits&^writeBits != 0 || beneath.Valid(path) != nil {
		return nil
	}
	return &lockMark{path: path, inode: inode, bits: uint32(bits)}
}

func (m *lockMark) line() string {
	return fmt.Sprintf("+ %d %o %s\n", m.inode, m.bits, strconv.Quote(m.path))
}

// add writes down, durably, that files are about to be marked.
func (m *markFile) add(root *beneath.Root, marks []*lockMark) error {
	var text []byte
	for _, mark := range marks {
		text = append(text, mark.line()...)
	}
	if err := m.append(root, text); err != nil {
		return err
	}
	return m.f.Sync()
}

// drop writes down lines about marks that are undone; last tells that none is left.
func (m *markFile) drop(root *beneath.Root, lines []byte, last bool) error {
	if !last {
		return m.append(root, lines)
	}
	if err := m.open(root); err != nil {
		return err
	}
	m.size = 0
	return m.f.Truncate(0)
}

func (m *markFile) append(root *beneath.Root, lines []byte) error {
	if err := m.open(root); err != nil {
		return err
	}
	_, err := m.f.WriteAt(lines, m.size)
	if err == nil {
		m.size += int64(len(lines))
	}
	return err
}

// open opens the file for writing, and makes it where there is none.
func (m *markFile) open(root *beneath.Root) error {
	if err := root.At("mark.note"); err != nil {
		return err
	}
	if m.f != nil {
		return nil
	}
	f, err := root.Reopen("mark.open", marksPath)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = root.Create("mark.create", marksPath, 0o600); err == nil {
			err = root.SyncFS() // its name is to be durable, too
		}
	}
	if err == nil {
		m.f = f
		err = f.Truncate(m.size) // what is not whole goes
	}
	return err
}

// shorten writes a long file anew, with the marks that stand.
func (m *markFile) shorten(p *place, marks map[uint64]*lockMark) error {
	if m.size < fullMarksFile {
		return nil
	}
	var text strings.Builder
	for _, mark := range marks {
		text.WriteString(mark.line())
	}
	if err := p.replaceSmall(marksPath, text.String()); err != nil {
		return err
	}
	m.close()
	m.size = int64(text.Len())
	return m.open(p.root)
}

func (m *markFile) close() {
	if m.f != nil {
		m.f.Close()
		m.f = nil
	}
}
