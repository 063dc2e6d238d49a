package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/emulator/controlplane/kind"
)

func (a *app) doctorCommand() *cobra.Command {
	var image string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether clusters of the kind backend can be made here, and say what to do if not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			bad := 0
			for _, f := range kind.Diagnose(cmd.Context(), image) {
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
	return cmd
}
