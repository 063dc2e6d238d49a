package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ModifyVpcPeeringConnectionOptions sets DNS resolution on the caller's side, or on
// both if both VPCs are the caller's.
func (s *Service) ModifyVpcPeeringConnectionOptions(ctx context.Context, in *ec2.ModifyVpcPeeringConnectionOptionsInput, _ ...func(*ec2.Options)) (*ec2.ModifyVpcPeeringConnectionOptionsOutput, error) {
	p, err := s.changePeering(ctx, in.DryRun, in.VpcPeeringConnectionId, func(_ *store.Tx, sc awsid.Scope, p *VpcPeeringConnection) error {
		if p.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive {
			return apiError("OperationNotPermitted", "Peering %s is not active. Peering options can be added only to active peerings.", *p.VpcPeeringConnectionId)
		}
		for _, side := range []struct {
			scope awsid.Scope
			want  *types.PeeringConnectionOptionsRequest
			info  *types.VpcPeeringConnectionVpcInfo
		}{{p.Requester, in.RequesterPeeringConnectionOptions, p.RequesterVpcInfo}, {p.Accepter, in.AccepterPeeringConnectionOptions, p.AccepterVpcInfo}} {
			if side.want == nil {
				continue
			}
			if side.scope != sc {
				return apiError("OperationNotPermitted", "User %s cannot modify the peering options of the other side of %s", sc.Account, *p.VpcPeeringConnectionId)
			}
			if v := side.want.AllowDnsResolutionFromRemoteVpc; v != nil {
				side.info.PeeringOptions.AllowDnsResolutionFromRemoteVpc = v
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.ModifyVpcPeeringConnectionOptionsOutput{}
	if in.RequesterPeeringConnectionOptions != nil {
		out.RequesterPeeringConnectionOptions = peeringOptions(p.RequesterVpcInfo)
	}
	if in.AccepterPeeringConnectionOptions != nil {
		out.AccepterPeeringConnectionOptions = peeringOptions(p.AccepterVpcInfo)
	}
	return out, nil
}

func peeringOptions(info *types.VpcPeeringConnectionVpcInfo) *types.PeeringConnectionOptions {
	return &types.PeeringConnectionOptions{
		AllowDnsResolutionFromRemoteVpc:            info.PeeringOptions.AllowDnsResolutionFromRemoteVpc,
		AllowEgressFromLocalClassicLinkToRemoteVpc: aws.Bool(false), AllowEgressFromLocalVpcToRemoteClassicLink: aws.Bool(false),
	}
}

// DescribeVpcPeeringConnections lists connections, ended ones for an hour.
func (s *Service) DescribeVpcPeeringConnections(ctx context.Context, in *ec2.DescribeVpcPeeringConnectionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcPeeringConnectionsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	l := *peeringLister
	l.view = func(_ store.Reader, _ awsid.Scope, r *VpcPeeringConnection) types.VpcPeeringConnection {
		p := *r
		s.expirePeering(&p)
		return p.VpcPeeringConnection
	}
	page, next, err := l.run(s.store, sc, query{in.VpcPeeringConnectionIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeVpcPeeringConnectionsOutput{VpcPeeringConnections: page, NextToken: next}, nil
}

// sweepPeerings forgets connections that ended a while ago.
func (s *Service) sweepPeerings(ctx context.Context) {
	for key, p := range VpcPeeringConnections.All(s.store) {
		if p.Ended == nil || s.clock.Since(*p.Ended) < terminatedFor {
			continue
		}
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			VpcPeeringConnections.Delete(tx, key.Scope, key.ID)
			return nil
		})
		if err != nil {
			s.log.Warn("ec2: ended peering connections stay for another hour", "error", err)
			return
		}
	}
}

func peeringInfo(side func(*types.VpcPeeringConnection) *types.VpcPeeringConnectionVpcInfo, f func(*types.VpcPeeringConnectionVpcInfo) []string) func(*types.VpcPeeringConnection) []string {
	return func(v *types.VpcPeeringConnection) []string { return f(side(v)) }
}

func accepterInfo(v *types.VpcPeeringConnection) *types.VpcPeeringConnectionVpcInfo {
	return v.AccepterVpcInfo
}

func requesterInfo(v *types.VpcPeeringConnection) *types.VpcPeeringConnectionVpcInfo {
	return v.RequesterVpcInfo
}

func infoCIDRs(i *types.VpcPeeringConnectionVpcInfo) []string {
	return each(i.CidrBlockSet, func(c *types.CidrBlock) []string { return one(c.CidrBlock) })
}

func infoOwner(i *types.VpcPeeringConnectionVpcInfo) []string { return one(i.OwnerId) }
func infoVpc(i *types.VpcPeeringConnectionVpcInfo) []string   { return one(i.VpcId) }

var peeringLister = &lister[VpcPeeringConnection, types.VpcPeeringConnection]{
	kind: peeringKind,
	id:   func(v *types.VpcPeeringConnection) string { return deref(v.VpcPeeringConnectionId) },
	tags: func(v *types.VpcPeeringConnection) []types.Tag { return v.Tags },
	filters: fields[types.VpcPeeringConnection]{
		"accepter-vpc-info.cidr-block":  peeringInfo(accepterInfo, infoCIDRs),
		"accepter-vpc-info.owner-id":    peeringInfo(accepterInfo, infoOwner),
		"accepter-vpc-info.vpc-id":      peeringInfo(accepterInfo, infoVpc),
		"requester-vpc-info.cidr-block": peeringInfo(requesterInfo, infoCIDRs),
		"requester-vpc-info.owner-id":   peeringInfo(requesterInfo, infoOwner),
		"requester-vpc-info.vpc-id":     peeringInfo(requesterInfo, infoVpc),
		"expiration-time":               func(v *types.VpcPeeringConnection) []string { return instant(v.ExpirationTime) },
		"status-code":                   func(v *types.VpcPeeringConnection) []string { return text(v.Status.Code) },
		"status-message":                func(v *types.VpcPeeringConnection) []string { return one(v.Status.Message) },
		"vpc-peering-connection-id":     func(v *types.VpcPeeringConnection) []string { return one(v.VpcPeeringConnectionId) },
	},
}
