package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ekslocal/ekslocal/api/admin"
)

// nodeRow is a line of the nodes' table: a node or, in wide output, one of its
// interfaces.
type nodeRow struct {
	node *admin.NodePool
	eni  *admin.Interface
}

func renderNodes(w io.Writer, use *admin.AddressUse, wide bool) error {
	if len(use.Nodes) == 0 {
		return nil
	}
	var rows []nodeRow
	for i := range use.Nodes {
		n := &use.Nodes[i]
		rows = append(rows, nodeRow{node: n})
		for j := range n.Interfaces {
			if wide {
				rows = append(rows, nodeRow{node: n, eni: &n.Interfaces[j]})
			}
		}
	}
	fmt.Fprintln(w)
	return table(w, nodeColumns(use.Nodes, wide), rows)
}

func nodeColumns(nodes []admin.NodePool, wide bool) []column[nodeRow] {
	// A column of what a node has, and an interface of it.
	both := func(title string, node func(*admin.NodePool) string, eni func(*admin.Interface) string) column[nodeRow] {
		return column[nodeRow]{title, func(r nodeRow) string {
			switch {
			case r.eni != nil:
				return eni(r.eni)
			case !r.node.Started && title != "NODE" && title != "CLUSTER" && title != "TYPE" && title != "ENIS":
				return "-"
			}
			return node(r.node)
		}}
	}
	none := func(*admin.Interface) string { return "" }
	number := strconv.Itoa
	columns := []column[nodeRow]{both("NODE", func(n *admin.NodePool) string { return n.Name }, func(i *admin.Interface) string { return "  " + i.ID })}
	if slices.ContainsFunc(nodes, func(n admin.NodePool) bool { return n.Cluster != nodes[0].Cluster }) {
		columns = append(columns, both("CLUSTER", func(n *admin.NodePool) string { return n.Cluster }, none))
	}
	columns = append(columns,
		both("TYPE", func(n *admin.NodePool) string { return n.InstanceType }, func(i *admin.Interface) string { return orDash(i.Use) }),
		both("ENIS", interfaceCount, none),
		both("PODS", func(n *admin.NodePool) string { return number(n.Assigned) }, func(i *admin.Interface) string { return number(i.Assigned) }),
		both("WARM", func(n *admin.NodePool) string { return number(n.Warm) },
			func(i *admin.Interface) string { return number(max(i.Addresses-i.Assigned-i.Cooling, 0)) }),
		both("COOLING", func(n *admin.NodePool) string { return number(n.Cooling) }, func(i *admin.Interface) string { return number(i.Cooling) }),
		both("TOTAL", func(n *admin.NodePool) string { return ratio(n.Total, n.MaxAddresses) }, func(i *admin.Interface) string { return number(i.Addresses) }))
	if slices.ContainsFunc(nodes, func(n admin.NodePool) bool { return n.Prefixes > 0 }) {
		columns = append(columns, both("PREFIXES", func(n *admin.NodePool) string { return number(n.Prefixes) }, func(i *admin.Interface) string { return number(len(i.Prefixes)) }))
	}
	if wide {
		columns = append(columns, both("ADDRESS", func(*admin.NodePool) string { return "" }, func(i *admin.Interface) string { return i.Address + " " + i.Subnet }))
	}
	return append(columns, both("SETTINGS", func(n *admin.NodePool) string { return strings.Join(n.Settings, " ") }, none))
}

func interfaceCount(n *admin.NodePool) string {
	if !n.Started {
		return strconv.Itoa(len(n.Interfaces))
	}
	return ratio(len(n.Interfaces), n.MaxInterfaces)
}

// renderStuck says which pools do not grow, why, and until when.
func renderStuck(w io.Writer, use *admin.AddressUse, _ bool) error {
	type stuck struct{ node, until, why string }
	var rows []stuck
	for i := range use.Nodes {
		n := &use.Nodes[i]
		s := stuck{node: n.Name, until: "-", why: n.LastError}
		if n.RetryAt != nil {
			s.until = in(n.RetryAt.Sub(use.Time))
		}
		switch {
		case !n.Started:
			s.why = "aws-node does not run on it yet"
		case n.RetryAt != nil || n.Warm == 0 && s.why != "":
		case n.Warm == 0 && n.MaxAddresses > 0 && n.Total >= n.MaxAddresses:
			s.why = fmt.Sprintf("it has all %d addresses that its type and settings allow", n.MaxAddresses)
		default: // it needs no more; an error of earlier is history
			continue
		}
		rows = append(rows, s)
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return table(w, []column[stuck]{
		{"NODE WHOSE POOL DOES NOT GROW", func(s stuck) string { return s.node }},
		{"NEXT TRY", func(s stuck) string { return s.until }},
		{"WHY", func(s stuck) string { return orDash(s.why) }},
	}, rows)
}

func renderWaiting(w io.Writer, use *admin.AddressUse, _ bool) error {
	if len(use.Waiting) == 0 {
		return nil
	}
	type row = admin.WaitingPod
	columns := []column[row]{{fmt.Sprintf("POD WAITING FOR AN ADDRESS (%d)", len(use.Waiting)), func(p row) string { return p.Namespace + "/" + p.Name }}}
	if slices.ContainsFunc(use.Waiting, func(p row) bool { return p.Cluster != use.Waiting[0].Cluster }) {
		columns = append(columns, column[row]{"CLUSTER", func(p row) string { return p.Cluster }})
	}
	columns = append(columns,
		column[row]{"NODE", func(p row) string { return p.Node }},
		column[row]{"WAITS", func(p row) string { return age(use.Time.Sub(p.Since)) }},
		column[row]{"NEXT TRY", func(p row) string { return in(p.RetryAt.Sub(use.Time)) }},
		column[row]{"EVENT", func(p row) string { return p.Message }})
	fmt.Fprintln(w)
	return table(w, columns, use.Waiting)
}

func in(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return "in " + age(d)
}
