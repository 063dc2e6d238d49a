package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/api/admin"
)

func (a *app) stopCommand() *cobra.Command {
	var dataDir string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the emulator and every control plane; the state stays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			endpoint, reg, err := a.target(dataDir)
			if errors.Is(err, admin.ErrNotRunning) {
				fmt.Fprintf(cmd.OutOrStdout(), "%v\n", err)
				return nil
			}
			if err != nil {
				return err
			}
			if reg == nil {
				return stopOverAPI(cmd.Context(), cmd.OutOrStdout(), endpoint)
			}
			return stopProcess(cmd.Context(), cmd.OutOrStdout(), reg, timeout)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "stop the emulator with this state")
	cmd.Flags().DurationVar(&timeout, "timeout", 20*time.Second, "how long it may take before it is killed")
	return cmd
}

// stopProcess asks, waits, and kills. Control planes notice that their parent is
// gone by themselves.
func stopProcess(ctx context.Context, out io.Writer, reg *registration, timeout time.Duration) error {
	ended, err := reg.ended()
	if err != nil {
		return err
	}
	began := time.Now()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, timeout}, {syscall.SIGKILL, 10 * time.Second}} {
		if err := syscall.Kill(reg.PID, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop process %d: %w", reg.PID, err)
		}
		select {
		case <-ended:
			how := "stopped"
			if step.signal == syscall.SIGKILL {
				how = "did not stop in time and was killed; what it had acknowledged is kept"
			}
			fmt.Fprintf(out, "ekslocal at %s %s (%s)\n", reg.Endpoint, how, time.Since(began).Round(time.Millisecond))
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step.wait):
		}
	}
	return fmt.Errorf("process %d does not even end when killed: it may hang in the kernel on a disk that does not answer", reg.PID)
}

// stopOverAPI is for emulators of other users and in containers.
func stopOverAPI(ctx context.Context, out io.Writer, endpoint string) error {
	err := admin.NewClient(endpoint, nil).Stop(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		fmt.Fprintf(out, "ekslocal is not running at %s\n", endpoint)
		return nil
	}
	if err == nil {
		fmt.Fprintf(out, "ekslocal at %s was asked to stop\n", endpoint)
	}
	return err
}
