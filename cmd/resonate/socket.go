package main

import "resonate/replica"

// controlSocket returns the path of the socket at which the daemon of the folder answers, if one runs. An
// error that is fs.ErrNotExist means that none has ever run.
func controlSocket(folder string) (string, error) {
	return replica.ControlSocket(folder)
}
