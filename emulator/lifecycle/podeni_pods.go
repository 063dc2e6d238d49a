package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/podeni"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
)

// servePods gives and takes the branch interfaces of a node's pods.
func (p *podENIs) servePods(ctx context.Context, t *trunked) (time.Duration, error) {
	var claims []podeni.Claim
	pods := map[string]*corev1.Pod{}
	for _, pod := range p.podsOn(t.node.Name) {
		if podeni.Wants(pod) == 0 {
			continue
		}
		given, err := podeni.Given(pod)
		if err != nil {
			continue // upstream leaves alone what it cannot read
		}
		c := podeni.Claim{Pod: string(pod.UID), Count: podeni.Wants(pod), Ended: finished(pod)}
		for _, g := range given {
			c.Holds = append(c.Holds, g.ID)
		}
		claims, pods[c.Pod] = append(claims, c), pod
	}
	plan := p.next(ctx, t, claims)
	var errs []error
	for _, b := range plan.Delete {
		errs = append(errs, p.deleteBranch(ctx, t, b))
	}
	for _, c := range plan.Create {
		errs = append(errs, p.allocate(ctx, t, pods[c.Pod], c.Count))
	}
	return plan.Again, errors.Join(errs...)
}

func (p *podENIs) next(ctx context.Context, t *trunked, claims []podeni.Claim) podeni.Plan {
	cooldown := p.cooldown(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	id := *t.instance.InstanceId
	trunk := p.trunks[id]
	if trunk == nil {
		trunk = &podeni.Trunk{}
		p.trunks[id] = trunk
	}
	return trunk.Next(claims, t.branches, t.typ.BranchENIs, p.l.Clock.Now(), cooldown)
}

// cooldown is what the ConfigMap of the CNI says, in seconds.
func (p *podENIs) cooldown(ctx context.Context) time.Duration {
	cm, err := p.rt.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "amazon-vpc-cni", metav1.GetOptions{})
	if err != nil {
		return podeni.Cooldown
	}
	seconds, err := strconv.Atoi(cm.Data["branch-eni-cooldown"])
	return podeni.CooldownOf(seconds, err == nil)
}

func (p *podENIs) deleteBranch(ctx context.Context, t *trunked, b podeni.Branch) error {
	if b.Association != "" {
		_, err := p.l.EC2.DisassociateTrunkInterface(ctx, &ec2.DisassociateTrunkInterfaceInput{AssociationId: &b.Association})
		if err != nil && !isCode(err, "InvalidTrunkInterfaceAssociationID.NotFound") {
			return fmt.Errorf("branch %s: %w", b.ID, err)
		}
	}
	if err := p.l.deleteInterface(ctx, b.ID); err != nil {
		return err
	}
	for i := range t.branches {
		if t.branches[i].ID == b.ID {
			t.branches = append(t.branches[:i], t.branches[i+1:]...)
			break
		}
	}
	return nil
}

// allocate gives a pod its branch interfaces. Those of a pod that could not be
// annotated go again at once.
func (p *podENIs) allocate(ctx context.Context, t *trunked, pod *corev1.Pod, count int) error {
	// What the watch says may be old.
	now, err := p.rt.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if _, given := now.Annotations[podeni.Resource]; given || now.UID != pod.UID || now.DeletionTimestamp != nil {
		return nil // the watch brings it
	}
	groups, err := p.groups(ctx, now)
	if err != nil {
		return err
	}
	if len(groups) == 0 {
		groups = t.groups
		p.tell.Event(now, corev1.EventTypeWarning, "SecurityGroupRequested", "Pod will get the instance security group as the pod didn't match any Security Group from SecurityGroupPolicy")
	} else {
		p.tell.Event(now, corev1.EventTypeNormal, "SecurityGroupRequested", fmt.Sprintf("Pod will get the following Security Groups %v", groups))
	}
	var made []podeni.Details
	undo := func(cause error) error {
		errs := []error{cause}
		for _, d := range made {
			errs = append(errs, p.deleteBranch(ctx, t, podeni.Branch{ID: d.ID, Association: d.AssociationID}))
		}
		return errors.Join(errs...)
	}
	for range count {
		d, err := p.createBranch(ctx, t, groups)
		if d.ID != "" {
			made = append(made, d)
		}
		if err != nil {
			p.tell.Event(now, corev1.EventTypeWarning, "BranchAllocationFailed", "failed to allocate branch ENI to pod: "+err.Error())
			return undo(err)
		}
	}
	text, err := json.Marshal(made)
	if err != nil {
		return undo(err)
	}
	if err := p.annotate(ctx, now, string(text)); err != nil {
		p.tell.Event(now, corev1.EventTypeWarning, "BranchENIAnnotationFailed", "failed to annotate pod with branch ENI details: "+err.Error())
		return undo(err)
	}
	p.tell.Event(now, corev1.EventTypeNormal, "ResourceAllocated", fmt.Sprintf("Allocated %s to the pod", text))
	return nil
}

