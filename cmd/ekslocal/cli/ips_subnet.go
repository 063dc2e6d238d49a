package cli

import (
	"fmt"
	"io"

	"github.com/ekslocal/ekslocal/api/admin"
)

// renderHoldings lists a subnet's addresses that somebody holds.
func renderHoldings(w io.Writer, h *admin.SubnetHoldings) error {
	fmt.Fprintf(w, "%s, %s, %s in %s of account %s: %d of %d addresses are free\n\n", h.ID, h.CIDR, h.VPC, h.Zone, h.Account, h.Free, h.Size)
	return table(w, []column[admin.Holding]{
		{"ADDRESS", func(h admin.Holding) string { return h.Address }},
		{"OWNER", func(h admin.Holding) string {
			if h.Prefix != "" {
				return h.Owner + " " + h.Prefix
			}
			return h.Owner
		}},
		{"INTERFACE", func(h admin.Holding) string { return orDash(h.InterfaceID) }},
		{"INSTANCE", func(h admin.Holding) string { return orDash(h.InstanceID) }},
		{"POD", func(h admin.Holding) string { return orDash(h.Pod) }},
		{"DESCRIPTION", func(h admin.Holding) string { return orDash(h.Description) }},
	}, h.Holdings)
}
