package main

import (
	"fmt"
	"strings"
	"time"

	"resonate/control"
)

// renderAudited writes a record of the audit for people, on a line, with times in the given zone. self is the full ID of the node
// whose record it is.
func renderAudited(a control.Audited, self string, zone *time.Location) string {
	parts := []string{}
	add := func(format string, args ...any) { parts = append(parts, harmless(fmt.Sprintf(format, args...))) }
	if a.Broken {
		add("NOT AS IT WAS WRITTEN")
	}
	if a.From != "" {
		add("moved from %s", shown(a.From))
	}
	if a.Count > 0 && a.Path != "" {
		add("with all in it, %s", formatCount(a.Count, "entry", "entries"))
	}
	switch {
	case strings.HasPrefix(a.Kind, "lock-"):
		add("%s", describeLock(a))
	case a.Copy != "":
		add("the version by %s is kept as %s", nodeShown(a.Author, self), shown(a.Copy))
		if a.Peer != nil {
			add("they met when %s handed one on", nodeShown(a.Peer, self))
		}
	case a.Kind == "published" && a.Peer != nil:
		add("because of what %s told", nodeShown(a.Peer, self))
	case a.Kind == "applied" || a.Kind == "recovered":
		add("%s", describeOrigin(a, self))
	case a.Kind == "behind":
		add("%s says that it has seen an operation of this node of %s, which is later than all that this node knows",
			nodeShown(a.Peer, self), time.UnixMicro(int64(a.Stamp)).In(zone).Format(keptTime))
	case a.Kind == "dropped":
		add("all records up to %s, for age or size", thousands(a.Count))
	case a.Kind == "lost":
		add("%s", formatCount(a.Count, "record", "records"))
	}
	if a.Cause != "" {
		add("%s", a.Cause)
	}
	what, name := a.What, a.Path
	if a.Name != "" {
		name = a.Name
	}
	if name != "" {
		name = shown(name)
	}
	line := fmt.Sprintf("%s  %-13s  %-9s  %s", a.Time.In(zone).Format(keptTime), a.Kind, what, name)
	if len(parts) > 0 {
		line = strings.TrimRight(line, " ") + "  (" + strings.Join(parts, "; ") + ")"
	}
	return strings.TrimRight(line, " ") + "\n"
}

// describeOrigin tells from whom a version came, and who made it, as far as that is known.
func describeOrigin(a control.Audited, self string) string {
	author := nodeShown(a.Author, self)
	switch {
	case a.Kind == "recovered":
		return "found in place after a crash; made by " + author + ", as was said"
	case a.Peer == nil:
		return "made by " + author + ", as was said"
	case a.Author == nil || a.Author.ID == a.Peer.ID:
		return "from " + nodeShown(a.Peer, self) + ", as its own"
	}
	from := "from " + nodeShown(a.Peer, self) + ", who says that " + author + " made it"
	switch a.Claim {
	case "never made":
		return from + ": IT DID NOT"
	case "not known":
		return from + ", which may be so: before it was started last"
	}
	return from
}

// describeLock tells whose a lock is.
func describeLock(a control.Audited) string {
	text := a.Mode + ", held by " + nodeShown(a.Author, "")
	if a.Peer != nil {
		text += ", because of " + nodeShown(a.Peer, "")
	}
	return text
}

// nodeShown is what a node is called for people.
func nodeShown(n *control.NodeName, self string) string {
	switch {
	case n == nil:
		return "an unknown node"
	case n.ID == self:
		return "this node"
	}
	short := n.ID[:min(len(n.ID), 7)]
	if n.Name == "" {
		return short
	}
	return harmless(n.Name) + " (" + short + ")"
}
