package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (f *fixture) trunk(subnet string, inst types.Instance) string {
	f.t.Helper()
	trunk := must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet, InterfaceType: types.NetworkInterfaceCreationTypeTrunk}))(f.t).NetworkInterface
	at := must(f.AttachNetworkInterface(f.ctx, &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: trunk.NetworkInterfaceId, InstanceId: inst.InstanceId, DeviceIndex: aws.Int32(2),
	}))(f.t)
	must(f.ModifyNetworkInterfaceAttribute(f.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: trunk.NetworkInterfaceId,
		Attachment:         &types.NetworkInterfaceAttachmentChanges{AttachmentId: at.AttachmentId, DeleteOnTermination: aws.Bool(true)},
	}))(f.t)
	return *trunk.NetworkInterfaceId
}

// TestTrunk goes the way of the VPC resource controller: a trunk on an instance,
// branches on the trunk, and their end.
func TestTrunk(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	inst := f.run(sub, "m5.large", 1)[0]
	f.settle()
	trunk := f.trunk(sub, inst)
	associate := func(branch string, vlan int32) (*ec2.AssociateTrunkInterfaceOutput, error) {
		return f.AssociateTrunkInterface(f.ctx, &ec2.AssociateTrunkInterfaceInput{TrunkInterfaceId: &trunk, BranchInterfaceId: &branch, VlanId: &vlan})
	}
	first := *f.eni(sub).NetworkInterfaceId
	a := must(associate(first, 1))(t).InterfaceAssociation
	if *a.TrunkInterfaceId != trunk || *a.BranchInterfaceId != first || *a.VlanId != 1 || a.InterfaceProtocol != types.InterfaceProtocolTypeVlan {
		t.Errorf("association %+v", a)
	}
	show := func(id string) types.NetworkInterface {
		t.Helper()
		return must(f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{id}}))(t).NetworkInterfaces[0]
	}
	if v := show(first); v.InterfaceType != types.NetworkInterfaceTypeBranch || v.Status != types.NetworkInterfaceStatusInUse || v.Attachment != nil {
		t.Errorf("branch %+v", v)
	}
	_, err := associate(first, 2)
	wantCode(t, err, "InvalidNetworkInterface.InUse")
	second := *f.eni(sub).NetworkInterfaceId
	_, err = associate(second, 1)
	wantError(t, err, "InvalidParameterValue", "VLAN")
	for vlan := int32(2); vlan <= 9; vlan++ {
		must(associate(second, vlan))(t)
		second = *f.eni(sub).NetworkInterfaceId
	}
	_, err = associate(second, 10)
	wantError(t, err, "AttachmentLimitExceeded", "Branch interface count 10 exceeds the limit for m5.large")

	list := func() []types.TrunkInterfaceAssociation {
		return must(f.DescribeTrunkInterfaceAssociations(f.ctx, &ec2.DescribeTrunkInterfaceAssociationsInput{
			Filters: filter("trunk-interface-association.trunk-interface-id", trunk),
		}))(t).InterfaceAssociations
	}
	if n := len(list()); n != 9 {
		t.Errorf("%d associations", n)
	}
	must(f.DisassociateTrunkInterface(f.ctx, &ec2.DisassociateTrunkInterfaceInput{AssociationId: a.AssociationId}))(t)
	if v := show(first); v.Status != types.NetworkInterfaceStatusAvailable {
		t.Errorf("a branch off its trunk is %s", v.Status)
	}
	must(f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &first}))(t)
	direct := list()[0]
	must(f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: direct.BranchInterfaceId}))(t)
	if n := len(list()); n != 7 {
		t.Errorf("%d associations after a branch was deleted", n)
	}
	owners := map[Owner]int{}
	for _, h := range f.Holdings(f.store, f.sc, sub) {
		owners[h.Owner]++
		if h.Owner == OwnerBranch && h.InterfaceID != first && h.InstanceID != *inst.InstanceId {
			t.Errorf("branch %+v, want the trunk's instance", h)
		}
	}
	if owners[OwnerBranch] != 7 || owners[OwnerPrimary] != 3 { // the instance's, the trunk's, the one left over
		t.Errorf("owners %v", owners)
	}

	must(f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*inst.InstanceId}}))(t)
	f.settle()
	left := must(f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{}))(t).NetworkInterfaces
	if n := len(list()); n != 0 || len(left) != 8 {
		t.Errorf("%d associations and %d interfaces after the instance ended, want its branches to be left", n, len(left))
	}
	for _, eni := range left {
		must(f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}))(t)
	}
	f.checkLedger()
	if n := f.free(sub); n != 251 {
		t.Errorf("%d free at the end", n)
	}
}

func TestTrunkNeedsItsType(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	inst := f.run(sub, "t3.medium", 1)[0]
	trunk := must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, InterfaceType: types.NetworkInterfaceCreationTypeTrunk}))(t).NetworkInterface
	_, err := f.AttachNetworkInterface(f.ctx, &ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: trunk.NetworkInterfaceId, InstanceId: inst.InstanceId, DeviceIndex: aws.Int32(1)})
	wantError(t, err, "InvalidParameterCombination", "t3.medium")
}
