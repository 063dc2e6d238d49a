package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/api/admin"
)

func (a *app) resetCommand() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Delete everything in every account and region; a running emulator keeps running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			endpoint, _, err := a.target(dataDir)
			if err == nil {
				err = admin.NewClient(endpoint, nil).Reset(cmd.Context())
			}
			// Told where, and nothing is there: then it is not about a state on disk.
			told := a.endpoint != "" || dataDir == "" && a.Getenv("AWS_ENDPOINT_URL") != ""
			if errors.Is(err, admin.ErrNotRunning) && !told {
				return a.wipe(cmd, dataDir, began)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is empty (%s)\n", endpoint, time.Since(began).Round(time.Millisecond))
			return nil
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "the state to empty, also when no emulator runs on it")
	return cmd
}

// stateDirs are what an emulator keeps below its data directory, without its CA,
// which clients may trust.
var stateDirs = []string{"etcd", "clusters", "run"}

// wipe empties a data directory that no process uses: this is the way out when a
// damaged database keeps the emulator from starting.
func (a *app) wipe(cmd *cobra.Command, dir string, began time.Time) error {
	if dir == "" {
		root, err := a.stateRoot()
		if err != nil {
			return err
		}
		dir = filepath.Join(root, "data")
	}
	lock, err := os.Open(filepath.Join(dir, "etcd", "lock"))
	if errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(cmd.OutOrStdout(), "there is no state in %s\n", dir)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("the state in %s is in use: stop the emulator that uses it, or pass its --endpoint", dir)
	}
	for _, d := range stateDirs {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			return fmt.Errorf("empty %s: %w", dir, err)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is empty (%s)\n", dir, time.Since(began).Round(time.Millisecond))
	return nil
}

func (a *app) caCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ca",
		Short: "Print the CA certificate of the HTTPS endpoint and the OIDC issuers",
		Example: `  ekslocal ca > ekslocal-ca.pem
  export SSL_CERT_FILE=$PWD/ekslocal-ca.pem      # Go programs
  export AWS_CA_BUNDLE=$PWD/ekslocal-ca.pem      # aws CLI, SDKs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			pem, err := c.CA(cmd.Context())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(pem)
			return err
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ekslocal %s (%s, %s/%s)\n", a.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
