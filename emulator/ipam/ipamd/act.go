package ipamd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// callerName is the CNI in EC2's eyes.
const callerName = "vpc-cni"

// The tags of the CNI's interfaces.
const (
	tagInstance = "node.k8s.amazonaws.com/instance_id"
	tagCreated  = "node.k8s.amazonaws.com/createdAt"
	tagCluster  = "cluster.k8s.amazonaws.com/name"
	tagOwner    = "eks:eni:owner"
	owner       = "amazon-vpc-cni"
)

func as(ctx context.Context, scope awsid.Scope) context.Context {
	return awsid.WithCaller(ctx, awsid.ServiceCaller(scope, callerName))
}

func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// do carries out an action.
func (p *Pools) do(ctx context.Context, n *node, a warmpool.Action) warmpool.Result {
	scope, ok := p.locate(n)
	if !ok {
		return warmpool.Result{Err: fmt.Errorf("instance %s does not exist", n.id)}
	}
	ctx = as(ctx, scope)
	switch a.Kind {
	case warmpool.Observe:
		return p.observe(ctx, n, scope)
	case warmpool.Assign:
		return p.assign(ctx, n, a)
	case warmpool.Resync:
		return p.resync(ctx, n, a)
	case warmpool.Create:
		return p.attach(ctx, n, a)
	case warmpool.Unassign:
		return warmpool.Result{Err: p.unassign(ctx, n, a)}
	case warmpool.Free:
		return warmpool.Result{Err: p.free(ctx, n, a.ENI)}
	case warmpool.AssignPrefix6:
		return p.assignPrefix6(ctx, n, a)
	}
	return warmpool.Result{}
}

// called counts a call and returns its error.
func (n *node) called(api string, err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine.Called(api, err)
	if err != nil {
		return fmt.Errorf("operation error EC2: %s, %w", api, err)
	}
	return nil
}

func (p *Pools) assign(ctx context.Context, n *node, a warmpool.Action) warmpool.Result {
	in := &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &a.ENI}
	if a.Prefix {
		in.Ipv4PrefixCount = aws.Int32(int32(a.Count))
	} else {
		in.SecondaryPrivateIpAddressCount = aws.Int32(int32(a.Count))
	}
	out, err := p.cfg.EC2.AssignPrivateIpAddresses(ctx, in)
	if err := n.called("AssignPrivateIpAddresses", err); err != nil {
		return warmpool.Result{Err: err}
	}
	var r warmpool.Result
	for _, i := range out.AssignedPrivateIpAddresses {
		r.IPs = appendAddr(r.IPs, i.PrivateIpAddress)
	}
	for _, i := range out.AssignedIpv4Prefixes {
		r.Prefixes = appendPrefix(r.Prefixes, i.Ipv4Prefix)
	}
	return r
}

func appendAddr(to []netip.Addr, s *string) []netip.Addr {
	if a, err := netip.ParseAddr(aws.ToString(s)); err == nil {
		return append(to, a)
	}
	return to
}

func appendPrefix(to []netip.Prefix, s *string) []netip.Prefix {
	if b, err := netip.ParsePrefix(aws.ToString(s)); err == nil {
		return append(to, b)
	}
	return to
}

func (p *Pools) assignPrefix6(ctx context.Context, n *node, a warmpool.Action) warmpool.Result {
	out, err := p.cfg.EC2.AssignIpv6Addresses(ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: &a.ENI, Ipv6PrefixCount: aws.Int32(1)})
	if err := n.called("AssignIpv6Addresses", err); err != nil {
		return warmpool.Result{Err: err}
	}
	var r warmpool.Result
	for _, s := range out.AssignedIpv6Prefixes {
		r.Prefixes = appendPrefix(r.Prefixes, &s)
	}
	return r
}

func (p *Pools) unassign(ctx context.Context, n *node, a warmpool.Action) error {
	in := &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &a.ENI}
	for _, i := range a.IPs {
		in.PrivateIpAddresses = append(in.PrivateIpAddresses, i.String())
	}
	for _, b := range a.Prefixes {
		in.Ipv4Prefixes = append(in.Ipv4Prefixes, b.String())
	}
	_, err := p.cfg.EC2.UnassignPrivateIpAddresses(ctx, in)
	return n.called("UnassignPrivateIpAddresses", err)
}

// free detaches and deletes an interface. One that is gone already is free.
func (p *Pools) free(ctx context.Context, n *node, id string) error {
	eni, err := p.describe(ctx, n, id)
	if codeOf(err) == "InvalidNetworkInterfaceID.NotFound" {
		return nil
	}
	if err != nil {
		return err
	}
	if eni.Attachment != nil {
		_, err := p.cfg.EC2.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: eni.Attachment.AttachmentId})
		if err := n.called("DetachNetworkInterface", err); err != nil {
			return err
		}
	}
	return p.remove(ctx, n, &id)
}

