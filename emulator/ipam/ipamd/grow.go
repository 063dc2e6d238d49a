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

// grow starts the work that brings a node's pool to its warm target, the loading
// included; the caller holds n.mu and has seen that none is going on. It outlives
// ctx, whose pod may give up: an interface must not stay half made.
func (p *Pools) grow(ctx context.Context, n *node) {
	ctx = context.WithoutCancel(ctx)
	done := make(chan struct{})
	n.growing = done
	go func() {
		p.slots <- struct{}{}
		for p.step(ctx, n) {
		}
		<-p.slots
		n.mu.Lock()
		n.growing = nil
		n.mu.Unlock()
		close(done)
		if p.cfg.OnGrow != nil {
			p.cfg.OnGrow(n.id)
		}
	}()
}

// step does the next thing that the pool needs and tells whether there may be
// more to do. Waiting pods are let go on after each.
func (p *Pools) step(ctx context.Context, n *node) bool {
	if !p.knows(n) {
		return false
	}
	n.mu.Lock()
	loaded, more := n.loaded, n.wantsMore(p.cfg.Clock.Now())
	var full *eni
	if loaded {
		full = n.unfilled()
	}
	n.mu.Unlock()
	var err error
	switch {
	case !more:
		return false
	case !loaded:
		err = p.load(ctx, n)
	case full != nil:
		err = p.fill(as(ctx, n.scope), n, full)
	default:
		err = p.attach(as(ctx, n.scope), n)
	}
	if err == nil {
		return true
	}
	pause := hiccup
	if code := codeOf(err); code == "InsufficientFreeAddressesInSubnet" || code == "InsufficientCidrBlocks" {
		pause = exhausted
	}
	p.cfg.Log.Warn("ipamd: the pool does not grow", "instance", n.id, "retryIn", pause, "error", err)
	n.mu.Lock()
	n.retryAt = p.cfg.Clock.Now().Add(pause)
	n.mu.Unlock()
	return false
}

// knows tells whether n is still the pool of its instance, not a forgotten one.
func (p *Pools) knows(n *node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nodes[n.id] == n
}

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

// load reads the instance's interfaces from the ledger.
func (p *Pools) load(ctx context.Context, n *node) error {
	scope, ok := p.cfg.EC2.Locate(n.id)
	if !ok {
		return fmt.Errorf("instance %s does not exist", n.id)
	}
	out, err := p.cfg.EC2.DescribeInstances(as(ctx, scope), &ec2.DescribeInstancesInput{InstanceIds: []string{n.id}})
	if err != nil {
		return err
	}
	if len(out.Reservations) == 0 || len(out.Reservations[0].Instances) == 0 {
		return fmt.Errorf("instance %s does not exist", n.id)
	}
	inst := out.Reservations[0].Instances[0]
	if err := p.mend(as(ctx, scope), inst); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.load(scope, inst) {
		return fmt.Errorf("instance %s of type %s has no network", n.id, inst.InstanceType)
	}
	return nil
}

// mend lets the CNI's interfaces end with their instance where an earlier process
// was killed between attaching one and saying so.
func (p *Pools) mend(ctx context.Context, inst ec2types.Instance) error {
	for _, i := range inst.NetworkInterfaces {
		if aws.ToString(i.Description) != description(*inst.InstanceId) || i.Attachment == nil || aws.ToBool(i.Attachment.DeleteOnTermination) {
			continue
		}
		if err := p.endWithInstance(ctx, i.NetworkInterfaceId, i.Attachment.AttachmentId); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pools) endWithInstance(ctx context.Context, eni, attachment *string) error {
	_, err := p.cfg.EC2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: eni, Attachment: &ec2types.NetworkInterfaceAttachmentChanges{AttachmentId: attachment, DeleteOnTermination: aws.Bool(true)},
	})
	return err
}

func description(instanceID string) string { return "aws-K8S-" + instanceID }

// fill assigns the addresses that an interface still has room for. In a subnet
// without that many it takes what it can get, one.
func (p *Pools) fill(ctx context.Context, n *node, e *eni) error {
	n.mu.Lock()
	room := n.perENI() - e.slots
	n.mu.Unlock()
	in := &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &e.id, SecondaryPrivateIpAddressCount: aws.Int32(int32(room))}
	out, err := p.cfg.EC2.AssignPrivateIpAddresses(ctx, in)
	if room > 1 && codeOf(err) == "InsufficientFreeAddressesInSubnet" {
		in.SecondaryPrivateIpAddressCount = aws.Int32(1)
		out, err = p.cfg.EC2.AssignPrivateIpAddresses(ctx, in)
	}
	if err != nil {
		return err
	}
	var ips []netip.Addr
	for _, a := range out.AssignedPrivateIpAddresses {
		if ip, err := netip.ParseAddr(*a.PrivateIpAddress); err == nil {
			ips = append(ips, ip)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addInterface(e.id, e.device, ips, nil)
	return nil
}

// attach adds an interface full of addresses.
func (p *Pools) attach(ctx context.Context, n *node) error {
	n.mu.Lock()
	device, count := n.freeDevice(), n.perENI()
	n.mu.Unlock()
	at, err := p.place(ctx, n)
	if err != nil {
		return err
	}
	tags := map[string]string{tagInstance: n.id, tagCreated: p.cfg.Clock.Now().UTC().Format(time.RFC3339Nano), tagOwner: owner}
	if n.cluster != "" {
		tags[tagCluster] = n.cluster
	}
	spec := ec2types.TagSpecification{ResourceType: ec2types.ResourceTypeNetworkInterface}
	for k, v := range tags {
		spec.Tags = append(spec.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	out, err := p.cfg.EC2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &at.subnet, Groups: at.groups, Description: aws.String(description(n.id)),
		SecondaryPrivateIpAddressCount: aws.Int32(int32(count)), TagSpecifications: []ec2types.TagSpecification{spec},
	})
	if err != nil {
		return err
	}
	made := out.NetworkInterface
	if err := p.connect(ctx, n, made.NetworkInterfaceId, device); err != nil {
		// The instance has ended meanwhile, or took another interface: nothing of
		// this one may stay. If it is in use after all, it ends with the instance.
		_, undo := p.cfg.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: made.NetworkInterfaceId})
		if codeOf(undo) == "InvalidNetworkInterfaceID.NotFound" {
			undo = nil
		}
		return errors.Join(err, undo)
	}
	var ips []netip.Addr
	for _, a := range made.PrivateIpAddresses {
		if ip, err := netip.ParseAddr(*a.PrivateIpAddress); err == nil && !*a.Primary {
			ips = append(ips, ip)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addInterface(*made.NetworkInterfaceId, device, ips, nil)
	return nil
}

// connect attaches an interface so that it ends with the instance.
func (p *Pools) connect(ctx context.Context, n *node, eni *string, device int32) error {
	at, err := p.cfg.EC2.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		InstanceId: &n.id, NetworkInterfaceId: eni, DeviceIndex: &device,
	})
	if err != nil {
		return err
	}
	return p.endWithInstance(ctx, eni, at.AttachmentId)
}
