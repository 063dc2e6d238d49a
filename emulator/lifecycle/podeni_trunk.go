package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/podeni"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// trunkRetry is when a node is looked at again that could not get a trunk.
const trunkRetry = 10 * time.Second

// trunked is a node that has, or is to have, a trunk interface.
type trunked struct {
	node     *corev1.Node
	instance *ec2svc.Instance
	typ      *instancetypes.Type
	// subnet and groups are those of the node, or of its ENIConfig.
	subnet string
	groups []string

	trunk    *ec2types.NetworkInterface // nil without one
	branches []podeni.Branch
}

// serve gives a node its trunk, and its pods their branches.
func (p *podENIs) serve(ctx context.Context, node *corev1.Node, cn *unstructured.Unstructured, instanceID string) (time.Duration, error) {
	i := ec2svc.Instances.Get(p.l.Store, p.rt.scope, instanceID)
	if i == nil || !live(i) {
		return 0, nil
	}
	typ, ok := instancetypes.Lookup(string(i.InstanceType))
	if !ok || typ.BranchENIs == 0 {
		if p.first(instanceID) {
			p.nodeEvent(node, corev1.EventTypeWarning, "Unsupported", fmt.Sprintf("The instance type %s is not supported for trunk interface (Security Group for Pods)", i.InstanceType))
		}
		return 0, nil
	}
	t := &trunked{node: node, instance: i, typ: typ}
	if err := p.place(ctx, t, cn); err != nil {
		return trunkRetry, nil // the ENIConfig is not there: ipamd says so
	}
	if err := p.observe(ctx, t); err != nil {
		return 0, err
	}
	if t.trunk == nil || t.trunk.Attachment == nil {
		if err := p.makeTrunk(ctx, t); err != nil {
			p.trunkFailed(t, err)
			return trunkRetry, nil
		}
	}
	if p.first(instanceID) {
		p.nodeEvent(node, corev1.EventTypeNormal, "NodeTrunkInitiated", "The node has trunk interface initialized successfully")
	}
	if err := p.advertise(ctx, node, typ.BranchENIs); err != nil {
		return 0, err
	}
	return p.servePods(ctx, t)
}

// place finds out where the node's trunk and branches go: as the primary interface,
// unless the node has custom networking.
func (p *podENIs) place(ctx context.Context, t *trunked, cn *unstructured.Unstructured) error {
	t.subnet = aws.ToString(t.instance.SubnetId)
	for _, g := range t.instance.SecurityGroups {
		t.groups = append(t.groups, aws.ToString(g.GroupId))
	}
	name, ok := feature(cn, podeni.Custom)
	if !ok {
		return nil
	}
	cfg, err := p.rt.cni.eniConfig(ctx, name)
	if err != nil {
		return err
	}
	if cfg == nil {
		return fmt.Errorf("failed to find the ENIConfig %s", name)
	}
	if cfg.Subnet != "" {
		t.subnet = cfg.Subnet
		if len(cfg.SecurityGroups) > 0 {
			t.groups = cfg.SecurityGroups
		}
	}
	return nil
}

// observe reads the node's trunk and branches from EC2: by their tags, which also
// what an earlier process left half made has.
func (p *podENIs) observe(ctx context.Context, t *trunked) error {
	all, err := p.l.controllersInterfaces(ctx, *t.instance.InstanceId)
	if err != nil {
		return err
	}
	t.trunk, t.branches = nil, nil
	for i := range all {
		if all[i].InterfaceType == ec2types.NetworkInterfaceTypeTrunk {
			t.trunk = &all[i]
		}
	}
	if t.trunk == nil {
		return nil
	}
	out, err := p.l.EC2.DescribeTrunkInterfaceAssociations(ctx, &ec2.DescribeTrunkInterfaceAssociationsInput{Filters: []ec2types.Filter{
		{Name: aws.String("trunk-interface-association.trunk-interface-id"), Values: []string{*t.trunk.NetworkInterfaceId}},
	}})
	if err != nil {
		return fmt.Errorf("associations of %s: %w", *t.trunk.NetworkInterfaceId, err)
	}
	on := map[string]ec2types.TrunkInterfaceAssociation{}
	for _, a := range out.InterfaceAssociations {
		on[aws.ToString(a.BranchInterfaceId)] = a
	}
	for i := range all {
		if e := &all[i]; e.InterfaceType != ec2types.NetworkInterfaceTypeTrunk {
			b := podeni.Branch{ID: *e.NetworkInterfaceId, Association: aws.ToString(on[*e.NetworkInterfaceId].AssociationId)}
			b.VLAN, _ = strconv.Atoi(tagIn(e.TagSet, podeni.TagVLAN)) // 0 if somebody changed the tag: VLAN() then relies on EC2
			t.branches = append(t.branches, b)
		}
	}
	return nil
}

