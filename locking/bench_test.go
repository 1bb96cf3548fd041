package locking

import (
	"fmt"
	"testing"
)

// BenchmarkBatch applies one command that locks 10,000 paths. The one that releases them is not counted.
func BenchmarkBatch(b *testing.B) {
	var scopes []Scope
	for i := range 10000 {
		scopes = append(scopes, onePath(fmt.Sprintf("src/package%03d/file%02d.go", i/100, i%100)))
	}
	table := NewTable(nil)
	open := &Open{Request: id(1), Node: nodeID(1), Length: MinLength}
	r, err := DecodeResult(table.Apply(1, encode(b, open)))
	if err != nil {
		b.Fatal(err)
	}
	s := Session{open.Node, r.Epoch}
	for n := range b.N {
		b.StopTimer()
		c, end := encode(b, lock(10+n, s, scopes...)), encode(b, release(10+n))
		b.StartTimer()
		result := table.Apply(uint64(2+2*n), c)
		b.StopTimer()
		if r, err := DecodeResult(result); err != nil || r.Status != Granted {
			b.Fatalf("%+v, %v", r, err)
		}
		table.Apply(uint64(3+2*n), end)
		b.StartTimer()
	}
}

// BenchmarkUse is one use under a delegation: all that an edit costs on a node that is alone.
func BenchmarkUse(b *testing.B) {
	q := newQuiet(b)
	q.use(1, "src/package/file.go")
	q.endUse(1, "src/package/file.go")
	s, now := q.nodes[1].holder, q.nodes[1].clock()
	scope := onePath("src/package/sub/other.go")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Use(now, scope); !ok {
			b.Fatal("not usable")
		}
		s.EndUse(scope)
	}
}
