package merkle

import (
	"errors"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func testNode(i byte) NodeID { return NodeID{i} }

// vec makes a vector from stamps: the first is that of node 1; 0 leaves a node out.
func vec(stamps ...Stamp) (v Vector) {
	for i, s := range stamps {
		if s > 0 {
			v = append(v, Component{testNode(byte(i + 1)), s})
		}
	}
	return v
}

func TestVectors(t *testing.T) {
	for _, row := range []struct {
		name             string
		v, w, join, meet Vector
		order            Order
	}{
		{"both empty", nil, nil, nil, nil, Same},
		{"one empty", vec(1), nil, vec(1), nil, After},
		{"equal", vec(1, 2), vec(1, 2), vec(1, 2), vec(1, 2), Same},
		{"newer", vec(2), vec(1), vec(2), vec(1), After},
		{"older", vec(1), vec(2), vec(2), vec(1), Before},
		{"more nodes", vec(1, 1), vec(0, 1), vec(1, 1), vec(0, 1), After},
		{"other nodes", vec(1), vec(0, 1), vec(1, 1), nil, Concurrent},
		{"crossed", vec(1, 2), vec(2, 1), vec(2, 2), vec(1, 1), Concurrent},
		{"interleaved", vec(1, 0, 3, 0, 5), vec(0, 2, 9, 4), vec(1, 2, 9, 4, 5), vec(0, 0, 3), Concurrent},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.v.Join(row.w); !got.Equal(row.join) {
				t.Errorf("Join = %v, want %v", got, row.join)
			}
			if got := row.v.Meet(row.w); !got.Equal(row.meet) {
				t.Errorf("Meet = %v, want %v", got, row.meet)
			}
			if got := row.v.Compare(row.w); got != row.order {
				t.Errorf("Compare = %v, want %v", got, row.order)
			}
		})
	}
}

func TestVectorWith(t *testing.T) {
	v := vec(5, 0, 7)
	for _, row := range []struct {
		name string
		node byte
		s    Stamp
		want Vector
	}{
		{"raised", 1, 6, vec(6, 0, 7)},
		{"new in between", 2, 1, vec(5, 1, 7)},
		{"new at the end", 4, 1, vec(5, 0, 7, 1)},
		{"seen already", 3, 7, v},
		{"older", 3, 2, v},
		{"no stamp", 2, 0, v},
	} {
		if got := v.With(testNode(row.node), row.s); !got.Equal(row.want) {
			t.Errorf("%s: With = %v, want %v", row.name, got, row.want)
		}
	}
	if want := vec(5, 0, 7); !v.Equal(want) {
		t.Errorf("With changed its receiver to %v, want %v", v, want)
	}
	if got := v.Of(testNode(3)); got != 7 {
		t.Errorf("Of(node 3) = %d, want 7", got)
	}
	if got := v.Of(testNode(2)); got != 0 {
		t.Errorf("Of(node 2) = %d, want 0", got)
	}
}

func randomVector(r *rand.Rand) (v Vector) {
	for i := range 4 {
		if s := r.IntN(4); s > 0 {
			v = append(v, Component{testNode(byte(i + 1)), Stamp(s)})
		}
	}
	return v
}

func TestVectorLaws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	reverse := map[Order]Order{Same: Same, After: Before, Before: After, Concurrent: Concurrent}
	for range 5000 {
		u, v, w := randomVector(r), randomVector(r), randomVector(r)
		uv := u.Join(v)
		for law, holds := range map[string]bool{
			"join commutes":                 uv.Equal(v.Join(u)),
			"join associates":               uv.Join(w).Equal(u.Join(v.Join(w))),
			"join is idempotent":            u.Join(u).Equal(u) && uv.Join(v).Equal(uv),
			"join covers both":              uv.Covers(u) && uv.Covers(v),
			"join is the least":             !w.Covers(u) || !w.Covers(v) || w.Covers(uv),
			"covers iff join adds nothing":  u.Covers(v) == uv.Equal(u),
			"meet commutes":                 u.Meet(v).Equal(v.Meet(u)),
			"meet is covered by both":       u.Covers(u.Meet(v)) && v.Covers(u.Meet(v)),
			"meet is the greatest":          !u.Covers(w) || !v.Covers(w) || u.Meet(v).Covers(w),
			"join absorbs meet":             u.Join(u.Meet(v)).Equal(u) && u.Meet(uv).Equal(u),
			"compare is antisymmetric":      u.Compare(v) == reverse[v.Compare(u)],
			"same means equal":              (u.Compare(v) == Same) == u.Equal(v),
			"after means covers and not eq": (u.Compare(v) == After) == (u.Covers(v) && !u.Equal(v)),
		} {
			if !holds {
				t.Fatalf("%s: fails for\nu = %v\nv = %v\nw = %v", law, u, v, w)
			}
		}
		if !sorted(uv) || !sorted(u.Meet(v)) {
			t.Fatalf("Join %v or Meet %v unsorted or with zero stamps", uv, u.Meet(v))
		}
	}
}

