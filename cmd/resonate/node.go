package main

import (
	"errors"
	"log/slog"
	"time"

	"resonate/node"
	"resonate/reconcile"
	"resonate/replica"
)

// openNode opens the node that the settings describe.
func openNode(s *settings, h homes, version string, log *slog.Logger) (*node.Node, error) {
	o := node.Options{
		Folder: replica.Options{
			Dir: s.dir, Mode: s.mode, Partition: s.partition, Policy: s.conflict, KeepOwner: s.keepOwner, Fresh: s.fresh, Witness: s.witness, Version: version,
			Burst:      reconcile.Burst{Files: s.hold.files, Share: s.hold.share},
			HistoryAge: time.Duration(s.historyAge), HistorySize: int64(s.historySize),
			StateHome: h.state, RuntimeDir: h.runtime, Log: log,
		},
		ConfigHome: h.config, Listen: s.listen.host(), Port: int(s.port), Peers: s.peers,
		MaxSend: int64(s.maxSend), MaxRecv: int64(s.maxRecv), Discover: s.discover, MarkLocked: s.markLocked, Session: time.Duration(s.session),
	}
	if s.hold.off {
		o.Folder.Burst = reconcile.Burst{}
	}
	if err := instrument(&o.Folder); err != nil {
		return nil, err
	}
	n, err := node.Open(o)
	var port *node.ListenError
	if errors.As(err, &port) {
		return nil, stateError{"", err, "choose an address of this machine with -listen, and a port with -port"}
	}
	return n, err
}
