package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/api/admin"
)

func (a *app) ipsCommand() *cobra.Command {
	var q admin.AddressQuery
	var output, subnet string
	var watch bool
	cmd := &cobra.Command{
		Use:   "ips",
		Short: "Show who holds the addresses of each subnet, the nodes' pools, and the pods that wait for an address",
		Example: `  ekslocal ips --cluster dev --watch     # live, while a cluster runs out of addresses
  ekslocal ips -o wide                   # with each node's interfaces
  ekslocal ips -o json | jq '.subnets[] | {subnetId, free, freePrefixes}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, err := addressRenderer(output, watch)
			if err != nil {
				return err
			}
			if subnet != "" && (watch || q != admin.AddressQuery{}) {
				return errors.New("--subnet shows each address once: leave out --cluster, --region, --account and --watch")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if subnet != "" {
				return showHoldings(cmd, c, subnet, output)
			}
			look := func() (*admin.AddressUse, error) { return c.AddressUse(cmd.Context(), q) }
			if watch {
				tick := time.NewTicker(watchEvery)
				defer tick.Stop()
				return watchAddresses(cmd.Context(), cmd.OutOrStdout(), tick.C, look, show)
			}
			use, err := look()
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), use)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&q.Cluster, "cluster", "", "only the subnets of this cluster's VPC, its nodes and its pods")
	fs.StringVar(&q.Region, "region", "", "only this region")
	fs.StringVar(&q.Account, "account", "", "only this account")
	fs.StringVar(&subnet, "subnet", "", "instead, the owner of each address of this subnet")
	fs.StringVarP(&output, "output", "o", "table", "table, wide or json")
	fs.BoolVarP(&watch, "watch", "w", false, "go on: redraw on a terminal, else print what changes")
	cmd.AddCommand(ipsPlanCommand())
	return cmd
}

func showHoldings(cmd *cobra.Command, c *admin.Client, subnet, output string) error {
	held, err := c.SubnetHoldings(cmd.Context(), subnet)
	if err != nil {
		return err
	}
	if output == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(held)
	}
	return renderHoldings(cmd.OutOrStdout(), held)
}

// addressRenderer is how one look is printed. Of several, JSON has one on each line.
func addressRenderer(output string, several bool) (func(io.Writer, *admin.AddressUse) error, error) {
	switch output {
	case "table", "wide":
		return func(w io.Writer, u *admin.AddressUse) error { return renderAddresses(w, u, output == "wide") }, nil
	case "json":
		return func(w io.Writer, u *admin.AddressUse) error {
			enc := json.NewEncoder(w)
			if !several {
				enc.SetIndent("", "  ")
			}
			return enc.Encode(u)
		}, nil
	}
	return nil, fmt.Errorf("-o %s is not table, wide or json", output)
}
