package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/fixtures/quotas"
)

type startFlags struct {
	listen, dataDir, ports   string
	ephemeral, detach, fsync bool
	advertise                []string
	logFormat, logLevel      string
	auth, iam, webhooks      string
	backend, nodeImage       string
	nodeResources            string
	noSpare                  bool
	upstream, timing         string
	scale                    float64
	create, drain, join      time.Duration
	quotas                   map[string]int
}

func (f *startFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.listen, "listen", "127.0.0.1:4566", "address of the AWS endpoint, HTTP and HTTPS on one port")
	fs.StringVar(&f.dataDir, "data-dir", "", "where the state is kept (default: ekslocal/data in $XDG_STATE_HOME or ~/.local/state)")
	fs.BoolVar(&f.ephemeral, "ephemeral", false, "keep nothing: a new, empty state that is deleted in the end")
	fs.StringVar(&f.ports, "cluster-ports", "6500-6599", "ports for the clusters' Kubernetes API servers")
	fs.StringSliceVar(&f.advertise, "advertise-host", nil, "further names or addresses by which clients reach the endpoints; certificates carry them, and clusters' endpoints the first")
	fs.StringVar(&f.auth, "auth", "strict", "strict: AWS's answer to unknown access keys; lax: they are the account's root")
	fs.StringVar(&f.iam, "iam", "enforce", "enforce: refuse AWS calls that IAM policies do not allow; audit: log and let through; off: ask nobody")
	fs.StringVar(&f.backend, "backend", "embedded", "embedded: simulated pods, no Docker; kind: real ones in containers; auto: kind if Docker answers (docs/kind.md)")
	fs.StringVar(&f.nodeImage, "kind-node-image", "", "image of the nodes of kind clusters (default: kind's own of the cluster's version)")
	fs.StringVar(&f.nodeResources, "kind-node-resources", "type", "type: nodes of kind clusters offer what their instance types have; host: what this machine has")
	fs.StringVar(&f.webhooks, "simulated-webhooks", "skip", "skip or fail: calls of API servers to webhooks whose pods are simulated")
	fs.BoolVar(&f.noSpare, "no-spare", false, "do not keep a started control plane for the next cluster: less memory, slower creation")
	fs.StringVar(&f.upstream, "upstream", "", "URL of another emulator (LocalStack, moto, MinIO) for the services that ekslocal does not have, such as S3")
	fs.StringVar(&f.timing, "timing", "fast", "fast: state changes take as long as the work; realistic: as long as on AWS, for tests of time-outs")
	fs.Float64Var(&f.scale, "time-scale", 0, "with --timing realistic: divide AWS's durations by this (default 1: a cluster takes 9 minutes; 60: 9 seconds)")
	fs.BoolVar(&f.fsync, "fsync", false, "survive power cuts, not only the end of the process")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringToIntVar(&f.quotas, "quota", nil, "raise or lower AWS's default quotas, such as vpcs-per-region=50,elastic-ips-per-region=50 (names: fixtures/quotas)")
	fs.DurationVar(&f.drain, "drain-timeout", 0, "how long updates of node groups wait for a node's pods before they fail with PodEvictionFailure (EKS and default: 15m)")
	fs.DurationVar(&f.join, "join-timeout", 0, "how long node groups wait for an instance to become a Ready node before they fail with NodeCreationFailure (default: 5m)")
	fs.DurationVar(&f.create, "create-timeout", 0, "how long a cluster is tried to be made before it is FAILED (default: 3m)")
	for _, rare := range []string{"drain-timeout", "join-timeout", "create-timeout"} {
		fs.Lookup(rare).Hidden = true
	}
}

func (a *app) startCommand() *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the emulator; Ctrl-C ends it and everything it started",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(f, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if f.detach && a.Getenv(detachedEnv) == "" {
				return a.detach(cmd.Context(), cmd.OutOrStdout(), cfg, a.Args)
			}
			return a.run(cmd.Context(), cmd.OutOrStdout(), cfg)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "return when it is healthy and leave it running")
	return cmd
}

