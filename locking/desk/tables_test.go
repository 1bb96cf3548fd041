package desk

import (
	"sync"
	"testing"
)

// TestLeadsWhateverTheOrder has many goroutines look at how the table stands while its leader is elected: what was read before that
// must not be taken in after it, for nothing would change any more.
func TestLeadsWhateverTheOrder(t *testing.T) {
	t.Parallel()
	for range 8 {
		n := start(t, 1, t.TempDir())
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for !n.d.quorum.Status().Leading && n.d.ctx.Err() == nil {
					n.d.standsOtherwise()
				}
			})
		}
		wg.Wait()
		until(t, "the node has locks", func() bool { s := n.d.Status(); return s.Leads == n.id && s.Sure })
		n.kill()
	}
}
