package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// nodes is how many daemons a service has.
const nodes = 3

// A service grants locks. Clients may be used at the same time, each by one goroutine.
type service interface {
	name() string
	// client returns one that asks the node with that number.
	client(ctx context.Context, node int) (client, error)
	stop()
}

// A client takes locks and gives them back.
type client interface {
	// lock waits for a lock, and returns what gives it back.
	lock(ctx context.Context, name string) (unlock func(context.Context) error, err error)
	close()
}

// measure does everything once, and adds what it took to results.
func measure(ctx context.Context, s service, o options, results map[string][]float64) error {
	for _, part := range []func(context.Context, service, options, map[string][]float64) error{alone, handOver, together} {
		if err := part(ctx, s, o, results); err != nil {
			return err
		}
	}
	return nil
}

// alone takes locks one after the other, at each of the nodes in turn.
func alone(ctx context.Context, s service, o options, results map[string][]float64) error {
	var locks, pairs []float64
	for node := range nodes {
		c, err := s.client(ctx, node)
		if err != nil {
			return err
		}
		for i := range o.locks/nodes + warm {
			begun := time.Now()
			unlock, err := c.lock(ctx, fmt.Sprintf("alone-%d-%d", node, i))
			if err != nil {
				return err
			}
			had := time.Since(begun)
			if err := unlock(ctx); err != nil {
				return err
			}
			if i >= warm {
				locks, pairs = append(locks, ms(had)), append(pairs, ms(time.Since(begun)))
			}
		}
		c.close()
	}
	results[rowLock] = append(results[rowLock], median(locks))
	results[rowLock99] = append(results[rowLock99], quantile(locks, 0.99))
	results[rowPair] = append(results[rowPair], median(pairs))
	return nil
}

// warm is how many locks a client takes before its times count.
const warm = 20

// handOver has two clients at two nodes take the same lock in turn: the time runs from when the one begins to give it back until the other,
// which waits, has it.
func handOver(ctx context.Context, s service, o options, results map[string][]float64) error {
	var two [2]client
	for i := range two {
		c, err := s.client(ctx, i)
		if err != nil {
			return err
		}
		defer c.close()
		two[i] = c
	}
	unlock, err := two[0].lock(ctx, "handed over")
	if err != nil {
		return err
	}
	var times []float64
	for i := range o.locks {
		type had struct {
			unlock func(context.Context) error
			at     time.Time
			err    error
		}
		next := make(chan had, 1)
		go func() {
			u, err := two[(i+1)%2].lock(ctx, "handed over")
			next <- had{u, time.Now(), err}
		}()
		select { // by then it waits
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		begun := time.Now()
		if err := unlock(ctx); err != nil {
			return err
		}
		h := <-next
		if h.err != nil {
			return h.err
		}
		times = append(times, ms(h.at.Sub(begun)))
		unlock = h.unlock
	}
	results[rowHand] = append(results[rowHand], median(times))
	return unlock(ctx)
}

// together has many clients, spread over the nodes, take locks of their own and give them back.
func together(ctx context.Context, s service, o options, results map[string][]float64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clients := make([]client, o.clients)
	for i := range clients {
		c, err := s.client(ctx, i%nodes)
		if err != nil {
			return err
		}
		defer c.close()
		clients[i] = c
	}
	var wg sync.WaitGroup
	counts := make([]int, len(clients))
	begun := time.Now()
	for i, c := range clients {
		wg.Go(func() {
			for time.Since(begun) < o.length && ctx.Err() == nil {
				unlock, err := c.lock(ctx, fmt.Sprintf("together-%d", i))
				if err == nil {
					err = unlock(ctx)
				}
				if err != nil {
					cancel(err)
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	results[rowRate] = append(results[rowRate], float64(sum)/took.Seconds())
	return nil
}
