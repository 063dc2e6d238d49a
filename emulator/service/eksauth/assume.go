package eksauth

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eksauth"
	"github.com/aws/aws-sdk-go-v2/service/eksauth/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/jwt"
)

// podsAudience is whom the tokens are for, and who the answer says may use the
// credentials.
const podsAudience = "pods.eks.amazonaws.com"

// sessionLife is what EKS asks STS for (CloudTrail's AssumeRole events of
// pods.eks.amazonaws.com, as the EKS workshops show them).
const sessionLife = 6 * time.Hour

// The API reference's patterns.
var (
	clusterPattern = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9\-_]{0,99}$`)
	tokenPattern   = regexp.MustCompile(`^[A-Za-z0-9\-_=]+\.[A-Za-z0-9\-_=]+\.[A-Za-z0-9\-_=]+$`)
)

// claims are those of a service-account token that is bound to a pod.
type claims struct {
	Issuer     string      `json:"iss"`
	Subject    string      `json:"sub"`
	Audience   jwt.List    `json:"aud"`
	Expires    json.Number `json:"exp"`
	NotYet     json.Number `json:"nbf"`
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		Pod            object `json:"pod"`
		ServiceAccount object `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

func invalidParameter(format string, args ...any) error {
	return &types.InvalidParameterException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func invalidToken(msg string) error { return &types.InvalidTokenException{Message: &msg} }

// AssumeRoleForPodIdentity implements the operation. The caller is the node, by its
// role's credentials; the token says which pod asks.
func (s *Service) AssumeRoleForPodIdentity(ctx context.Context, in *eksauth.AssumeRoleForPodIdentityInput, _ ...func(*eksauth.Options)) (*eksauth.AssumeRoleForPodIdentityOutput, error) {
	r, err := s.Request(ctx, in)
	if err != nil {
		return nil, err
	}
	creds, user, err := s.sessions.PodSession(ctx, r)
	if err != nil {
		// AWS does not say which policy refused; whoever runs ekslocal may know.
		s.log.Info("a pod does not get its role", "cluster", r.ClusterARN, "subject", r.Subject, "role", r.RoleARN, "error", err)
		return nil, &types.AccessDeniedException{Message: aws.String(Unauthorized)}
	}
	return &eksauth.AssumeRoleForPodIdentityOutput{
		Audience: aws.String(podsAudience), Credentials: &creds, AssumedRoleUser: &user,
		PodIdentityAssociation: &types.PodIdentityAssociation{AssociationArn: &r.ARN, AssociationId: &r.ID},
		Subject:                &types.Subject{Namespace: &r.Namespace, ServiceAccount: &r.ServiceAccount},
	}, nil
}

// Unauthorized is the message for whatever policy refuses.
const Unauthorized = "Unauthorized Exception! EKS does not have permissions to assume the associated role."

// Request is what the operation asks STS for.
func (s *Service) Request(ctx context.Context, in *eksauth.AssumeRoleForPodIdentityInput) (SessionRequest, error) {
	none := SessionRequest{}
	name, raw := aws.ToString(in.ClusterName), aws.ToString(in.Token)
	if !clusterPattern.MatchString(name) {
		return none, invalidParameter("The cluster name %q is not valid.", name)
	}
	if !tokenPattern.MatchString(raw) {
		return none, invalidParameter("The token is not a service account token.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	cluster, ok := s.clusters.Cluster(ctx, sc, name)
	if !ok {
		return none, &types.ResourceNotFoundException{Message: aws.String("No cluster found for name: " + name + ".")}
	}
	pod, err := s.identify(ctx, cluster, raw)
	if err != nil {
		return none, err
	}
	k := pod.Kubernetes
	a, ok := s.clusters.Association(ctx, sc, name, k.Namespace, k.ServiceAccount.Name)
	if !ok {
		return none, &types.ResourceNotFoundException{Message: aws.String(fmt.Sprintf(
			"No pod identity association found for service account %s in namespace %s of cluster %s.", k.ServiceAccount.Name, k.Namespace, name))}
	}
	r := SessionRequest{
		Association: a, Name: sessionName(name, k.Pod.Name), Life: sessionLife, ClusterARN: cluster.ARN, Subject: pod.Subject,
		Namespace: k.Namespace, ServiceAccount: k.ServiceAccount.Name,
	}
	if !a.NoTags {
		r.Tags = map[string]string{
			"eks-cluster-arn": cluster.ARN, "eks-cluster-name": name, "kubernetes-namespace": k.Namespace,
			"kubernetes-service-account": k.ServiceAccount.Name, "kubernetes-pod-name": k.Pod.Name, "kubernetes-pod-uid": k.Pod.UID,
		}
	}
	return r, nil
}

// identify verifies a token of the cluster.
func (s *Service) identify(ctx context.Context, cluster Cluster, raw string) (*claims, error) {
	const invalid = "The token included in the request is invalid."
	t, err := jwt.Parse(raw)
	if err != nil {
		return nil, invalidToken(invalid)
	}
	var c claims
	if err := t.Claims(&c); err != nil || c.Issuer != cluster.Issuer {
		return nil, invalidToken(invalid)
	}
	keys, err := s.keys.SigningKeys(ctx, cluster.Issuer)
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", cluster.Issuer, err)
	}
	if !t.Verify(keys) {
		return nil, invalidToken(invalid)
	}
	k, now := c.Kubernetes, s.clock.Now()
	expires, ok := jwt.Time(c.Expires)
	notYet, early := jwt.Time(c.NotYet)
	switch {
	case !ok, early && now.Before(notYet.Add(-time.Minute)):
		return nil, invalidToken(invalid)
	case !now.Before(expires):
		return nil, &types.ExpiredTokenException{Message: aws.String(fmt.Sprintf(
			"The token included in the request is expired: current date/time %s must be before the expiration date/time %s.",
			now.UTC().Format(time.RFC3339Nano), expires.UTC().Format(time.RFC3339)))}
	case !slices.Contains(c.Audience, podsAudience):
		return nil, invalidToken("The audience of the token included in the request is not " + podsAudience + ".")
	case k.Namespace == "" || k.ServiceAccount.Name == "" || k.Pod.Name == "" || k.Pod.UID == "",
		c.Subject != "system:serviceaccount:"+k.Namespace+":"+k.ServiceAccount.Name:
		return nil, invalidToken("The token included in the request is not that of a pod.")
	}
	return &c, nil
}

// sessionName is eks-CLUSTER-POD-UUID, with ten characters of the two names at most.
func sessionName(cluster, pod string) string {
	return "eks-" + cluster[:min(len(cluster), 10)] + "-" + pod[:min(len(pod), 10)] + "-" + awsid.NewUUID()
}
