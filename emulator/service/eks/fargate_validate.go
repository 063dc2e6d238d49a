package eks

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Limits of a profile ("Amazon EKS service quotas", "Define which Pods use AWS
// Fargate when launched").
const (
	maxFargateSelectors      = 5
	maxFargateSelectorLabels = 5
	maxFargateName           = 100
)

func checkFargateName(a about) error {
	switch {
	case a.fargate == "":
		return a.invalidParameter("Fargate Profile name must be specified.")
	case len(a.fargate) > maxFargateName:
		return a.invalidParameter("Fargate Profile name must be at most %d characters long.", maxFargateName)
	case !namePattern.MatchString(a.fargate):
		return a.invalidParameter("The Fargate Profile name can contain only alphanumeric characters (case-sensitive), hyphens and underscores. It must start with an alphanumeric character.")
	case strings.HasPrefix(a.fargate, "eks-"):
		// eksctl refuses it beforehand: pkg/apis/eksctl.io, reservedProfileNamePrefix.
		return a.invalidParameter("The Fargate Profile name cannot start with the reserved prefix eks-.")
	}
	return nil
}

// newFargateProfile validates in and makes the record.
func (s *Service) newFargateProfile(ctx context.Context, a about, c *Cluster, in *eks.CreateFargateProfileInput) (*FargateProfile, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	id := awsid.NewUUID()
	p := &FargateProfile{Scope: c.Scope, ID: id, Resource: ekstypes.FargateProfile{
		FargateProfileName: in.FargateProfileName, ClusterName: in.ClusterName, PodExecutionRoleArn: in.PodExecutionRoleArn,
		FargateProfileArn: aws.String(c.Scope.ARN("eks", strings.Join([]string{"fargateprofile", a.cluster, a.fargate, id}, "/"))),
		CreatedAt:         s.now(), Status: ekstypes.FargateProfileStatusCreating, Tags: nonNil(in.Tags),
		Health: &ekstypes.FargateProfileHealth{Issues: []ekstypes.FargateProfileIssue{}},
	}}
	for _, set := range []func() error{
		func() error { return s.setPodExecutionRole(ctx, a, p, aws.ToString(in.PodExecutionRoleArn)) },
		func() error { return setFargateSelectors(a, p, in.Selectors) },
		func() error { return s.setFargateSubnets(ctx, a, c, p, in.Subnets) },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (s *Service) setPodExecutionRole(ctx context.Context, a about, p *FargateProfile, arn string) error {
	if arn == "" {
		return a.invalidParameter("podExecutionRoleArn must be specified.")
	}
	role, err := s.checkRole(ctx, a, arn)
	if err != nil {
		return err
	}
	// A role that does not exist (yet) is answered alike: Terraform retries on it.
	if role.ARN == "" || !trusts(role, fargateService) {
		return a.invalidParameter("Misconfigured PodExecutionRole Trust Policy; Please add the %s Service Principal", fargateService)
	}
	p.RoleID = role.ID
	return nil
}

func setFargateSelectors(a about, p *FargateProfile, in []ekstypes.FargateProfileSelector) error {
	if len(in) == 0 {
		return a.invalidParameter("Fargate Profile requires at least one selector.")
	}
	if len(in) > maxFargateSelectors {
		return a.invalidParameter("Fargate Profile cannot have more than %d selectors.", maxFargateSelectors)
	}
	for _, sel := range in {
		if aws.ToString(sel.Namespace) == "" {
			return a.invalidParameter("Fargate Profile must have at least one selector with at least one namespace value.")
		}
		if len(sel.Labels) > maxFargateSelectorLabels {
			return a.invalidParameter("Request contains Selector with more than %d Label pairs", maxFargateSelectorLabels)
		}
		p.Resource.Selectors = append(p.Resource.Selectors, ekstypes.FargateProfileSelector{Namespace: sel.Namespace, Labels: nonNil(sel.Labels)})
	}
	return nil
}

// setFargateSubnets takes private subnets of the cluster's VPC: those of the
// request, or without any the private ones among the cluster's.
func (s *Service) setFargateSubnets(ctx context.Context, a about, c *Cluster, p *FargateProfile, ids []string) error {
	given := len(ids) > 0
	if !given {
		ids = c.Resource.ResourcesVpcConfig.SubnetIds
	}
	subnets, err := s.subnets(ctx, a, ids)
	if err != nil {
		return err
	}
	vpc := aws.ToString(c.Resource.ResourcesVpcConfig.VpcId)
	public, err := s.publicSubnets(ctx, a, vpc)
	if err != nil {
		return err
	}
	p.Resource.Subnets = []string{}
	for _, sn := range subnets {
		id := aws.ToString(sn.SubnetId)
		switch {
		case aws.ToString(sn.VpcId) != vpc:
			return a.invalidParameter("Subnet %s is not in the cluster's VPC %s", id, vpc)
		case public(id) && given:
			return a.invalidParameter("Subnet %s provided in Fargate Profile is not a private subnet", id)
		case public(id):
			continue
		}
		p.Resource.Subnets = append(p.Resource.Subnets, id)
	}
	if len(p.Resource.Subnets) == 0 {
		return a.invalidParameter("Cluster %s has no private subnets: specify subnets in the Fargate Profile.", a.cluster)
	}
	return nil
}

// publicSubnets finds out which subnets of a VPC have a route to an internet
// gateway, in their own route table or else in the main one.
func (s *Service) publicSubnets(ctx context.Context, a about, vpc string) (func(subnet string) bool, error) {
	out, err := s.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{
		Filters: []ec2types.Filter{{Name: aws.String("vpc-id"), Values: []string{vpc}}},
	})
	if err != nil {
		return nil, a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	main, own := false, map[string]bool{}
	for _, t := range out.RouteTables {
		public := slices.ContainsFunc(t.Routes, func(r ec2types.Route) bool { return strings.HasPrefix(aws.ToString(r.GatewayId), "igw-") })
		for _, as := range t.Associations {
			if aws.ToBool(as.Main) {
				main = public
			}
			if as.SubnetId != nil {
				own[*as.SubnetId] = public
			}
		}
	}
	return func(subnet string) bool {
		if p, ok := own[subnet]; ok {
			return p
		}
		return main
	}, nil
}