// config checks the flags.
func (a *app) config(f startFlags, logs io.Writer) (Config, error) {
	cfg := Config{Listen: f.listen, DataDir: f.dataDir, Ephemeral: f.ephemeral, AdvertiseHost: f.advertise,
		Auth: f.auth, IAM: f.iam, Backend: f.backend, KindNodeImage: f.nodeImage, KindNodeResources: f.nodeResources, Fsync: f.fsync, SimulatedWebhooks: f.webhooks, NoSpare: f.noSpare, Upstream: f.upstream, Timing: f.timing, TimeScale: f.scale,
		CreateTimeout: f.create, DrainTimeout: f.drain, JoinTimeout: f.join, Quotas: f.quotas, Version: a.Version}
	if _, port, err := net.SplitHostPort(f.listen); err != nil || !isPort(port) {
		return cfg, fmt.Errorf("--listen %s is not host:port, such as 127.0.0.1:4566", f.listen)
	}
	if f.ephemeral && f.dataDir != "" {
		return cfg, errors.New("--ephemeral keeps nothing, so --data-dir has no meaning with it: leave one out")
	}
	if f.auth != "strict" && f.auth != "lax" {
		return cfg, fmt.Errorf("--auth %s is neither strict nor lax", f.auth)
	}
	if f.iam != "enforce" && f.iam != "audit" && f.iam != "off" {
		return cfg, fmt.Errorf("--iam %s is none of enforce, audit and off", f.iam)
	}
	if f.backend != "embedded" && f.backend != "kind" && f.backend != "auto" {
		return cfg, fmt.Errorf("--backend %s is none of embedded, kind, auto", f.backend)
	}
	if f.nodeResources != "type" && f.nodeResources != "host" {
		return cfg, fmt.Errorf("--kind-node-resources %s is neither type nor host", f.nodeResources)
	}
	for name := range f.quotas {
		if !slices.Contains(quotas.Names(), name) {
			return cfg, fmt.Errorf("--quota %s is none of %s", name, strings.Join(quotas.Names(), ", "))
		}
	}
	if f.webhooks != "skip" && f.webhooks != "fail" {
		return cfg, fmt.Errorf("--simulated-webhooks %s is neither skip nor fail", f.webhooks)
	}
	var err error
	if cfg.ClusterPorts, err = clusterPorts(f.ports); err != nil {
		return cfg, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return cfg, fmt.Errorf("--log-level %s is not debug, info, warn or error", f.logLevel)
	}
	switch opts := (&slog.HandlerOptions{Level: level}); f.logFormat {
	case "text":
		cfg.Log = slog.New(slog.NewTextHandler(logs, opts))
	case "json":
		cfg.Log = slog.New(slog.NewJSONHandler(logs, opts))
	default:
		return cfg, fmt.Errorf("--log-format %s is neither text nor json", f.logFormat)
	}
	if f.ephemeral {
		return cfg, nil // the directory is made when it is needed
	}
	if cfg.DataDir == "" {
		root, err := a.stateRoot()
		if err != nil {
			return cfg, err
		}
		cfg.DataDir = filepath.Join(root, "data")
	}
	abs, err := filepath.Abs(cfg.DataDir)
	cfg.DataDir = abs
	return cfg, err
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= 65535
}

// run is the emulator's process.
func (a *app) run(ctx context.Context, out io.Writer, cfg Config) (err error) {
	parent := openReport(a.Getenv)
	defer func() { parent.failed(err) }()
	began := time.Now()
	if cfg.Ephemeral {
		// Not below the state directory: the path must be short enough for sockets.
		if cfg.DataDir, err = os.MkdirTemp("", "ekslocal-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(cfg.DataDir) }()
	}
	if err := a.unused(cfg.DataDir); err != nil {
		return err
	}
	emu, err := a.New(cfg)
	if err != nil {
		return a.explain(err, cfg)
	}
	if err := emu.Start(ctx); err != nil {
		return a.explain(err, cfg)
	}
	remove, err := a.register(registration{PID: os.Getpid(), Endpoint: emu.Endpoint(), Listen: cfg.Listen, DataDir: cfg.DataDir,
		Ephemeral: cfg.Ephemeral, LogFile: a.Getenv(logFileEnv), StartedAt: began.UTC()})
	if err != nil {
		return errors.Join(err, emu.Close())
	}
	// Removed last: `ekslocal stop` waits for it.
	defer remove()
	if !parent.ready(emu.Endpoint()) {
		fmt.Fprintf(out, "ekslocal %s is ready at %s (%s)\n", a.Version, emu.Endpoint(), time.Since(began).Round(time.Millisecond))
		fmt.Fprintln(out, "In another shell: eval \"$(ekslocal env)\"")
	}
	waited := make(chan error, 1)
	go func() { waited <- emu.Wait() }()
	select {
	case <-ctx.Done():
		cfg.Log.Info("stopping; interrupt once more to end at once")
	case err = <-waited:
	}
	return errors.Join(err, emu.Close())
}

// unused tells early and well what the store would find out: two emulators cannot
// share a state.
func (a *app) unused(dataDir string) error {
	live, err := a.running()
	if err != nil {
		return err
	}
	for _, r := range live {
		if sameFile(r.DataDir, dataDir) {
			return fmt.Errorf("ekslocal runs already on the data directory %s (process %d, %s): stop it with `ekslocal stop`, or choose another --data-dir", dataDir, r.PID, r.Endpoint)
		}
	}
	return nil
}

// explain turns what start most often fails of into a sentence with its mend.
func (a *app) explain(err error, cfg Config) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		live, _ := a.running()
		for _, r := range live {
			if sameEndpoint("http://"+r.Listen, "http://"+cfg.Listen) {
				return fmt.Errorf("ekslocal runs already at %s (process %d): stop it with `ekslocal stop`, or choose another --listen", r.Endpoint, r.PID)
			}
		}
		return fmt.Errorf("something else listens on %s: stop it, or choose another --listen: %w", cfg.Listen, err)
	}
	if errors.Is(err, syscall.EACCES) || errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: choose a --data-dir that you may write, and a port over 1023", err)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is full: free some space below %s: %w", cfg.DataDir, err)
	}
	return err
}

// clusterPorts reads --cluster-ports.
func clusterPorts(s string) (ports [2]int, err error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || first < 1 || last > 65535 || last < first {
		return ports, fmt.Errorf("--cluster-ports %s is not a range of ports, such as 6500-6599", s)
	}
	return [2]int{first, last}, nil
}
