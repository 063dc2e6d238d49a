package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// updated has a cluster with its interfaces in an update.
func updated(t *testing.T, typ ekstypes.UpdateType) *network {
	t.Helper()
	n := newNetwork(t)
	if err := n.create(); err != nil {
		t.Fatal(err)
	}
	n.update(t, typ, n.Clock.Now())
	return n
}

func (n *network) theUpdate() *ekssvc.Update {
	return ekssvc.Updates.Get(n.Store, n.scope, ekssvc.ChildID("dev", "u"))
}

// move goes through the steps of an update that have to do with interfaces.
func (n *network) move() error {
	ctx := n.t.Context()
	if n.cluster().Resource.Status == ekstypes.ClusterStatusUpdating {
		if err := n.nextInterfaces(ctx, n.cluster(), n.theUpdate()); err != nil {
			return err
		}
		if enis, _ := n.left(); enis != 4 {
			n.t.Errorf("%d interfaces while the update lasts, want 4", enis)
		}
		if err := n.finishClusterUpdate(ctx, n.cluster()); err != nil {
			return err
		}
	}
	return n.retireInterfaces(ctx, n.cluster(), nil)
}

// TestMoveSurvivesKills kills the emulator after each change that an update makes in
// EC2.
func TestMoveSurvivesKills(t *testing.T) {
	for changes := 1; ; changes++ {
		killed := false
		t.Run(fmt.Sprintf("after %d", changes), func(t *testing.T) {
			n := updated(t, ekstypes.UpdateTypeVersionUpdate)
			old := n.cluster().Interfaces
			n.EC2 = &mortal{n.ec2, changes}
			killed = errors.Is(n.move(), errKilled)
			n.EC2 = n.ec2
			if err := n.move(); err != nil {
				t.Fatal(err)
			}
			c := n.cluster()
			if enis, _ := n.left(); enis != 2 || len(c.Interfaces) != 2 || c.Moving != nil || len(c.RetiredInterfaces) != 0 {
				t.Errorf("%d interfaces, record %v, moving %v, retired %v", enis, c.Interfaces, c.Moving, c.RetiredInterfaces)
			}
			for _, id := range c.Interfaces {
				if slices.Contains(old, id) || ec2svc.NetworkInterfaces.Get(n.Store, n.scope, id) == nil {
					t.Errorf("%s is not a new interface", id)
				}
			}
			n.delete()
		})
		t.Run(fmt.Sprintf("deletion after %d", changes), func(t *testing.T) {
			n := updated(t, ekstypes.UpdateTypeVersionUpdate)
			n.EC2 = &mortal{n.ec2, changes}
			_ = n.move()
			n.EC2 = n.ec2
			n.delete()
		})
		if !killed {
			return
		}
	}
}

// fill takes a subnet's addresses but for some.
func (n *network) fill(subnet string, but int) (eni string) {
	n.t.Helper()
	free, _ := n.freeAddresses(n.scope, subnet)
	out, err := n.ec2.CreateNetworkInterface(n.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet, SecondaryPrivateIpAddressCount: aws.Int32(int32(free - 1 - but))})
	if err != nil {
		n.t.Fatal(err)
	}
	return *out.NetworkInterface.NetworkInterfaceId
}

// TestUpdateFindsNoRoom: addresses may go between the check of the request and the
// update's work.
func TestUpdateFindsNoRoom(t *testing.T) {
	n := updated(t, ekstypes.UpdateTypeVersionUpdate)
	subnets := n.cluster().Resource.ResourcesVpcConfig.SubnetIds
	for _, s := range subnets[1:] {
		n.fill(s, 0)
	}
	before := n.cluster().Interfaces
	for n.cluster().Resource.Status == ekstypes.ClusterStatusUpdating {
		if _, err := n.updateCluster(t.Context(), n.cluster()); err != nil {
			t.Fatal(err)
		}
	}
	c, u := n.cluster(), n.theUpdate().Resource
	if c.Resource.Status != ekstypes.ClusterStatusActive || c.Moving != nil || !slices.Equal(c.Interfaces, before) {
		t.Errorf("cluster %s, moving %v, interfaces %v, were %v", c.Resource.Status, c.Moving, c.Interfaces, before)
	}
	if u.Status != ekstypes.UpdateStatusFailed || len(u.Errors) != 1 || u.Errors[0].ErrorCode != ekstypes.ErrorCodeIpNotAvailable || !slices.Equal(u.Errors[0].ResourceIds, subnets) {
		t.Errorf("update %+v", u)
	}
	if all, err := n.findInterfaces(n.ctx, c); err != nil || len(all) != 2 {
		t.Errorf("%d interfaces of the control plane, %v", len(all), err)
	}
}

