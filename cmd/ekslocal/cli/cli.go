// Package cli is the ekslocal command line. It knows nothing of how the emulator
// is made: main hands that in, so that its tests need no Kubernetes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ekslocal/ekslocal/api/admin"
)

// Config is what `start` makes an emulator from.
type Config struct {
	Listen        string // host:port
	DataDir       string
	Ephemeral     bool // DataDir is deleted in the end
	ClusterPorts  [2]int
	AdvertiseHost []string
	Auth          string // strict or lax
	IAM           string // enforce, audit or off
	Fsync         bool
	// Backend is embedded, kind or auto; KindNodeImage is empty for kind's own images.
	// KindNodeResources is type or host.
	Backend, KindNodeImage, KindNodeResources string
	// SimulatedWebhooks is skip or fail: what becomes of calls to admission webhooks
	// whose pods are simulated.
	SimulatedWebhooks string
	// NoSpare saves the memory of the control plane that is kept for the next cluster.
	NoSpare bool
	// Upstream is the URL that gets requests for services that are not emulated.
	Upstream string
	// Timing is fast or realistic; TimeScale divides AWS's durations, 0 for 1.
	Timing    string
	TimeScale float64
	// CreateTimeout is how long clusters wait, DrainTimeout and JoinTimeout how long node
	// groups do; 0 for the defaults.
	CreateTimeout, DrainTimeout, JoinTimeout time.Duration
	// Quotas overrides default quotas, by their names in fixtures/quotas.
	Quotas  map[string]int
	Log     *slog.Logger
	Version string
}

// Emulator is a made emulator.
type Emulator interface {
	// Start returns when the emulator is healthy. After an error nothing runs.
	Start(ctx context.Context) error
	// Endpoint is the URL that clients use, with the port it really has.
	Endpoint() string
	// Wait returns when the emulator cannot go on, or, with nil, when it was asked
	// to end over its API.
	Wait() error
	// Close ends everything the emulator started.
	Close() error
}

// Program is everything the command line needs from its surroundings.
type Program struct {
	Version        string
	New            func(Config) (Emulator, error)
	Args           []string // without the program's name
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Executable is the path of this binary, for what runs it again.
	Executable func() (string, error)
}

// Main runs the program and returns its exit status. The first interrupt ends the
// command, a second one the process.
func Main(p Program) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if p.Getenv == nil {
		p.Getenv = os.Getenv
	}
	if p.Executable == nil {
		p.Executable = os.Executable
	}
	// Packages of Kubernetes register flags for every command line of a process that
	// links them, a --version of a kind that cobra cannot read among them.
	pflag.CommandLine = pflag.NewFlagSet("ekslocal", pflag.ContinueOnError)
	a := &app{Program: p}
	cmd := a.root()
	cmd.SetArgs(p.Args)
	cmd.SetOut(p.Stdout)
	cmd.SetErr(p.Stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130
	}
	fmt.Fprintf(p.Stderr, "ekslocal: %v\n", err)
	return 1
}

type app struct {
	Program
	endpoint string // --endpoint
}

const defaultEndpoint = "http://127.0.0.1:4566"

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ekslocal",
		Short: "AWS EKS on your machine: the AWS API, and a real Kubernetes API server behind every cluster",
		Long: `AWS EKS on your machine: the AWS API, and a real Kubernetes API server behind every cluster.

  ekslocal start --detach
  eval "$(ekslocal env)"
  aws eks create-cluster ...          # or terraform apply, eksctl, an SDK
  aws eks update-kubeconfig --name dev && kubectl get nodes
  ekslocal stop`,
		Version:       a.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q: `ekslocal help` lists them", args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see `%s --help`", err, c.CommandPath())
	})
	cmd.PersistentFlags().StringVar(&a.endpoint, "endpoint", "", "the emulator's URL (default: $AWS_ENDPOINT_URL, else the one that runs)")
	cmd.AddCommand(a.startCommand(), a.doctorCommand(), a.stopCommand(), a.statusCommand(), a.ipsCommand(), a.podCommand(), a.iamCommand(), a.kubeconfigCommand(), a.tokenCommand(),
		a.resetCommand(), a.caCommand(), a.envCommand(), a.demoCommand(), a.versionCommand())
	cmd.InitDefaultCompletionCmd()
	return cmd
}

// stateRoot is where the emulator keeps everything of this user's.
func (a *app) stateRoot() (string, error) {
	root := a.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(root) { // the specification says to ignore relative ones
		home := a.Getenv("HOME")
		if home == "" {
			return "", errors.New("neither XDG_STATE_HOME nor HOME is set: set one, or pass --data-dir")
		}
		root = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(root, "ekslocal"), nil
}

// region is the region that AWS clients of this environment use.
func (a *app) region() string {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if r := a.Getenv(name); r != "" {
			return r
		}
	}
	return "us-east-1"
}

// target finds the emulator that a command is for. reg is nil unless it runs as a
// process of this user.
func (a *app) target(dataDir string) (endpoint string, reg *registration, err error) {
	live, err := a.running()
	if err != nil {
		return "", nil, err
	}
	if dataDir != "" {
		for _, r := range live {
			if sameFile(r.DataDir, dataDir) {
				return r.Endpoint, r, nil
			}
		}
		return "", nil, fmt.Errorf("%w with the data directory %s", admin.ErrNotRunning, dataDir)
	}
	endpoint = a.endpoint
	if endpoint == "" {
		endpoint = a.Getenv("AWS_ENDPOINT_URL")
	}
	if endpoint != "" {
		for _, r := range live {
			if sameEndpoint(r.Endpoint, endpoint) {
				return endpoint, r, nil
			}
		}
		return endpoint, nil, nil
	}
	switch len(live) {
	case 0:
		return defaultEndpoint, nil, nil // in a container, perhaps
	case 1:
		return live[0].Endpoint, live[0], nil
	}
	var urls []string
	for _, r := range live {
		urls = append(urls, r.Endpoint)
	}
	return "", nil, fmt.Errorf("several emulators run (%s): choose one with --endpoint", strings.Join(urls, ", "))
}

func (a *app) client() (*admin.Client, error) {
	endpoint, _, err := a.target("")
	if err != nil {
		return nil, err
	}
	return admin.NewClient(endpoint, nil), nil
}
