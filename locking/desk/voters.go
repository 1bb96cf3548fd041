package desk

import "resonate/locking"

// Voters returns those who keep the table and can be reached from here, this node included where it is one, and how many keep it; 0: that is
// not known.
func (d *Desk) Voters() (reached []locking.NodeID, all int) {
	s := d.Status()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(s.Voters) > 0 {
		for _, v := range s.Keepers {
			if v.Connected {
				reached = append(reached, v.Node)
			}
		}
		return reached, len(s.Voters)
	}
	for id, l := range d.lines { // a client is told by them
		if l.place.Voter && l.place.Table == s.Table {
			reached = append(reached, id)
			all = max(all, int(min(l.place.Voters, maxVoters)))
		}
	}
	return reached, all
}

// maxVoters is more than there ever are, whatever a member says.
const maxVoters = 1 << 10
