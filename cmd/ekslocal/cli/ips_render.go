package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ekslocal/ekslocal/api/admin"
)

// renderAddresses prints a part for each account's region: its subnets, the nodes
// there, the pods that wait.
func renderAddresses(w io.Writer, use *admin.AddressUse, wide bool) error {
	if len(use.Subnets) == 0 {
		_, err := fmt.Fprintln(w, "No subnets there. `aws ec2 describe-subnets` makes the default VPC's; `ekslocal demo` makes a whole cluster.")
		return err
	}
	for i, part := range partsOf(use) {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s, account %s, at %s\n\n", part.Subnets[0].Region, part.Subnets[0].Account, use.Time.Format(time.TimeOnly))
		for _, render := range []func(io.Writer, *admin.AddressUse, bool) error{renderSubnets, renderNodes, renderStuck, renderWaiting} {
			if err := render(w, part, wide); err != nil {
				return err
			}
		}
	}
	return nil
}

// partsOf divides by account and region, in the order of the subnets.
func partsOf(use *admin.AddressUse) []*admin.AddressUse {
	var parts []*admin.AddressUse
	at := map[[2]string]*admin.AddressUse{}
	for _, s := range use.Subnets {
		k := [2]string{s.Account, s.Region}
		if at[k] == nil {
			at[k] = &admin.AddressUse{Time: use.Time}
			parts = append(parts, at[k])
		}
		at[k].Subnets = append(at[k].Subnets, s)
	}
	for _, n := range use.Nodes {
		if p := at[[2]string{n.Account, n.Region}]; p != nil {
			p.Nodes = append(p.Nodes, n)
		}
	}
	for _, n := range use.Waiting {
		if p := at[[2]string{n.Account, n.Region}]; p != nil {
			p.Waiting = append(p.Waiting, n)
		}
	}
	return parts
}

var holderTitles = map[admin.Holder]string{
	admin.HeldReserved: "RESERVED", admin.HeldControlPlane: "CONTROL-PLANE", admin.HeldNodePrimary: "NODES",
	admin.HeldPodAssigned: "PODS", admin.HeldPodWarm: "WARM", admin.HeldPodCooling: "COOLING", admin.HeldBranch: "BRANCH-ENIS",
	admin.HeldFargate: "FARGATE", admin.HeldNATGateway: "NAT", admin.HeldEndpoint: "ENDPOINTS", admin.HeldLoadBalancer: "LOAD-BALANCERS",
	admin.HeldOther: "OTHER",
}

// column is a column of a table of rows T.
type column[T any] struct {
	title string
	value func(T) string
}

func table[T any](w io.Writer, columns []column[T], rows []T) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.title
	}
	fmt.Fprintln(tw, strings.Join(line, "\t"))
	for _, row := range rows {
		for i, c := range columns {
			line[i] = c.value(row)
		}
		fmt.Fprintln(tw, strings.Join(line, "\t"))
	}
	return tw.Flush()
}

func renderSubnets(w io.Writer, use *admin.AddressUse, wide bool) error {
	shown, idle := use.Subnets, map[string]int(nil)
	if !wide {
		shown, idle = leaveOutIdle(use.Subnets)
	}
	if len(shown) > 0 {
		if err := table(w, subnetColumns(shown), shown); err != nil {
			return err
		}
	}
	for _, s := range use.Subnets { // in their order, each VPC once
		if n := idle[s.VPC]; n > 0 {
			noun, verb := "subnets", "are"
			if n == 1 {
				noun, verb = "subnet", "is"
			}
			fmt.Fprintf(w, "%d %s of %s, in which nobody holds an address, %s not shown: -o wide has all\n", n, noun, s.VPC, verb)
			delete(idle, s.VPC)
		}
	}
	return nil
}

// leaveOutIdle leaves out VPCs in which nothing is but subnets, such as the default
// VPC of every region, and counts their subnets.
func leaveOutIdle(all []admin.SubnetUse) (shown []admin.SubnetUse, idle map[string]int) {
	busy := map[string]bool{}
	for _, s := range all {
		if len(s.Clusters) > 0 || s.Size-s.Free > s.Held[admin.HeldReserved] {
			busy[s.VPC] = true
		}
	}
	idle = map[string]int{}
	for _, s := range all {
		if busy[s.VPC] {
			shown = append(shown, s)
		} else {
			idle[s.VPC]++
		}
	}
	return shown, idle
}

func subnetColumns(rows []admin.SubnetUse) []column[admin.SubnetUse] {
	type row = admin.SubnetUse
	columns := []column[row]{
		{"SUBNET", func(s row) string { return s.ID }},
		{"CIDR", func(s row) string { return s.CIDR }},
		{"ZONE", func(s row) string { return s.Zone }},
	}
	if slices.ContainsFunc(rows, func(s row) bool { return s.VPC != rows[0].VPC }) {
		columns = append(columns, column[row]{"VPC", func(s row) string { return s.VPC }})
	}
	columns = append(columns,
		column[row]{"CLUSTERS", func(s row) string { return orDash(strings.Join(s.Clusters, ",")) }},
		column[row]{"SIZE", func(s row) string { return strconv.Itoa(s.Size) }},
		column[row]{"FREE", func(s row) string { return strconv.Itoa(s.Free) }},
		column[row]{"FREE-/28", func(s row) string { return strconv.Itoa(s.FreePrefixes) }},
		column[row]{"LARGEST-RUN", largestRun})
	// Kinds that are always there, and others only if somebody has some.
	always := []admin.Holder{
		admin.HeldReserved, admin.HeldControlPlane, admin.HeldNodePrimary, admin.HeldPodAssigned, admin.HeldPodWarm, admin.HeldPodCooling,
	}
	for _, h := range admin.Holders() {
		if slices.Contains(always, h) || slices.ContainsFunc(rows, func(s row) bool { return s.Held[h] > 0 }) {
			columns = append(columns, column[row]{holderTitles[h], func(s row) string { return strconv.Itoa(s.Held[h]) }})
		}
	}
	if slices.ContainsFunc(rows, func(s row) bool { return s.Prefixes > 0 }) {
		columns = append(columns, column[row]{"PREFIXES", func(s row) string { return strconv.Itoa(s.Prefixes) }})
	}
	if slices.ContainsFunc(rows, func(s row) bool { return len(s.Reservations) > 0 }) {
		columns = append(columns, column[row]{"CIDR-RESERVATIONS", reservations})
	}
	return columns
}

func largestRun(s admin.SubnetUse) string {
	if len(s.FreeRuns) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d from %s", s.FreeRuns[0].Blocks, s.FreeRuns[0].First)
}

func reservations(s admin.SubnetUse) string {
	var out []string
	for _, r := range s.Reservations {
		out = append(out, r.CIDR+" "+r.Type)
	}
	return orDash(strings.Join(out, ", "))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
