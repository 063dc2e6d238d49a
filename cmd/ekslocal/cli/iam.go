package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/api/admin"
)

func (a *app) iamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "iam",
		Short: "Show what IAM decides about AWS calls",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.iamTraceCommand())
	return cmd
}

func (a *app) iamTraceCommand() *cobra.Command {
	var q admin.DecisionQuery
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show the last decisions and what would have allowed what was denied",
		Long: `Show the last decisions of IAM about AWS calls, the statement that made each and, for a
denial, the smallest statements that would have allowed it.

A call may need several permissions, each with a decision of its own. The account's
root (test/test) needs none: its calls are not here. The last 1000 are remembered.`,
		Example: `  ekslocal iam trace --denied                      # what was refused, and what would help
  ekslocal iam trace --principal role/dev --watch  # go on, while somebody tries
  ekslocal iam trace --denied -n 1 --json | jq '.decisions[].remedies[].statement'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 {
				return fmt.Errorf("-n %d shows nothing", q.Limit)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			show := renderDecisions
			if asJSON {
				show = func(w io.Writer, d *admin.Decisions) error { return encodeDecisions(w, d, watch) }
			}
			d, err := c.Decisions(cmd.Context(), q)
			if err != nil {
				return err
			}
			if !watch {
				if len(d.Decisions) == 0 && !asJSON {
					_, err := fmt.Fprintln(cmd.OutOrStdout(), noDecisions(d.Mode, q))
					return err
				}
				return show(cmd.OutOrStdout(), d)
			}
			tick := time.NewTicker(watchEvery)
			defer tick.Stop()
			return watchDecisions(cmd.Context(), cmd.OutOrStdout(), tick.C, d, func(after uint64) (*admin.Decisions, error) {
				next := q
				next.After, next.Limit = after, 1000
				return c.Decisions(cmd.Context(), next)
			}, show)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&q.Denied, "denied", false, "only what was not allowed")
	fs.StringVar(&q.Principal, "principal", "", "only principals with this in their ARN, such as role/dev or assumed-role/dev")
	fs.StringVar(&q.Action, "action", "", "only these actions, with * and ?, such as iam:PassRole or eks:Create*")
	fs.IntVarP(&q.Limit, "number", "n", 20, "how many, the newest")
	fs.BoolVar(&asJSON, "json", false, "everything that was known, the condition keys among it")
	fs.BoolVarP(&watch, "watch", "w", false, "go on with what is decided from now on")
	return cmd
}

// noDecisions says why there is nothing to show.
func noDecisions(mode string, q admin.DecisionQuery) string {
	switch {
	case mode == "off":
		return "IAM is off (`ekslocal start --iam off`): nothing is decided."
	case q.Denied || q.Principal != "" || q.Action != "":
		return "No such decision among the last 1000."
	}
	return "No decisions yet. Calls of the account's root (test/test) need none: use the key of a user or the session of a role."
}

// encodeDecisions prints JSON. Of several answers each has a line of its own.
func encodeDecisions(w io.Writer, d *admin.Decisions, several bool) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if !several {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(d)
}

// watchDecisions shows d and then, at every tick until ctx ends, what is new.
func watchDecisions(ctx context.Context, w io.Writer, tick <-chan time.Time, d *admin.Decisions, next func(after uint64) (*admin.Decisions, error), show func(io.Writer, *admin.Decisions) error) error {
	for {
		if len(d.Decisions) > 0 {
			if err := show(w, d); err != nil {
				return err
			}
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return nil
		}
		more, err := next(d.Last)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		d = more
	}
}

// renderDecisions prints a decision as a paragraph.
func renderDecisions(w io.Writer, d *admin.Decisions) error {
	for i := range d.Decisions {
		if err := renderDecision(w, &d.Decisions[i]); err != nil {
			return err
		}
	}
	return nil
}

func renderDecision(w io.Writer, d *admin.Decision) error {
	verdict := "ALLOWED"
	switch {
	case d.LetThrough:
		verdict = "DENIED, let through"
	case !d.Allowed:
		verdict = "DENIED"
	}
	head := fmt.Sprintf("%s  %s  %s", d.Time.Local().Format("15:04:05"), verdict, d.Action)
	if d.Operation != d.Action {
		head += " for " + d.Operation
	}
	lines := []string{head}
	add := func(indent int, text string) {
		margin := strings.Repeat(" ", indent)
		for i, line := range wrap(text, textWidth-indent-2) {
			if i > 0 {
				line = "  " + line
			}
			lines = append(lines, margin+line)
		}
	}
	add(10, "by "+d.Principal)
	add(10, "on "+d.Resource)
	if d.Reason != "" {
		add(10, d.Reason)
	}
	for _, by := range d.By {
		add(10, by)
	}
	for _, m := range d.NearMisses {
		given := "nothing"
		if len(m.Given) > 0 {
			given = strings.Join(m.Given, ", ")
		}
		add(10, "not by "+m.Statement+": it asks for "+m.Condition+", the request has "+given)
	}
	for i, r := range d.Remedies {
		if i == 0 {
			lines = append(lines, "          What would allow it:")
		}
		add(12, "in "+r.AddTo)
		// One line, however long: it is for copying.
		lines = append(lines, "              "+oneLine(r.Statement))
	}
	if !d.Allowed && len(d.Remedies) == 0 {
		add(10, "What would allow it: that statement, taken out or narrowed down.")
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

func oneLine(raw json.RawMessage) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(raw); err != nil {
		return string(raw)
	}
	return strings.TrimSpace(b.String())
}
