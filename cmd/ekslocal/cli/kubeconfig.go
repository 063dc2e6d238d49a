package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/ekslocal/ekslocal/api/admin"
)

type kubeconfigFlags struct {
	region, path, alias, role, plugin string
	print                             bool
}

func (a *app) kubeconfigCommand() *cobra.Command {
	var f kubeconfigFlags
	cmd := &cobra.Command{
		Use:   "kubeconfig CLUSTER",
		Short: "Write a cluster into your kubeconfig (aws eks update-kubeconfig without the AWS CLI)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.kubeEntry(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			if f.print {
				b, err := clientcmd.Write(*e.into(api.NewConfig()))
				if err == nil {
					_, err = cmd.OutOrStdout().Write(b)
				}
				return err
			}
			path, err := e.merge(f.path)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is the current context of %s\n", e.context(), path)
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.region, "region", "", "the cluster's region (default: where there is one of that name)")
	fs.StringVar(&f.path, "kubeconfig", "", "the file (default: $KUBECONFIG, else ~/.kube/config)")
	fs.StringVar(&f.alias, "alias", "", "the context's name (default: the cluster's ARN)")
	fs.StringVar(&f.role, "role-arn", "", "assume this role for tokens")
	fs.StringVar(&f.plugin, "plugin", "", "what makes tokens: aws or ekslocal (default: aws if it is installed and has credentials)")
	fs.BoolVar(&f.print, "print", false, "print it instead")
	return cmd
}

// kubeEntry is one cluster of a kubeconfig. Cluster, user and context are named by
// the ARN, as aws eks update-kubeconfig does, so that either overwrites the other.
type kubeEntry struct {
	arn, alias, server string
	ca                 []byte
	exec               *api.ExecConfig
}

func (a *app) kubeEntry(ctx context.Context, name string, f kubeconfigFlags) (*kubeEntry, error) {
	endpoint, _, err := a.target("")
	if err != nil {
		return nil, err
	}
	region := f.region
	if region == "" {
		if region, err = a.regionOf(ctx, endpoint, name); err != nil {
			return nil, err
		}
	}
	cfg, err := awsConfig(ctx, region)
	if err != nil {
		return nil, err
	}
	out, err := eks.NewFromConfig(cfg, func(o *eks.Options) { o.BaseEndpoint = &endpoint }).
		DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
	if err != nil {
		var notFound *ekstypes.ResourceNotFoundException
		if errors.As(err, &notFound) {
			return nil, fmt.Errorf("there is no cluster %s in %s: `ekslocal status` lists them", name, region)
		}
		return nil, fmt.Errorf("describe cluster %s (`ekslocal env` prints an environment with credentials that work): %w", name, err)
	}
	c := out.Cluster
	if c.Endpoint == nil || c.CertificateAuthority == nil || c.CertificateAuthority.Data == nil {
		return nil, fmt.Errorf("cluster %s is %s and has no endpoint yet: wait with `aws eks wait cluster-active --name %s`", name, c.Status, name)
	}
	ca, err := base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data)
	if err != nil {
		return nil, fmt.Errorf("the certificate of cluster %s: %w", name, err)
	}
	plugin, err := a.plugin(f, name, region, endpoint)
	if err != nil {
		return nil, err
	}
	return &kubeEntry{arn: *c.Arn, alias: f.alias, server: *c.Endpoint, ca: ca, exec: plugin}, nil
}

// regionOf looks for the cluster where the environment points, and then anywhere.
func (a *app) regionOf(ctx context.Context, endpoint, name string) (string, error) {
	st, err := admin.NewClient(endpoint, nil).Status(ctx)
	if err != nil {
		return "", err
	}
	preferred, found := a.region(), map[string]bool{}
	for _, c := range st.Clusters {
		if c.Name == name {
			found[c.Region] = true
		}
	}
	if found[preferred] || len(found) == 0 {
		return preferred, nil
	}
	if len(found) > 1 {
		return "", fmt.Errorf("several regions have a cluster %s: choose with --region", name)
	}
	for r := range found {
		preferred = r
	}
	return preferred, nil
}

func (a *app) plugin(f kubeconfigFlags, cluster, region, endpoint string) (*api.ExecConfig, error) {
	kind := f.plugin
	if kind == "" {
		kind = "ekslocal"
		if _, err := exec.LookPath("aws"); err == nil && (a.Getenv("AWS_ACCESS_KEY_ID") != "" || a.Getenv("AWS_PROFILE") != "") {
			kind = "aws"
		}
	}
	e := &api.ExecConfig{APIVersion: "client.authentication.k8s.io/v1beta1", InteractiveMode: api.IfAvailableExecInteractiveMode}
	switch kind {
	case "aws":
		e.Command = "aws"
		e.Args = []string{"--region", region, "eks", "get-token", "--cluster-name", cluster, "--output", "json"}
		e.InstallHint = "Install the AWS CLI, or run `ekslocal kubeconfig " + cluster + " --plugin ekslocal`"
		if f.role != "" { // aws asks STS for the role
			e.Env = append(e.Env, api.ExecEnvVar{Name: "AWS_ENDPOINT_URL", Value: endpoint})
		}
		if p := a.Getenv("AWS_PROFILE"); p != "" {
			e.Env = append(e.Env, api.ExecEnvVar{Name: "AWS_PROFILE", Value: p})
		}
	case "ekslocal":
		exe, err := a.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program's file: %w", err)
		}
		e.Command = exe
		e.Args = []string{"token", "--cluster-name", cluster, "--region", region, "--endpoint", endpoint}
	default:
		return nil, fmt.Errorf("--plugin %s is neither aws nor ekslocal", kind)
	}
	if f.role != "" {
		e.Args = append(e.Args, "--role-arn", f.role)
	}
	return e, nil
}

func (e *kubeEntry) context() string {
	if e.alias != "" {
		return e.alias
	}
	return e.arn
}

func (e *kubeEntry) into(c *api.Config) *api.Config {
	cluster, user, kctx := api.NewCluster(), api.NewAuthInfo(), api.NewContext()
	cluster.Server, cluster.CertificateAuthorityData = e.server, e.ca
	user.Exec = e.exec
	kctx.Cluster, kctx.AuthInfo = e.arn, e.arn
	if old := c.Contexts[e.context()]; old != nil {
		kctx.Namespace = old.Namespace // the user's choice
	}
	c.Clusters[e.arn], c.AuthInfos[e.arn], c.Contexts[e.context()] = cluster, user, kctx
	c.CurrentContext = e.context()
	return c
}

// merge writes the entry to path, or where kubectl would.
func (e *kubeEntry) merge(path string) (string, error) {
	opts := clientcmd.NewDefaultPathOptions()
	opts.LoadingRules.ExplicitPath = path
	if path == "" {
		path = opts.GetDefaultFilename()
	}
	old, err := opts.GetStartingConfig()
	if err != nil {
		return "", fmt.Errorf("the kubeconfig %s cannot be read: mend it, or choose another with --kubeconfig: %w", path, err)
	}
	if err := clientcmd.ModifyConfig(opts, *e.into(old), false); err != nil {
		return "", fmt.Errorf("write the kubeconfig %s: %w", path, err)
	}
	return path, nil
}
