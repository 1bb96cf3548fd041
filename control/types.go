package control

import "time"

// Status is one node at one moment, as "resonate status -json" prints it.
type Status struct {
	Version string    `json:"version"` // of the program
	Node    string    `json:"node"`    // short ID, as it stands in the names of conflict copies
	NodeID  string    `json:"node_id"` // full ID: the fingerprint of the node's key
	Started time.Time `json:"started"`
	PID     int       `json:"pid"`
	Folder  Folder    `json:"folder"`
	Listen  string    `json:"listen"` // HOST:PORT, with the port that was really taken
	// State is one of "in sync", "syncing", "scanning", "no peer connected" (there are some, all away),
	// "alone" (none was ever named), "held", "paused", "forgotten" (no member any more), or "stopped: " with the cause.
	State  string  `json:"state"`
	Mode   string  `json:"mode"` // "both", "send", "receive": which way changes go
	Paused *Paused `json:"paused,omitempty"`
	Locks  string  `json:"locks,omitempty"` // why none is granted now, and what follows; "": they are

	Roots       Roots `json:"roots"`
	Files       int   `json:"files"`
	Directories int   `json:"directories"`
	Symlinks    int   `json:"symlinks"`
	Bytes       int64 `json:"bytes"` // of all files

	Peers []Peer `json:"peers"`

	// Traffic since the start, keep-alives apart.
	MessagesSent       uint64 `json:"messages_sent"`
	MessagesReceived   uint64 `json:"messages_received"`
	BytesSent          uint64 `json:"bytes_sent"`
	BytesReceived      uint64 `json:"bytes_received"`
	KeepalivesSent     uint64 `json:"keepalives_sent"`
	KeepalivesReceived uint64 `json:"keepalives_received"`

	// Held and Problems are cut to a readable number; the More fields say how many were left out.
	Held         []Held    `json:"held"`
	HeldMore     int       `json:"held_more"`
	Problems     []Problem `json:"problems"`
	ProblemsMore int       `json:"problems_more"`
	// Untaken are the changes of peers that a node which only sends does not take; cut likewise.
	Untaken     []Untaken `json:"untaken"`
	UntakenMore int       `json:"untaken_more"`

	Watch    Watch     `json:"watch"`
	Progress *Progress `json:"progress,omitempty"` // nil when no long work is under way
}

// Folder names the synchronised directory.
type Folder struct {
	Path   string `json:"path"` // absolute
	ID     string `json:"id"`
	Shared bool   `json:"shared"` // the ID is final
}

// Roots are the two hashes over the whole tree, in hex. Equal Content: the folders look the same to a person;
// equal State: there is nothing left to exchange.
type Roots struct {
	State   string `json:"state"`
	Content string `json:"content"`
}

// Peer is another node, as this one sees it.
type Peer struct {
	ID        string     `json:"id"` // "" as long as it was never reached
	Name      string     `json:"name"`
	Address   string     `json:"address"`
	State     string     `json:"state"` // "connected", "connecting", "away", "refused"
	Since     time.Time  `json:"since"` // of State
	NextTry   *time.Time `json:"next_try,omitempty"`
	RTTMillis float64    `json:"rtt_millis"` // the last round trip; 0: not measured
	InSync    bool       `json:"in_sync"`
	SendsOnly bool       `json:"sends_only"`        // it takes nothing of what is changed here
	Witness   bool       `json:"witness,omitempty"` // it has no folder, and is there to vote on locks
	ToSend    Work       `json:"to_send"`
	ToReceive Work       `json:"to_receive"`
	Error     string     `json:"error,omitempty"` // why it is not connected
}

// Work is what is still to do.
type Work struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Paused is a time without any exchange with peers.
type Paused struct {
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until,omitempty"` // nil: until it is resumed
}

// Held is a change that waits for the user's word.
type Held struct {
	Path   string    `json:"path"`
	Kind   string    `json:"kind"` // "deleted", "rewritten", "suspect", "local"
	Cause  string    `json:"cause"`
	Remedy string    `json:"remedy"`
	Since  time.Time `json:"since"`
}

// Problem is a path that cannot be synchronised as things are.
type Problem struct {
	Path   string    `json:"path"`
	Cause  string    `json:"cause"`
	Remedy string    `json:"remedy"`
	Since  time.Time `json:"since"`
}

// Untaken is a path at which a peer has another version, which is not taken.
type Untaken struct {
	Path string `json:"path"` // a directory of which nothing is known here stands for all in it
	Peer string `json:"peer"` // its name
}

// Pattern is one line of this machine's own ignore patterns, in the syntax of gitignore(5).
type Pattern struct {
	Pattern string `json:"pattern"`
}

// Kept is an earlier version of a file in the history.
type Kept struct {
	Path  string    `json:"path"`
	Time  time.Time `json:"time"` // when it was displaced
	Size  int64     `json:"size"`
	MTime time.Time `json:"mtime"` // the file's own
	Kind  string    `json:"kind"`
	File  string    `json:"file"` // where it lies, relative to the folder
}

// Watch is how the daemon learns of changes.
type Watch struct {
	Mode        string   `json:"mode"` // "inotify", "kqueue", "polling", "mixed"
	Directories int      `json:"directories"`
	Uncovered   []string `json:"uncovered,omitempty"` // subtrees that are polled, by path
	Cause       string   `json:"cause,omitempty"`
	Remedy      string   `json:"remedy,omitempty"`
	Overflows   uint64   `json:"overflows"` // times the kernel dropped events, each answered by a rescan
}

// Progress is a long piece of work under way. A total of 0 is not known yet; SecondsLeft below 0 likewise.
type Progress struct {
	What           string  `json:"what"` // "scan", "receive"
	Files          int     `json:"files"`
	FilesTotal     int     `json:"files_total"`
	Bytes          int64   `json:"bytes"`
	BytesTotal     int64   `json:"bytes_total"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	SecondsLeft    float64 `json:"seconds_left"`
}
