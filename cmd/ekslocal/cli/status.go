package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/api/admin"
)

func (a *app) statusCommand() *cobra.Command {
	var output string
	var sessions bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the emulator, its clusters, nodes, pods, addresses and memory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %s is neither table nor json", output)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if sessions {
				return a.showSessions(cmd, c, output)
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), st)
			}
			return renderStatus(cmd.OutOrStdout(), st)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&sessions, "sessions", false, "show the temporary credentials that are good now: whose, how obtained, by whom")
	return cmd
}

func (a *app) showSessions(cmd *cobra.Command, c *admin.Client, output string) error {
	list, err := c.Sessions(cmd.Context())
	if err != nil {
		return err
	}
	if output == "json" {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return renderSessions(cmd.OutOrStdout(), list)
}

func renderSessions(w io.Writer, list *admin.Sessions) error {
	if len(list.Sessions) == 0 {
		_, err := fmt.Fprintln(w, "No temporary credentials are good now.")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "ARN\tACCESS KEY\tOPERATION\tASKED BY\tEXPIRES IN")
	for _, s := range list.Sessions {
		fmt.Fprintln(tw, strings.Join([]string{s.ARN, s.AccessKeyID, s.Operation, s.By, age(s.Expires.Sub(list.Time))}, "\t"))
	}
	return tw.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func renderStatus(w io.Writer, st *admin.Status) error {
	// Ages come from the emulator's own clock.
	now := st.StartedAt.Add(st.Uptime.Duration())
	total := st.MemoryBytes
	for _, c := range st.Clusters {
		total += c.MemoryBytes
	}
	fmt.Fprintf(w, "ekslocal %s at %s, up %s, process %d\n", st.Version, st.Endpoint, age(st.Uptime.Duration()), st.PID)
	kept := st.DataDir
	if st.Ephemeral {
		kept += " (ephemeral)"
	}
	fmt.Fprintf(w, "memory  %s: %s of its own, %s of control planes\n", size(total), size(st.MemoryBytes), size(total-st.MemoryBytes))
	if st.ContainerEndpoint != "" {
		fmt.Fprintf(w, "pods    reach AWS's APIs at %s (kind clusters)\n", st.ContainerEndpoint)
	}
	fmt.Fprintf(w, "state   %s in %s\n", size(st.Store.SizeBytes), kept)
	fmt.Fprintf(w, "iam     %s\n", iamModes[st.IAM])
	for _, alarm := range st.Store.Alarms {
		fmt.Fprintf(w, "ALARM   %s\n", alarmText(alarm, st.Store))
	}
	fmt.Fprintln(w)
	if len(st.Clusters) == 0 {
		_, err := fmt.Fprintln(w, "No clusters. Create one with `aws eks create-cluster`, terraform or eksctl, or try `ekslocal demo`.")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "CLUSTER\tREGION\tACCOUNT\tVERSION\tSTATUS\tNODES\tPODS\tIPS\tMEMORY\tAGE\tENDPOINT")
	for _, c := range st.Clusters {
		memory := "-"
		if c.MemoryBytes > 0 {
			memory = size(c.MemoryBytes)
		}
		endpoint := c.Endpoint
		if endpoint == "" {
			endpoint = "-"
		}
		fmt.Fprintln(tw, strings.Join([]string{c.Name, c.Region, c.Account, c.Version, c.Status,
			ratio(c.Nodes.Ready, c.Nodes.Total), ratio(c.Pods.Ready, c.Pods.Total), ratio(c.IPs.Used, c.IPs.Total),
			memory, age(now.Sub(c.CreatedAt)), endpoint}, "\t"))
	}
	return tw.Flush()
}

// iamModes says what --iam does.
var iamModes = map[string]string{
	"enforce": "enforced: `ekslocal iam trace` shows what it decided",
	"audit":   "audited: what it would refuse is logged and let through",
	"off":     "off: every known key may do everything",
}

func alarmText(alarm string, s admin.Store) string {
	switch alarm {
	case "NOSPACE":
		return fmt.Sprintf("the database is full (%s of %s): delete clusters, or `ekslocal reset`", size(s.SizeBytes), size(s.QuotaBytes))
	case "CORRUPT":
		return "the database is damaged: `ekslocal reset` starts afresh"
	}
	return alarm
}

func ratio(part, whole int) string { return strconv.Itoa(part) + "/" + strconv.Itoa(whole) }

// size prints bytes in the largest unit that leaves a digit before the point.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}

// age prints a duration as kubectl does: two units at most.
func age(d time.Duration) string {
	s := int(max(d, 0) / time.Second)
	switch {
	case s < 120:
		return fmt.Sprintf("%ds", s)
	case s < 600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 3*3600:
		return fmt.Sprintf("%dm", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%dh%dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd", s/86400)
}