// TestUpdateWithoutItsGroup: a security group may go in the same moment.
func TestUpdateWithoutItsGroup(t *testing.T) {
	n := updated(t, ekstypes.UpdateTypeVpcConfigUpdate)
	err := n.editCluster(t.Context(), n.cluster(), func(c *ekssvc.Cluster) bool {
		before := *c.Resource.ResourcesVpcConfig
		c.VpcBefore, c.Resource.ResourcesVpcConfig.SecurityGroupIds = &before, []string{"sg-0123456789abcdef0"}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.updateCluster(t.Context(), n.cluster()); err != nil {
		t.Fatal(err)
	}
	c, u := n.cluster(), n.theUpdate().Resource
	if len(c.Resource.ResourcesVpcConfig.SecurityGroupIds) != 0 || c.VpcBefore != nil || c.Resource.Status != ekstypes.ClusterStatusActive {
		t.Errorf("cluster %s with %v", c.Resource.Status, c.Resource.ResourcesVpcConfig.SecurityGroupIds)
	}
	if len(u.Errors) != 1 || u.Errors[0].ErrorCode != ekstypes.ErrorCodeSecurityGroupNotFound || !slices.Contains(u.Errors[0].ResourceIds, "sg-0123456789abcdef0") {
		t.Errorf("update %+v", u)
	}
}

// TestHealthShowsFullSubnets: and wakes the clusters that it concerns, not others.
func TestHealthShowsFullSubnets(t *testing.T) {
	n := updated(t, ekstypes.UpdateTypeLoggingUpdate)
	subnets := n.cluster().Resource.ResourcesVpcConfig.SubnetIds
	issues := func() []ekstypes.ClusterIssue {
		t.Helper()
		if err := n.checkRoom(t.Context(), n.cluster()); err != nil {
			t.Fatal(err)
		}
		return roomIssues(n.cluster())
	}
	if got := issues(); got != nil {
		t.Errorf("issues %+v", got)
	}
	eni := n.fill(subnets[2], enoughAddresses-1)
	for i, want := range []int{0, 0, 1} {
		if got := n.clustersOfSubnet(key{n.scope, subnets[i]}); len(got) != want {
			t.Errorf("subnet %d wakes %v", i, got)
		}
	}
	got := issues()
	if len(got) != 1 || got[0].Code != ekstypes.ClusterIssueCodeInsufficientFreeAddresses || !slices.Equal(got[0].ResourceIds, subnets[2:]) {
		t.Errorf("issues %+v", got)
	}
	if got := n.clustersOfSubnet(key{n.scope, subnets[2]}); len(got) != 0 {
		t.Errorf("nothing new wakes %v", got)
	}
	if _, err := n.ec2.DeleteNetworkInterface(n.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &eni}); err != nil {
		t.Fatal(err)
	}
	if woken := n.clustersOfSubnet(key{n.scope, subnets[2]}); len(woken) != 1 {
		t.Errorf("addresses that came back wake %v", woken)
	}
	if got := issues(); got != nil {
		t.Errorf("issues %+v", got)
	}
}

// TestCreationInFullSubnets: the check of CreateCluster may be too early to see it.
func TestCreationInFullSubnets(t *testing.T) {
	n := newNetwork(t)
	subnets := n.cluster().Resource.ResourcesVpcConfig.SubnetIds
	for _, s := range subnets {
		n.fill(s, 0)
	}
	err := n.create()
	if !isCode(err, "InsufficientFreeAddressesInSubnet") {
		t.Fatal(err)
	}
	if i := creationIssue(n.cluster(), err); i.Code != ekstypes.ClusterIssueCodeInsufficientFreeAddresses || !slices.Equal(i.ResourceIds, subnets) {
		t.Errorf("issue %+v", i)
	}
}
