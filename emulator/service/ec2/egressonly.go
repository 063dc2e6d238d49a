package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// EgressOnlyInternetGateway is an egress-only internet gateway.
type EgressOnlyInternetGateway struct {
	types.EgressOnlyInternetGateway
}

// EgressOnlyInternetGateways is keyed by id.
const EgressOnlyInternetGateways store.Table[EgressOnlyInternetGateway] = "ec2-egress-only-internet-gateway"

var egressOnlyKind = &kind[EgressOnlyInternetGateway]{
	table: EgressOnlyInternetGateways, typ: types.ResourceTypeEgressOnlyInternetGateway, prefix: "eigw", noun: "eigw", param: "egressOnlyInternetGatewayId",
	malformed: "InvalidEgressOnlyInternetGatewayId.Malformed", notFound: "InvalidGatewayID.NotFound",
	tags: func(r *EgressOnlyInternetGateway) *[]types.Tag { return &r.Tags },
	id:   func(r *EgressOnlyInternetGateway) *string { return r.EgressOnlyInternetGatewayId },
}

func egressOnlyOf(g *EgressOnlyInternetGateway, vpc string) bool {
	return slices.ContainsFunc(g.Attachments, func(a types.InternetGatewayAttachment) bool { return deref(a.VpcId) == vpc })
}

// CreateEgressOnlyInternetGateway creates a gateway for a VPC's IPv6 traffic.
func (s *Service) CreateEgressOnlyInternetGateway(ctx context.Context, in *ec2.CreateEgressOnlyInternetGatewayInput, _ ...func(*ec2.Options)) (*ec2.CreateEgressOnlyInternetGatewayOutput, error) {
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeEgressOnlyInternetGateway)
	if err != nil {
		return nil, err
	}
	var g *EgressOnlyInternetGateway
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		rp, err := s.replayOf(tx, sc, "CreateEgressOnlyInternetGateway", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if g = EgressOnlyInternetGateways.Get(tx, sc, rp.ids[0]); g != nil {
				return nil
			}
		}
		if err := checkQuota(s, tx, sc, EgressOnlyInternetGateways, "egress-only-internet-gateways-per-region", "EgressOnlyInternetGatewayLimitExceeded", "egress-only internet gateways"); err != nil {
			return err
		}
		id := awsid.NewID("eigw")
		g = &EgressOnlyInternetGateway{types.EgressOnlyInternetGateway{
			EgressOnlyInternetGatewayId: &id, Tags: tags,
			Attachments: []types.InternetGatewayAttachment{{VpcId: v.VpcId, State: types.AttachmentStatusAttached}},
		}}
		EgressOnlyInternetGateways.Put(tx, sc, id, g)
		s.remember(tx, sc, rp, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateEgressOnlyInternetGatewayOutput{EgressOnlyInternetGateway: &g.EgressOnlyInternetGateway, ClientToken: in.ClientToken}, nil
}

// DeleteEgressOnlyInternetGateway deletes a gateway; routes to it lead nowhere.
func (s *Service) DeleteEgressOnlyInternetGateway(ctx context.Context, in *ec2.DeleteEgressOnlyInternetGatewayInput, _ ...func(*ec2.Options)) (*ec2.DeleteEgressOnlyInternetGatewayOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := egressOnlyKind.get(tx, sc, in.EgressOnlyInternetGatewayId)
		if err != nil {
			return err
		}
		for _, a := range g.Attachments {
			blackhole(tx, sc, *a.VpcId, func(r *types.Route) bool {
				return deref(r.EgressOnlyInternetGatewayId) == *g.EgressOnlyInternetGatewayId
			})
		}
		EgressOnlyInternetGateways.Delete(tx, sc, *g.EgressOnlyInternetGatewayId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteEgressOnlyInternetGatewayOutput{ReturnCode: aws.Bool(true)}, nil
}

// DescribeEgressOnlyInternetGateways lists gateways. As in EC2, ids that are not
// there are passed over.
func (s *Service) DescribeEgressOnlyInternetGateways(ctx context.Context, in *ec2.DescribeEgressOnlyInternetGatewaysInput, _ ...func(*ec2.Options)) (*ec2.DescribeEgressOnlyInternetGatewaysOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := egressOnlyLister.run(s.store, sc, query{in.EgressOnlyInternetGatewayIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeEgressOnlyInternetGatewaysOutput{EgressOnlyInternetGateways: page, NextToken: next}, nil
}

var egressOnlyLister = &lister[EgressOnlyInternetGateway, types.EgressOnlyInternetGateway]{
	kind: egressOnlyKind,
	view: func(_ store.Reader, _ awsid.Scope, r *EgressOnlyInternetGateway) types.EgressOnlyInternetGateway {
		return r.EgressOnlyInternetGateway
	},
	id:      func(v *types.EgressOnlyInternetGateway) string { return deref(v.EgressOnlyInternetGatewayId) },
	tags:    func(v *types.EgressOnlyInternetGateway) []types.Tag { return v.Tags },
	filters: fields[types.EgressOnlyInternetGateway]{},
	lenient: true,
}