func sorted(v Vector) bool {
	out, err := DecodeVector(EncodeVector(v))
	return err == nil && out.Equal(v)
}

func component(node []byte, s Stamp) []byte {
	return AppendUint(AppendBytes(nil, componentNode, node), componentStamp, uint64(s))
}

func TestAddComponentRefuses(t *testing.T) {
	two := testNode(2)
	have := Vector{{two, 5}}
	first, third := testNode(1), testNode(3)
	for _, row := range []struct {
		name string
		b    []byte
	}{
		{"unsorted", component(first[:], 1)},
		{"duplicate", component(two[:], 6)},
		{"no node", component(nil, 1)},
		{"zero node", component(make([]byte, NodeIDSize), 1)},
		{"short node", component(third[:15], 1)},
		{"long node", component(append(third[:], 0), 1)},
		{"no stamp", component(third[:], 0)},
		{"nothing", nil},
		{"truncated", component(third[:], 1)[:10]},
	} {
		if v, err := AddComponent(have, row.b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: AddComponent = %v, %v; want ErrFormat", row.name, v, err)
		}
	}
	unknown := AppendUint(component(third[:], 1), 9, 9)
	if v, err := AddComponent(have, unknown); err != nil || len(v) != 2 {
		t.Errorf("AddComponent with an unknown field = %v, %v; want two components", v, err)
	}
}

func TestVectorTooLong(t *testing.T) {
	var v Vector
	for i := range maxComponents + 1 {
		v = append(v, Component{NodeID{byte(i >> 8), byte(i), 1}, 1})
	}
	if _, err := DecodeVector(EncodeVector(v[:maxComponents])); err != nil {
		t.Errorf("decoding %d components: %v", maxComponents, err)
	}
	if _, err := DecodeVector(EncodeVector(v)); !errors.Is(err, ErrFormat) {
		t.Errorf("decoding %d components: %v, want ErrFormat", len(v), err)
	}
}

func TestTokenCompare(t *testing.T) {
	ascending := []Token{{}, {0, 9}, {1, 0}, {1, 1}, {2, 0}}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := a.Compare(b); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestFieldsRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"field number 0":    {0x00, 0x01},
		"truncated tag":     {0x80},
		"truncated varint":  {0x08, 0xff},
		"long varint":       {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"truncated fixed64": {0x09, 1, 2, 3},
		"truncated fixed32": {0x0d, 1, 2, 3},
		"truncated bytes":   {0x0a, 0x05, 1},
		"huge length":       protowire.AppendVarint([]byte{0x0a}, 1<<62),
		"start of a group":  {0x0b},
		"end of a group":    {0x0c},
		"type 6":            {0x0e},
	} {
		if err := Fields(b, func(Field) error { return nil }); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Fields = %v, want ErrFormat", name, err)
		}
	}
}

func TestContentOrigin(t *testing.T) {
	by := testNode(1)
	v := Version{Vector: Vector{{by, 9}}, Author: by, Stamp: 9}
	if got, want := v.Origin(), (Component{by, 9}); got != want {
		t.Errorf("without one of its own: got %v, want the operation itself %v", got, want)
	}
	v.Content = Component{by, 4}
	e := &Entry{Attributes: Attributes{Kind: Dir}, Version: v}
	back, err := DecodeEntry(e.Append(nil))
	if err != nil || back.Version.Origin() != v.Content {
		t.Errorf("decoded: got %+v, %v; want origin %v", back, err, v.Content)
	}
	v.Content.Stamp = 10
	e = &Entry{Attributes: Attributes{Kind: Dir}, Version: v}
	if _, err := DecodeEntry(e.Append(nil)); !errors.Is(err, ErrFormat) {
		t.Errorf("origin that the vector has not seen: got %v, want ErrFormat", err)
	}
}
