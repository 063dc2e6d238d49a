package ec2

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// VpcPeeringConnection is one side's view of a peering connection: requester and
// accepter each have a record in their own account and region, with their own tags,
// which one transaction changes together.
type VpcPeeringConnection struct {
	types.VpcPeeringConnection
	Requester, Accepter awsid.Scope
	// Ended is when it was deleted, rejected or failed; it stays visible for a while.
	Ended *time.Time `json:",omitempty"`
}

// VpcPeeringConnections is keyed by id.
const VpcPeeringConnections store.Table[VpcPeeringConnection] = "ec2-vpc-peering-connection"

var peeringKind = &kind[VpcPeeringConnection]{
	table: VpcPeeringConnections, typ: types.ResourceTypeVpcPeeringConnection, prefix: "pcx", noun: "vpcPeeringConnection", param: "vpcPeeringConnectionId",
	malformed: "InvalidVpcPeeringConnectionId.Malformed", notFound: "InvalidVpcPeeringConnectionID.NotFound",
	tags: func(r *VpcPeeringConnection) *[]types.Tag { return &r.Tags },
	id:   func(r *VpcPeeringConnection) *string { return r.VpcPeeringConnectionId },
}

// peeringLife is how long a request waits to be accepted.
const peeringLife = 7 * 24 * time.Hour

func peeringState(code types.VpcPeeringConnectionStateReasonCode, message string) *types.VpcPeeringConnectionStateReason {
	return &types.VpcPeeringConnectionStateReason{Code: code, Message: &message}
}

func peeringSide(sc awsid.Scope, id string, v *Vpc) *types.VpcPeeringConnectionVpcInfo {
	info := &types.VpcPeeringConnectionVpcInfo{VpcId: &id, OwnerId: aws.String(sc.Account), Region: aws.String(sc.Region)}
	if v == nil {
		return info
	}
	info.CidrBlock = v.CidrBlock
	for _, p := range vpcCIDRs(&v.Vpc) {
		info.CidrBlockSet = append(info.CidrBlockSet, types.CidrBlock{CidrBlock: aws.String(p.String())})
	}
	for _, p := range vpcCIDRs6(&v.Vpc) {
		info.Ipv6CidrBlockSet = append(info.Ipv6CidrBlockSet, types.Ipv6CidrBlock{Ipv6CidrBlock: aws.String(p.String())})
	}
	info.PeeringOptions = &types.VpcPeeringConnectionOptionsDescription{
		AllowDnsResolutionFromRemoteVpc: aws.Bool(false), AllowEgressFromLocalClassicLinkToRemoteVpc: aws.Bool(false), AllowEgressFromLocalVpcToRemoteClassicLink: aws.Bool(false),
	}
	return info
}

// CreateVpcPeeringConnection asks another VPC's owner for a peering connection.
func (s *Service) CreateVpcPeeringConnection(ctx context.Context, in *ec2.CreateVpcPeeringConnectionInput, _ ...func(*ec2.Options)) (*ec2.CreateVpcPeeringConnectionOutput, error) {
	if in.VpcId == nil {
		return nil, errMissing("vpcId")
	}
	if in.PeerVpcId == nil {
		return nil, errMissing("peerVpcId")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeVpcPeeringConnection)
	if err != nil {
		return nil, err
	}
	var out types.VpcPeeringConnection
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		peer := sc
		if deref(in.PeerOwnerId) != "" {
			peer.Account = *in.PeerOwnerId
		}
		if deref(in.PeerRegion) != "" {
			peer.Region = *in.PeerRegion
		}
		if peer.Partition() != sc.Partition() {
			return errInvalidValue(peer.Region, "peerRegion")
		}
		if err := vpcKind.check(*in.PeerVpcId); err != nil {
			return err
		}
		other := Vpcs.Get(tx, peer, *in.PeerVpcId)
		if other == nil && peer == sc {
			return vpcKind.absent(*in.PeerVpcId)
		}
		if *in.PeerVpcId == *in.VpcId {
			return errInvalid("A VPC cannot be peered with itself: %s", *in.VpcId)
		}
		if err := s.checkPeering(tx, sc, *in.VpcId, *in.PeerVpcId); err != nil {
			return err
		}
		until := s.now().Add(peeringLife)
		rec := &VpcPeeringConnection{Requester: sc, Accepter: peer, VpcPeeringConnection: types.VpcPeeringConnection{
			VpcPeeringConnectionId: aws.String(awsid.NewID("pcx")), ExpirationTime: &until, RequesterVpcInfo: peeringSide(sc, *in.VpcId, v),
			AccepterVpcInfo: peeringSide(peer, *in.PeerVpcId, other), Tags: tags,
			Status: peeringState(types.VpcPeeringConnectionStateReasonCodePendingAcceptance, "Pending Acceptance by "+peer.Account),
		}}
		rec.AccepterVpcInfo.PeeringOptions, rec.AccepterVpcInfo.CidrBlock = nil, nil // not shown before it is accepted
		if other == nil || overlap(&v.Vpc, &other.Vpc) {
			now := s.now()
			rec.Ended = &now
			rec.Status = peeringState(types.VpcPeeringConnectionStateReasonCodeFailed, "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range")
		}
		putPeering(tx, rec, sc)
		out = rec.VpcPeeringConnection
		return nil
	})
	if err != nil {
		return nil, err
	}
	if out.Status.Code == types.VpcPeeringConnectionStateReasonCodePendingAcceptance {
		out.Status = peeringState(types.VpcPeeringConnectionStateReasonCodeInitiatingRequest, "Initiating Request to "+*out.AccepterVpcInfo.OwnerId)
	}
	return &ec2.CreateVpcPeeringConnectionOutput{VpcPeeringConnection: &out}, nil
}

