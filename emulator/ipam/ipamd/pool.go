package ipamd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// pool is one node's addresses. mu is held over calls to EC2, which are
// in-process: one node's pods wait for each other as they do behind one ipamd.
type pool struct {
	Config
	instance string

	mu     sync.Mutex
	loaded bool
	kind   *instancetypes.Type
	subnet string
	groups []string
	// interfaces maps network interface ids to device indexes; addresses are their
	// secondary ones, in the order in which EC2 lists them.
	interfaces map[string]int32
	addresses  []netip.Addr

	byPod   map[types.UID]netip.Addr
	taken   map[netip.Addr]types.UID
	cooling map[netip.Addr]time.Time
	// exhausted is until when EC2 is not asked for addresses again.
	exhausted time.Time
}

// perInterface is how many pods one interface can serve: its primary address is
// the interface's own.
func (n *pool) perInterface() int { return n.kind.IPv4PerENI - 1 }

// load reads the instance and its interfaces once, and fills the primary
// interface with all the addresses it can have, as ipamd does when it starts.
func (n *pool) load(ctx context.Context) error {
	if n.loaded {
		return nil
	}
	out, err := n.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{n.instance}})
	if err != nil {
		return err
	}
	if len(out.Reservations) == 0 || len(out.Reservations[0].Instances) == 0 {
		return fmt.Errorf("there is no instance %s", n.instance)
	}
	i := out.Reservations[0].Instances[0]
	kind, ok := instancetypes.Lookup(string(i.InstanceType))
	if !ok {
		return fmt.Errorf("instance type %s is unknown", i.InstanceType)
	}
	n.kind, n.subnet = kind, aws.ToString(i.SubnetId)
	n.groups = nil
	for _, g := range i.SecurityGroups {
		n.groups = append(n.groups, aws.ToString(g.GroupId))
	}
	if err := n.refresh(ctx); err != nil {
		return err
	}
	if len(n.addresses) == 0 {
		n.fillPrimary(ctx)
	}
	n.loaded = true
	return nil
}

// refresh reads the ledger.
func (n *pool) refresh(ctx context.Context) error {
	out, err := n.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{
		{Name: aws.String("attachment.instance-id"), Values: []string{n.instance}},
	}})
	if err != nil {
		return err
	}
	n.interfaces, n.addresses = map[string]int32{}, nil
	slices.SortFunc(out.NetworkInterfaces, func(a, b ec2types.NetworkInterface) int { return int(deviceOf(a) - deviceOf(b)) })
	for _, ni := range out.NetworkInterfaces {
		n.interfaces[*ni.NetworkInterfaceId] = deviceOf(ni)
		n.add(ni.PrivateIpAddresses)
	}
	return nil
}

func deviceOf(ni ec2types.NetworkInterface) int32 {
	if ni.Attachment == nil {
		return 0
	}
	return aws.ToInt32(ni.Attachment.DeviceIndex)
}

func (n *pool) add(list []ec2types.NetworkInterfacePrivateIpAddress) {
	for _, a := range list {
		ip, err := netip.ParseAddr(aws.ToString(a.PrivateIpAddress))
		if err == nil && !aws.ToBool(a.Primary) {
			n.addresses = append(n.addresses, ip)
		}
	}
}

func (n *pool) fillPrimary(ctx context.Context) {
	for id, device := range n.interfaces {
		if device != 0 {
			continue
		}
		_, err := n.EC2.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: &id, SecondaryPrivateIpAddressCount: aws.Int32(int32(n.perInterface())),
		})
		if err != nil {
			n.refused(err, n.Log.With("instance", n.instance))
			return
		}
		if err := n.refresh(ctx); err != nil {
			n.Log.Warn("ipamd: interfaces not readable", "instance", n.instance, "error", err)
		}
		return
	}
}

// pick chooses a free address: the preferred one, or the first.
func (n *pool) pick(prefer netip.Addr) (netip.Addr, bool) {
	if prefer.IsValid() && slices.Contains(n.addresses, prefer) {
		if _, held := n.taken[prefer]; !held {
			delete(n.cooling, prefer)
			return prefer, true
		}
	}
	now := n.Clock.Now()
	for _, a := range n.addresses {
		if _, held := n.taken[a]; held || n.cooling[a].After(now) {
			continue
		}
		delete(n.cooling, a)
		return a, true
	}
	return netip.Addr{}, false
}

// grow attaches one more interface when fewer addresses are unassigned than
// WARM_ENI_TARGET interfaces have (nodeIPPoolTooLow), as the instance type allows.
func (n *pool) grow(ctx context.Context, log *slog.Logger) {
	free := len(n.addresses) - len(n.taken)
	if free >= warmENITarget*n.perInterface() || len(n.interfaces) >= n.kind.DefaultCardENIs || n.Clock.Now().Before(n.exhausted) {
		return
	}
	if err := n.attach(ctx); err != nil {
		n.refused(err, log)
	}
}

// attach makes an interface full of addresses. If attaching fails it is deleted
// again, as ipamd does; one that a killed emulator leaves behind is available and
// anybody's to delete, as on AWS.
func (n *pool) attach(ctx context.Context) error {
	created, err := n.EC2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &n.subnet, Groups: n.groups, Description: aws.String("aws-K8S-" + n.instance),
		SecondaryPrivateIpAddressCount: aws.Int32(int32(n.perInterface())),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeNetworkInterface, Tags: []ec2types.Tag{
			{Key: aws.String("node.k8s.amazonaws.com/instance_id"), Value: &n.instance},
		}}},
	})
	if err != nil {
		return err
	}
	ni := created.NetworkInterface
	device := n.freeDevice()
	att, err := n.EC2.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		InstanceId: &n.instance, NetworkInterfaceId: ni.NetworkInterfaceId, DeviceIndex: aws.Int32(device),
	})
	if err != nil {
		_, delErr := n.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: ni.NetworkInterfaceId})
		return errors.Join(err, delErr)
	}
	_, err = n.EC2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: ni.NetworkInterfaceId,
		Attachment:         &ec2types.NetworkInterfaceAttachmentChanges{AttachmentId: att.AttachmentId, DeleteOnTermination: aws.Bool(true)},
	})
	if err != nil {
		return err
	}
	n.interfaces[*ni.NetworkInterfaceId] = device
	n.add(ni.PrivateIpAddresses)
	return nil
}

func (n *pool) freeDevice() int32 {
	used := map[int32]bool{}
	for _, d := range n.interfaces {
		used[d] = true
	}
	for d := int32(1); ; d++ {
		if !used[d] {
			return d
		}
	}
}

// refused notes that EC2 had no addresses to give.
func (n *pool) refused(err error, log *slog.Logger) {
	var api smithy.APIError
	if errors.As(err, &api) && slices.Contains([]string{"InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks"}, api.ErrorCode()) {
		n.exhausted = n.Clock.Now().Add(exhaustedFor)
		log.Info("ipamd: Unable to attach IPs/Prefixes for the ENI, subnet doesn't seem to have enough IPs/Prefixes. Consider using new subnet or carve a reserved range using create-subnet-cidr-reservation", "error", err)
		return
	}
	log.Warn("ipamd: failed to grow the pool", "error", err)
}
