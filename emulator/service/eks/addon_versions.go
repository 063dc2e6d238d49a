package eks

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/fixtures/addons"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// DescribeAddonVersions implements eks:DescribeAddonVersions. A name that no add-on
// has is no error but an empty list, as Terraform's "Empty result" shows.
func (s *Service) DescribeAddonVersions(_ context.Context, in *eks.DescribeAddonVersionsInput, _ ...func(*eks.Options)) (*eks.DescribeAddonVersionsOutput, error) {
	kubernetes, name := aws.ToString(in.KubernetesVersion), aws.ToString(in.AddonName)
	if _, ok := eksversions.Get(kubernetes); !ok && kubernetes != "" {
		return nil, about{}.invalidParameter("unsupported Kubernetes version %s", kubernetes)
	}
	allows := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	infos := []ekstypes.AddonInfo{}
	for _, d := range addons.All() {
		if name != "" && d.Name != name || !allows(in.Types, d.Type) || !allows(in.Owners, d.Owner) || !allows(in.Publishers, d.Publisher) {
			continue
		}
		if versions := addonVersions(d, kubernetes); len(versions) > 0 {
			infos = append(infos, ekstypes.AddonInfo{
				AddonName: aws.String(d.Name), Type: aws.String(d.Type), Owner: aws.String(d.Owner), Publisher: aws.String(d.Publisher),
				DefaultNamespace: aws.String(d.Namespace), AddonVersions: versions,
			})
		}
	}
	infos, next, err := page("DescribeAddonVersions", infos, func(i ekstypes.AddonInfo) string { return *i.AddonName }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.DescribeAddonVersionsOutput{Addons: infos, NextToken: next}, nil
}

// addonVersions lists an add-on's versions, newest first, with the Kubernetes
// versions (or the one asked for) that they work with.
func addonVersions(d addons.Addon, kubernetes string) []ekstypes.AddonVersionInfo {
	var out []ekstypes.AddonVersionInfo
	for _, v := range d.Versions {
		info := ekstypes.AddonVersionInfo{
			AddonVersion: aws.String(v.Version), Architecture: d.Architectures, ComputeTypes: d.ComputeTypes,
			RequiresConfiguration: d.RequiresConfiguration, RequiresIamPermissions: d.RequiresIAMPermissions,
		}
		for _, k := range slices.Backward(v.Kubernetes) {
			if kubernetes == "" || k == kubernetes {
				info.Compatibilities = append(info.Compatibilities, ekstypes.Compatibility{
					ClusterVersion: aws.String(k), PlatformVersions: []string{"*"}, DefaultVersion: d.Default(k) == v.Version,
				})
			}
		}
		if len(info.Compatibilities) > 0 {
			out = append(out, info)
		}
	}
	return out
}

// DescribeAddonConfiguration implements eks:DescribeAddonConfiguration.
func (s *Service) DescribeAddonConfiguration(_ context.Context, in *eks.DescribeAddonConfigurationInput, _ ...func(*eks.Options)) (*eks.DescribeAddonConfigurationOutput, error) {
	a := about{addon: aws.ToString(in.AddonName)}
	d, ok := addons.Get(a.addon)
	if !ok {
		return nil, a.invalidParameter("Addon %s specified is not supported", a.addon)
	}
	if !d.Has(aws.ToString(in.AddonVersion)) {
		return nil, a.invalidParameter("Addon version specified is not supported")
	}
	out := &eks.DescribeAddonConfigurationOutput{
		AddonName: in.AddonName, AddonVersion: in.AddonVersion, ConfigurationSchema: aws.String(d.Schema()),
	}
	for _, p := range d.PodIdentity {
		out.PodIdentityConfiguration = append(out.PodIdentityConfiguration, ekstypes.AddonPodIdentityConfiguration{
			ServiceAccount: aws.String(p.ServiceAccount), RecommendedManagedPolicies: p.Policies,
		})
	}
	return out, nil
}