func (s *Service) checkPeering(tx *store.Tx, sc awsid.Scope, a, b string) error {
	n := 0
	for _, p := range VpcPeeringConnections.List(tx, sc) {
		if p.Ended != nil {
			continue
		}
		x, y := *p.RequesterVpcInfo.VpcId, *p.AccepterVpcInfo.VpcId
		if x == a && y == b || x == b && y == a {
			return apiError("VpcPeeringConnectionAlreadyExists", "A VPC peering connection already exists between the VPCs: %s", *p.VpcPeeringConnectionId)
		}
		if x == a || y == a {
			n++
		}
	}
	if n >= s.quota("peering-connections-per-vpc") {
		return errLimit("ActiveVpcPeeringConnectionPerVpcLimitExceeded", "active VPC peering connections per VPC")
	}
	return nil
}

func overlap(a, b *types.Vpc) bool {
	return slices.ContainsFunc(append(vpcCIDRs(a), vpcCIDRs6(a)...), func(p netip.Prefix) bool {
		return slices.ContainsFunc(append(vpcCIDRs(b), vpcCIDRs6(b)...), p.Overlaps)
	})
}

// putPeering writes both sides' records; rec has the tags of the one in mine.
func putPeering(tx *store.Tx, rec *VpcPeeringConnection, mine awsid.Scope) {
	id := *rec.VpcPeeringConnectionId
	VpcPeeringConnections.Put(tx, mine, id, rec)
	other := rec.Requester
	if other == mine {
		other = rec.Accepter
	}
	if other == mine {
		return
	}
	theirs := *rec
	theirs.Tags = nil
	if have := VpcPeeringConnections.Get(tx, other, id); have != nil {
		theirs.Tags = have.Tags
	}
	VpcPeeringConnections.Put(tx, other, id, &theirs)
}

// changePeering edits the caller's record and writes both sides.
func (s *Service) changePeering(ctx context.Context, dryRun *bool, id *string, f func(tx *store.Tx, sc awsid.Scope, p *VpcPeeringConnection) error) (*VpcPeeringConnection, error) {
	var p *VpcPeeringConnection
	err := s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		var err error
		if p, err = peeringKind.edit(tx, sc, id); err != nil {
			return err
		}
		s.expirePeering(p)
		if err := f(tx, sc, p); err != nil {
			return err
		}
		putPeering(tx, p, sc)
		return nil
	})
	return p, err
}

// expirePeering shows a request that nobody accepted in time as expired.
func (s *Service) expirePeering(p *VpcPeeringConnection) {
	if p.Status.Code == types.VpcPeeringConnectionStateReasonCodePendingAcceptance && p.ExpirationTime != nil && s.clock.Now().After(*p.ExpirationTime) {
		p.Status, p.Ended = peeringState(types.VpcPeeringConnectionStateReasonCodeExpired, "Expired"), p.ExpirationTime
	}
}

func errPeeringState(p *VpcPeeringConnection) error {
	return apiError("InvalidStateTransition", "Invalid state transition for %s, attempted to transition from %s", *p.VpcPeeringConnectionId, p.Status.Code)
}

