package replica

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"resonate/beneath"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto/sshconn"
)

// What lies in the folder itself. Nothing below StateDir is ever synchronised.
const (
	StateDir    = ".resonate"
	markerPath  = StateDir + "/marker"
	lockPath    = StateDir + "/lock"
	controlPath = StateDir + "/control" // where the running daemon's socket is
	tmpDir      = StateDir + "/tmp"
	historyDir  = StateDir + "/history"
	watchDir    = StateDir + "/watch" // sentinels of the watcher
)

// A marker is what DIR/.resonate/marker says: which folder this is, and which node's copy of it.
type marker struct {
	folder reconcile.Folder
	node   merkle.NodeID
	device uint64
	inode  uint64
}

func (m marker) String() string {
	since := int64(0)
	if m.folder.Shared {
		since = m.folder.Since.Unix()
	}
	return fmt.Sprintf("resonate 1\nfolder %x\nshared %d\nnode %s\nroot %d %d\n", m.folder.ID, since, m.node, m.device, m.inode)
}

func parseMarker(text string) (m marker, err error) {
	bad := func(line string) error { return fmt.Errorf("marker line %q not understood", line) }
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return m, bad(line)
		}
		switch f[0] {
		case "resonate":
			if f[1] != "1" {
				return m, fmt.Errorf("marker of format %s: made by a newer resonate", f[1])
			}
		case "folder":
			b, err := hex.DecodeString(f[1])
			if err != nil || len(b) != len(m.folder.ID) {
				return m, bad(line)
			}
			m.folder.ID = reconcile.FolderID(b)
		case "shared":
			since, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return m, bad(line)
			}
			m.folder.Shared, m.folder.Since = since != 0, time.Unix(since, 0)
		case "node":
			if m.node, err = merkle.ParseNodeID(f[1]); err != nil {
				return m, bad(line)
			}
		case "root":
			if len(f) != 3 {
				return m, bad(line)
			}
			var err1, err2 error
			m.device, err1 = strconv.ParseUint(f[1], 10, 64)
			m.inode, err2 = strconv.ParseUint(f[2], 10, 64)
			if err1 != nil || err2 != nil {
				return m, bad(line)
			}
		}
	}
	if m.node.IsZero() || m.folder.ID == (reconcile.FolderID{}) {
		return m, errors.New("marker without node or folder")
	}
	return m, nil
}

// A place is a claimed folder: no other daemon can have it until it is released.
type place struct {
	root     *beneath.Root
	marker   marker
	identity *sshconn.Identity
	state    string   // this node's state directory
	lock     *os.File // held
	fresh    bool     // this node has nothing agreed yet
}

// claim opens the folder at dir and makes it, or finds it to be, this node's.
func claim(o Options) (_ *place, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if outer := enclosing(filepath.Dir(dir)); outer != "" {
		return nil, fmt.Errorf("folder %s lies inside the synced folder %s: synchronise the outer one alone, or move it out", dir, outer)
	}
	p := &place{}
	if p.root, err = beneath.Open(dir); err != nil {
		return nil, err
	}
	p.root.SetFault(o.Fault)
	p.root.Capabilities = o.KeepOwner // as setuid bits
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	known, err := p.readMarker()
	if err == nil && !known && !o.Fresh {
		err = missingMarker(o, dir)
	}
	if err != nil {
		return nil, err
	}
	if err := p.prepare(dir); err != nil {
		return nil, err
	}
	if err := p.settleIdentity(o, known); err != nil {
		return nil, err
	}
	return p, nil
}

// enclosing returns the nearest synced folder at or above dir, "" if there is none.
func enclosing(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, markerPath)); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

func (p *place) readMarker() (known bool, err error) {
	text, err := readSmall(p.root, markerPath)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		p.marker, err = parseMarker(text)
	}
	if err != nil {
		return false, fmt.Errorf("%s/%s: %w; if the folder is to begin anew, start with -fresh after removing that file",
			p.root.Name(), markerPath, err)
	}
	return true, nil
}

func readSmall(root *beneath.Root, path string) (string, error) {
	f, err := root.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(b), err
}

// missingMarker refuses a folder without marker that has been synchronised at this place before: an unmounted disk and
// an emptied folder look like that, and neither may be taken for deletions.
func missingMarker(o Options, dir string) error {
	places, _ := filepath.Glob(filepath.Join(o.StateHome, "resonate", "*", "place"))
	for _, name := range places {
		if recordedPlace(filepath.Dir(name)) == dir {
			return fmt.Errorf("folder %s was synchronised here before, but its marker %s is gone: is a disk not mounted, or was the folder emptied? "+
				"Put it back; or start with -fresh to begin anew with what is there (nothing is deleted)", dir, markerPath)
		}
	}
	return nil
}

