package eks

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// maxSessionPolicy is IAM's limit on inline session policies.
const maxSessionPolicy = 2048

// FindPodIdentity returns the association of a service account, nil if it has
// none.
func FindPodIdentity(r store.Reader, scope awsid.Scope, cluster, namespace, serviceAccount string) *PodIdentityAssociation {
	for _, p := range PodIdentityAssociations.ListPrefix(r, scope, ClusterPrefix(cluster)) {
		if aws.ToString(p.Resource.Namespace) == namespace && aws.ToString(p.Resource.ServiceAccount) == serviceAccount {
			return p
		}
	}
	return nil
}

// newAssociation makes the record of an association.
func (s *Service) newAssociation(scope awsid.Scope, cluster, namespace, serviceAccount, role string, tags map[string]string) *PodIdentityAssociation {
	now, id := s.now(), "a-"+associationSuffix()
	return &PodIdentityAssociation{Scope: scope, Resource: ekstypes.PodIdentityAssociation{
		ClusterName: &cluster, Namespace: &namespace, ServiceAccount: &serviceAccount, RoleArn: &role, AssociationId: &id,
		AssociationArn: aws.String(scope.ARN("eks", "podidentityassociation/"+cluster+"/"+id)),
		CreatedAt:      now, ModifiedAt: now, Tags: nonNil(tags), DisableSessionTags: aws.Bool(false),
	}}
}

// associationSuffix is 17 random lower-case letters and digits.
func associationSuffix() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	sum := sha256.Sum256([]byte(awsid.NewUUID()))
	out := make([]byte, 17)
	for i := range out {
		out[i] = letters[int(sum[i])%len(letters)]
	}
	return string(out)
}

// checkPodRole makes sure that pods could get the role.
func (s *Service) checkPodRole(ctx context.Context, a about, arn string) error {
	p, err := s.checkRole(ctx, a, arn)
	if err != nil {
		return err
	}
	if p.ARN == "" {
		return a.invalidParameter("Role provided in the request does not exist.")
	}
	if !trusts(p, podsService) {
		return a.invalidParameter("Trust policy of role %s is not valid: it must allow the service principal %s sts:AssumeRole and sts:TagSession.", arn, podsService)
	}
	return nil
}

// checkTarget validates a chained role and a session policy.
func checkTarget(a about, target, policy *string, tagsDisabled bool) error {
	if t := aws.ToString(target); t != "" && !roleARNPattern.MatchString(t) {
		return a.invalidParameter("The targetRoleArn %s is not a valid IAM role ARN", t)
	}
	p := aws.ToString(policy)
	if p == "" {
		return nil
	}
	switch {
	case len(p) > maxSessionPolicy:
		return a.invalidParameter("The policy must be at most %d characters long.", maxSessionPolicy)
	case !json.Valid([]byte(p)):
		return a.invalidParameter("The policy is not a valid JSON document.")
	case !tagsDisabled:
		return a.invalidParameter("disableSessionTags must be true when a policy is specified.")
	}
	return nil
}

// externalID is <region>/<account>/<cluster>/<namespace>/<service account>, which
// the trust policy of a target role can ask for.
func externalID(p *PodIdentityAssociation) *string {
	r := p.Resource
	if aws.ToString(r.TargetRoleArn) == "" {
		return nil
	}
	return aws.String(strings.Join([]string{p.Scope.Region, p.Scope.Account, *r.ClusterName, *r.Namespace, *r.ServiceAccount}, "/"))
}

