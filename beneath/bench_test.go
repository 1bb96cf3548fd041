package beneath

import "testing"

func BenchmarkDepth4(b *testing.B) {
	dir := b.TempDir()
	const path = "one/two/three/file"
	write(b, dir+"/"+path, "x")
	for _, way := range []struct {
		name string
		open opener
	}{{"platform", openBeneath}, {"walk", walkBeneath}} {
		r := openTest(b, dir, way.open)
		b.Run("Lstat/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Lstat(path); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("OpenFile/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := r.OpenFile(path)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}
