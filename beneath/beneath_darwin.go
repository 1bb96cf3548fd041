package beneath

import "golang.org/x/sys/unix"

// utimeOmit is UTIME_OMIT of sys/stat.h, which x/sys does not name for Darwin.
const utimeOmit = -2

func renameNoReplace(from, to place) error {
	return unix.RenameatxNp(from.fd, from.name, to.fd, to.name, unix.RENAME_EXCL)
}

func renameExchange(a, b place) error {
	return unix.RenameatxNp(a.fd, a.name, b.fd, b.name, unix.RENAME_SWAP)
}

// futimens keeps microseconds only, for want of the call in x/sys; so the time of last access is read and set again.
func futimens(fd int, ns int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return unix.Futimes(fd, []unix.Timeval{unix.NsecToTimeval(st.Atim.Nano()), unix.NsecToTimeval(ns)})
}