func (p *Pools) remove(ctx context.Context, n *node, id *string) error {
	_, err := p.cfg.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: id})
	if err := n.called("DeleteNetworkInterface", err); err != nil && codeOf(err) != "InvalidNetworkInterfaceID.NotFound" {
		return err
	}
	return nil
}

// attach adds an interface with its addresses or prefixes.
func (p *Pools) attach(ctx context.Context, n *node, a warmpool.Action) warmpool.Result {
	n.mu.Lock()
	s := site{subnet: n.subnet, groups: n.groups, cluster: n.cluster, config: n.config}
	n.mu.Unlock()
	s.log = func(level, format string, args ...any) { n.say(p.cfg.Clock.Now(), level, format, args...) }
	in := &ec2.CreateNetworkInterfaceInput{
		Description: aws.String(description(n.id)), TagSpecifications: []ec2types.TagSpecification{p.tags(n.id, &s)},
	}
	if a.Prefix {
		in.Ipv4PrefixCount = aws.Int32(int32(a.Count))
	} else {
		in.SecondaryPrivateIpAddressCount = aws.Int32(int32(a.Count))
	}
	out, err := p.create(ctx, s, in)
	if errors.Is(err, warmpool.ErrNoENIConfig) {
		return warmpool.Result{Err: err}
	}
	if err := n.called("CreateNetworkInterface", err); err != nil {
		return warmpool.Result{Err: fmt.Errorf("AllocENI: failed to create ENI: %w", err)}
	}
	made := out.NetworkInterface
	device, err := p.connect(ctx, n, made.NetworkInterfaceId)
	if err != nil {
		// The instance has ended meanwhile, or took another interface: nothing of
		// this one may stay.
		err = errors.Join(err, p.free(ctx, n, *made.NetworkInterfaceId))
		return warmpool.Result{Err: fmt.Errorf("AllocENI: error attaching ENI for network card 0: %w", err)}
	}
	i := interfaceOf(made)
	i.Device = device
	n.mu.Lock()
	n.marks[i.ID] = mark{}
	n.mu.Unlock()
	return warmpool.Result{Interfaces: []warmpool.Interface{i}}
}

func (p *Pools) tags(instance string, s *site) ec2types.TagSpecification {
	tags := map[string]string{tagInstance: instance, tagCreated: p.cfg.Clock.Now().UTC().Format(time.RFC3339Nano), tagOwner: owner}
	if s.cluster != "" {
		tags[tagCluster] = s.cluster
	}
	for k, v := range s.config.AdditionalTags {
		tags[k] = v
	}
	spec := ec2types.TagSpecification{ResourceType: ec2types.ResourceTypeNetworkInterface}
	for k, v := range tags {
		spec.Tags = append(spec.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return spec
}

// connect attaches an interface at the lowest free device index, so that it ends with
// the instance.
func (p *Pools) connect(ctx context.Context, n *node, eni *string) (int, error) {
	out, err := p.cfg.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{n.id}})
	if err := n.called("DescribeInstances", err); err != nil {
		return 0, err
	}
	device := int32(0)
	if len(out.Reservations) == 1 {
		device = freeDevice(out.Reservations[0].Instances[0].NetworkInterfaces)
	}
	at, err := p.cfg.EC2.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		InstanceId: &n.id, NetworkInterfaceId: eni, DeviceIndex: &device, NetworkCardIndex: aws.Int32(0),
	})
	if err := n.called("AttachNetworkInterface", err); err != nil {
		return 0, err
	}
	err = p.endWithInstance(ctx, eni, at.AttachmentId)
	return int(device), n.called("ModifyNetworkInterfaceAttribute", err)
}

func freeDevice(attached []ec2types.InstanceNetworkInterface) int32 {
	taken := map[int32]bool{}
	for _, i := range attached {
		if i.Attachment != nil && aws.ToInt32(i.Attachment.NetworkCardIndex) == 0 {
			taken[aws.ToInt32(i.Attachment.DeviceIndex)] = true
		}
	}
	d := int32(0)
	for taken[d] {
		d++
	}
	return d
}

func (p *Pools) endWithInstance(ctx context.Context, eni, attachment *string) error {
	_, err := p.cfg.EC2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: eni, Attachment: &ec2types.NetworkInterfaceAttachmentChanges{AttachmentId: attachment, DeleteOnTermination: aws.Bool(true)},
	})
	return err
}

func description(instanceID string) string { return "aws-K8S-" + instanceID }