// annotate tells the CNI, never of a later pod of the same name.
func (p *podENIs) annotate(ctx context.Context, pod *corev1.Pod, text string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "annotations": map[string]string{podeni.Resource: text}}})
	if err != nil {
		return err
	}
	_, err = p.self.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// createBranch makes an interface and puts it onto the trunk. With an error, what it
// made so far is to be deleted.
func (p *podENIs) createBranch(ctx context.Context, t *trunked, groups []string) (podeni.Details, error) {
	vlan := podeni.VLAN(t.branches)
	if vlan == 0 {
		return podeni.Details{}, errors.New("assigning vlad id, failed to find free vlan id in the available 121 ids")
	}
	out, err := p.l.EC2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &t.subnet, Groups: groups, Description: aws.String(podeni.BranchDescription),
		TagSpecifications: p.interfaceTags(t, map[string]string{podeni.TagVLAN: strconv.Itoa(vlan), podeni.TagTrunk: *t.trunk.NetworkInterfaceId}),
	})
	if err != nil {
		return podeni.Details{}, fmt.Errorf("creating network interface, %w", called("CreateNetworkInterface", err))
	}
	ni := out.NetworkInterface
	d := podeni.Details{ID: *ni.NetworkInterfaceId, MAC: aws.ToString(ni.MacAddress), IPv4: aws.ToString(ni.PrivateIpAddress), VLAN: vlan}
	if len(ni.Ipv6Addresses) > 0 {
		d.IPv6 = aws.ToString(ni.Ipv6Addresses[0].Ipv6Address)
	}
	if s := ec2svc.Subnets.Get(p.l.Store, p.rt.scope, t.subnet); s != nil {
		d.SubnetCIDR = aws.ToString(s.CidrBlock)
		if len(s.Ipv6CidrBlockAssociationSet) > 0 {
			d.SubnetV6CIDR = aws.ToString(s.Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock)
		}
	}
	a, err := p.l.EC2.AssociateTrunkInterface(ctx, &ec2.AssociateTrunkInterfaceInput{
		BranchInterfaceId: ni.NetworkInterfaceId, TrunkInterfaceId: t.trunk.NetworkInterfaceId, VlanId: aws.Int32(int32(vlan)),
	})
	if err != nil {
		return d, fmt.Errorf("associating branch to trunk, %w", called("AssociateTrunkInterface", err))
	}
	d.AssociationID = aws.ToString(a.InterfaceAssociation.AssociationId)
	t.branches = append(t.branches, podeni.Branch{ID: d.ID, VLAN: vlan, Association: d.AssociationID})
	return d, nil
}

// called words EC2's refusal as the SDK does to whoever called over the network.
func called(api string, err error) error {
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("operation error EC2: %s, https response error StatusCode: 400, RequestID: %s, %w", api, uuid.NewString(), err)
}

// groups are the security groups that the policies of the pod's namespace give it.
func (p *podENIs) groups(ctx context.Context, pod *corev1.Pod) ([]string, error) {
	policies, bySA := p.policiesIn(pod.Namespace)
	if len(policies) == 0 {
		return nil, nil
	}
	var account map[string]string
	if bySA {
		sa, err := p.rt.client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		account = sa.Labels
	}
	return podeni.Groups(policies, pod.Labels, account), nil
}
