package replica

import (
	"fmt"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
)

// What is agreed of a path and cannot be had here is kept in the entry, and noted beside it in the record: by the names of the
// extended attributes, and by refusedOwner and refusedName, which are none. The user is told of it for as long as it is so.

// refusedOwner notes that the agreed owner could not be set.
const refusedOwner = "owner"

// refusals is how the record notes what was refused.
func (r *Replica) refusals(list []beneath.RefusedXattr) string {
	var names strings.Builder
	for _, x := range list {
		r.log.Debug("extended attribute cannot be set", "name", x.Name, "cause", x.Err)
		names.WriteString(x.Name + "\x00")
	}
	return names.String()
}

func refusedNames(d index.Disk) []string {
	if d.Refused == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(d.Refused, "\x00"), "\x00")
}

// tellRefused tells the user, once, what of a path cannot be had here; or that it can by now.
func (r *Replica) tellRefused(path string, d index.Disk) {
	if !saysShelved(d) {
		r.unshelve(path)
	} else if d.Kind == 0 {
		return // that is told where the cause is known
	}
	if d.Refused == "" {
		delete(r.refused, path)
		return
	}
	var names []string
	remedy := "move the folder to a file system that has extended attributes and ACLs, or leave it: they are kept, and sent on"
	for _, name := range refusedNames(d) {
		switch name {
		case refusedOwner:
			name = "its owner"
			remedy = "make the user and the group known on this machine, or leave it: the owner is kept, and sent on"
		case beneath.XattrCapability:
			remedy = "run resonate as root with -keep-owner, or leave it: they are kept, and sent on"
		}
		names = append(names, name)
	}
	r.tellPartly(path, "cannot have here: "+strings.Join(names, ", "), remedy)
}

// tellOver tells of extended attributes that are too large to be synchronised.
func (r *Replica) tellOver(path string, over []string) {
	if len(over) > 0 {
		cause := fmt.Sprintf("more than %d KiB of extended attributes: not synchronised are %s", beneath.MaxXattrs>>10, strings.Join(over, ", "))
		r.tellPartly(path, cause, "remove some of them, or leave it: the file itself is synchronised")
	}
}

// tellPartly notes what of a path is not as it should be, though the rest is.
func (r *Replica) tellPartly(path, cause, remedy string) {
	if old := r.refused[path]; old != nil && old.Cause == cause {
		return
	}
	r.refused[path] = &control.Problem{Path: path, Cause: cause, Remedy: remedy, Since: time.Now()}
	r.log.Warn("cannot be synchronised in all", "path", path, "cause", cause, "remedy", remedy)
}
