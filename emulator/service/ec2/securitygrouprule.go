package ec2

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Security group rules exist once, as types.SecurityGroupRule with one peer each.
// Requests and DescribeSecurityGroups speak of IpPermissions, which group peers.

var protocolNames = map[string]string{"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}

// normalProtocol returns a protocol as EC2 shows it.
func normalProtocol(p *string) (string, error) {
	if p == nil {
		return "", errMissing("ipProtocol")
	}
	name := strings.ToLower(*p)
	if n, ok := protocolNames[name]; ok {
		return n, nil
	}
	switch name {
	case "tcp", "udp", "icmp", "icmpv6", "-1":
		return name, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n <= 255 {
		return name, nil
	}
	return "", errInvalid("Invalid value '%s' for IP protocol. Unknown protocol.", *p)
}

// normalPorts returns the ports of a rule: -1 to -1 where the protocol has none.
func normalPorts(proto string, from, to *int32) (int32, int32, error) {
	switch proto {
	case "tcp", "udp":
		if from == nil || to == nil {
			return 0, 0, errInvalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		}
		if *from < 0 || *to > 65535 || *from > *to {
			return 0, 0, errInvalid("Invalid value '%d-%d' for portRange. Must be in the range 0 to 65535, from port not after to port.", *from, *to)
		}
		return *from, *to, nil
	case "icmp", "icmpv6":
		f, t := int32(-1), int32(-1)
		if from != nil {
			f = *from
		}
		if to != nil {
			t = *to
		}
		return f, t, nil
	}
	return -1, -1, nil
}

// rulesOf makes one rule of every peer of the permissions.
func rulesOf(sc awsid.Scope, perms []types.IpPermission) ([]types.SecurityGroupRule, error) {
	var out []types.SecurityGroupRule
	for _, p := range perms {
		proto, err := normalProtocol(p.IpProtocol)
		if err != nil {
			return nil, err
		}
		from, to, err := normalPorts(proto, p.FromPort, p.ToPort)
		if err != nil {
			return nil, err
		}
		base := types.SecurityGroupRule{IpProtocol: &proto, FromPort: &from, ToPort: &to}
		before := len(out)
		if out, err = appendPeers(sc, out, base, p); err != nil {
			return nil, err
		}
		if len(out) == before {
			return nil, apiError("MissingParameter", "The request must contain the parameter ipRanges, ipv6Ranges, prefixListIds or groups")
		}
	}
	for i := range out {
		for j := range i {
			if sameRule(out[i], out[j]) {
				return nil, errInvalid("The same permission must not appear multiple times")
			}
		}
	}
	return out, nil
}

func appendPeers(sc awsid.Scope, out []types.SecurityGroupRule, base types.SecurityGroupRule, p types.IpPermission) ([]types.SecurityGroupRule, error) {
	for _, r := range p.IpRanges {
		cidr, err := ruleCIDR(r.CidrIp, netip.Addr.Is4)
		if err != nil {
			return nil, err
		}
		rule := base
		rule.CidrIpv4, rule.Description = &cidr, r.Description
		out = append(out, rule)
	}
	for _, r := range p.Ipv6Ranges {
		cidr, err := ruleCIDR(r.CidrIpv6, netip.Addr.Is6)
		if err != nil {
			return nil, err
		}
		rule := base
		rule.CidrIpv6, rule.Description = &cidr, r.Description
		out = append(out, rule)
	}
	for _, r := range p.PrefixListIds {
		rule := base
		rule.PrefixListId, rule.Description = r.PrefixListId, r.Description
		out = append(out, rule)
	}
	for _, r := range p.UserIdGroupPairs {
		rule := base
		ref := &types.ReferencedSecurityGroup{
			GroupId: r.GroupId, UserId: r.UserId, VpcId: r.VpcId, PeeringStatus: r.PeeringStatus, VpcPeeringConnectionId: r.VpcPeeringConnectionId,
		}
		if r.GroupId == nil {
			return nil, errMissing("groupId")
		}
		if ref.UserId == nil || *ref.UserId == "" {
			ref.UserId = aws.String(sc.Account)
		}
		rule.ReferencedGroupInfo, rule.Description = ref, r.Description
		out = append(out, rule)
	}
	return out, nil
}

func ruleCIDR(s *string, family func(netip.Addr) bool) (string, error) {
	p, err := netip.ParsePrefix(deref(s))
	if err != nil || !family(p.Addr()) {
		return "", errInvalid("CIDR block %s is malformed", deref(s))
	}
	return p.Masked().String(), nil
}

// sameRule tells whether two rules allow the same to the same peer.
func sameRule(a, b types.SecurityGroupRule) bool {
	return deref(a.IpProtocol) == deref(b.IpProtocol) && *a.FromPort == *b.FromPort && *a.ToPort == *b.ToPort &&
		aws.ToBool(a.IsEgress) == aws.ToBool(b.IsEgress) && peer(a) == peer(b)
}

func peer(r types.SecurityGroupRule) string {
	if g := r.ReferencedGroupInfo; g != nil {
		return deref(g.GroupId)
	}
	return deref(r.CidrIpv4) + deref(r.CidrIpv6) + deref(r.PrefixListId)
}

// describeRule is how InvalidPermission.Duplicate names a rule.
func describeRule(r types.SecurityGroupRule) string {
	proto := strings.ToUpper(*r.IpProtocol)
	if proto == "-1" {
		return fmt.Sprintf("peer: %s, ALL, ALLOW", peer(r))
	}
	return fmt.Sprintf("peer: %s, %s, from port: %d, to port: %d, ALLOW", peer(r), proto, *r.FromPort, *r.ToPort)
}

// finishRule gives a rule its identity in a group.
func finishRule(sc awsid.Scope, g *SecurityGroup, r types.SecurityGroupRule, egress bool) types.SecurityGroupRule {
	id := awsid.NewID("sgr")
	r.SecurityGroupRuleId, r.SecurityGroupRuleArn = &id, aws.String(sc.ARN("ec2", "security-group-rule/"+id))
	r.GroupId, r.GroupOwnerId, r.IsEgress = g.GroupId, g.OwnerId, &egress
	return r
}

// permissionsOf groups the rules of one direction by protocol and ports, in the
// order in which those first appear.
func permissionsOf(rules []types.SecurityGroupRule, egress bool) []types.IpPermission {
	out := []types.IpPermission{}
	at := map[string]int{}
	for _, r := range rules {
		if aws.ToBool(r.IsEgress) != egress {
			continue
		}
		key := fmt.Sprintf("%s/%d/%d", *r.IpProtocol, *r.FromPort, *r.ToPort)
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			p := types.IpPermission{
				IpProtocol: r.IpProtocol, IpRanges: []types.IpRange{}, Ipv6Ranges: []types.Ipv6Range{},
				PrefixListIds: []types.PrefixListId{}, UserIdGroupPairs: []types.UserIdGroupPair{},
			}
			if *r.IpProtocol == "tcp" || *r.IpProtocol == "udp" || strings.HasPrefix(*r.IpProtocol, "icmp") {
				p.FromPort, p.ToPort = r.FromPort, r.ToPort
			}
			out = append(out, p)
		}
		p := &out[i]
		switch {
		case r.CidrIpv4 != nil:
			p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: r.CidrIpv4, Description: r.Description})
		case r.CidrIpv6 != nil:
			p.Ipv6Ranges = append(p.Ipv6Ranges, types.Ipv6Range{CidrIpv6: r.CidrIpv6, Description: r.Description})
		case r.PrefixListId != nil:
			p.PrefixListIds = append(p.PrefixListIds, types.PrefixListId{PrefixListId: r.PrefixListId, Description: r.Description})
		case r.ReferencedGroupInfo != nil:
			ref := r.ReferencedGroupInfo
			p.UserIdGroupPairs = append(p.UserIdGroupPairs, types.UserIdGroupPair{
				GroupId: ref.GroupId, UserId: ref.UserId, VpcId: ref.VpcId, VpcPeeringConnectionId: ref.VpcPeeringConnectionId,
				PeeringStatus: ref.PeeringStatus, Description: r.Description,
			})
		}
	}
	return out
}
