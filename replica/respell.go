package replica

import (
	"errors"

	"resonate/beneath"
	"resonate/index"
)

// respells tells whether a move does no more than to spell a name otherwise, on a file system that takes both for one: a rename that replaces
// nothing would find the new name taken, by the very file.
func (r *Replica) respells(op *operation) bool {
	var other *beneath.OtherSpelling
	_, err := r.root.Lstat(op.to)
	return r.folds && errors.As(err, &other) && other.Asked == op.to && other.Found == op.from
}

// rename does a move on disk: in one step, or by way of a temporary name if one is given.
func (r *Replica) rename(op *operation, through string) error {
	if through == "" {
		return r.root.Move("apply.rename", op.from, op.to)
	}
	if err := r.root.Move("apply.respell", op.from, through); err != nil {
		return err
	}
	err := r.root.Move("apply.rename", through, op.to)
	if err == nil {
		return nil
	}
	return errors.Join(err, r.root.Move("apply.back", through, op.from))
}

// respelled ends a move by way of a temporary name that was cut short, and tells whether it was one.
func (r *Replica) respelled(i index.Intent) bool {
	if i.Temp == "" {
		return false
	}
	if info, err := r.root.Lstat(i.Temp); err == nil && info.Inode == i.Disk.Inode {
		if err := r.root.Move("recover.respell", i.Temp, i.Path); err != nil {
			r.log.Warn("a move cannot be ended", "from", i.From, "to", i.Path, "cause", err)
		}
	}
	return true
}
