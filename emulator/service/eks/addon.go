package eks

import (
	"context"
	"errors"
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

// readAddon returns the add-on a names, in a cluster that exists.
func readAddon(r store.Reader, scope awsid.Scope, a about) (*Addon, error) {
	if _, err := readCluster(r, scope, a.cluster); err != nil {
		return nil, err
	}
	if d := Addons.Get(r, scope, ChildID(a.cluster, a.addon)); d != nil {
		return d, nil
	}
	return nil, a.notFound("No addon: %s found in cluster: %s", a.addon, a.cluster)
}

// CreateAddon implements eks:CreateAddon.
func (s *Service) CreateAddon(ctx context.Context, in *eks.CreateAddonInput, _ ...func(*eks.Options)) (*eks.CreateAddonOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), addon: aws.ToString(in.AddonName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	cluster, err := readRunningCluster(s.store, scope, a)
	if err != nil {
		return nil, err
	}
	known, err := knownAddon(a, *cluster.Resource.Version)
	if err != nil {
		return nil, err
	}
	spec, err := s.addonSpec(ctx, a, known, addonRequest{
		in.AddonVersion, in.ConfigurationValues, in.ServiceAccountRoleArn, in.PodIdentityAssociations, in.ResolveConflicts,
	})
	if err != nil {
		return nil, err
	}
	if spec.Namespace, err = addonNamespace(a, known, in.NamespaceConfig); err != nil {
		return nil, err
	}
	var d *Addon
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		c, err := readRunningCluster(tx, scope, a)
		if err != nil {
			return err
		}
		if d = Addons.Get(tx, scope, ChildID(a.cluster, a.addon)); d != nil {
			if d.Request == req {
				return nil
			}
			return a.inUse("Addon already exists.")
		}
		d = s.newAddon(c, known, in.Tags)
		d.Request, d.Desired = req, spec
		d.Resource.NamespaceConfig = &ekstypes.AddonNamespaceConfigResponse{Namespace: aws.String(spec.Namespace)}
		if err := d.chooseVersion(a, known, *c.Resource.Version, aws.ToString(in.AddonVersion)); err != nil {
			return err
		}
		if err := s.putAddonAssociations(ctx, tx, a, d, in.PodIdentityAssociations); err != nil {
			return err
		}
		d.Applied()
		Addons.Put(tx, scope, ChildID(a.cluster, a.addon), d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := d.Resource
	return &eks.CreateAddonOutput{Addon: &r}, nil
}

func (s *Service) newAddon(c *Cluster, known addons.Addon, tags map[string]string) *Addon {
	id, now := awsid.NewUUID(), s.now()
	return &Addon{Scope: c.Scope, ID: id, Generation: 1, Resource: ekstypes.Addon{
		AddonName: aws.String(known.Name), ClusterName: c.Resource.Name, Status: ekstypes.AddonStatusCreating,
		AddonArn:  aws.String(c.Scope.ARN("eks", strings.Join([]string{"addon", *c.Resource.Name, known.Name, id}, "/"))),
		CreatedAt: now, ModifiedAt: now, Tags: nonNil(tags), Health: &ekstypes.AddonHealth{Issues: []ekstypes.AddonIssue{}},
	}}
}

// knownAddon finds the add-on a names. Those of the AWS Marketplace are as unknown
// as names that nobody has: they need a subscription.
func knownAddon(a about, kubernetes string) (addons.Addon, error) {
	known, ok := addons.Get(a.addon)
	if !ok || known.Default(kubernetes) == "" {
		return known, a.invalidParameter("Addon %s specified is not supported in %s kubernetes version", a.addon, kubernetes)
	}
	return known, nil
}

// addonNamespace is where a new add-on goes. The networking add-ons' places are
// known to nodes and the control plane.
func addonNamespace(a about, known addons.Addon, in *ekstypes.AddonNamespaceConfigRequest) (string, error) {
	if in == nil || in.Namespace == nil {
		return known.Namespace, nil
	}
	ns := *in.Namespace
	if msgs := validation.IsDNS1123Label(ns); len(msgs) > 0 {
		return "", a.invalidParameter("Namespace %q is not valid: %s", ns, msgs[0])
	}
	if known.FixedNamespace && ns != known.Namespace {
		return "", a.invalidParameter("The addon %s can only be installed in namespace %s", a.addon, known.Namespace)
	}
	return ns, nil
}

// addonRequest is what CreateAddon and UpdateAddon have in common.
type addonRequest struct {
	version, values, role *string
	associations          []ekstypes.AddonPodIdentityAssociations
	resolve               ekstypes.ResolveConflicts
}

// addonSpec validates all of a request that does not depend on the cluster.
func (s *Service) addonSpec(ctx context.Context, a about, known addons.Addon, in addonRequest) (AddonSpec, error) {
	spec := AddonSpec{
		ConfigurationValues: aws.ToString(in.values), ServiceAccountRoleARN: aws.ToString(in.role),
		ResolveConflicts: in.resolve,
	}
	if in.resolve == "" {
		spec.ResolveConflicts = ekstypes.ResolveConflictsNone
	}
	if !slices.Contains(in.resolve.Values(), spec.ResolveConflicts) {
		return spec, a.invalidParameter("Unsupported resolveConflicts %s", in.resolve)
	}
	if v := aws.ToString(in.version); v != "" && !known.Has(v) {
		return spec, a.invalidParameter("Addon version specified is not supported")
	}
	var bad *addons.ConfigurationError
	if err := known.Validate(spec.ConfigurationValues); errors.As(err, &bad) {
		return spec, a.invalidParameter("ConfigurationValue provided in request is not supported: %s", bad.Error())
	} else if err != nil {
		return spec, err
	}
	if spec.ServiceAccountRoleARN != "" && len(in.associations) > 0 {
		return spec, a.invalidParameter("Only one of serviceAccountRoleArn and podIdentityAssociations can be specified.")
	}
	if spec.ServiceAccountRoleARN != "" {
		p, err := s.checkRole(ctx, a, spec.ServiceAccountRoleARN)
		if err != nil {
			return spec, err
		}
		if p.ARN == "" {
			return spec, a.invalidParameter("The serviceAccountRoleArn %s does not exist", spec.ServiceAccountRoleARN)
		}
	}
	return spec, nil
}

// chooseVersion writes the wanted version, by default the default one of the
// cluster's Kubernetes version.
func (d *Addon) chooseVersion(a about, known addons.Addon, kubernetes, want string) error {
	if want == "" {
		want = known.Default(kubernetes)
	}
	if !known.Supports(want, kubernetes) {
		return a.invalidParameter("Addon version specified is not supported")
	}
	d.Desired.Version = want
	return nil
}

// DescribeAddon implements eks:DescribeAddon.
func (s *Service) DescribeAddon(ctx context.Context, in *eks.DescribeAddonInput, _ ...func(*eks.Options)) (*eks.DescribeAddonOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), addon: aws.ToString(in.AddonName)}
	d, err := readAddon(s.store, awsid.CallerFrom(ctx).Scope, a)
	if err != nil {
		return nil, err
	}
	r := d.Resource
	return &eks.DescribeAddonOutput{Addon: &r}, nil
}

