package ipamd

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// mark is what the tags of an interface and of its subnet say to ipamd, which reads
// them when it starts and when it first sees an interface.
type mark struct {
	noManage, ours, told bool
	excluded             bool // the subnet is closed to pods
}

// unmanaged tells whether ipamd leaves such an interface alone.
func (m mark) unmanaged(s *Settings) bool {
	if m.told {
		return m.noManage
	}
	return !m.ours && !s.ManageUntagged
}

// tagNoManage, with the value true, keeps ipamd off an interface.
const tagNoManage = "node.k8s.amazonaws.com/no_manage"

// observe reads the instance's interfaces from the ledger. It stands for the
// instance's metadata service as well as for EC2, whose answers never differ here.
func (p *Pools) observe(ctx context.Context, n *node, scope awsid.Scope) warmpool.Result {
	out, err := p.cfg.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{n.id}})
	if err != nil {
		return warmpool.Result{Err: err}
	}
	if len(out.Reservations) == 0 || len(out.Reservations[0].Instances) == 0 {
		return warmpool.Result{Err: fmt.Errorf("instance %s does not exist", n.id)}
	}
	inst := out.Reservations[0].Instances[0]
	t, ok := instancetypes.Lookup(string(inst.InstanceType))
	if !ok || len(inst.NetworkInterfaces) == 0 {
		return warmpool.Result{Err: fmt.Errorf("instance %s of type %s has no network", n.id, inst.InstanceType)}
	}
	if err := p.mend(ctx, inst); err != nil {
		return warmpool.Result{Err: err}
	}
	r := warmpool.Result{Limits: Limits(t)}
	if err := p.learn(ctx, n, scope, &inst); err != nil {
		return warmpool.Result{Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range inst.NetworkInterfaces {
		if i.Attachment == nil || aws.ToInt32(i.Attachment.NetworkCardIndex) != 0 {
			continue
		}
		s := attached(&i)
		m := n.marks[s.ID]
		s.Excluded, s.Unmanaged = m.excluded, m.unmanaged(&n.config.Settings)
		if aws.ToString(i.InterfaceType) == "efa-only" {
			s.Unmanaged = true
		}
		r.Interfaces = append(r.Interfaces, s)
	}
	return r
}

// Limits are what a type of instance allows.
func Limits(t *instancetypes.Type) warmpool.Limits {
	return warmpool.Limits{
		InstanceType: t.Name, ENIs: t.DefaultCardENIs, IPv4PerENI: t.IPv4PerENI,
		Prefixes: t.Hypervisor == "nitro" || t.BareMetal, Trunking: t.BranchENIs > 0,
	}
}

// learn remembers what of the instance placement depends on, and the marks of
// interfaces that are new.
func (p *Pools) learn(ctx context.Context, n *node, scope awsid.Scope, inst *ec2types.Instance) error {
	n.mu.Lock()
	n.scope, n.groups = scope, nil
	if inst.SubnetId != nil {
		n.subnet = *inst.SubnetId
	}
	for _, g := range inst.SecurityGroups {
		n.groups = append(n.groups, *g.GroupId)
	}
	for _, tag := range inst.Tags {
		if *tag.Key == "eks:cluster-name" || *tag.Key == "eks:eks-cluster-name" {
			n.cluster = *tag.Value
		}
	}
	if !n.machine.Started() {
		clear(n.marks)
	}
	unknown := map[string]string{} // to their subnets
	for _, i := range inst.NetworkInterfaces {
		if _, ok := n.marks[*i.NetworkInterfaceId]; !ok {
			unknown[*i.NetworkInterfaceId] = aws.ToString(i.SubnetId)
		}
	}
	s := site{subnet: n.subnet, groups: n.groups, cluster: n.cluster, config: n.config, log: func(string, string, ...any) {}}
	n.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	marks, err := p.readMarks(ctx, n, slices.Sorted(maps.Keys(unknown)))
	if err != nil {
		return err
	}
	if s.config.SubnetDiscovery {
		// Without an answer upstream takes no subnet for closed.
		all, _ := p.vpcSubnets(ctx, s.subnet)
		for id, m := range marks {
			m.excluded = s.excludes(all, unknown[id])
			marks[id] = m
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.Copy(n.marks, marks)
	return nil
}

// readMarks reads the tags of interfaces.
func (p *Pools) readMarks(ctx context.Context, n *node, ids []string) (map[string]mark, error) {
	out, err := p.cfg.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: ids})
	if err := n.called("DescribeNetworkInterfaces", err); err != nil {
		return nil, err
	}
	marks := map[string]mark{}
	for _, eni := range out.NetworkInterfaces {
		var m mark
		for _, t := range eni.TagSet {
			switch *t.Key {
			case tagNoManage:
				m.told, m.noManage = true, aws.ToString(t.Value) == "true"
			case tagInstance:
				m.ours = aws.ToString(t.Value) == n.id
			}
		}
		marks[*eni.NetworkInterfaceId] = m
	}
	return marks, nil
}

// describe reads one interface.
func (p *Pools) describe(ctx context.Context, n *node, id string) (*ec2types.NetworkInterface, error) {
	out, err := p.cfg.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{id}})
	if err := n.called("DescribeNetworkInterfaces", err); err != nil {
		return nil, err
	}
	if len(out.NetworkInterfaces) == 0 {
		return nil, fmt.Errorf("no network interfaces found for %s", id)
	}
	return &out.NetworkInterfaces[0], nil
}

