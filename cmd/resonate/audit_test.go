package main

import (
	"testing"
	"time"

	"resonate/control"
)

func TestRenderAudited(t *testing.T) {
	at := time.Date(2026, 11, 2, 3, 4, 5, 678_900_000, time.UTC)
	self := &control.NodeName{ID: "selfselfself"}
	nas, other := &control.NodeName{ID: "nasnasnasnas", Name: "nas\x1b"}, &control.NodeName{ID: "otherotherother"}
	for _, row := range []struct {
		event control.Event
		want  string
	}{
		{control.Event{Kind: "published", What: "file", Path: "f\n", Author: self}, `published      file       "f\n"`},
		{control.Event{Kind: "published", What: "deleted", Path: "f", Author: self, Peer: nas}, `published      deleted    f  (because of what nas  (nasnasn) told)`},
		{control.Event{Kind: "published", What: "directory", Path: "to", From: "from", Count: 4, Author: self}, `published      directory  to  (moved from from; with all in it, 4 entries)`},
		{control.Event{Kind: "applied", What: "file", Path: "f", Peer: nas, Author: nas}, `applied        file       f  (from nas  (nasnasn), as its own)`},
		{control.Event{Kind: "applied", What: "file", Path: "f", Peer: nas, Author: other}, `applied        file       f  (from nas  (nasnasn), who says that otherot made it)`},
		{control.Event{Kind: "applied", What: "file", Path: "f", Peer: nas, Author: self, Claim: "never made"}, `applied        file       f  (from nas  (nasnasn), who says that this node made it: IT DID NOT)`},
		{control.Event{Kind: "applied", What: "file", Path: "f", Peer: nas, Author: self, Claim: "not known"}, `applied        file       f  (from nas  (nasnasn), who says that this node made it, which may be so: before it was started last)`},
		{control.Event{Kind: "recovered", What: "file", Path: "f", Author: other}, `recovered      file       f  (found in place after a crash; made by otherot, as was said)`},
		{control.Event{Kind: "conflict", What: "file", Path: "f", Copy: "f.c", Peer: nas, Author: self}, `conflict       file       f  (the version by this node is kept as f.c; they met when nas  (nasnasn) handed one on)`},
		{control.Event{Kind: "behind", Peer: nas, Author: self, Stamp: 1_000_000}, `behind  (nas  (nasnasn) says that it has seen an operation of this node of 1970-01-01 00:00:01.000, which is later than all that this node knows)`},
		{control.Event{Kind: "lock-forced", Name: "cron", Author: other, Peer: nas, Mode: "exclusive", Cause: "forgotten"}, `lock-forced               cron  (exclusive, held by otherot, because of nas  (nasnasn); forgotten)`},
		{control.Event{Kind: "dropped", Count: 1234}, `dropped  (all records up to 1,234, for age or size)`},
		{control.Event{Kind: "lost", Count: 1, Cause: "full"}, `lost  (1 record; full)`},
		{control.Event{Kind: "ended"}, `ended`},
	} {
		row.event.Time = at
		if got, want := renderAudited(control.Audited{Event: row.event}, self.ID, time.UTC), "2026-11-02 03:04:05.678  "+row.want+"\n"; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
