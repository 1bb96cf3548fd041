package merkle

import (
	"sync"
	"testing"
)

func TestNodeID(t *testing.T) {
	id := NodeID{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	const text = "aaisem2ekvthpcezvk54zxpo74"
	if got := id.String(); got != text {
		t.Errorf("String() = %q, want %q", got, text)
	}
	if got := id.Short(); got != text[:7] {
		t.Errorf("Short() = %q, want %q", got, text[:7])
	}
	if got, err := ParseNodeID(text); got != id || err != nil {
		t.Errorf("ParseNodeID(%q) = %v, %v", text, got, err)
	}
	if id.IsZero() || !(NodeID{}).IsZero() {
		t.Errorf("IsZero: %v for an ID, %v for none; want false, true", id.IsZero(), NodeID{}.IsZero())
	}
}

func TestParseNodeIDRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"empty":      "",
		"short":      "aaisem2ekvthpcezvk54zxpo7",
		"long":       "aaisem2ekvthpcezvk54zxpo74aa",
		"upper case": "AAISEM2EKVTHPCEZVK54ZXPO74",
		"digit one":  "1aisem2ekvthpcezvk54zxpo74",
		"line end":   "aaisem2ekvthpcezvk54zxpo74\n",
		"spare bits": "aaisem2ekvthpcezvk54zxpo75",
	} {
		if id, err := ParseNodeID(s); err == nil {
			t.Errorf("%s: ParseNodeID(%q) = %v, want an error", name, s, id)
		}
	}
}

func TestDomainsDiffer(t *testing.T) {
	seen := make(map[Hash]int)
	for i, d := range []*domain{blockDomain, fileDomain, entryDomain, contentDomain, listDomain, trieDomain, nameDomain} {
		h := d.sum([]byte("the same"))
		if j, ok := seen[h]; ok {
			t.Errorf("domains %d and %d give the same hash", i, j)
		}
		seen[h] = i
	}
}

func TestHashingIsConcurrent(t *testing.T) {
	want := HashBlock([]byte("block"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if got := HashBlock([]byte("block")); got != want {
					t.Errorf("HashBlock = %v, want %v", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
