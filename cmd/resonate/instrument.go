package main

import "resonate/replica"

// instrument is where the test binary, re-executed as a daemon, makes file operations fail. The program itself has
// nothing to add.
var instrument = func(*replica.Options) error { return nil }
