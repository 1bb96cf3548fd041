// Command locks measures the cluster's locks of resonate beside mutexes of etcd, from outside, as scripts use them: three daemons of either
// on this machine, with their logs on the same file system, and the same clients in the same run. It is a module of its own, so that resonate
// itself does not depend on etcd's client; the server is the etcd on the PATH, such as that of Debian's package etcd-server.
//
//	go build -o /tmp/resonate ./cmd/resonate
//	cd bench/locks && go run . -resonate /tmp/resonate -work /var/tmp
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "locks:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	work, resonate, etcd string
	rounds               int // of each case, the services taking turns
	locks                int // one after the other
	clients              int // at a time
	length               time.Duration
}

func run(ctx context.Context, args []string, out, notes io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("locks", flag.ContinueOnError)
	flags.SetOutput(notes)
	flags.StringVar(&o.work, "work", os.TempDir(), "keep all logs below `DIR`: its disk is part of what is measured")
	flags.StringVar(&o.resonate, "resonate", "resonate", "measure this `BINARY`")
	flags.StringVar(&o.etcd, "etcd", "etcd", "measure this `BINARY`")
	flags.IntVar(&o.rounds, "rounds", 3, "measure everything so many `TIMES`, and print medians")
	flags.IntVar(&o.locks, "locks", 300, "take so many `LOCKS` one after the other")
	flags.IntVar(&o.clients, "clients", 64, "have so many `CLIENTS` take locks at a time")
	flags.DurationVar(&o.length, "for", 5*time.Second, "for this `TIME`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.work, err = os.MkdirTemp(o.work, "resonate-locks-"); err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer os.RemoveAll(o.work)
	starts := []func(context.Context, options) (service, error){startResonate, startEtcd}
	var services []service
	for _, start := range starts {
		s, err := start(ctx, o)
		if s != nil {
			defer s.stop()
		}
		if err != nil {
			return err
		}
		services = append(services, s)
	}
	results := make([]map[string][]float64, len(services))
	for i := range results {
		results[i] = make(map[string][]float64)
	}
	for range o.rounds {
		if sync, err := fsyncTime(o.work); err == nil {
			results[0][rowFsync], results[1][rowFsync] = append(results[0][rowFsync], sync), append(results[1][rowFsync], sync)
		}
		for i, s := range services {
			if err := measure(ctx, s, o, results[i]); err != nil {
				return fmt.Errorf("%s: %w", s.name(), err)
			}
		}
	}
	return table(out, services, results)
}

// The rows of the table.
const (
	rowFsync  = "append and fsync 128 bytes, ms"
	rowLock   = "lock that nobody has, ms, p50"
	rowLock99 = "the same, ms, p99"
	rowPair   = "lock and unlock, ms, p50"
	rowHand   = "hand-over to one who waits at another node, ms, p50"
	rowRate   = "locks and unlocks a second, all clients"
)

func table(out io.Writer, services []service, results []map[string][]float64) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\tratio\n", services[0].name(), services[1].name())
	for _, row := range []string{rowFsync, rowLock, rowLock99, rowPair, rowHand, rowRate} {
		a, b := median(results[0][row]), median(results[1][row])
		fmt.Fprintf(w, "%s\t%.3g\t%.3g\t%.2f\n", row, a, b, a/b)
	}
	return w.Flush()
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

// fsyncTime returns what a log pays for the disk: the median time, in ms, to append 128 bytes and have them written.
func fsyncTime(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var times []float64
	for range 100 {
		begun := time.Now()
		if _, err := f.Write(make([]byte, 128)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, ms(time.Since(begun)))
	}
	return median(times), nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
