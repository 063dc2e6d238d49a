package emulator

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	eksauthtypes "github.com/aws/aws-sdk-go-v2/service/eksauth/types"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/oidc"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/eksauth"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
)

// associations answers EKS Auth's questions out of EKS's records.
type associations struct{ e *Emulator }

var _ eksauth.Clusters = associations{}

// Cluster implements eksauth.Clusters.
func (a associations) Cluster(_ context.Context, sc awsid.Scope, name string) (eksauth.Cluster, bool) {
	c := eks.Clusters.Get(a.e.store, sc, name)
	if c == nil || len(c.SAKey) == 0 {
		return eksauth.Cluster{}, false
	}
	return eksauth.Cluster{ARN: aws.ToString(c.Resource.Arn), Issuer: oidc.Issuer(a.e.issuerBase(), c.OIDCID())}, true
}

// Association implements eksauth.Clusters.
func (a associations) Association(_ context.Context, sc awsid.Scope, cluster, namespace, account string) (eksauth.Association, bool) {
	p := eks.FindPodIdentity(a.e.store, sc, cluster, namespace, account)
	if p == nil {
		return eksauth.Association{}, false
	}
	r := p.Resource
	return eksauth.Association{
		ARN: aws.ToString(r.AssociationArn), ID: aws.ToString(r.AssociationId), RoleARN: aws.ToString(r.RoleArn),
		TargetRoleARN: aws.ToString(r.TargetRoleArn), ExternalID: aws.ToString(r.ExternalId), Policy: aws.ToString(r.Policy),
		NoTags: aws.ToBool(r.DisableSessionTags),
	}, true
}

// podSessions is STS as EKS Auth asks it, in the name of pods.eks.amazonaws.com.
type podSessions struct{ sts *sts.Service }

var _ eksauth.Sessions = podSessions{}

// PodSession implements eksauth.Sessions.
func (p podSessions) PodSession(ctx context.Context, r eksauth.SessionRequest) (eksauthtypes.Credentials, eksauthtypes.AssumedRoleUser, error) {
	in := sts.ServiceRequest{
		Service: "pods.eks.amazonaws.com", RoleARN: r.RoleARN, SessionName: r.Name, Life: r.Life, Tags: r.Tags, Policy: r.Policy,
		SourceARN: r.ClusterARN, Operation: "AssumeRoleForPodIdentity", By: r.Subject,
	}
	ask := p.sts.ServiceSession
	if r.TargetRoleARN != "" {
		ask = func(ctx context.Context, in sts.ServiceRequest) (*ststypes.Credentials, *ststypes.AssumedRoleUser, error) {
			return p.sts.ChainedSession(ctx, in, r.TargetRoleARN, r.ExternalID)
		}
	}
	c, u, err := ask(ctx, in)
	if err != nil {
		return eksauthtypes.Credentials{}, eksauthtypes.AssumedRoleUser{}, err
	}
	return eksauthtypes.Credentials{AccessKeyId: c.AccessKeyId, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expiration: c.Expiration},
		eksauthtypes.AssumedRoleUser{Arn: u.Arn, AssumeRoleId: u.AssumedRoleId}, nil
}
