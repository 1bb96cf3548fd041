package locking

// finished remembers the requests that are over, so that one that comes once more, late, does nothing. Of more than maxFinished the
// oldest are forgotten: such a request makes a claim that nobody wants, which whoever asked gives back when it is told of it.
type finished struct {
	reasons map[RequestID]Reason
	order   []RequestID // oldest first, from begin on
	begin   int
}

func (f *finished) add(id RequestID, r Reason) {
	if _, ok := f.reasons[id]; ok {
		return
	}
	f.reasons[id] = r
	f.order = append(f.order, id)
	for len(f.order)-f.begin > maxFinished {
		delete(f.reasons, f.order[f.begin])
		f.begin++
	}
	if f.begin > maxFinished {
		f.order = append([]RequestID(nil), f.order[f.begin:]...)
		f.begin = 0
	}
}
