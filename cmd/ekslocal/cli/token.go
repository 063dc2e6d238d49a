package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauthv1 "k8s.io/client-go/pkg/apis/clientauthentication/v1"
)

const (
	tokenPrefix = "k8s-aws-v1."
	// tokenLife is a minute less than the 15 that the server gives a token.
	tokenLife = 14 * time.Minute
)

func (a *app) tokenCommand() *cobra.Command {
	var cluster, region, role string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a token for a cluster, as kubectl's exec plugins do (aws eks get-token without the AWS CLI)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if region == "" {
				region = a.region()
			}
			endpoint, _, err := a.target("")
			if err != nil {
				return err
			}
			cfg, err := awsConfig(cmd.Context(), region)
			if err != nil {
				return err
			}
			if role != "" {
				if cfg.Credentials, err = assume(cmd.Context(), cfg, endpoint, role); err != nil {
					return err
				}
			}
			token, err := presign(cmd.Context(), cfg, cluster)
			if err != nil {
				return err
			}
			cred := execCredential(a.Getenv("KUBERNETES_EXEC_INFO"), token, time.Now())
			return json.NewEncoder(cmd.OutOrStdout()).Encode(cred)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster-name", "", "the cluster's name")
	cmd.Flags().StringVar(&region, "region", "", "the cluster's region (default: the environment's)")
	cmd.Flags().StringVar(&role, "role-arn", "", "assume this role first")
	_ = cmd.MarkFlagRequired("cluster-name")
	return cmd
}

// presign makes the token of EKS: a presigned URL of sts:GetCallerIdentity that
// names the cluster in a signed header. The URL is STS's own, whatever endpoint
// this environment uses: it is never fetched but verified by its signature.
func presign(ctx context.Context, cfg aws.Config, cluster string) (string, error) {
	client := sts.NewPresignClient(sts.New(sts.Options{Region: cfg.Region, Credentials: cfg.Credentials}))
	req, err := client.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(
			smithyhttp.SetHeaderValue("x-k8s-aws-id", cluster),
			smithyhttp.SetHeaderValue("X-Amz-Expires", "60")))
	})
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(req.URL)), nil
}

func assume(ctx context.Context, cfg aws.Config, endpoint, role string) (aws.CredentialsProvider, error) {
	client := sts.NewFromConfig(cfg, func(o *sts.Options) { o.BaseEndpoint = &endpoint })
	out, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("ekslocal-token")})
	if err != nil {
		return nil, fmt.Errorf("assume %s: %w", role, err)
	}
	c := out.Credentials
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}, nil
	}), nil
}

// execCredential answers in the version that kubectl asks in.
func execCredential(info, token string, now time.Time) clientauthv1.ExecCredential {
	kind := metav1.TypeMeta{Kind: "ExecCredential", APIVersion: "client.authentication.k8s.io/v1beta1"}
	var asked metav1.TypeMeta
	if json.Unmarshal([]byte(info), &asked) == nil && asked.APIVersion != "" {
		kind.APIVersion = asked.APIVersion
	}
	expires := metav1.NewTime(now.Add(tokenLife).UTC().Truncate(time.Second))
	return clientauthv1.ExecCredential{TypeMeta: kind,
		Status: &clientauthv1.ExecCredentialStatus{ExpirationTimestamp: &expires, Token: token}}
}
