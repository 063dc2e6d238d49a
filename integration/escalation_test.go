package integration

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAccessEntryEscalation is somebody who may look at clusters and wants to rule
// one: every way is refused that would make them an administrator of the cluster
// without a permission to do so.
func TestAccessEntryEscalation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "dev")
	mallory := w.iamUser(t, "mallory")
	w.permit(t, "mallory", permission("eks:Describe* eks:List* eks:UpdateClusterVersion", "*"), permission("sts:GetSessionToken", "*"))
	boss := w.assumable(t, "boss", "/")
	w.entry(t, "dev", boss)
	w.grant(t, "dev", boss, "AmazonEKSClusterAdminPolicy")
	cfg := w.config()
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: mallory.keys}
	out := must(sts.NewFromConfig(cfg).GetSessionToken(ctx, &sts.GetSessionTokenInput{}))(t).Credentials
	session := w.config()
	session.Credentials = credentials.NewStaticCredentialsProvider(*out.AccessKeyId, *out.SecretAccessKey, *out.SessionToken)

	k := bearer(t, c, mallory.token(t, "dev"))
	now(t, "before", k, isRefused)
	name, admin := aws.String("dev"), aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy")
	scope := &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}
	for who, cfg := range map[string]aws.Config{"mallory": cfg, "a session of mallory's": session} {
		e, i, s := eks.NewFromConfig(cfg), iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
		for action, do := range map[string]func() error{
			"eks:CreateAccessEntry": func() error {
				_, err := e.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: name, PrincipalArn: &mallory.arn})
				return err
			},
			"eks:AssociateAccessPolicy": func() error {
				_, err := e.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{ClusterName: name, PrincipalArn: &boss, PolicyArn: admin, AccessScope: scope})
				return err
			},
			"eks:UpdateAccessEntry": func() error {
				_, err := e.UpdateAccessEntry(ctx, &eks.UpdateAccessEntryInput{ClusterName: name, PrincipalArn: &boss, KubernetesGroups: []string{"mallory"}})
				return err
			},
			"eks:UpdateClusterConfig": func() error {
				_, err := e.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: name, AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi}})
				return err
			},
			"eks:AssociateIdentityProviderConfig": func() error {
				_, err := e.AssociateIdentityProviderConfig(ctx, &eks.AssociateIdentityProviderConfigInput{ClusterName: name, Oidc: &ekstypes.OidcIdentityProviderConfigRequest{
					IdentityProviderConfigName: aws.String("mine"), IssuerUrl: aws.String("https://mallory.example"), ClientId: aws.String("k"),
				}})
				return err
			},
			"eks:CreatePodIdentityAssociation": func() error {
				_, err := e.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{ClusterName: name, Namespace: aws.String("default"), ServiceAccount: aws.String("default"), RoleArn: &boss})
				return err
			},
			"sts:AssumeRole": func() error {
				_, err := s.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &boss, RoleSessionName: aws.String("mallory")})
				return err
			},
			"iam:PutUserPolicy": func() error {
				_, err := i.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("mallory"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
				return err
			},
			"iam:UpdateAssumeRolePolicy": func() error {
				_, err := i.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("boss"), PolicyDocument: trust("ec2.amazonaws.com")})
				return err
			},
		} {
			// A session without MFA may not call IAM at all, which is refused in other words.
			var refusal smithy.APIError
			if err := do(); !errors.As(err, &refusal) || !strings.HasPrefix(refusal.ErrorCode(), "AccessDenied") && refusal.ErrorCode() != "InvalidClientTokenId" {
				t.Errorf("%s: %s: %v", who, action, err)
			}
		}
	}
	now(t, "after", k, isRefused)

	// Who may look at the cluster from inside cannot let themselves in further there.
	w.entry(t, "dev", mallory.arn)
	w.grant(t, "dev", mallory.arn, "AmazonEKSEditPolicy", "default")
	soon(t, "with rights in one namespace", k, isAllowed)
	_, err := k.CoreV1().ConfigMaps("kube-system").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "aws-auth"},
		Data: map[string]string{"mapUsers": "- {userarn: " + mallory.arn + ", username: m, groups: [system:masters]}"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("aws-auth: %v", err)
	}
}
