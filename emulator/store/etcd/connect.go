package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// Remote is an etcd that somebody else runs. It must allow as many operations a
// transaction as a handler reads and writes (etcd's --max-txn-ops, 128 unless
// told, is too few for big accounts), and compacts itself.
type Remote struct{ client *clientv3.Client }

// Connect dials an existing etcd and returns when it has answered.
func Connect(ctx context.Context, endpoints []string, log *slog.Logger) (*Remote, error) {
	var always atomic.Bool
	always.Store(true)
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zapTo(log, &always),
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	if _, err := c.Get(ctx, "ekslocal", clientv3.WithCountOnly()); err != nil {
		c.Close()
		return nil, fmt.Errorf("etcd: %v does not answer: %w", endpoints, err)
	}
	return &Remote{client: c}, nil
}

// Client is the connection.
func (r *Remote) Client() *clientv3.Client { return r.client }

// KV returns the keys below prefix, which should end in a slash.
func (r *Remote) KV(prefix string) store.KV { return &kv{client: r.client, prefix: prefix} }

// Close hangs up.
func (r *Remote) Close() error { return r.client.Close() }
