package replica

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
)

// partial ends the name of a temporary file that is still being written. Such a file has never been swapped with
// anything, so no user ever wrote to it; only a whole one loses this ending, and only then may it displace a file.
const partial = ".part"

// tempNames gives out names of temporary files, unlike those of any other run.
type tempNames struct{ count atomic.Uint64 }

func (r *Replica) tempName() string {
	return fmt.Sprintf("%s/%s-%d", tmpDir, hex.EncodeToString(r.boot[:4]), r.temporary.count.Add(1))
}

func newBytesReader(b []byte) io.Reader { return bytes.NewReader(b) }