// membersPath is where it is kept who belongs.
func (p *place) membersPath() string { return filepath.Join(p.state, membersFile) }

// membersFile is its name there.
const membersFile = "members"

// recordPlace remembers where the folder is, for the day that its marker is gone.
func (p *place) recordPlace() error {
	return os.WriteFile(filepath.Join(p.state, "place"), []byte(p.root.Name()+"\n"), 0o600)
}

// recordedPlace returns where the node with that state directory had its folder. A disk may get another device number
// at each boot: the same inode at the same place is the same folder.
func recordedPlace(state string) string {
	text, err := os.ReadFile(filepath.Join(state, "place"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}

// prepare makes what must lie in the folder, and takes the lock on it.
func (p *place) prepare(dir string) error {
	for _, d := range []string{tmpDir, historyDir, watchDir} {
		if err := p.root.MkdirAll("place.mkdir", d, 0o700); err != nil {
			return fmt.Errorf("folder %s cannot be written: %w; make it writable for this user", dir, err)
		}
	}
	if f, err := p.root.Create("place.lock", lockPath, 0o600); err == nil {
		f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("folder %s cannot be written: %w; make it writable for this user", dir, err)
	}
	lock, err := p.root.OpenFile(lockPath)
	if err != nil {
		return err
	}
	p.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("folder %s is in use by another resonate: end that one first (resonate status -dir %s tells its pid)", dir, dir)
	}
	return nil
}

// settleIdentity finds this node's key and state. A folder that was copied, or whose state is gone, becomes a new node.
func (p *place) settleIdentity(o Options, known bool) error {
	info, err := p.root.Info()
	if err != nil {
		return err
	}
	home := filepath.Join(o.StateHome, "resonate")
	state := filepath.Join(home, p.marker.node.String())
	if known && !o.Fresh && p.marker.inode == info.Inode && (p.marker.device == info.Device || recordedPlace(state) == p.root.Name()) {
		if _, err := os.Stat(filepath.Join(state, "key")); err == nil {
			p.state = state
			p.identity, err = sshconn.LoadOrCreateIdentity(filepath.Join(state, "key"))
			if err == nil && nodeID(p.identity.ID()) != p.marker.node {
				err = fmt.Errorf("key %s/key is not that of the node its folder is named for; start with -fresh to become a new node", state)
			}
			return err
		}
	}
	if known && !o.Fresh {
		o.Log.Warn("this folder was copied, moved to another disk, or lost its state: it becomes a new node; nothing is deleted", "dir", o.Dir)
	}
	if !known {
		rand.Read(p.marker.folder.ID[:])
	}
	p.fresh = true
	if err := p.newIdentity(home); err != nil {
		return err
	}
	p.marker.node = nodeID(p.identity.ID())
	p.marker.device, p.marker.inode = info.Device, info.Inode
	return p.writeMarker()
}

// newIdentity makes a key, and the state directory that is named for it.
func (p *place) newIdentity(home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	tmp, err := os.MkdirTemp(home, "new-")
	if err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	if p.identity, err = sshconn.LoadOrCreateIdentity(filepath.Join(tmp, "key")); err != nil {
		return err
	}
	p.state = filepath.Join(home, nodeID(p.identity.ID()).String())
	return os.Rename(tmp, p.state)
}

// writeMarker replaces the marker as a whole.
func (p *place) writeMarker() error { return p.replaceSmall(markerPath, p.marker.String()) }

// replaceSmall replaces a small file of ours by one with the given text.
func (p *place) replaceSmall(path, text string) error {
	tmp := tmpDir + "/" + filepath.Base(path) + partial
	if err := p.root.Remove("place.remove", tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := p.root.Create("place.create", tmp, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader([]byte(text)))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = p.root.Move("place.move", tmp, path)
	}
	if errors.Is(err, fs.ErrExist) {
		if err = p.root.Exchange("place.exchange", tmp, path); err == nil {
			return p.root.Remove("place.remove", tmp)
		}
	}
	if err != nil {
		_ = p.root.Remove("place.remove", tmp) // the next to replace it removes it, too
	}
	return err
}

func (p *place) release() {
	if p.lock != nil {
		p.lock.Close()
	}
	p.root.Close()
}

// nodeID shortens a key's fingerprint to the node's ID.
func nodeID(id sshconn.NodeID) merkle.NodeID { return merkle.NodeID(id[:merkle.NodeIDSize]) }

// ControlSocket returns where the daemon of the folder dir listens for commands, whether it still runs or not.
func ControlSocket(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, controlPath))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}