// CreatePodIdentityAssociation implements eks:CreatePodIdentityAssociation.
func (s *Service) CreatePodIdentityAssociation(ctx context.Context, in *eks.CreatePodIdentityAssociationInput, _ ...func(*eks.Options)) (*eks.CreatePodIdentityAssociationOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return nil, err
	}
	namespace, account := aws.ToString(in.Namespace), aws.ToString(in.ServiceAccount)
	if len(validation.IsDNS1123Label(namespace)) > 0 {
		return nil, a.invalidParameter("The namespace %q is not a valid Kubernetes namespace name.", namespace)
	}
	if len(validation.IsDNS1123Subdomain(account)) > 0 {
		return nil, a.invalidParameter("The serviceAccount %q is not a valid Kubernetes service account name.", account)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := checkTarget(a, in.TargetRoleArn, in.Policy, aws.ToBool(in.DisableSessionTags)); err != nil {
		return nil, err
	}
	if err := s.checkPodRole(ctx, a, aws.ToString(in.RoleArn)); err != nil {
		return nil, err
	}
	var p *PodIdentityAssociation
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readRunningCluster(tx, scope, a); err != nil {
			return err
		}
		if p = FindPodIdentity(tx, scope, a.cluster, namespace, account); p != nil {
			if p.Request == req {
				return nil
			}
			return a.inUse("Association already exists: %s", *p.Resource.AssociationId)
		}
		p = s.newAssociation(scope, a.cluster, namespace, account, *in.RoleArn, in.Tags)
		p.Request = req
		p.Resource.DisableSessionTags = aws.Bool(aws.ToBool(in.DisableSessionTags))
		p.Resource.TargetRoleArn, p.Resource.Policy = ptrOrNil(aws.ToString(in.TargetRoleArn)), ptrOrNil(aws.ToString(in.Policy))
		p.Resource.ExternalId = externalID(p)
		PodIdentityAssociations.Put(tx, scope, ChildID(a.cluster, *p.Resource.AssociationId), p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := p.Resource
	return &eks.CreatePodIdentityAssociationOutput{Association: &r}, nil
}

func readAssociation(r store.Reader, scope awsid.Scope, cluster, id *string) (*PodIdentityAssociation, error) {
	a := about{cluster: aws.ToString(cluster)}
	if _, err := readCluster(r, scope, a.cluster); err != nil {
		return nil, err
	}
	if p := PodIdentityAssociations.Get(r, scope, ChildID(a.cluster, aws.ToString(id))); p != nil {
		return p, nil
	}
	return nil, a.notFound("No association found for id: %s", aws.ToString(id))
}

// DescribePodIdentityAssociation implements eks:DescribePodIdentityAssociation.
func (s *Service) DescribePodIdentityAssociation(ctx context.Context, in *eks.DescribePodIdentityAssociationInput, _ ...func(*eks.Options)) (*eks.DescribePodIdentityAssociationOutput, error) {
	p, err := readAssociation(s.store, awsid.CallerFrom(ctx).Scope, in.ClusterName, in.AssociationId)
	if err != nil {
		return nil, err
	}
	r := p.Resource
	return &eks.DescribePodIdentityAssociationOutput{Association: &r}, nil
}

// ListPodIdentityAssociations implements eks:ListPodIdentityAssociations.
func (s *Service) ListPodIdentityAssociations(ctx context.Context, in *eks.ListPodIdentityAssociationsInput, _ ...func(*eks.Options)) (*eks.ListPodIdentityAssociationsOutput, error) {
	scope, cluster := awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName)
	if _, err := readCluster(s.store, scope, cluster); err != nil {
		return nil, err
	}
	list := []ekstypes.PodIdentityAssociationSummary{}
	for _, p := range PodIdentityAssociations.ListPrefix(s.store, scope, ClusterPrefix(cluster)) {
		r := p.Resource
		if in.Namespace != nil && *in.Namespace != *r.Namespace || in.ServiceAccount != nil && *in.ServiceAccount != *r.ServiceAccount {
			continue
		}
		list = append(list, ekstypes.PodIdentityAssociationSummary{
			AssociationArn: r.AssociationArn, AssociationId: r.AssociationId, ClusterName: r.ClusterName,
			Namespace: r.Namespace, ServiceAccount: r.ServiceAccount, OwnerArn: r.OwnerArn,
		})
	}
	key := func(p ekstypes.PodIdentityAssociationSummary) string { return *p.Namespace + "/" + *p.ServiceAccount }
	list, next, err := page("ListPodIdentityAssociations", list, key, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListPodIdentityAssociationsOutput{Associations: list, NextToken: next}, nil
}

// UpdatePodIdentityAssociation implements eks:UpdatePodIdentityAssociation.
func (s *Service) UpdatePodIdentityAssociation(ctx context.Context, in *eks.UpdatePodIdentityAssociationInput, _ ...func(*eks.Options)) (*eks.UpdatePodIdentityAssociationOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a := about{cluster: aws.ToString(in.ClusterName)}
	if _, err := readAssociation(s.store, scope, in.ClusterName, in.AssociationId); err != nil {
		return nil, err
	}
	if in.RoleArn != nil {
		if err := s.checkPodRole(ctx, a, *in.RoleArn); err != nil {
			return nil, err
		}
	}
	var p *PodIdentityAssociation
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readAssociation(tx, scope, in.ClusterName, in.AssociationId); err != nil {
			return err
		}
		id := ChildID(a.cluster, *in.AssociationId)
		p = PodIdentityAssociations.Edit(tx, scope, id)
		r := &p.Resource
		for _, f := range []struct{ to, from **string }{{&r.RoleArn, &in.RoleArn}, {&r.TargetRoleArn, &in.TargetRoleArn}, {&r.Policy, &in.Policy}} {
			if *f.from != nil {
				*f.to = ptrOrNil(**f.from)
			}
		}
		if in.DisableSessionTags != nil {
			r.DisableSessionTags = in.DisableSessionTags
		}
		if err := checkTarget(a, r.TargetRoleArn, r.Policy, aws.ToBool(r.DisableSessionTags)); err != nil {
			return err
		}
		r.ExternalId, r.ModifiedAt = externalID(p), s.now()
		PodIdentityAssociations.Put(tx, scope, id, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdatePodIdentityAssociationOutput{Association: &p.Resource}, nil
}

// DeletePodIdentityAssociation implements eks:DeletePodIdentityAssociation. One
// that an add-on owns goes with the add-on.
func (s *Service) DeletePodIdentityAssociation(ctx context.Context, in *eks.DeletePodIdentityAssociationInput, _ ...func(*eks.Options)) (*eks.DeletePodIdentityAssociationOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	var p *PodIdentityAssociation
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if p, err = readAssociation(tx, scope, in.ClusterName, in.AssociationId); err != nil {
			return err
		}
		if owner := aws.ToString(p.Resource.OwnerArn); owner != "" {
			return about{cluster: *in.ClusterName}.invalidRequest("The association is owned by %s: update or delete the addon instead.", owner)
		}
		PodIdentityAssociations.Delete(tx, scope, ChildID(*in.ClusterName, *in.AssociationId))
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := p.Resource
	return &eks.DeletePodIdentityAssociationOutput{Association: &r}, nil
}

// putAddonAssociations makes the associations that the add-on owns be exactly the
// given ones and writes their ARNs into the add-on.
func (s *Service) putAddonAssociations(ctx context.Context, tx *store.Tx, a about, d *Addon, want []ekstypes.AddonPodIdentityAssociations) error {
	known, _ := addons.Get(a.addon)
	owner := *d.Resource.AddonArn
	keep := map[string]bool{}
	var arns []string
	for _, w := range want {
		account, role := aws.ToString(w.ServiceAccount), aws.ToString(w.RoleArn)
		if !slices.ContainsFunc(known.PodIdentity, func(p addons.PodIdentity) bool { return p.ServiceAccount == account }) {
			return a.invalidParameter("The service account %s is not supported for pod identity associations of addon %s.", account, a.addon)
		}
		if err := s.checkPodRole(ctx, a, role); err != nil {
			return err
		}
		p := FindPodIdentity(tx, d.Scope, a.cluster, d.Desired.Namespace, account)
		switch {
		case p == nil:
			p = s.newAssociation(d.Scope, a.cluster, d.Desired.Namespace, account, role, nil)
			p.Resource.OwnerArn = &owner
		case aws.ToString(p.Resource.OwnerArn) != owner:
			return a.inUse("Association already exists: %s", *p.Resource.AssociationId)
		default:
			p = PodIdentityAssociations.Edit(tx, d.Scope, ChildID(a.cluster, *p.Resource.AssociationId))
			p.Resource.RoleArn, p.Resource.ModifiedAt = &role, s.now()
		}
		PodIdentityAssociations.Put(tx, d.Scope, ChildID(a.cluster, *p.Resource.AssociationId), p)
		keep[*p.Resource.AssociationId] = true
		arns = append(arns, *p.Resource.AssociationArn)
	}
	for _, p := range PodIdentityAssociations.ListPrefix(tx, d.Scope, ClusterPrefix(a.cluster)) {
		if aws.ToString(p.Resource.OwnerArn) == owner && !keep[*p.Resource.AssociationId] {
			PodIdentityAssociations.Delete(tx, d.Scope, ChildID(a.cluster, *p.Resource.AssociationId))
		}
	}
	d.Desired.PodIdentityAssociationARNs = arns
	return nil
}
