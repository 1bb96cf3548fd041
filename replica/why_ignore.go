package replica

// ignoreRule returns the rule by which path is ignored, with where it stands; "" if it is not.
func (r *Replica) ignoreRule(string) string { return "" }
