package ec2

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

// shown is a subnet's holdings, a line each.
func (f *fixture) shown(subnet string) []string {
	var out []string
	for _, h := range f.Holdings(f.store, f.sc, subnet) {
		what := h.Address.String()
		if h.Prefix.IsValid() {
			what = h.Prefix.String()
		}
		out = append(out, fmt.Sprintf("%s %s %s", what, h.Owner, h.Description))
	}
	return out
}

func TestHoldings(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/25", "us-east-1a")
	inst := f.run(sub, "m5.large", 1)[0]
	must(f.AssignPrivateIpAddresses(f.ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: inst.NetworkInterfaces[0].NetworkInterfaceId, SecondaryPrivateIpAddressCount: aws.Int32(1),
	}))(t)
	create := func(service, description string, prefixes int32) {
		t.Helper()
		ctx := f.ctx
		if service != "" {
			ctx = f.as(service)
		}
		must(f.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, Description: &description, Ipv4PrefixCount: &prefixes}))(t)
	}
	create("eks", "Amazon EKS dev", 0)
	create("eks-fargate", "", 0)
	create("elasticloadbalancing", "ELB app/web/1", 0)
	create("", "mine", 1)
	nat := must(f.CreateNatGateway(f.ctx, &ec2.CreateNatGatewayInput{SubnetId: &sub, ConnectivityType: types.ConnectivityTypePrivate}))(t).NatGateway
	must(f.CreateSubnetCidrReservation(f.ctx, &ec2.CreateSubnetCidrReservationInput{
		SubnetId: &sub, Cidr: aws.String("10.0.0.64/27"), ReservationType: types.SubnetCidrReservationTypePrefix, Description: aws.String("for pods"),
	}))(t)
	want := []string{
		"10.0.0.0 reserved-network ", "10.0.0.1 reserved-router ", "10.0.0.2 reserved-dns ", "10.0.0.3 reserved-future ",
		"10.0.0.4 eni-primary ", "10.0.0.5 eni-secondary ",
		"10.0.0.6 control-plane Amazon EKS dev", "10.0.0.7 fargate ", "10.0.0.8 load-balancer ELB app/web/1", "10.0.0.9 eni-primary mine",
		"10.0.0.10 nat-gateway Interface for NAT Gateway " + *nat.NatGatewayId,
		"10.0.0.16/28 prefix mine", "10.0.0.64/27 cidr-reservation for pods", "10.0.0.127 reserved-broadcast ",
	}
	if d := cmp.Diff(want, f.shown(sub)); d != "" {
		t.Error(d)
	}
	held := 0
	for _, h := range f.Holdings(f.store, f.sc, sub) {
		held += h.Count()
	}
	if free := f.free(sub); 128-held != free {
		t.Errorf("%d held, %d free of 128", held, free)
	}
	counted := 5 // of AWS itself
	for u := range f.InterfaceUses(f.store, f.sc) {
		if u.SubnetID == sub {
			counted += 1 + u.Secondary + 16*u.Prefixes
		}
		if u.InstanceID == *inst.InstanceId && (u.Primary != "10.0.0.4" || u.Secondary != 1 || u.Owner != OwnerPrimary) {
			t.Errorf("the instance's interface: %+v", u)
		}
	}
	if counted != held {
		t.Errorf("interfaces hold %d addresses, named are %d", counted, held)
	}
	if i := slices.IndexFunc(f.Holdings(f.store, f.sc, sub), func(h Holding) bool { return h.InstanceID == *inst.InstanceId }); i != 4 {
		t.Errorf("the instance's first address is holding %d", i)
	}
	var runs []string
	for _, r := range f.FreeRuns(f.store, f.sc, sub) {
		runs = append(runs, fmt.Sprintf("%s x%d %s", r.First, r.Blocks, r.Reservation))
	}
	if d := cmp.Diff([]string{"10.0.0.32/28 x2 ", "10.0.0.64/28 x2 prefix", "10.0.0.96/28 x1 "}, runs); d != "" {
		t.Error(d)
	}
	if h := f.Holdings(f.store, f.sc, "subnet-0123456789abcdef0"); h != nil {
		t.Errorf("a subnet that is not there has %v", h)
	}
}
