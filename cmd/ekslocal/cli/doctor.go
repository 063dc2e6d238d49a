package cli

import (
	"fmt"
	"net"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/emulator/controlplane/kind"
)

func (a *app) doctorCommand() *cobra.Command {
	var image, listen, ports string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether clusters of the kind backend can be made here, and say what to do if not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want := kind.Wanted{NodeImage: image}
			var err error
			if want.Ports, err = clusterPorts(ports); err != nil {
				return err
			}
			if want.ListenHost, _, err = net.SplitHostPort(listen); err != nil {
				return fmt.Errorf("--listen %s is not an address such as 127.0.0.1:4566: %w", listen, err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			bad := 0
			for _, f := range kind.Diagnose(cmd.Context(), want) {
				state := "ok"
				if !f.OK {
					state = "PROBLEM"
					bad++
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", state, f.Check, f.Detail)
				if f.Advice != "" {
					fmt.Fprintf(w, "\t\t-> %s\n", f.Advice)
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if bad > 0 {
				return fmt.Errorf("%d of these must be mended before `ekslocal start --backend kind` works; the embedded backend needs none of them", bad)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&image, "kind-node-image", "", "the image that --kind-node-image of `ekslocal start` will name")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:4566", "the address that --listen of `ekslocal start` will name")
	cmd.Flags().StringVar(&ports, "cluster-ports", "6500-6599", "the ports that --cluster-ports of `ekslocal start` will name")
	return cmd
}
