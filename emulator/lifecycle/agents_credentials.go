package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eksauth"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// PodCredentials implements controlplane.NodeAgents: what the pod identity agent of a node
// asks EKS Auth with the node's role. Whose the node is was proved by its secret.
func (l *Lifecycle) PodCredentials(ctx context.Context, clusterID, _, token string) (controlplane.PodCredentials, error) {
	none := controlplane.PodCredentials{}
	a, err := l.agentsOf(clusterID)
	if err != nil {
		return none, err
	}
	if l.PodRoles == nil {
		return none, errors.New("this emulator has no EKS Auth")
	}
	out, err := l.PodRoles.AssumeRoleForPodIdentity(asNode(ctx, a.rt.scope), &eksauth.AssumeRoleForPodIdentityInput{ClusterName: &a.rt.name, Token: &token})
	if err != nil {
		return none, err
	}
	role, err := awsid.ParseARN(aws.ToString(out.AssumedRoleUser.Arn))
	if err != nil {
		return none, fmt.Errorf("assumed role: %w", err)
	}
	return controlplane.PodCredentials{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		Token: aws.ToString(out.Credentials.SessionToken), Expiration: aws.ToTime(out.Credentials.Expiration), AccountID: role.Account,
	}, nil
}
