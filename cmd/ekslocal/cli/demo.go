package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/cmd/ekslocal/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Create a VPC, a cluster, three nodes and twenty pods, and leave them running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			endpoint, err := a.ensureRunning(cmd.Context(), cmd.OutOrStdout(), f)
			if err != nil {
				return err
			}
			cfg, err := awsConfig(cmd.Context(), a.region())
			if err != nil {
				return err
			}
			// The user's own keys, if any, have no business here.
			cfg.Credentials = builtin()
			return demo.Run(cmd.Context(), demo.Config{AWS: cfg, Endpoint: endpoint, Out: cmd.OutOrStdout(),
				Clock: clock.RealClock{}, Token: presign, Program: a.program()})
		},
	}
	f.register(cmd)
	return cmd
}

// program is how to call this binary from where the user is.
func (a *app) program() string {
	const name = "ekslocal"
	exe, err := a.Executable()
	if err != nil {
		return name
	}
	if p, err := exec.LookPath(name); err == nil && sameFile(p, exe) {
		return name
	}
	wd, err := os.Getwd()
	if err != nil {
		return exe
	}
	if rel, err := filepath.Rel(wd, exe); err == nil && !strings.HasPrefix(rel, "..") {
		return filepath.Join(".", rel)
	}
	return exe
}

// ensureRunning starts a detached emulator unless one runs.
func (a *app) ensureRunning(ctx context.Context, out io.Writer, f startFlags) (string, error) {
	endpoint, _, err := a.target("")
	if err != nil {
		return "", err
	}
	h, err := admin.NewClient(endpoint, nil).Health(ctx)
	if err == nil {
		fmt.Fprintf(out, "ekslocal %s runs already at %s\n", h.Version, endpoint)
		return endpoint, nil
	}
	if !errors.Is(err, admin.ErrNotRunning) || a.endpoint != "" {
		return "", err
	}
	cfg, err := a.config(f, io.Discard)
	if err != nil {
		return "", err
	}
	// The demo's own flags are start's.
	if err := a.detach(ctx, out, cfg, startArgs(f)); err != nil {
		return "", err
	}
	live, err := a.running()
	if err != nil {
		return "", err
	}
	for _, r := range live {
		if r.Listen == cfg.Listen {
			return r.Endpoint, nil
		}
	}
	return "", errors.New("the emulator ended right after its start: see its log")
}

func startArgs(f startFlags) []string {
	args := []string{"start", "--listen=" + f.listen, "--cluster-ports=" + f.ports, "--auth=" + f.auth,
		"--log-format=" + f.logFormat, "--log-level=" + f.logLevel,
		"--simulated-webhooks=" + f.webhooks, fmt.Sprintf("--no-spare=%t", f.noSpare), fmt.Sprintf("--ephemeral=%t", f.ephemeral), fmt.Sprintf("--fsync=%t", f.fsync)}
	if f.dataDir != "" {
		args = append(args, "--data-dir="+f.dataDir)
	}
	for name, n := range f.quotas {
		args = append(args, fmt.Sprintf("--quota=%s=%d", name, n))
	}
	for _, h := range f.advertise {
		args = append(args, "--advertise-host="+h)
	}
	return args
}
