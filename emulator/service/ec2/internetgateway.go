package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// attachmentAvailable is what EC2 says of an attached internet gateway; the
// model's enum knows only "attached".
const attachmentAvailable types.AttachmentStatus = "available"

// CreateInternetGateway creates a gateway that belongs to no VPC yet.
func (s *Service) CreateInternetGateway(ctx context.Context, in *ec2.CreateInternetGatewayInput, _ ...func(*ec2.Options)) (*ec2.CreateInternetGatewayOutput, error) {
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeInternetGateway)
	if err != nil {
		return nil, err
	}
	var g *InternetGateway
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if err := checkQuota(s, tx, sc, InternetGateways, "internet-gateways-per-region", "InternetGatewayLimitExceeded", "internet gateways"); err != nil {
			return err
		}
		id := awsid.NewID("igw")
		g = &InternetGateway{types.InternetGateway{InternetGatewayId: &id, OwnerId: &sc.Account, Tags: tags, Attachments: []types.InternetGatewayAttachment{}}}
		InternetGateways.Put(tx, sc, id, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateInternetGatewayOutput{InternetGateway: &g.InternetGateway}, nil
}

func attachedTo(g *types.InternetGateway, vpc string) bool {
	return slices.ContainsFunc(g.Attachments, func(a types.InternetGatewayAttachment) bool { return deref(a.VpcId) == vpc })
}

// AttachInternetGateway attaches a gateway to a VPC; each has at most one other.
func (s *Service) AttachInternetGateway(ctx context.Context, in *ec2.AttachInternetGatewayInput, _ ...func(*ec2.Options)) (*ec2.AttachInternetGatewayOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := internetGatewayKind.edit(tx, sc, in.InternetGatewayId)
		if err != nil {
			return err
		}
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		if len(g.Attachments) > 0 {
			return apiError("Resource.AlreadyAssociated", "resource %s is already attached to network %s", *g.InternetGatewayId, deref(g.Attachments[0].VpcId))
		}
		for _, other := range InternetGateways.List(tx, sc) {
			if attachedTo(&other.InternetGateway, *v.VpcId) {
				return errInvalid("Network %s already has an internet gateway attached", *v.VpcId)
			}
		}
		g.Attachments = []types.InternetGatewayAttachment{{VpcId: v.VpcId, State: attachmentAvailable}}
		InternetGateways.Put(tx, sc, *g.InternetGatewayId, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AttachInternetGatewayOutput{}, nil
}

// DetachInternetGateway detaches a gateway, unless public addresses depend on it.
func (s *Service) DetachInternetGateway(ctx context.Context, in *ec2.DetachInternetGatewayInput, _ ...func(*ec2.Options)) (*ec2.DetachInternetGatewayOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := internetGatewayKind.edit(tx, sc, in.InternetGatewayId)
		if err != nil {
			return err
		}
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		if !attachedTo(&g.InternetGateway, *v.VpcId) {
			return apiError("Gateway.NotAttached", "resource %s is not attached to network %s", *g.InternetGatewayId, *v.VpcId)
		}
		for _, eni := range NetworkInterfaces.List(tx, sc) {
			if deref(eni.VpcId) == *v.VpcId && slices.ContainsFunc(eni.PrivateIpAddresses, func(a types.NetworkInterfacePrivateIpAddress) bool { return a.Association != nil }) {
				return apiError("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", *v.VpcId)
			}
		}
		g.Attachments = []types.InternetGatewayAttachment{}
		InternetGateways.Put(tx, sc, *g.InternetGatewayId, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DetachInternetGatewayOutput{}, nil
}

// DeleteInternetGateway deletes a detached gateway.
func (s *Service) DeleteInternetGateway(ctx context.Context, in *ec2.DeleteInternetGatewayInput, _ ...func(*ec2.Options)) (*ec2.DeleteInternetGatewayOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := internetGatewayKind.get(tx, sc, in.InternetGatewayId)
		if err != nil {
			return err
		}
		if len(g.Attachments) > 0 {
			return errDependency("internetGateway", *g.InternetGatewayId)
		}
		InternetGateways.Delete(tx, sc, *g.InternetGatewayId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteInternetGatewayOutput{}, nil
}

// DescribeInternetGateways lists internet gateways.
func (s *Service) DescribeInternetGateways(ctx context.Context, in *ec2.DescribeInternetGatewaysInput, _ ...func(*ec2.Options)) (*ec2.DescribeInternetGatewaysOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := internetGatewayLister.run(s.store, sc, query{in.InternetGatewayIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeInternetGatewaysOutput{InternetGateways: page, NextToken: next}, nil
}

var internetGatewayLister = &lister[InternetGateway, types.InternetGateway]{
	kind: internetGatewayKind,
	view: func(_ store.Reader, _ awsid.Scope, r *InternetGateway) types.InternetGateway {
		return r.InternetGateway
	},
	id:   func(v *types.InternetGateway) string { return deref(v.InternetGatewayId) },
	tags: func(v *types.InternetGateway) []types.Tag { return v.Tags },
	filters: fields[types.InternetGateway]{
		"internet-gateway-id": func(v *types.InternetGateway) []string { return one(v.InternetGatewayId) },
		"owner-id":            func(v *types.InternetGateway) []string { return one(v.OwnerId) },
		"attachment.vpc-id": func(v *types.InternetGateway) []string {
			return each(v.Attachments, func(a *types.InternetGatewayAttachment) []string { return one(a.VpcId) })
		},
		"attachment.state": func(v *types.InternetGateway) []string {
			return each(v.Attachments, func(a *types.InternetGatewayAttachment) []string { return text(a.State) })
		},
	},
}
