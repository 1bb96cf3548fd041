package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

// etcds are three members of a cluster of etcd, with its defaults.
type etcds struct {
	daemons
	clients [nodes]string // their addresses
}

func startEtcd(ctx context.Context, o options) (service, error) {
	e := &etcds{daemons: daemons{dir: filepath.Join(o.work, "etcd")}}
	if err := os.Mkdir(e.dir, 0o755); err != nil {
		return nil, err
	}
	var peers [nodes]string
	var cluster []string
	for i := range nodes {
		for _, at := range []*string{&e.clients[i], &peers[i]} {
			free, err := freeAddress()
			if err != nil {
				return e, err
			}
			*at = "http://" + free
		}
		cluster = append(cluster, fmt.Sprintf("n%d=%s", i, peers[i]))
	}
	for i := range nodes {
		err := e.start(fmt.Sprint(i), nil, o.etcd, "--name", fmt.Sprint("n", i), "--data-dir", filepath.Join(e.dir, fmt.Sprint("node", i)),
			"--listen-client-urls", e.clients[i], "--advertise-client-urls", e.clients[i], "--listen-peer-urls", peers[i],
			"--initial-advertise-peer-urls", peers[i], "--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new")
		if err != nil {
			return e, err
		}
	}
	return e, until(ctx, "three members of etcd are there", func() error {
		for i := range nodes {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			c, err := e.client(ctx, i)
			if err != nil {
				return err
			}
			defer c.close()
			unlock, err := c.lock(ctx, "ready")
			if err != nil {
				return err
			}
			if err := unlock(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// freeAddress returns one of this machine at which nobody listens.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

func (e *etcds) name() string { return "etcd" }

// etcdClient is a connection of its own, and a session.
type etcdClient struct {
	c *clientv3.Client
	s *concurrency.Session
}

func (e *etcds) client(ctx context.Context, node int) (client, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.clients[node]}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	s, err := concurrency.NewSession(c, concurrency.WithTTL(60), concurrency.WithContext(ctx))
	if err != nil {
		c.Close()
		return nil, err
	}
	return &etcdClient{c, s}, nil
}

func (c *etcdClient) close() {
	_ = c.s.Close() // its lease ends by itself otherwise
	_ = c.c.Close()
}

func (c *etcdClient) lock(ctx context.Context, name string) (func(context.Context) error, error) {
	m := concurrency.NewMutex(c.s, "/locks/"+name)
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	return m.Unlock, nil
}
