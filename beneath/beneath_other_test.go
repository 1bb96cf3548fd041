//go:build !linux

package beneath

// sameTime allows for the microseconds of futimens on Darwin.
func sameTime(got, want int64) bool { return got/1000 == want/1000 }
