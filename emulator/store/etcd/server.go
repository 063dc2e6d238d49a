// Package etcd runs the emulator's one embedded etcd, which holds the AWS
// resources and every cluster's objects, and implements store.KV on it.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// Config says where an embedded etcd lives.
type Config struct {
	// Dir holds the data; it is made if it is not there, readable by the owner
	// only, for it holds every cluster's Secrets.
	Dir string
	// Socket is the path of the unix socket on which control planes reach it.
	// Its directory is made accessible to the owner only.
	Socket string
	// Fsync makes every write survive a power cut. Without it a write survives
	// the end of this process in any way, but not that of the machine: see
	// docs/adr/0002-durability.md.
	Fsync bool
	// QuotaBytes is the database's size limit; 0 is 8 GiB.
	QuotaBytes int64
	Log        *slog.Logger
	Clock      clock.WithTicker

	freeSpace func(dir string) (int64, error) // for tests; nil asks the system
}

// Server is a running etcd.
type Server struct {
	cfg    Config
	lock   *os.File
	etcd   *embed.Etcd
	client *clientv3.Client
	grpc   *grpc.Server
	keeper *keeper
	disk   *disk
	ready  atomic.Bool

	closing sync.Once
}

const (
	defaultQuota = 8 << 30
	// maxTxnOps bounds guards as well as writes: a transaction over some
	// thousand records is legitimate (a VPC's teardown, a prefix copied).
	maxTxnOps = 1 << 20
	// maxRequestBytes leaves room for such transactions. The API server refuses
	// objects over its own limits before that.
	maxRequestBytes = 10 << 20
	// segmentBytes is the write-ahead log's allocation unit. etcd's 64 MB, of
	// which it keeps several, would be most of an emulator's disk use.
	segmentBytes = 16 << 20
	// Ticks cost 0.01 % of a core each a second; see elect for why the election
	// timeout need not be short.
	tickMs, electionMs = 100, 500
	// snapshotCount bounds what is replayed at start: over 5,000 entries, etcd
	// answers "too many requests" to itself meanwhile. (Keeping fewer entries in
	// memory than the 5,000 that etcd keeps for followers was tried: it then drops
	// entries that raft has not been told are applied, and panics.)
	snapshotCount = 2000
)

var segmentOnce sync.Once

// Start starts etcd and returns when it takes writes. Another process that uses
// the directory makes it fail at once with an *InUseError.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.QuotaBytes == 0 {
		cfg.QuotaBytes = defaultQuota
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := privateDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := privateDir(filepath.Dir(cfg.Socket)); err != nil {
		return nil, err
	}
	lock, err := acquire(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, lock: lock}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	// A variable of etcd's, meant for this; set once, before any log exists.
	segmentOnce.Do(func() { wal.SegmentSizeBytes = segmentBytes })
	starting.Lock()
	defer starting.Unlock()
	e, err := embed.StartEtcd(s.embedConfig())
	if err != nil {
		return err
	}
	s.etcd = e
	if err := s.elect(ctx); err != nil {
		return err
	}
	s.ready.Store(true)
	s.client = v3client.New(e.Server)
	if err := s.listen(); err != nil {
		return err
	}
	s.disk = newDisk(s)
	s.keeper = newKeeper(s)
	return nil
}

func (s *Server) embedConfig() *embed.Config {
	// Nobody ever connects to this address: there are no peers, and clients come
	// through the unix socket. etcd wants a member to have one.
	nowhere := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c := embed.NewConfig()
	c.Name = "ekslocal"
	c.Dir = filepath.Join(s.cfg.Dir, "etcd")
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = nowhere, nowhere
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.SnapshotCount = snapshotCount
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2
	c.UnsafeNoFsync = !s.cfg.Fsync
	c.QuotaBackendBytes = s.cfg.QuotaBytes
	c.BackendFreelistType = "map" // the array one rescans the file's holes on every commit
	c.MaxTxnOps, c.MaxRequestBytes = maxTxnOps, maxRequestBytes
	c.EnableGRPCGateway = false
	c.AutoCompactionRetention = "0" // see keeper
	c.WarningApplyDuration, c.WarningUnaryRequestDuration = slowRequest, slowRequest
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(s.cfg.Log, &s.ready))
	return c
}

// slowRequest is from when etcd complains; a laptop that wakes up or compiles
// something is not worth a line.
const slowRequest = 2 * time.Second

// listen serves etcd's API on the socket. etcd's own client listener is not used:
// it waits for the streams of clients for seconds when it closes.
func (s *Server) listen() error {
	if err := os.Remove(s.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier run: %w", err)
	}
	if len(s.cfg.Socket) > maxSocketPath {
		return fmt.Errorf("the socket path %s has %d characters and the system allows %d: choose a data directory with a shorter path",
			s.cfg.Socket, len(s.cfg.Socket), maxSocketPath)
	}
	l, err := net.Listen("unix", s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.grpc = v3rpc.Server(s.etcd.Server, nil, nil,
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: embed.DefaultGRPCKeepAliveMinTime}))
	go func(srv *grpc.Server) {
		if err := srv.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.cfg.Log.Error("etcd: the socket is no longer served", "socket", s.cfg.Socket, "error", err)
		}
	}(s.grpc)
	return nil
}

// maxSocketPath is sun_path's length on macOS less the final zero; Linux has 4 more.
const maxSocketPath = 103

// Client reaches etcd within the process. It must not be closed.
func (s *Server) Client() *clientv3.Client { return s.client }

// Endpoint is what other processes dial and --etcd-servers takes.
func (s *Server) Endpoint() string { return "unix://" + s.cfg.Socket }

// KV returns the keys below prefix, which should end in a slash.
func (s *Server) KV(prefix string) store.KV {
	return &kv{client: s.client, prefix: prefix, full: s.keeper.full, check: s.disk.check, lost: s.etcd.Server.StopNotify()}
}

// Done is closed when etcd has stopped, asked to or not.
func (s *Server) Done() <-chan struct{} { return s.etcd.Server.StopNotify() }

// Close stops etcd and lets go of the directory. Clients are cut off.
func (s *Server) Close() error {
	s.closing.Do(s.close)
	return nil
}

func (s *Server) close() {
	if s.disk != nil {
		s.disk.close()
	}
	if s.keeper != nil {
		s.keeper.close()
	}
	if s.grpc != nil {
		s.grpc.Stop()
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	_ = os.Remove(s.cfg.Socket)
	_ = s.lock.Close() // releases the lock
}

// privateDir makes dir and takes other users' rights to it away.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	if fi, err := os.Stat(dir); err == nil && fi.Mode()&os.ModeSticky != 0 {
		return fmt.Errorf("etcd: %s is shared by everybody and must be private: choose a directory in it", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("etcd: %s holds secrets and must be private: %w", dir, err)
	}
	return nil
}
