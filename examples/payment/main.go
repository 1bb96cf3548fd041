// Command payment is an example of work that must be done once, whoever does it: several clients are told to make the same payment, and take
// turns by one of resonate's locks. The bank does not know of the lock. It makes every payment it is asked for, save that it refuses a token
// that is lower than the highest it has seen: so a client that had the lock, was stopped, and goes on when another has had it, pays nothing.
//
//	payment bank -listen localhost:8080
//	payment pay -payment 42 -client a -amount 100 -servers DIR -bank http://localhost:8080
//
// Run the second line in several terminals at once, and kill some of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "payment:", err)
		os.Exit(1)
	}
}

// run carries out one command line.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want bank or pay; see payment bank -h and payment pay -h")
	}
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "bank":
		listen := set.String("listen", "localhost:8080", "serve at this `address`")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		return serveBank(ctx, *listen)
	case "pay":
		p := payment{Out: os.Stdout}
		set.StringVar(&p.ID, "payment", "", "the payment's `ID`, which all who are to make it know; needed")
		set.StringVar(&p.Client, "client", "", "the `name` of this client; needed")
		set.IntVar(&p.Amount, "amount", 0, "how much, in `cents`")
		servers := set.String("servers", ".", "nodes of resonate, with commas between: the `folder` of one on this machine, or http://HOST:PORT")
		tokenFile := set.String("token-file", "", "a `file` with the token for http://")
		set.StringVar(&p.Bank, "bank", "http://localhost:8080", "the bank's `URL`")
		set.DurationVar(&p.TTL, "ttl", 30*time.Second, "hold the lock for this `time`")
		set.DurationVar(&p.Wait, "wait", time.Minute, "wait for the lock for this `time`")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		if p.ID == "" || p.Client == "" {
			return errors.New("-payment and -client are needed")
		}
		for _, s := range strings.Split(*servers, ",") {
			n, err := newNode(s, *tokenFile)
			if err != nil {
				return err
			}
			p.Nodes = append(p.Nodes, n)
		}
		return p.make(ctx)
	}
	return fmt.Errorf("want bank or pay, not %q", args[0])
}

// serveBank serves a bank until ctx ends.
func serveBank(ctx context.Context, listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: newBank(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	fmt.Printf("the bank is at http://%s\n", ln.Addr())
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
