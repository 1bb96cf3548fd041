package replica

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// idleThreads counts the threads of this process that come last at the disk.
func idleThreads(t testing.TB) (n int) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		prio, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(tid), 0)
		if errno == 0 && prio>>13 == ioprioIdle>>13 {
			n++
		}
	}
	return n
}

func TestLastAtTheDisk(t *testing.T) {
	turn := usualTurn()
	if turn.fixed {
		skip(t, "this thread's priority at the disk cannot be lowered: %+v", turn)
	}
	if n := idleThreads(t); n != 0 {
		t.Fatalf("before: got %d idle threads, want none", n)
	}
	end := turn.last()
	if n := idleThreads(t); n != 1 {
		t.Errorf("meanwhile: got %d idle threads, want 1", n)
	}
	end()
	if n := idleThreads(t); n != 0 {
		t.Errorf("after it has ended: got %d idle threads, want none", n)
	}
}

// sparse makes a file of so many zeros.
func (n *node) sparse(p string, size int64) {
	n.t.Helper()
	n.write(p, "")
	if err := os.Truncate(n.path(p), size); err != nil {
		n.t.Fatal(err)
	}
}

// What a scan reads comes last at the disk; what an event tells of does not.
func TestScansReadAtIdlePriority(t *testing.T) { // not in parallel: it looks at all threads of the process
	if usualTurn().fixed {
		skip(t, "this process's priority at the disk cannot be lowered")
	}
	for _, row := range []struct {
		name    string
		files   int
		size    int64
		threads int // that are idle at the disk at some time
	}{
		{"long", 1, 128 << 20, 2}, // one that waits, and at least one that reads
		{"shorter", 20, longFile - 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := newNode(t, "n", nil)
			for i := range row.files {
				n.sparse(fmt.Sprintf("scanned%d", i), row.size)
			}
			n.start()
			until(t, "a scan has listed the folder", func() (found bool) {
				n.inLoop(func(r *Replica) { found = len(r.hashing) > 0 || r.tree.Root().Files > 0 })
				return found
			})
			most := 0
			for end := time.Now().Add(2 * time.Minute); n.status().Files < row.files; time.Sleep(time.Millisecond) {
				if most = max(most, idleThreads(t)); time.Now().After(end) {
					t.Fatal("not all is read within two minutes") // with the race detector it is a long way
				}
			}
			if most < row.threads {
				t.Errorf("while a scan reads: got at most %d idle threads, want %d", most, row.threads)
			}
			until(t, "the scan is over", func() bool { return n.status().State == "alone" })
			n.sparse("edited", min(row.size, 2*longFile))
			until(t, "the edited file is read", func() bool {
				if got := idleThreads(t); got > 0 {
					t.Errorf("while a file is read that an event told of: got %d idle threads, want none", got)
				}
				return n.entry("edited").Live()
			})
		})
	}
}

func TestScansListAtIdlePriority(t *testing.T) { // not in parallel, either
	if usualTurn().fixed {
		skip(t, "this process's priority at the disk cannot be lowered")
	}
	dirs := tree{}
	for i := range 300 {
		dirs[fmt.Sprintf("d%d/", i)] = ""
	}
	n := startNode(t, "n", dirs)
	until(t, "the first scan is over", func() bool { return n.status().State == "alone" })
	until(t, "a scan lists", func() bool {
		n.inLoop(func(r *Replica) {
			if r.scans == 0 {
				r.startScan("", false)
			}
		})
		return idleThreads(t) > 0
	})
}