// AcceptVpcPeeringConnection makes a requested connection active.
func (s *Service) AcceptVpcPeeringConnection(ctx context.Context, in *ec2.AcceptVpcPeeringConnectionInput, _ ...func(*ec2.Options)) (*ec2.AcceptVpcPeeringConnectionOutput, error) {
	p, err := s.changePeering(ctx, in.DryRun, in.VpcPeeringConnectionId, func(tx *store.Tx, sc awsid.Scope, p *VpcPeeringConnection) error {
		if sc != p.Accepter {
			return apiError("OperationNotPermitted", "User %s cannot accept peering %s", sc.Account, *p.VpcPeeringConnectionId)
		}
		if p.Status.Code != types.VpcPeeringConnectionStateReasonCodePendingAcceptance {
			return errPeeringState(p)
		}
		v, err := vpcKind.get(tx, sc, p.AccepterVpcInfo.VpcId)
		if err != nil {
			return err
		}
		p.Status, p.ExpirationTime = peeringState(types.VpcPeeringConnectionStateReasonCodeActive, "Active"), nil
		p.AccepterVpcInfo = peeringSide(sc, *v.VpcId, v)
		eachPeeringRoute(tx, p, func(r *types.Route) { r.State = types.RouteStateActive })
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := p.VpcPeeringConnection
	out.Status = peeringState(types.VpcPeeringConnectionStateReasonCodeProvisioning, "Provisioning")
	return &ec2.AcceptVpcPeeringConnectionOutput{VpcPeeringConnection: &out}, nil
}

// RejectVpcPeeringConnection refuses a requested connection.
func (s *Service) RejectVpcPeeringConnection(ctx context.Context, in *ec2.RejectVpcPeeringConnectionInput, _ ...func(*ec2.Options)) (*ec2.RejectVpcPeeringConnectionOutput, error) {
	_, err := s.changePeering(ctx, in.DryRun, in.VpcPeeringConnectionId, func(_ *store.Tx, sc awsid.Scope, p *VpcPeeringConnection) error {
		if sc != p.Accepter || p.Status.Code != types.VpcPeeringConnectionStateReasonCodePendingAcceptance {
			return errPeeringState(p)
		}
		now := s.now()
		p.Status, p.Ended = peeringState(types.VpcPeeringConnectionStateReasonCodeRejected, "Rejected by "+sc.Account), &now
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.RejectVpcPeeringConnectionOutput{Return: aws.Bool(true)}, nil
}

// DeleteVpcPeeringConnection ends a connection, or takes a request back.
func (s *Service) DeleteVpcPeeringConnection(ctx context.Context, in *ec2.DeleteVpcPeeringConnectionInput, _ ...func(*ec2.Options)) (*ec2.DeleteVpcPeeringConnectionOutput, error) {
	_, err := s.changePeering(ctx, in.DryRun, in.VpcPeeringConnectionId, func(tx *store.Tx, sc awsid.Scope, p *VpcPeeringConnection) error {
		switch p.Status.Code {
		case types.VpcPeeringConnectionStateReasonCodeDeleted:
			return nil
		case types.VpcPeeringConnectionStateReasonCodeRejected, types.VpcPeeringConnectionStateReasonCodeExpired, types.VpcPeeringConnectionStateReasonCodeFailed:
			return errPeeringState(p)
		}
		s.endPeering(tx, p, sc.Account)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteVpcPeeringConnectionOutput{Return: aws.Bool(true)}, nil
}

func (s *Service) endPeering(tx *store.Tx, p *VpcPeeringConnection, by string) {
	now := s.now()
	p.Status, p.Ended = peeringState(types.VpcPeeringConnectionStateReasonCodeDeleted, "Deleted by "+by), &now
	eachPeeringRoute(tx, p, func(r *types.Route) { r.State = types.RouteStateBlackhole })
}

// dropPeerings ends the connections of a VPC that is deleted.
func (s *Service) dropPeerings(tx *store.Tx, sc awsid.Scope, vpc string) {
	for _, rec := range VpcPeeringConnections.List(tx, sc) {
		if rec.Ended != nil || deref(rec.RequesterVpcInfo.VpcId) != vpc && deref(rec.AccepterVpcInfo.VpcId) != vpc {
			continue
		}
		p := VpcPeeringConnections.Edit(tx, sc, *rec.VpcPeeringConnectionId)
		s.endPeering(tx, p, sc.Account)
		putPeering(tx, p, sc)
	}
}

// eachPeeringRoute changes the routes to a connection on both sides.
func eachPeeringRoute(tx *store.Tx, p *VpcPeeringConnection, f func(*types.Route)) {
	to := func(r types.Route) bool { return deref(r.VpcPeeringConnectionId) == *p.VpcPeeringConnectionId }
	for i, sc := range []awsid.Scope{p.Requester, p.Accepter} {
		if i == 1 && sc == p.Requester {
			return
		}
		for _, rt := range RouteTables.List(tx, sc) {
			if !slices.ContainsFunc(rt.Routes, to) {
				continue
			}
			mine := RouteTables.Edit(tx, sc, *rt.RouteTableId)
			for j := range mine.Routes {
				if to(mine.Routes[j]) {
					f(&mine.Routes[j])
				}
			}
			RouteTables.Put(tx, sc, *rt.RouteTableId, mine)
		}
	}
}

// activePeering finds the active connection between two VPCs.
func activePeering(r store.Reader, sc awsid.Scope, a, b string) *VpcPeeringConnection {
	for _, p := range VpcPeeringConnections.List(r, sc) {
		x, y := deref(p.RequesterVpcInfo.VpcId), deref(p.AccepterVpcInfo.VpcId)
		if p.Status.Code == types.VpcPeeringConnectionStateReasonCodeActive && (x == a && y == b || x == b && y == a) {
			return p
		}
	}
	return nil
}
