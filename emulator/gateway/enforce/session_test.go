package enforce_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
)

// TestSessionTokens: credentials of GetSessionToken and GetFederationToken are not
// good for everything that their user may do.
func TestSessionTokens(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	ctx := t.Context()
	user := w.user("alice", allow("*", "*"))
	with := func(c *ststypes.Credentials) aws.Config {
		return w.as(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	}
	token := with(must(sts.NewFromConfig(user).GetSessionToken(ctx, &sts.GetSessionTokenInput{})).Credentials)
	federate := func(policy *string) aws.Config {
		return with(must(sts.NewFromConfig(user).GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("bob"), Policy: policy})).Credentials)
	}
	listClusters := func(c aws.Config) error {
		_, err := eks.NewFromConfig(c).ListClusters(ctx, &eks.ListClustersInput{})
		return err
	}
	if err := listClusters(token); err != nil {
		t.Error(err)
	}
	_, err := iam.NewFromConfig(token).ListUsers(ctx, &iam.ListUsersInput{})
	refused(t, err, "InvalidClientTokenId", "The security token included in the request is invalid")
	_, err = sts.NewFromConfig(token).GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	refused(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")

	if err := listClusters(federate(document(allow("eks:ListClusters", "*")))); err != nil {
		t.Errorf("a federated user within its policy: %v", err)
	}
	refused(t, listClusters(federate(document(allow("ec2:*", "*")))), "AccessDeniedException", "federated-user/bob", "because no session policy allows the eks:ListClusters action")
	refused(t, listClusters(federate(nil)), "AccessDeniedException", "because no session policy allows")
	byRoot := func(policy *string) aws.Config {
		return with(must(sts.NewFromConfig(w.root).GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("bob"), Policy: policy})).Credentials)
	}
	if err := listClusters(byRoot(document(allow("eks:ListClusters", "*")))); err != nil {
		t.Errorf("a federated user of the root within its policy: %v", err)
	}
	refused(t, listClusters(byRoot(nil)), "AccessDeniedException", "because no session policy allows")
	who := must(sts.NewFromConfig(federate(nil)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))
	if *who.Arn != "arn:aws:sts::"+account+":federated-user/bob" {
		t.Errorf("a federated user is %s", *who.Arn)
	}
	weak := w.user("carol")
	_, err = sts.NewFromConfig(weak).GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("bob")})
	refused(t, err, "AccessDenied", "User: "+iamARN+"user/carol is not authorized to perform: sts:GetFederationToken on resource: arn:aws:sts::"+account+":federated-user/bob")
}
