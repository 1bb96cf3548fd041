package locking

// Field numbers; part of the format.
const (
	openRequest = 1 // bytes, 16
	openNode    = 2 // bytes, 16
	openHost    = 3 // bytes
	openLength  = 4 // varint, ms

	closeSession = 1 // message: session
	closeCause   = 2 // varint

	acquireRequest    = 1  // bytes, 16
	acquireSession    = 2  // message: session
	acquireMode       = 3  // varint
	acquirePermits    = 4  // varint
	acquireDelegation = 5  // varint, 0 or 1
	acquireDesired    = 6  // bytes; 7 is a tree, the others serve none
	acquireWait       = 9  // varint, ms
	acquireTTL        = 10 // varint, ms
	acquireFree       = 11 // varint, 0 or 1
	acquireWhy        = 12 // bytes
	acquireOwner      = 13 // bytes
	acquireScope      = 14 // repeated bytes: one path; 15: a tree; 16: a name

	endEnding = 1 // repeated message
	endCause  = 2 // varint
	endBy     = 3 // bytes
	endSeen   = 4 // varint

	endingRequest = 1 // bytes, 16
	endingToken   = 2 // message: token
	endingLeft    = 3 // repeated message: left

	narrowRequest = 1 // bytes, 16
	narrowSession = 2 // message: session
	narrowLeft    = 3 // repeated message: left
	narrowExcept  = 4 // repeated bytes: one path; 5: a tree; 6: a name
	narrowSeen    = 7 // varint

	ageRemaining     = 1 // repeated message
	remainingRequest = 1 // bytes, 16
	remainingTTL     = 2 // varint, ms

	raiseGeneration = 1 // varint
)

func (c *Open) kind() commandKind    { return kindOpen }
func (c *Close) kind() commandKind   { return kindClose }
func (c *Acquire) kind() commandKind { return kindAcquire }
func (c *End) kind() commandKind     { return kindEnd }
func (c *Narrow) kind() commandKind  { return kindNarrow }
func (c *Age) kind() commandKind     { return kindAge }
func (c *Raise) kind() commandKind   { return kindRaise }

func (c *Open) append(b []byte) []byte {
	b = appendID(b, openRequest, c.Request)
	b = appendID(b, openNode, c.Node)
	b = appendText(b, openHost, c.Host)
	return appendDuration(b, openLength, c.Length)
}

func (c *Open) field(f field) error {
	switch f.number {
	case openRequest:
		return takeID(f, &c.Request)
	case openNode:
		return takeID(f, &c.Node)
	case openHost:
		return takeText(f, &c.Host)
	case openLength:
		return takeDuration(f, &c.Length)
	}
	return nil
}

func (c *Close) append(b []byte) []byte {
	return appendUint(appendSession(b, closeSession, c.Session), closeCause, uint64(c.Cause))
}

func (c *Close) field(f field) error {
	switch f.number {
	case closeSession:
		return takeSession(f, &c.Session)
	case closeCause:
		return takeUint(f, &c.Cause)
	}
	return nil
}

func (c *Acquire) append(b []byte) []byte {
	b = appendID(b, acquireRequest, c.Request)
	b = appendSession(b, acquireSession, c.Session)
	b = appendUint(b, acquireMode, uint64(c.Mode))
	b = appendUint(b, acquirePermits, uint64(c.Permits))
	b = appendBool(b, acquireDelegation, c.Delegation)
	if c.Desired != (Scope{}) {
		b = appendScopes(b, acquireDesired, c.Desired)
	}
	b = appendDuration(b, acquireWait, c.Wait)
	b = appendDuration(b, acquireTTL, c.TTL)
	b = appendBool(b, acquireFree, c.Free)
	b = appendText(b, acquireWhy, c.Why)
	b = appendText(b, acquireOwner, c.Owner)
	return appendScopes(b, acquireScope, c.Scopes...)
}

