package lifecycle

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/fargate"
	"github.com/ekslocal/ekslocal/emulator/podeni"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

// reconcileFargatePod is Fargate's scheduler: a pod that waits gets a machine of its
// own, a network interface in a subnet of its profile and with it a node; what a pod
// that is gone had goes too. Each step leaves its result in the store or in the
// cluster, so that a killed emulator goes on.
func (l *Lifecycle) reconcileFargatePod(ctx context.Context, k key) (time.Duration, error) {
	cluster, rest, _ := strings.Cut(k.ID, "/")
	namespace, name, _ := strings.Cut(rest, "/")
	c := ekssvc.Clusters.Get(l.Store, k.Scope, cluster)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		return 0, nil
	}
	ctx, done := rt.during(ctx)
	defer done()
	if !rt.fargate.pods.HasSynced() {
		return minVisible / 4, nil
	}
	pod := rt.fargate.pod(namespace, name)
	var machine *ekssvc.FargateNode
	for _, m := range l.fargateNodes(c) {
		switch {
		case m.Namespace != namespace || m.Pod != name:
		case pod != nil && string(pod.UID) == m.PodUID:
			machine = m
		default:
			if err := l.retireFargate(ctx, rt, m); err != nil {
				return 0, err
			}
		}
	}
	if pod == nil || finished(pod) || pod.DeletionTimestamp != nil && pod.Spec.NodeName == "" {
		return 0, nil
	}
	if pod.Spec.NodeName != "" {
		if machine == nil || machine.Name != pod.Spec.NodeName {
			return 0, nil // bound by somebody else
		}
		return 0, l.joinFargate(ctx, c, rt, machine)
	}
	return l.scheduleFargate(ctx, c, rt, pod, machine)
}

// noCapacity begins what a pod is told for which no machine can be made. How Fargate
// words that its subnets are full is not known: EC2's words follow.
const noCapacity = "Fargate capacity is unavailable at this time: "

// waitsForCapacity tells whether a pod was told noCapacity.
func waitsForCapacity(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && strings.HasPrefix(c.Message, noCapacity)
	})
}

func (l *Lifecycle) scheduleFargate(ctx context.Context, c *ekssvc.Cluster, rt *runtime, pod *corev1.Pod, machine *ekssvc.FargateNode) (time.Duration, error) {
	p := ekssvc.FargateProfiles.Get(l.Store, c.Scope, ekssvc.ChildID(rt.name, pod.Labels[fargate.ProfileLabel]))
	if p == nil || p.Resource.Status != ekstypes.FargateProfileStatusActive {
		return 0, l.unschedulable(ctx, rt, pod, fmt.Sprintf("Misconfigured Fargate Profile: fargate profile %s not found or not active", pod.Labels[fargate.ProfileLabel]))
	}
	if why := fargate.Unsupported(pod); why != "" {
		return 0, l.unschedulable(ctx, rt, pod, why)
	}
	if !l.Nodes.MayJoin(ctx, c.ID, *p.Resource.PodExecutionRoleArn) {
		// The kubelet on Fargate gets 401s: the pod stays Pending.
		return 5 * time.Second, l.unschedulable(ctx, rt, pod, fmt.Sprintf("Pod execution role %s is not mapped to system:nodes in the cluster", *p.Resource.PodExecutionRoleArn))
	}
	if machine == nil {
		var err error
		if machine, err = l.makeFargateMachine(ctx, c, p, pod); err != nil {
			return maxBackoff, l.unschedulable(ctx, rt, pod, noCapacity+err.Error())
		}
	}
	if err := l.joinFargate(ctx, c, rt, machine); err != nil {
		return 0, err
	}
	return 0, l.bindFargate(ctx, rt, pod, machine)
}

