package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"resonate/control"
)

// What is said on a "join@resonate" channel: JSON objects, one a line, by turns (docs/formats.md). Fields that are not known are
// passed over, so that versions can mix.

// joinProtocol is the version of this conversation.
const joinProtocol = 1

// maxJoinLine bounds a line in bytes: a page of a tree of the longest paths, and a set of members in base64, fit.
const maxJoinLine = 8 << 20

// A joinHello is the first word of who wants to join.
type joinHello struct {
	Protocol int    `json:"protocol"`
	Software string `json:"software"`
	Name     string `json:"name"`
	Folder   string `json:"folder"` // ID
	Shared   bool   `json:"shared"` // the ID is final
	List     bool   `json:"list"`   // the inviter's tree is to be listed
}

// A joinWelcome answers it.
type joinWelcome struct {
	Software string `json:"software"`
	Name     string `json:"name"`
	Folder   string `json:"folder"`
	Shared   bool   `json:"shared"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Refused  string `json:"refused,omitempty"` // why nothing can come of it
}

// A joinDecision is the joiner's last word.
type joinDecision struct {
	Join bool `json:"join"`
}

// A joinAdmission is the inviter's: the members, as members.Set.Encode gives them.
type joinAdmission struct {
	Members []byte `json:"members"`
	Refused string `json:"refused,omitempty"`
}

// A joinTalk is one end of the conversation.
type joinTalk struct {
	in  *bufio.Reader
	out io.Writer
}

func newJoinTalk(s io.ReadWriter) *joinTalk { return &joinTalk{bufio.NewReaderSize(s, 64<<10), s} }

func (t *joinTalk) say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(line, '\n'))
	return err
}

// hear reads one line into v. An end of the stream is io.ErrUnexpectedEOF.
func (t *joinTalk) hear(v any) error {
	var line []byte
	for {
		part, err := t.in.ReadSlice('\n')
		if len(line)+len(part) > maxJoinLine {
			return fmt.Errorf("the other side says too much: over %d bytes in a line", maxJoinLine)
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if err := json.Unmarshal(line, v); err != nil {
			return fmt.Errorf("the other side says what cannot be understood: %w", err)
		}
		return nil
	}
}

// sayTree lists a tree, page by page.
func (t *joinTalk) sayTree(next func(after string) (control.TreePage, error)) error {
	for after := ""; ; {
		page, err := next(after)
		if err != nil {
			return err
		}
		if err := t.say(page); err != nil {
			return err
		}
		if !page.More || len(page.Entries) == 0 {
			return nil
		}
		after = page.Entries[len(page.Entries)-1].Path
	}
}
