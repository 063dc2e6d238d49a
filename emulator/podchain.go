package emulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	eksauthsdk "github.com/aws/aws-sdk-go-v2/service/eksauth"
	stssdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	api "github.com/ekslocal/ekslocal/api/admin"
	eksauthapi "github.com/ekslocal/ekslocal/api/eksauth"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/lifecycle"
	"github.com/ekslocal/ekslocal/emulator/podidentity"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/providerchain"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/eksauth"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
)

// PodCredentials implements admin.Emulator.
func (v adminView) PodCredentials(ctx context.Context, q api.PodQuery) (*api.PodCredentials, error) {
	c, err := v.oneCluster(q)
	if err != nil {
		return nil, err
	}
	lc := v.loops.lifecycle()
	if lc == nil {
		return nil, &api.Error{StatusCode: http.StatusServiceUnavailable, Code: "NotReady", Message: "the emulator is about to start or stop"}
	}
	pc, err := lc.PodContainer(ctx, c.ID, q.Namespace, q.Pod, q.Container)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, &api.Error{StatusCode: http.StatusNotFound, Code: "NotFound", Message: strings.TrimPrefix(err.Error(), lifecycle.ErrNotFound.Error()+": ")}
	}
	if err != nil {
		return nil, err
	}
	ctx = awsid.WithCaller(ctx, awsid.Caller{Scope: c.Scope, SourceIP: pc.Pod.Status.PodIP, UserAgent: "ekslocal pod credentials"})
	return providerchain.Walk(ctx, providerchain.Container{
		Cluster: *c.Resource.Name, Region: c.Scope.Region, Pod: pc.Pod, Spec: pc.Spec, Env: pc.Env,
	}, chainWorld{v.Emulator, c, pc})
}

