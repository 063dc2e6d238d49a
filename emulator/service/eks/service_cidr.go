package eks

import (
	"encoding/hex"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// The service networks that EKS chooses from when it is not told.
const (
	serviceCIDR      = "10.100.0.0/16"
	otherServiceCIDR = "172.20.0.0/16"
)

var (
	tenSlash8     = netip.MustParsePrefix("10.0.0.0/8")
	privateRanges = []netip.Prefix{tenSlash8, netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}
)

// cidrs returns the VPC's IPv4 networks.
func (n network) cidrs() []netip.Prefix {
	var out []netip.Prefix
	for _, b := range n.vpc.CidrBlockAssociationSet {
		if p, err := netip.ParsePrefix(aws.ToString(b.CidrBlock)); err == nil {
			out = append(out, p)
		}
	}
	if p, err := netip.ParsePrefix(aws.ToString(n.vpc.CidrBlock)); err == nil {
		out = append(out, p)
	}
	return out
}

func (n network) overlaps(p netip.Prefix) (netip.Prefix, bool) {
	for _, c := range n.cidrs() {
		if c.Overlaps(p) {
			return c, true
		}
	}
	return netip.Prefix{}, false
}

// hasIPv6 tells whether the VPC and all subnets have IPv6 networks.
func (n network) hasIPv6() bool {
	ok := len(n.vpc.Ipv6CidrBlockAssociationSet) > 0
	for _, sn := range n.subnets {
		ok = ok && len(sn.Ipv6CidrBlockAssociationSet) > 0
	}
	return ok
}

func (a about) withoutIPv6() error {
	return a.invalidParameter("The VPC and all subnets must have an IPv6 CIDR block for a cluster with ipFamily ipv6")
}

// wantsIPv6 tells whether a new cluster's pods and services shall have IPv6
// addresses.
func wantsIPv6(in *ekstypes.KubernetesNetworkConfigRequest) bool {
	return in != nil && in.IpFamily == ekstypes.IpFamilyIpv6
}

// IsIPv6 tells whether a cluster's pods and services have IPv6 addresses.
func IsIPv6(c *Cluster) bool {
	n := c.Resource.KubernetesNetworkConfig
	return n != nil && n.IpFamily == ekstypes.IpFamilyIpv6
}

func setServiceNetwork(a about, region string, r *ekstypes.Cluster, in *ekstypes.KubernetesNetworkConfigRequest, net network) error {
	if in == nil {
		in = &ekstypes.KubernetesNetworkConfigRequest{}
	}
	cfg := &ekstypes.KubernetesNetworkConfigResponse{IpFamily: ekstypes.IpFamilyIpv4}
	r.KubernetesNetworkConfig = cfg
	switch in.IpFamily {
	case "", ekstypes.IpFamilyIpv4:
	case ekstypes.IpFamilyIpv6:
		return setIPv6Services(a, region, cfg, in, net)
	default:
		return a.invalidParameter("Unsupported ipFamily %s", in.IpFamily)
	}
	if in.ServiceIpv4Cidr != nil {
		cfg.ServiceIpv4Cidr = in.ServiceIpv4Cidr
		return checkServiceCIDR(a, *in.ServiceIpv4Cidr, net)
	}
	cfg.ServiceIpv4Cidr = aws.String(net.defaultServiceCIDR())
	return nil
}

// defaultServiceCIDR keeps clear of the VPC: of all of 10/8 if it has a part of
// that, for it may be peered with others there.
func (n network) defaultServiceCIDR() string {
	_, in10 := n.overlaps(tenSlash8)
	_, inOther := n.overlaps(netip.MustParsePrefix(otherServiceCIDR))
	if _, inFirst := n.overlaps(netip.MustParsePrefix(serviceCIDR)); in10 && !(inOther && !inFirst) {
		return otherServiceCIDR
	}
	return serviceCIDR
}

func checkServiceCIDR(a about, cidr string, net network) error {
	p, err := netip.ParsePrefix(cidr)
	if err != nil || !p.Addr().Is4() || p.Masked() != p {
		return a.invalidParameter("The serviceIpv4Cidr %s is not a valid CIDR block", cidr)
	}
	if p.Bits() < 12 || p.Bits() > 24 {
		return a.invalidParameter("The serviceIpv4Cidr %s is invalid: its netmask must be between /24 and /12", cidr)
	}
	within := false
	for _, r := range privateRanges {
		within = within || r.Overlaps(p) && r.Bits() <= p.Bits()
	}
	if !within {
		return a.invalidParameter("The serviceIpv4Cidr %s must be within one of these private ranges: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16", cidr)
	}
	if c, overlaps := net.overlaps(p); overlaps {
		return a.invalidParameter("The serviceIpv4Cidr %s overlaps with the VPC CIDR block %s", cidr, c)
	}
	return nil
}

// setIPv6Services gives the cluster a unique local /108 of its own, as EKS does:
// it cannot be chosen.
func setIPv6Services(a about, region string, cfg *ekstypes.KubernetesNetworkConfigResponse, in *ekstypes.KubernetesNetworkConfigRequest, net network) error {
	if in.ServiceIpv4Cidr != nil {
		return a.invalidParameter("serviceIpv4Cidr cannot be specified for a cluster with ipFamily ipv6")
	}
	if regions.PartitionOf(region).Name == "aws-cn" {
		return a.invalidParameter("ipFamily ipv6 is not supported in China Regions")
	}
	if !net.hasIPv6() {
		return a.withoutIPv6()
	}
	id, err := hex.DecodeString(awsid.Hex(10))
	if err != nil {
		return err
	}
	addr := [16]byte{0: 0xfd}
	copy(addr[1:6], id)
	cfg.IpFamily = ekstypes.IpFamilyIpv6
	cfg.ServiceIpv6Cidr = aws.String(netip.PrefixFrom(netip.AddrFrom16(addr), 108).String())
	return nil
}
