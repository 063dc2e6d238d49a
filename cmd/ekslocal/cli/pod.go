package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/api/admin"
)

func (a *app) podCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Show as whom a pod acts towards AWS",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.podCredentialsCommand())
	return cmd
}

func (a *app) podCredentialsCommand() *cobra.Command {
	var q admin.PodQuery
	var asJSON, export bool
	cmd := &cobra.Command{
		Use:   "credentials POD",
		Short: "Obtain the AWS credentials that an SDK in a pod would, and show each step and who refused",
		Long: `Obtain the AWS credentials that an SDK in a pod would get, through IAM roles for service
accounts, EKS Pod Identity or the node's role, and show each step: what the webhook put
into the pod, the token, the provider, the role's trust. If somebody refuses, say who,
in what words, and what would help; the command fails then.`,
		Example: `  ekslocal pod credentials -n shop cart-7d4b9c-x2x
  eval "$(ekslocal pod credentials -n shop cart-7d4b9c-x2x --export)"   # act as the pod
  aws sts get-caller-identity`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && export {
				return errors.New("--json and --export are two forms of output")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			q.Pod = args[0]
			got, err := c.PodCredentials(cmd.Context(), q)
			if err != nil {
				return err
			}
			secret := got.Credentials
			switch {
			case asJSON:
				got.Credentials = nil // output gets copied into issues
				err = printJSON(cmd.OutOrStdout(), got)
			case !export:
				err = renderPodCredentials(cmd.OutOrStdout(), got)
			case secret != nil:
				return exportCredentials(cmd.OutOrStdout(), secret)
			default: // stdout is for eval
				err = renderPodCredentials(cmd.ErrOrStderr(), got)
			}
			if err == nil && got.Identity == nil {
				err = fmt.Errorf("pod %s/%s gets no credentials", got.Namespace, got.Pod)
			}
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&q.Namespace, "namespace", "n", "default", "the pod's namespace")
	fs.StringVarP(&q.Container, "container", "c", "", "the container (default: the pod's first)")
	fs.StringVar(&q.Cluster, "cluster", "", "the cluster (default: the only one)")
	fs.StringVar(&q.Region, "region", "", "the cluster's region, if several have one of that name")
	fs.StringVar(&q.Account, "account", "", "the cluster's account, if several have one of that name")
	fs.BoolVar(&asJSON, "json", false, "print JSON, without the secrets")
	fs.BoolVar(&export, "export", false, "print the credentials as a shell's export commands")
	return cmd
}

var outcomeMarks = map[admin.Outcome]string{admin.StepDone: "ok", admin.StepSkipped: "-", admin.StepWarned: "!", admin.StepRefused: "REFUSED"}

func renderPodCredentials(w io.Writer, c *admin.PodCredentials) error {
	node := c.Node
	if node == "" {
		node = "no node yet"
	}
	fmt.Fprintf(w, "pod %s/%s, container %s, service account %s, on %s, cluster %s\n\n", c.Namespace, c.Pod, c.Container, c.ServiceAccount, node, c.Cluster)
	const indent = "                                "
	for _, s := range c.Steps {
		fmt.Fprintf(w, "%-8s %-22s %s\n", outcomeMarks[s.Outcome], s.Name, s.Text)
		if s.Error != "" {
			fmt.Fprintf(w, "%sthe SDK is told: %s\n", indent, s.Error)
		}
		for _, m := range s.Mend {
			fmt.Fprintf(w, "%smend: %s\n", indent, m)
		}
	}
	i := c.Identity
	if i == nil {
		_, err := fmt.Fprintln(w, "\nNo credentials.")
		return err
	}
	fmt.Fprintf(w, "\nThe pod acts as %s\n", i.ARN)
	for _, l := range []struct {
		name string
		list []string
	}{{"policies", i.Policies}, {"boundary", i.Boundary}, {"session policies", i.Session}, {"tags", i.Tags}} {
		switch {
		case len(l.list) > 0:
			fmt.Fprintf(w, "  %-17s %s\n", l.name, strings.Join(l.list, "\n"+strings.Repeat(" ", 20)))
		case l.name == "policies":
			fmt.Fprintf(w, "  %-17s none: it may do nothing\n", l.name)
		}
	}
	if i.Expires != nil {
		fmt.Fprintf(w, "  %-17s %s\n", "until", i.Expires.UTC().Format("2006-01-02 15:04:05 MST"))
	}
	return nil
}

// exportCredentials prints commands for a POSIX shell. A pod's own static credentials
// can hold anything.
func exportCredentials(w io.Writer, c *admin.Credentials) error {
	_, err := fmt.Fprintf(w, "export AWS_ACCESS_KEY_ID='%s'\nexport AWS_SECRET_ACCESS_KEY='%s'\nexport AWS_SESSION_TOKEN='%s'\n",
		quoted(c.AccessKeyID), quoted(c.SecretAccessKey), quoted(c.SessionToken))
	return err
}

func quoted(s string) string { return strings.ReplaceAll(s, "'", `'\''`) }
