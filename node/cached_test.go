package node

import (
	"testing"
	"time"
)

// TestCachedIsUnderADelegation has a node that has changed a file take its lock again and again, and another one that has not.
func TestCachedIsUnderADelegation(t *testing.T) {
	a, b := newMachine(t, "a", nil), newMachine(t, "b", nil)
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	a.write("f", "of a")
	equal(t, a, b)
	var took []time.Duration
	eventually(t, "a keeps the lock", func() string {
		var err error
		if took, err = a.Locks().Cached(t.Context(), "f", 100); err != nil {
			return err.Error()
		}
		if len(took) != 100 {
			return "it was had some times, and then no more"
		}
		return ""
	})
	for _, d := range took {
		if d <= 0 || d > time.Second {
			t.Errorf("it took %v", d)
		}
	}
	if took, err := b.Locks().Cached(t.Context(), "f", 100); err != nil || len(took) != 0 {
		t.Errorf("b, which has changed nothing: got %d times, %v; want none", len(took), err)
	}
	if _, err := a.Locks().Cached(t.Context(), "../f", 1); err == nil {
		t.Error("outside of the folder: got no error")
	}
}