// controllersInterfaces are the interfaces that the controller made for an instance.
func (l *Lifecycle) controllersInterfaces(ctx context.Context, instanceID string) ([]ec2types.NetworkInterface, error) {
	out, err := l.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{
		{Name: aws.String("tag:" + podeni.TagInstance), Values: []string{instanceID}}, {Name: aws.String("tag:" + podeni.TagOwner), Values: []string{podeni.Owner}},
	}})
	if err != nil {
		return nil, fmt.Errorf("interfaces of %s: %w", instanceID, err)
	}
	return out.NetworkInterfaces, nil
}

func tagIn(tags []ec2types.Tag, name string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == name {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// interfaceTags are those of all interfaces that the controller makes.
func (p *podENIs) interfaceTags(t *trunked, more map[string]string) []ec2types.TagSpecification {
	tags := map[string]string{
		podeni.TagOwner: podeni.Owner, podeni.TagInstance: *t.instance.InstanceId, "kubernetes.io/cluster/" + p.rt.name: "owned",
	}
	for k, v := range more {
		tags[k] = v
	}
	return tagged(ec2types.ResourceTypeNetworkInterface, tags)
}

// makeTrunk creates the trunk, unless an earlier process came as far, and attaches it
// at the highest free device index: ipamd counts from below.
func (p *podENIs) makeTrunk(ctx context.Context, t *trunked) error {
	taken := p.devices(*t.instance.InstanceId)
	device := int32(t.typ.DefaultCardENIs) - 1
	for device >= 0 && taken[device] {
		device--
	}
	if device < 0 {
		return errors.New("no free device index found")
	}
	if t.trunk == nil {
		out, err := p.l.EC2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
			SubnetId: &t.subnet, Groups: t.groups, Description: aws.String(podeni.TrunkDescription),
			InterfaceType: ec2types.NetworkInterfaceCreationTypeTrunk, TagSpecifications: p.interfaceTags(t, nil),
		})
		if err != nil {
			return fmt.Errorf("creating network interface, %w", err)
		}
		t.trunk = out.NetworkInterface
	}
	at, err := p.l.EC2.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		InstanceId: t.instance.InstanceId, NetworkInterfaceId: t.trunk.NetworkInterfaceId, DeviceIndex: &device, NetworkCardIndex: aws.Int32(0),
	})
	if err != nil {
		return errors.Join(err, p.l.deleteInterface(ctx, *t.trunk.NetworkInterfaceId))
	}
	_, err = p.l.EC2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: t.trunk.NetworkInterfaceId,
		Attachment:         &ec2types.NetworkInterfaceAttachmentChanges{AttachmentId: at.AttachmentId, DeleteOnTermination: aws.Bool(true)},
	})
	return err
}

// devices are the device indexes that an instance's interfaces have on its first
// network card.
func (p *podENIs) devices(instanceID string) map[int32]bool {
	taken := map[int32]bool{}
	for _, e := range ec2svc.NetworkInterfaces.List(p.l.Store, p.rt.scope) {
		if a := e.Attachment; a != nil && aws.ToString(a.InstanceId) == instanceID && aws.ToInt32(a.NetworkCardIndex) == 0 {
			taken[aws.ToInt32(a.DeviceIndex)] = true
		}
	}
	return taken
}

// trunkFailed says why a node has no trunk: EC2's code only, so that equal events are
// counted together.
func (p *podENIs) trunkFailed(t *trunked, err error) {
	p.l.Log.Warn("a node has no trunk interface", "cluster", p.rt.name, "node", t.node.Name, "error", err)
	var refused smithy.APIError
	if errors.As(err, &refused) {
		p.nodeEvent(t.node, corev1.EventTypeWarning, "TrunkENICreationFailed", "Failed to create trunk interface: Error Code: "+refused.ErrorCode())
	}
	p.nodeEvent(t.node, corev1.EventTypeNormal, "NodeTrunkFailedInit", "The node failed initializing trunk interface")
}

// advertise puts the number of branch interfaces into the node's capacity, and into
// what can be allocated, where the kubelet copies it to.
func (p *podENIs) advertise(ctx context.Context, node *corev1.Node, n int) error {
	have := node.Status.Allocatable[podeni.Resource]
	if have.Value() == int64(n) {
		return nil
	}
	list := fmt.Sprintf(`{%q:"%d"}`, podeni.Resource, n)
	patch := fmt.Sprintf(`{"status":{"capacity":%s,"allocatable":%s}}`, list, list)
	_, err := p.self.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("capacity of %s: %w", node.Name, err)
	}
	return nil
}

// removeBranches deletes what the controller made for an instance that is gone, or
// whose node is.
func (l *Lifecycle) removeBranches(ctx context.Context, scope awsid.Scope, instanceID string) error {
	ctx = asResourceController(ctx, scope)
	all, err := l.controllersInterfaces(ctx, instanceID)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Attachment != nil {
			continue // a trunk goes with its instance
		}
		if err := l.deleteInterface(ctx, *e.NetworkInterfaceId); err != nil {
			return err
		}
	}
	return nil
}
