package locking

import "time"

// An Extend gives a claim another TTL, all of which is left.
type Extend struct {
	Request RequestID
	TTL     time.Duration
}

const (
	extendRequest = 1 // bytes, 16
	extendTTL     = 2 // varint, ms
)

func (c *Extend) kind() commandKind { return kindExtend }

func (c *Extend) append(b []byte) []byte {
	return appendDuration(appendID(b, extendRequest, c.Request), extendTTL, c.TTL)
}

func (c *Extend) field(f field) error {
	switch f.number {
	case extendRequest:
		return takeID(f, &c.Request)
	case extendTTL:
		return takeDuration(f, &c.TTL)
	}
	return nil
}

func (c *Extend) check() error {
	if c.Request == (RequestID{}) || c.TTL < MinTTL || c.TTL > MaxOffline {
		return malformed("extend to %v", c.TTL)
	}
	return nil
}

// extend changes the TTL of a claim that is held, and has one.
func (t *Table) extend(c *Extend) Result {
	k := t.claims[c.Request]
	if k == nil || !k.Held || k.TTL == 0 {
		return deny(NotHeld)
	}
	k.TTL, k.Remaining = c.TTL, c.TTL
	t.tell(ClaimAged, k, 0, "")
	return Result{Status: Done}
}

// Raise begins a generation of tokens, as the command of that name does: for whoever keeps generations in a log of its own, and calls this
// in the log's order.
func (t *Table) Raise(generation uint64) { t.raise(&Raise{generation}) }

// EncodeClaims returns the bytes of as many of claims as have room in a message.
func EncodeClaims(claims []Claim) []byte {
	var out []byte
	for i := range claims {
		b := appendMessage(out, 1, claims[i].append)
		if len(b) > MaxMessage-64 {
			break
		}
		out = b
	}
	return out
}

// DecodeClaims reads what EncodeClaims wrote.
func DecodeClaims(b []byte) ([]Claim, error) {
	if len(b) > MaxMessage {
		return nil, malformed("claims of %d bytes", len(b))
	}
	var out []Claim
	err := fields(string(b), func(f field) error {
		if f.number != 1 {
			return nil
		}
		if len(out) == maxClaims {
			return malformed("more than %d claims", maxClaims)
		}
		out = append(out, Claim{})
		return takeMessage(f, out[len(out)-1].field)
	})
	return out, err
}
