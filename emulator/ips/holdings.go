package ips

import (
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Holdings names the owner of each address of a subnet, in any account and region.
func (rp *Reporter) Holdings(subnetID string) (api.SubnetHoldings, error) {
	var out api.SubnetHoldings
	err := error(&api.Error{StatusCode: 404, Code: "SubnetNotFound", Message: fmt.Sprintf("there is no subnet %q", subnetID)})
	rp.Store.View(func(r store.Reader) {
		for at, s := range ec2.Subnets.All(r) {
			if at.ID != subnetID {
				continue
			}
			pool := ec2.SubnetAddresses.Get(r, at.Scope, subnetID)
			if pool == nil || pool.IPv4 == nil {
				err = &api.Error{StatusCode: 404, Code: "SubnetNotFound", Message: fmt.Sprintf("subnet %s has no IPv4 addresses", subnetID)}
				return
			}
			out.SubnetUse = rp.walk(r, at.Scope, nil).use(s, pool)
			out.Holdings = rp.holdings(r, at.Scope, aws.ToString(s.VpcId), subnetID)
			err = nil
			return
		}
	})
	return out, err
}

func (rp *Reporter) holdings(r store.Reader, sc awsid.Scope, vpc, subnetID string) []api.Holding {
	var clusters []string
	for _, c := range eks.Clusters.List(r, sc) {
		if v := c.Resource.ResourcesVpcConfig; v != nil && aws.ToString(v.VpcId) == vpc {
			clusters = append(clusters, c.ID)
		}
	}
	podAt := func(ip netip.Addr) string {
		for _, id := range clusters {
			if pod := rp.PodAt(id, ip); pod != "" {
				return pod
			}
		}
		return ""
	}
	out := []api.Holding{}
	for _, h := range rp.EC2.Holdings(r, sc, subnetID) {
		one := api.Holding{Owner: string(h.Owner), InterfaceID: h.InterfaceID, InstanceID: h.InstanceID, Description: h.Description}
		switch {
		case h.Owner == ec2.OwnerCidrReservation: // holds nothing
		case h.Prefix.IsValid():
			one.Prefix = h.Prefix.String()
			for ip := h.Prefix.Addr(); ip.IsValid() && h.Prefix.Contains(ip); ip = ip.Next() {
				one.Address, one.Pod = ip.String(), podAt(ip)
				out = append(out, one)
			}
		default:
			one.Address, one.Pod = h.Address.String(), podAt(h.Address)
			out = append(out, one)
		}
	}
	return out
}
