package cli

import (
	"fmt"
	"io"
	"regexp"
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
		both("TOTAL", addressCount, func(i *admin.Interface) string { return number(i.Addresses) }))
	if slices.ContainsFunc(nodes, func(n admin.NodePool) bool { return n.Prefixes > 0 }) {
		columns = append(columns, both("PREFIXES", func(n *admin.NodePool) string { return number(n.Prefixes) }, func(i *admin.Interface) string { return number(len(i.Prefixes)) }))
	}
	if wide {
		columns = append(columns, both("ADDRESS", func(*admin.NodePool) string { return "" }, func(i *admin.Interface) string { return i.Address + " " + i.Subnet }))
	}
	return append(columns, both("SETTINGS", func(n *admin.NodePool) string { return strings.Join(n.Settings, " ") }, none))
}

// addressCount has no limit with IPv6, where a prefix has more than any node has pods.
func addressCount(n *admin.NodePool) string {
	if n.MaxAddresses == 0 {
		return strconv.Itoa(n.Total)
	}
	return ratio(n.Total, n.MaxAddresses)
}

func interfaceCount(n *admin.NodePool) string {
	if !n.Started {
		return strconv.Itoa(len(n.Interfaces))
	}
	return ratio(len(n.Interfaces), n.MaxInterfaces)
}

// renderStuck says which pools do not grow, why, and until when.
func renderStuck(w io.Writer, use *admin.AddressUse, _ bool) error {
	var reasons []string
	nodes := map[string][]*admin.NodePool{}
	for i := range use.Nodes {
		n := &use.Nodes[i]
		why := stuckBy(n)
		if why == "" {
			continue
		}
		if nodes[why] == nil {
			reasons = append(reasons, why)
		}
		nodes[why] = append(nodes[why], n)
	}
	for _, why := range reasons {
		fmt.Fprintln(w)
		for _, line := range wrap(why, textWidth) {
			fmt.Fprintln(w, line)
		}
		err := table(w, []column[*admin.NodePool]{
			{"  NODE WHOSE POOL DOES NOT GROW", func(n *admin.NodePool) string { return "  " + n.Name }},
			{"NEXT TRY", func(n *admin.NodePool) string {
				if n.RetryAt == nil {
					return "-"
				}
				return in(n.RetryAt.Sub(use.Time))
			}},
		}, nodes[why])
		if err != nil {
			return err
		}
	}
	return nil
}

// stuckBy says why a node's pool does not grow, nothing if it needs no more. An error
// of an earlier time is history then.
func stuckBy(n *admin.NodePool) string {
	switch {
	case !n.Started:
		return "aws-node does not run there yet"
	case n.RetryAt != nil || n.Warm == 0 && n.LastError != "":
		return orDash(n.LastError)
	case n.Warm == 0 && n.MaxAddresses > 0 && n.Total >= n.MaxAddresses:
		return fmt.Sprintf("Nodes with all %d addresses that their type and settings allow", n.MaxAddresses)
	}
	return ""
}

// textWidth is where texts of others are broken, so that terminals show their end,
// which says the most.
const textWidth = 100

func renderWaiting(w io.Writer, use *admin.AddressUse, _ bool) error {
	if len(use.Waiting) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	for _, e := range eventsOf(use.Waiting) {
		noun := "pods"
		if e.pods == 1 {
			noun = "pod"
		}
		fmt.Fprintf(w, "FailedCreatePodSandBox of %d %s:\n", e.pods, noun)
		for _, line := range wrap(e.text, textWidth) {
			fmt.Fprintln(w, "  "+line)
		}
	}
	type row = admin.WaitingPod
	columns := []column[row]{{fmt.Sprintf("POD WAITING FOR AN ADDRESS (%d)", len(use.Waiting)), func(p row) string { return p.Namespace + "/" + p.Name }}}
	if slices.ContainsFunc(use.Waiting, func(p row) bool { return p.Cluster != use.Waiting[0].Cluster }) {
		columns = append(columns, column[row]{"CLUSTER", func(p row) string { return p.Cluster }})
	}
	columns = append(columns,
		column[row]{"NODE", func(p row) string { return p.Node }},
		column[row]{"WAITS", func(p row) string { return age(use.Time.Sub(p.Since)) }},
		column[row]{"NEXT TRY", func(p row) string { return in(p.RetryAt.Sub(use.Time)) }})
	fmt.Fprintln(w)
	return table(w, columns, use.Waiting)
}

// event is the text of events that differ in nothing but the sandbox.
type event struct {
	text string
	pods int
}

var sandboxID = regexp.MustCompile(`"[0-9a-f]{64}"`)

// eventsOf counts the pods by what their events say, in the order of the pods.
func eventsOf(pods []admin.WaitingPod) []*event {
	var out []*event
	for _, p := range pods {
		text := sandboxID.ReplaceAllString(p.Message, `"..."`)
		i := slices.IndexFunc(out, func(e *event) bool { return e.text == text })
		if i < 0 {
			i, out = len(out), append(out, &event{text: text})
		}
		out[i].pods++
	}
	return out
}

// wrap breaks text at spaces into lines of at most width bytes, longer words apart.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func in(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return "in " + age(d)
}
