package replica

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"resonate/beneath"
	"resonate/merkle"
)

// owners translates between the numbers of users and groups and their names, since machines agree on names at most. It remembers what it
// found. It is safe for concurrent use.
type owners struct {
	mu     sync.Mutex
	byID   map[[2]uint32]string
	byName map[string][2]uint32
}

// name returns "user:group": by name where this machine knows one, else by number.
func (o *owners) name(uid, gid uint32) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name, ok := o.byID[[2]uint32{uid, gid}]; ok {
		return name
	}
	userName, groupName := strconv.FormatUint(uint64(uid), 10), strconv.FormatUint(uint64(gid), 10)
	if u, err := user.LookupId(userName); err == nil && nameable(u.Username) {
		userName = u.Username
	}
	if g, err := user.LookupGroupId(groupName); err == nil && nameable(g.Name) {
		groupName = g.Name
	}
	name := userName + ":" + groupName
	if o.byID == nil {
		o.byID = make(map[[2]uint32]string)
	}
	o.byID[[2]uint32{uid, gid}] = name
	return name
}

// nameable tells whether a name can stand in "user:group" and be told from a number.
func nameable(name string) bool {
	_, err := strconv.ParseUint(name, 10, 32)
	return name != "" && !strings.Contains(name, ":") && err != nil
}

// ids returns the numbers behind what name returned, here or elsewhere.
func (o *owners) ids(name string) (uid, gid uint32, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ids, ok := o.byName[name]; ok {
		return ids[0], ids[1], nil
	}
	userName, groupName, ok := strings.Cut(name, ":")
	if !ok {
		return 0, 0, fmt.Errorf("owner %q is not user:group", name)
	}
	uid, err = number(userName, func() (string, error) {
		u, err := user.Lookup(userName)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if err != nil {
		return 0, 0, err
	}
	gid, err = number(groupName, func() (string, error) {
		g, err := user.LookupGroup(groupName)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	if err != nil {
		return 0, 0, err
	}
	if o.byName == nil {
		o.byName = make(map[string][2]uint32)
	}
	o.byName[name] = [2]uint32{uid, gid}
	return uid, gid, nil
}

// number returns what a name stands for: itself, if it is a number, else what lookup says. The highest number, by which chown(2) leaves
// things as they are, is nobody's.
func number(name string, lookup func() (string, error)) (uint32, error) {
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		if name, err = lookup(); err == nil {
			n, err = strconv.ParseUint(name, 10, 32)
		}
	}
	if err == nil && n == 1<<32-1 {
		err = fmt.Errorf("%d is no user or group", n)
	}
	return uint32(n), err
}

// ownerName returns the owner for an entry; "" where ownership is not kept.
func (r *Replica) ownerName(info beneath.Info) string {
	if !r.o.KeepOwner {
		return ""
	}
	return r.owners.name(info.UID, info.GID)
}

// ownOwner returns the owner of what this process makes, for an entry; "" where ownership is not kept.
func (r *Replica) ownOwner() string {
	if !r.o.KeepOwner {
		return ""
	}
	return r.owners.name(uint32(os.Geteuid()), uint32(os.Getegid()))
}

// ownerOnDisk returns the owner for a record; "" where ownership is not kept.
func (r *Replica) ownerOnDisk(info beneath.Info) string {
	if !r.o.KeepOwner {
		return ""
	}
	return fmt.Sprintf("%d:%d", info.UID, info.GID)
}

// chownTo gives what info tells of the owner that an entry says, where ownership is kept. A user or group that this machine does not
// know is refused, which is how the record notes it.
func (r *Replica) chownTo(e *merkle.Entry, info beneath.Info, chown func(uid, gid uint32) error) (refused string, err error) {
	if !r.o.KeepOwner || e.Owner == "" {
		return "", nil
	}
	uid, gid, err := r.owners.ids(e.Owner)
	if err != nil {
		r.log.Debug("owner cannot be set", "owner", e.Owner, "cause", err)
		return refusedOwner + "\x00", nil
	}
	if info.UID == uid && info.GID == gid {
		return "", nil
	}
	return "", chown(uid, gid)
}