// ListAddons implements eks:ListAddons.
func (s *Service) ListAddons(ctx context.Context, in *eks.ListAddonsInput, _ ...func(*eks.Options)) (*eks.ListAddonsOutput, error) {
	scope, cluster := awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName)
	if _, err := readCluster(s.store, scope, cluster); err != nil {
		return nil, err
	}
	var names []string
	for _, d := range Addons.ListPrefix(s.store, scope, ClusterPrefix(cluster)) {
		names = append(names, *d.Resource.AddonName)
	}
	names, next, err := page("ListAddons", names, itself, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListAddonsOutput{Addons: names, NextToken: next}, nil
}

// UpdateAddon implements eks:UpdateAddon. What the request leaves out stays as
// it is, but for pod identity associations: an empty list removes them.
func (s *Service) UpdateAddon(ctx context.Context, in *eks.UpdateAddonInput, _ ...func(*eks.Options)) (*eks.UpdateAddonOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), addon: aws.ToString(in.AddonName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readAddon(s.store, scope, a); err != nil {
		return nil, err
	}
	known, _ := addons.Get(a.addon)
	spec, err := s.addonSpec(ctx, a, known, addonRequest{
		in.AddonVersion, in.ConfigurationValues, in.ServiceAccountRoleArn, in.PodIdentityAssociations, in.ResolveConflicts,
	})
	if err != nil {
		return nil, err
	}
	var u *Update
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readAddon(tx, scope, a); err != nil {
			return err
		}
		if u, err = earlierUpdate(tx, scope, a, req); err != nil || u != nil {
			return err
		}
		d := Addons.Edit(tx, scope, ChildID(a.cluster, a.addon))
		if err := d.mayChange(a); err != nil {
			return err
		}
		if err := s.applyAddonUpdate(ctx, tx, a, d, known, in, spec); err != nil {
			return err
		}
		u = s.newUpdate(scope, a, ekstypes.UpdateTypeAddonUpdate, addonParams(in), req)
		d.UpdateID, d.Resource.Status, d.Resource.ModifiedAt = *u.Resource.Id, ekstypes.AddonStatusUpdating, s.now()
		d.Generation++
		Addons.Put(tx, scope, ChildID(a.cluster, a.addon), d)
		putUpdate(tx, u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdateAddonOutput{Update: &u.Resource}, nil
}

func (d *Addon) mayChange(a about) error {
	switch d.Resource.Status {
	case ekstypes.AddonStatusCreating, ekstypes.AddonStatusUpdating, ekstypes.AddonStatusDeleting:
		return a.inUse("Addon %s cannot be updated as it is currently in %s state", a.addon, d.Resource.Status)
	}
	return nil
}

func (s *Service) applyAddonUpdate(ctx context.Context, tx *store.Tx, a about, d *Addon, known addons.Addon, in *eks.UpdateAddonInput, spec AddonSpec) error {
	c, err := readRunningCluster(tx, d.Scope, a)
	if err != nil {
		return err
	}
	if in.AddonVersion != nil {
		if err := d.chooseVersion(a, known, *c.Resource.Version, *in.AddonVersion); err != nil {
			return err
		}
	}
	if in.ConfigurationValues != nil {
		d.Desired.ConfigurationValues = spec.ConfigurationValues
	}
	if in.ServiceAccountRoleArn != nil {
		d.Desired.ServiceAccountRoleARN = spec.ServiceAccountRoleARN
	}
	d.Desired.ResolveConflicts = spec.ResolveConflicts
	if in.PodIdentityAssociations != nil {
		return s.putAddonAssociations(ctx, tx, a, d, in.PodIdentityAssociations)
	}
	return nil
}

func addonParams(in *eks.UpdateAddonInput) []ekstypes.UpdateParam {
	var out []ekstypes.UpdateParam
	for _, p := range []struct {
		t ekstypes.UpdateParamType
		v *string
	}{
		{ekstypes.UpdateParamTypeAddonVersion, in.AddonVersion},
		{ekstypes.UpdateParamTypeServiceAccountRoleArn, in.ServiceAccountRoleArn},
		{ekstypes.UpdateParamTypeResolveConflicts, ptrOrNil(string(in.ResolveConflicts))},
		{ekstypes.UpdateParamTypeConfigurationValues, in.ConfigurationValues},
	} {
		if p.v != nil {
			out = append(out, param(p.t, *p.v))
		}
	}
	if in.PodIdentityAssociations != nil {
		shown := []map[string]string{}
		for _, p := range in.PodIdentityAssociations {
			shown = append(shown, map[string]string{"serviceAccount": aws.ToString(p.ServiceAccount), "roleArn": aws.ToString(p.RoleArn)})
		}
		out = append(out, param(ekstypes.UpdateParamTypePodIdentityAssociations, shown))
	}
	return out
}

// DeleteAddon implements eks:DeleteAddon.
func (s *Service) DeleteAddon(ctx context.Context, in *eks.DeleteAddonInput, _ ...func(*eks.Options)) (*eks.DeleteAddonOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a := about{cluster: aws.ToString(in.ClusterName), addon: aws.ToString(in.AddonName)}
	var d *Addon
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readAddon(tx, scope, a); err != nil {
			return err
		}
		d = Addons.Edit(tx, scope, ChildID(a.cluster, a.addon))
		if d.Resource.Status == ekstypes.AddonStatusDeleting {
			return nil
		}
		if d.UpdateID != "" {
			FinishUpdate(tx, scope, a.cluster, d.UpdateID, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCodeOperationNotPermitted, ErrorMessage: aws.String("The addon is being deleted."), ResourceIds: []string{a.addon},
			})
			d.UpdateID = ""
		}
		d.Preserve = in.Preserve
		d.Resource.Status, d.Resource.ModifiedAt = ekstypes.AddonStatusDeleting, s.now()
		d.Generation++
		Addons.Put(tx, scope, ChildID(a.cluster, a.addon), d)
		return s.putAddonAssociations(ctx, tx, a, d, nil)
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteAddonOutput{Addon: &d.Resource}, nil
}
