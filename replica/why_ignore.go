package replica

import (
	"fmt"

	"resonate/beneath"
)

// ignoreRule returns the rule by which path is ignored, with where it stands; "" if it is not. What is not there is looked
// for as a file, and then as a directory. It may be called from any goroutine.
func (r *Replica) ignoreRule(path string) string {
	info, err := r.root.Lstat(path)
	rule, ignored := r.ignoredBy(path, info.Kind == beneath.Dir)
	if !ignored && absent(err) {
		rule, ignored = r.ignoredBy(path, true)
	}
	if !ignored {
		return ""
	}
	return fmt.Sprintf("%s (%s, line %d)", rule.Pattern, rule.Source, rule.Line)
}