// makeFargateMachine makes the pod's network interface and remembers the machine. A
// second try finds the interface of the first by its token.
func (l *Lifecycle) makeFargateMachine(ctx context.Context, c *ekssvc.Cluster, p *ekssvc.FargateProfile, pod *corev1.Pod) (*ekssvc.FargateNode, error) {
	size, _ := fargate.SizeOf(pod)
	subnets := p.Resource.Subnets
	var failure error
	for i := range subnets {
		subnet := subnets[(subnetOf(pod, len(subnets))+i)%len(subnets)]
		in := &ec2.CreateNetworkInterfaceInput{
			SubnetId: &subnet, Groups: fargateGroups(c, pod), ClientToken: aws.String(string(pod.UID) + "-" + subnet[max(0, len(subnet)-17):]),
		}
		if ekssvc.IsIPv6(c) {
			in.Ipv6AddressCount = aws.Int32(1)
		}
		out, err := l.EC2.CreateNetworkInterface(asFargate(ctx, c.Scope), in)
		if err != nil {
			failure = err
			continue
		}
		ni := out.NetworkInterface
		m := &ekssvc.FargateNode{
			Scope: c.Scope, Cluster: *c.Resource.Name, Profile: *p.Resource.FargateProfileName,
			Namespace: pod.Namespace, Pod: pod.Name, PodUID: string(pod.UID),
			Name: fargateNodeName(c.Scope.Region, *ni.PrivateIpAddress), InterfaceID: *ni.NetworkInterfaceId, Address: *ni.PrivateIpAddress,
			SubnetID: subnet, Zone: aws.ToString(ni.AvailabilityZone), ZoneID: aws.ToString(ni.AvailabilityZoneId), MilliCPU: size.MilliCPU, MemoryMiB: size.MemoryMiB,
		}
		if len(ni.Ipv6Addresses) > 0 && ekssvc.IsIPv6(c) {
			m.Address = *ni.Ipv6Addresses[0].Ipv6Address
		}
		m.ProviderID = fmt.Sprintf("aws:///%s/%s-%s/%s", m.Zone, awsid.Hex(10), awsid.Hex(32), m.Name)
		return m, l.Store.Update(ctx, func(tx *store.Tx) error {
			ekssvc.FargateNodes.Put(tx, c.Scope, ekssvc.ChildID(m.Cluster, m.PodUID), m)
			return nil
		})
	}
	return nil, failure
}

// fargateGroups are the security groups of a pod's machine: those that a
// SecurityGroupPolicy gives it, else the cluster's.
func fargateGroups(c *ekssvc.Cluster, pod *corev1.Pod) []string {
	if ids := pod.Annotations[podeni.FargateGroups]; ids != "" {
		return strings.Split(ids, ",")
	}
	return []string{c.SecurityGroupID}
}

// subnetOf spreads pods over subnets, a pod always alike.
func subnetOf(pod *corev1.Pod, n int) int {
	h := fnv.New32a()
	h.Write([]byte(pod.UID))
	return int(h.Sum32() % uint32(n))
}