// oneCluster finds the cluster of a query that may leave it open.
func (v adminView) oneCluster(q api.PodQuery) (*eks.Cluster, error) {
	var found []*eks.Cluster
	for _, c := range eks.Clusters.ListAll(v.store) {
		if (q.Cluster == "" || q.Cluster == *c.Resource.Name) && (q.Region == "" || q.Region == c.Scope.Region) && (q.Account == "" || q.Account == c.Scope.Account) {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, &api.Error{StatusCode: http.StatusBadRequest, Code: "SeveralClusters", Message: "there are several such clusters: choose with --cluster and --region"}
	case q.Cluster == "":
		return nil, &api.Error{StatusCode: http.StatusNotFound, Code: "ClusterNotFound", Message: "there is no cluster"}
	}
	return nil, &api.Error{StatusCode: http.StatusNotFound, Code: "ClusterNotFound", Message: "there is no cluster " + q.Cluster}
}

// chainWorld is whom an SDK in a pod asks.
type chainWorld struct {
	e *Emulator
	c *eks.Cluster
	*lifecycle.PodContainer
}

var _ providerchain.World = chainWorld{}

// Association implements providerchain.World.
func (w chainWorld) Association(context.Context) string {
	p := eks.FindPodIdentity(w.e.store, w.c.Scope, *w.c.Resource.Name, w.Pod.Namespace, w.Pod.Spec.ServiceAccountName)
	if p == nil {
		return ""
	}
	return aws.ToString(p.Resource.AssociationId)
}

// fault words an error of an API as clients show it.
func fault(err error, why string, mend ...string) *providerchain.Fault {
	var refusal smithy.APIError
	if errors.As(err, &refusal) {
		err = errors.New(refusal.ErrorCode() + ": " + refusal.ErrorMessage())
	}
	return &providerchain.Fault{Err: err, Why: why, Mend: mend}
}

var errUnknownKey = errors.New("InvalidClientTokenId: The security token included in the request is invalid.") //nolint:staticcheck,revive // AWS's words

// got is whose the credentials are.
func (w chainWorld) got(ctx context.Context, id, secret, token *string, expires *time.Time) (*providerchain.Got, *providerchain.Fault) {
	key, ok := w.e.keys().Key(ctx, w.c.Scope.Partition(), aws.ToString(id))
	if !ok || key.Secret != aws.ToString(secret) || key.SessionToken != aws.ToString(token) {
		return nil, fault(errUnknownKey, "nobody has these credentials")
	}
	caller := key.Caller
	caller.AccessKeyID = aws.ToString(id)
	who, p, ok := w.e.sts.Standing(ctx, caller)
	if !ok {
		return nil, fault(errUnknownKey, "the user or role is gone")
	}
	out := &providerchain.Got{
		Identity:    api.CredentialIdentity{ARN: caller.ARN, Account: caller.Account, UserID: caller.UserID, Policies: []string{}, Expires: expires},
		Credentials: api.Credentials{AccessKeyID: aws.ToString(id), SecretAccessKey: aws.ToString(secret), SessionToken: aws.ToString(token)},
	}
	for _, l := range []struct {
		to   *[]string
		from []policy.Policy
	}{{&out.Identity.Policies, p.Identity}, {&out.Identity.Boundary, p.Boundary}, {&out.Identity.Session, p.Session}} {
		for _, one := range l.from {
			*l.to = append(*l.to, cmp.Or(one.ARN, one.Name+" (inline)"))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(who.Tags)) {
		out.Identity.Tags = append(out.Identity.Tags, k+"="+who.Tags[k])
	}
	return out, nil
}

// Key implements providerchain.World.
func (w chainWorld) Key(ctx context.Context, c api.Credentials) (*providerchain.Got, *providerchain.Fault) {
	return w.got(ctx, &c.AccessKeyID, &c.SecretAccessKey, &c.SessionToken, nil)
}

// WebIdentity implements providerchain.World.
func (w chainWorld) WebIdentity(ctx context.Context, roleARN, sessionName, token string) (*providerchain.Got, *providerchain.Fault) {
	out, err := w.e.sts.AssumeRoleWithWebIdentity(ctx, &stssdk.AssumeRoleWithWebIdentityInput{RoleArn: &roleARN, RoleSessionName: &sessionName, WebIdentityToken: &token})
	if err != nil {
		return nil, w.whyNotWebIdentity(ctx, err, roleARN, token)
	}
	c := out.Credentials
	return w.got(ctx, c.AccessKeyId, c.SecretAccessKey, c.SessionToken, c.Expiration)
}

func (w chainWorld) whyNotWebIdentity(ctx context.Context, err error, roleARN, token string) *providerchain.Fault {
	x := w.e.sts.ExplainWebIdentity(ctx, roleARN, token)
	bare := strings.TrimPrefix(x.Issuer, "https://")
	switch {
	case x.Provider == nil:
		return fault(err, "the account has no OpenID Connect provider of the cluster's issuer",
			"aws iam create-open-id-connect-provider --url "+x.Issuer+" --client-id-list "+podidentity.AudienceSTS)
	case !slices.ContainsFunc(x.Audience, func(a string) bool { return slices.Contains(x.Provider.ClientIDs, a) }):
		return fault(err, fmt.Sprintf("the token is for %s, and the provider knows %s", strings.Join(x.Audience, ", "), strings.Join(x.Provider.ClientIDs, ", ")),
			"aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn "+x.Provider.ARN+" --client-id "+x.Audience[0])
	case x.Role == nil:
		return fault(err, "there is no role "+roleARN, "create it, or correct the annotation "+podidentity.AnnotationRole+" and make the pod anew")
	}
	statement := fmt.Sprintf(`{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{%q:%q,%q:%q}}}`,
		x.Provider.ARN, bare+":sub", x.Subject, bare+":aud", x.Audience[0])
	mend := []string{"add to the trust policy of the role: " + statement}
	var misses []string
	for _, m := range x.NearMisses {
		given := "nothing"
		if m.Given != nil {
			given = strings.Join(m.Given, ", ")
		}
		misses = append(misses, fmt.Sprintf("the trust policy's condition %s does not hold for %s", m.Condition, given))
	}
	if misses != nil {
		return fault(err, strings.Join(misses, "; "), append([]string{"correct the condition, or"}, mend...)...)
	}
	return fault(err, "no statement of the role's trust policy is about this provider and sts:AssumeRoleWithWebIdentity, or one denies it", mend...)
}

const agentName = "eks-pod-identity-agent"

// Agent implements providerchain.World.
func (w chainWorld) Agent(context.Context) *providerchain.Fault {
	switch refused := errors.New("connect: connection refused"); {
	case w.RunsOnNode("app.kubernetes.io/name", agentName):
		return nil
	case eks.Addons.Get(w.e.store, w.c.Scope, eks.ChildID(*w.c.Resource.Name, agentName)) == nil:
		return fault(refused, "the add-on "+agentName+" is not installed", "aws eks create-addon --cluster-name "+*w.c.Resource.Name+" --addon-name "+agentName)
	case w.Pod.Spec.NodeName == "":
		return fault(refused, "the pod is on no node yet")
	default:
		return fault(refused, "no pod of "+agentName+" is Running on "+w.Pod.Spec.NodeName+" (there is none on Fargate)", "kubectl -n kube-system get pods -o wide -l app.kubernetes.io/name="+agentName)
	}
}

// node is the node's role, as the instance's metadata has it.
func (w chainWorld) node(ctx context.Context) (sts.ServiceRequest, *ec2.Instance, *providerchain.Fault) {
	id := w.InstanceID()
	i := ec2.Instances.Get(w.e.store, w.c.Scope, id)
	switch {
	case i == nil:
		return sts.ServiceRequest{}, nil, fault(providerchain.ErrNoCredentials, "the pod is not on an EC2 instance")
	case i.IamInstanceProfile == nil:
		return sts.ServiceRequest{}, nil, fault(providerchain.ErrNoCredentials, "the instance "+id+" has no instance profile")
	}
	_, role, ok := w.e.iam.InstanceProfileRole(ctx, w.c.Scope, aws.ToString(i.IamInstanceProfile.Arn))
	if !ok || role == "" {
		return sts.ServiceRequest{}, nil, fault(providerchain.ErrNoCredentials, "the instance profile of "+id+" has no role")
	}
	return sts.ServiceRequest{
		Service: "ec2.amazonaws.com", RoleARN: role, SessionName: id, Life: 6 * time.Hour, SourceARN: w.c.Scope.ARN("ec2", "instance/"+id),
		Operation: "AssumeRole", By: "ec2.amazonaws.com",
	}, i, nil
}

// Metadata implements providerchain.World.
func (w chainWorld) Metadata(ctx context.Context) (*providerchain.Got, *providerchain.Fault) {
	in, i, f := w.node(ctx)
	if f != nil {
		return nil, f
	}
	if o := i.MetadataOptions; o != nil {
		switch {
		case o.HttpEndpoint == ec2types.InstanceMetadataEndpointStateDisabled:
			return nil, fault(providerchain.ErrNoCredentials, "the instance's metadata service is disabled")
		case aws.ToInt32(o.HttpPutResponseHopLimit) < 2 && !w.Pod.Spec.HostNetwork:
			return nil, fault(providerchain.ErrNoCredentials, "the instance's metadata answers do not reach pods: the hop limit is 1", "give the pod's service account a role of its own")
		}
	}
	c, _, err := w.e.sts.ServiceSession(ctx, in)
	if err != nil {
		return nil, fault(providerchain.ErrNoCredentials, "EC2 does not get the node's role: "+err.Error())
	}
	return w.got(ctx, c.AccessKeyId, c.SecretAccessKey, c.SessionToken, c.Expiration)
}

// PodIdentity implements providerchain.World: the agent's request, by the node's role,
// as the gateway would take it.
func (w chainWorld) PodIdentity(ctx context.Context, token string) (*providerchain.Got, *providerchain.Fault) {
	node, _, f := w.node(ctx)
	if f != nil {
		return nil, fault(f.Err, "the agent has no credentials: "+f.Why)
	}
	nodeRole, err := awsid.ParseARN(node.RoleARN)
	if err != nil {
		return nil, fault(err, "the node's role")
	}
	name := nodeRole.Resource[strings.LastIndex(nodeRole.Resource, "/")+1:]
	role, _ := w.e.iam.Role(ctx, nodeRole.Scope(), name)
	caller := awsid.CallerFrom(ctx)
	caller.ARN, caller.UserID = nodeRole.Scope().ARN("sts", "assumed-role/"+name+"/"+node.SessionName), role.ID+":"+node.SessionName
	ctx = awsid.WithCaller(ctx, caller)
	in := &eksauthsdk.AssumeRoleForPodIdentityInput{ClusterName: w.c.Resource.Name, Token: &token}
	call := gateway.Call{Service: "eksauth", Operation: "AssumeRoleForPodIdentity", Protocol: eksauthapi.Model().Protocol, Caller: caller, Input: in}
	if err := w.e.gate.Authorize(ctx, call); err != nil {
		return nil, fault(err, "the agent asks as the node, whose role may not", "aws iam attach-role-policy --role-name "+name+" --policy-arn "+w.c.Scope.AWSPolicy("AmazonEKSWorkerNodePolicy"))
	}
	r, err := w.e.eksauth.Request(ctx, in)
	if err != nil {
		return nil, fault(err, "")
	}
	c, _, err := podSessions{w.e.sts}.PodSession(ctx, r)
	if err != nil {
		return nil, w.whyNotPodIdentity(err, r)
	}
	return w.got(ctx, c.AccessKeyId, c.SecretAccessKey, c.SessionToken, c.Expiration)
}

func (w chainWorld) whyNotPodIdentity(err error, r eksauth.SessionRequest) *providerchain.Fault {
	said := errors.New("AccessDeniedException: " + eksauth.Unauthorized) //nolint:staticcheck // AWS's words
	mend := []string{`the trust policy of ` + r.RoleARN + ` needs {"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}, and no condition that the pod does not meet`}
	if r.TargetRoleARN != "" {
		mend = append(mend, "the trust policy of "+r.TargetRoleARN+" needs sts:AssumeRole and sts:TagSession for "+r.RoleARN+", with sts:ExternalId "+r.ExternalID+" if it asks for one",
			"a policy of "+r.RoleARN+" needs both actions on "+r.TargetRoleARN)
	}
	return fault(said, err.Error(), mend...)
}