func (p *Pools) resync(ctx context.Context, n *node, a warmpool.Action) warmpool.Result {
	eni, err := p.describe(ctx, n, a.ENI)
	if err != nil {
		return warmpool.Result{Err: err}
	}
	return warmpool.Result{Interfaces: []warmpool.Interface{interfaceOf(eni)}}
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

// interfaceOf is what the machine wants to know of an interface that ipamd made.
func interfaceOf(eni *ec2types.NetworkInterface) warmpool.Interface {
	i := warmpool.Interface{ID: *eni.NetworkInterfaceId, Subnet: aws.ToString(eni.SubnetId)}
	for _, a := range eni.PrivateIpAddresses {
		if aws.ToBool(a.Primary) {
			i.Address = addrOf(a.PrivateIpAddress)
		} else {
			i.IPs = appendAddr(i.IPs, a.PrivateIpAddress)
		}
	}
	for _, b := range eni.Ipv4Prefixes {
		i.Prefixes = appendPrefix(i.Prefixes, b.Ipv4Prefix)
	}
	for _, b := range eni.Ipv6Prefixes {
		i.Prefixes = appendPrefix(i.Prefixes, b.Ipv6Prefix)
	}
	return i
}

// attached is the same for an interface of an instance.
func attached(e *ec2types.InstanceNetworkInterface) warmpool.Interface {
	kind := aws.ToString(e.InterfaceType)
	i := warmpool.Interface{
		ID: *e.NetworkInterfaceId, Subnet: aws.ToString(e.SubnetId), Device: int(aws.ToInt32(e.Attachment.DeviceIndex)),
		Trunk: kind == "trunk", EFA: kind == "efa",
	}
	i.Primary = i.Device == 0
	for _, a := range e.PrivateIpAddresses {
		if aws.ToBool(a.Primary) {
			i.Address = addrOf(a.PrivateIpAddress)
		} else {
			i.IPs = appendAddr(i.IPs, a.PrivateIpAddress)
		}
	}
	for _, b := range e.Ipv4Prefixes {
		i.Prefixes = appendPrefix(i.Prefixes, b.Ipv4Prefix)
	}
	for _, b := range e.Ipv6Prefixes {
		i.Prefixes = appendPrefix(i.Prefixes, b.Ipv6Prefix)
	}
	return i
}