func fargateNodeName(region, ip string) string {
	domain := region + ".compute.internal"
	if region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "fargate-ip-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

// joinFargate registers the machine's node; one that has joined stays as it is.
func (l *Lifecycle) joinFargate(ctx context.Context, c *ekssvc.Cluster, rt *runtime, m *ekssvc.FargateNode) error {
	ip, err := netip.ParseAddr(m.Address)
	if err != nil {
		return fmt.Errorf("fargate node %s: %w", m.Name, err)
	}
	im, _ := images.EKSImage(c.Scope.Region, c.RunningVersion, images.AL2023, images.X86)
	return rt.fleet.Join(ctx, dataplane.Node{
		Name: m.Name, InstanceID: m.InterfaceID, Region: c.Scope.Region, Zone: m.Zone, ZoneID: m.ZoneID, PrivateIP: ip,
		KubeletVersion: im.KubeletVersion, Architecture: "amd64", VCPUs: int(m.MilliCPU+999) / 1000, MemoryMiB: int(m.MemoryMiB), MaxPods: 1,
		Labels:  map[string]string{fargate.ComputeType: fargate.Fargate},
		Taints:  []corev1.Taint{{Key: fargate.ComputeType, Value: fargate.Fargate, Effect: corev1.TaintEffectNoSchedule}},
		Fargate: &dataplane.Fargate{ProviderID: m.ProviderID, MilliCPU: m.MilliCPU, MemoryMiB: m.MemoryMiB},
	})
}

// bindFargate puts the pod on its node.
func (l *Lifecycle) bindFargate(ctx context.Context, rt *runtime, pod *corev1.Pod, m *ekssvc.FargateNode) error {
	logging, err := l.fargateLogging(ctx, rt, pod)
	if err != nil {
		return err
	}
	err = rt.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, Annotations: map[string]string{
			fargate.CapacityAnnotation: fargate.Size{MilliCPU: m.MilliCPU, MemoryMiB: m.MemoryMiB}.String(), fargate.LoggingAnnotation: logging,
		}},
		Target: corev1.ObjectReference{Kind: "Node", Name: m.Name},
	}, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or bound before: the watch tells
	}
	if err != nil {
		return fmt.Errorf("bind %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return l.fargateEvent(ctx, rt, pod, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, m.Name))
}

// fargateLogging tells whether the user has a configuration for the logs of pods on
// Fargate ("Start AWS Fargate logging for your cluster").
func (l *Lifecycle) fargateLogging(ctx context.Context, rt *runtime, pod *corev1.Pod) (string, error) {
	_, err := rt.client.CoreV1().ConfigMaps("aws-observability").Get(ctx, "aws-logging", metav1.GetOptions{})
	switch {
	case err == nil:
		return "LoggingEnabled", l.fargateEvent(ctx, rt, pod, corev1.EventTypeNormal, "LoggingEnabled", "Successfully enabled logging for pod")
	case apierrors.IsNotFound(err):
		return fargate.LoggingDisabled, l.fargateEvent(ctx, rt, pod, corev1.EventTypeWarning, "LoggingDisabled",
			`Disabled logging because aws-logging configmap was not found. configmap "aws-logging" not found`)
	}
	return "", fmt.Errorf("logging of %s/%s: %w", pod.Namespace, pod.Name, err)
}

// unschedulable says why a pod waits, once for each reason.
func (l *Lifecycle) unschedulable(ctx context.Context, rt *runtime, pod *corev1.Pod, why string) error {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message == why {
			return nil
		}
	}
	now := pod.DeepCopy()
	conditions := []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why, LastTransitionTime: metav1.NewTime(l.Clock.Now()),
	}}
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled {
			conditions = append(conditions, c)
		}
	}
	now.Status.Conditions = conditions
	if _, err := rt.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, now, metav1.UpdateOptions{}); err != nil {
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // the watch brings it back
		}
		return fmt.Errorf("status of %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return l.fargateEvent(ctx, rt, pod, corev1.EventTypeWarning, "FailedScheduling", why)
}

func (l *Lifecycle) fargateEvent(ctx context.Context, rt *runtime, pod *corev1.Pod, kind, reason, message string) error {
	now := metav1.NewTime(l.Clock.Now())
	_, err := rt.client.CoreV1().Events(pod.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", pod.Name, now.UnixNano()), Namespace: pod.Namespace},
		InvolvedObject: corev1.ObjectReference{
			Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		},
		Reason: reason, Message: message, Type: kind, FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: fargate.SchedulerName},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("event of %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil // a namespace that ends takes no events
}

// retireFargate takes a machine away whose pod is gone: the node first, then the
// interface and with it the address.
func (l *Lifecycle) retireFargate(ctx context.Context, rt *runtime, m *ekssvc.FargateNode) error {
	if err := rt.fleet.Remove(ctx, m.Name, m.InterfaceID); err != nil {
		return err
	}
	if err := l.deleteInterface(asFargate(ctx, m.Scope), m.InterfaceID); err != nil {
		return err
	}
	err := l.Store.Update(ctx, func(tx *store.Tx) error {
		ekssvc.FargateNodes.Delete(tx, m.Scope, ekssvc.ChildID(m.Cluster, m.PodUID))
		return nil
	})
	if err != nil {
		return fmt.Errorf("fargate node %s: %w", m.Name, err)
	}
	// A profile that is being deleted waits for this.
	l.fargates.queue.Add(key{m.Scope, ekssvc.ChildID(m.Cluster, m.Profile)})
	return nil
}