func (c *Acquire) field(f field) error {
	switch f.number {
	case acquireRequest:
		return takeID(f, &c.Request)
	case acquireSession:
		return takeSession(f, &c.Session)
	case acquireMode:
		return takeUint(f, &c.Mode)
	case acquirePermits:
		return takeUint(f, &c.Permits)
	case acquireDelegation:
		return takeBool(f, &c.Delegation)
	case acquireDesired + 1:
		c.Desired = Scope{Tree, f.text}
		return takeText(f, &c.Desired.Path)
	case acquireWait:
		return takeDuration(f, &c.Wait)
	case acquireTTL:
		return takeDuration(f, &c.TTL)
	case acquireFree:
		return takeBool(f, &c.Free)
	case acquireWhy:
		return takeText(f, &c.Why)
	case acquireOwner:
		return takeText(f, &c.Owner)
	case acquireScope, acquireScope + 1, acquireScope + 2:
		return takeScope(f, acquireScope, &c.Scopes, MaxScopes)
	}
	return nil
}

func (c *End) append(b []byte) []byte {
	for _, e := range c.Endings {
		b = appendMessage(b, endEnding, e.append)
	}
	return appendUint(appendText(appendUint(b, endCause, uint64(c.Cause)), endBy, c.By), endSeen, c.Seen)
}

func (e *Ending) append(b []byte) []byte {
	b = appendToken(appendID(b, endingRequest, e.Request), endingToken, e.Token)
	for _, l := range e.Left {
		b = appendLeft(b, endingLeft, l)
	}
	return b
}

func (c *End) field(f field) error {
	switch f.number {
	case endEnding:
		if len(c.Endings) == MaxScopes {
			return malformed("more than %d endings", MaxScopes)
		}
		c.Endings = append(c.Endings, Ending{})
		return takeMessage(f, c.Endings[len(c.Endings)-1].field)
	case endCause:
		return takeUint(f, &c.Cause)
	case endBy:
		return takeText(f, &c.By)
	case endSeen:
		return takeUint(f, &c.Seen)
	}
	return nil
}

func (e *Ending) field(f field) error {
	switch f.number {
	case endingRequest:
		return takeID(f, &e.Request)
	case endingToken:
		return takeToken(f, &e.Token)
	case endingLeft:
		return takeLeft(f, &e.Left, MaxScopes)
	}
	return nil
}

func (c *Narrow) append(b []byte) []byte {
	b = appendSession(appendID(b, narrowRequest, c.Request), narrowSession, c.Session)
	for _, l := range c.Left {
		b = appendLeft(b, narrowLeft, l)
	}
	return appendUint(appendScopes(b, narrowExcept, c.Except...), narrowSeen, c.Seen)
}

func (c *Narrow) field(f field) error {
	switch f.number {
	case narrowRequest:
		return takeID(f, &c.Request)
	case narrowSession:
		return takeSession(f, &c.Session)
	case narrowLeft:
		return takeLeft(f, &c.Left, MaxScopes)
	case narrowExcept, narrowExcept + 1, narrowExcept + 2:
		return takeScope(f, narrowExcept, &c.Except, MaxScopes)
	case narrowSeen:
		return takeUint(f, &c.Seen)
	}
	return nil
}

func (c *Age) append(b []byte) []byte {
	for _, r := range c.Remaining {
		b = appendMessage(b, ageRemaining, func(b []byte) []byte {
			return appendDuration(appendID(b, remainingRequest, r.Request), remainingTTL, r.TTL)
		})
	}
	return b
}

func (c *Age) field(f field) error {
	if f.number != ageRemaining {
		return nil
	}
	if len(c.Remaining) == MaxScopes {
		return malformed("more than %d claims", MaxScopes)
	}
	c.Remaining = append(c.Remaining, Remaining{})
	r := &c.Remaining[len(c.Remaining)-1]
	return takeMessage(f, func(f field) error {
		switch f.number {
		case remainingRequest:
			return takeID(f, &r.Request)
		case remainingTTL:
			return takeDuration(f, &r.TTL)
		}
		return nil
	})
}

func (c *Raise) append(b []byte) []byte { return appendUint(b, raiseGeneration, c.Generation) }

func (c *Raise) field(f field) error {
	if f.number == raiseGeneration {
		return takeUint(f, &c.Generation)
	}
	return nil
}
