package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// policyManifest is the user guide's: "Use a security group policy for an Amazon EKS
// Pod".
const policyManifest = `
apiVersion: vpcresources.k8s.aws/v1beta1
kind: SecurityGroupPolicy
metadata: {name: %s}
spec:
  %s: {matchLabels: {role: my-role}}
  securityGroups: {groupIds: [%s]}
`

const guardedManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  replicas: 4
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded, role: my-role}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "public.ecr.aws/nginx/nginx:1.29"}]
`

// branch is what the annotation says.
type branch struct {
	ID         string `json:"eniId"`
	MAC        string `json:"ifAddress"`
	IP         string `json:"privateIp"`
	VLAN       int    `json:"vlanId"`
	SubnetCIDR string `json:"subnetCidr"`
}

func branchOf(t *testing.T, p *corev1.Pod) branch {
	t.Helper()
	var all []branch
	if err := json.Unmarshal([]byte(p.Annotations["vpc.amazonaws.com/pod-eni"]), &all); err != nil || len(all) != 1 {
		t.Fatalf("annotation of %s: %v", p.Name, p.Annotations)
	}
	return all[0]
}

// branches are the branch interfaces that EC2 shows, by id.
func (w *world) branches(t *testing.T) map[string]ec2types.NetworkInterface {
	t.Helper()
	out := map[string]ec2types.NetworkInterface{}
	for _, e := range must(w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2types.Filter{{Name: aws.String("description"), Values: []string{"aws-k8s-branch-eni"}}},
	}))(t).NetworkInterfaces {
		out[*e.NetworkInterfaceId] = e
	}
	return out
}

// TestSecurityGroupsForPods does what the user guide says under "Configure the Amazon
// VPC CNI plugin for Kubernetes for security groups for Amazon EKS Pods".
func TestSecurityGroupsForPods(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	w.nodegroup(t, "dev", "ng", 1)
	k := w.kube(t, c)
	p := person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	runCLI(t, w.emulator, p.env, "kubeconfig", "dev", "--plugin", "ekslocal")
	group := *must(w.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("pods"), Description: aws.String("pods"), VpcId: &w.vpc}))(t).GroupId
	p.ok(t, fmt.Sprintf(policyManifest, "my-security-group-policy", "podSelector", group), "apply", "-f", "-")

	// Before the feature is on, no node has what the webhook makes pods ask for.
	p.ok(t, guardedManifest, "apply", "-f", "-")
	eventually(t, 30*time.Second, "pods wait for a node with branch interfaces", func() error {
		out := p.ok(t, "", "get", "events", "--field-selector", "reason=FailedScheduling", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "1 Insufficient vpc.amazonaws.com/pod-eni") {
			return fmt.Errorf("events: %s", out)
		}
		return nil
	})
	const ds = "daemonset/aws-node"
	p.ok(t, "", "set", "env", ds, "-n", "kube-system", "ENABLE_POD_ENI=true")
	p.ok(t, "", "rollout", "status", ds, "-n", "kube-system", "--timeout=90s")
	eventually(t, time.Minute, "the feature is on", func() error {
		if out := p.ok(t, "", "get", "cninode", "-A"); !strings.Contains(out, `[{"name":"SecurityGroupsForPods"}]`) {
			return fmt.Errorf("cninodes: %s", out)
		}
		return nil
	})
	p.ok(t, "", "rollout", "status", "deployment/guarded", "--timeout=60s")
	had := w.guarded(t, k, group)
	t.Run("trunk", func(t *testing.T) { w.trunk(t, k) })
	t.Run("events", func(t *testing.T) {
		pod := k.guards(t)[0]
		for reason, part := range map[string]string{
			"SecurityGroupRequested": "Pod will get the following Security Groups [" + group + "]", "ResourceAllocated": `Allocated [{"eniId":"` + branchOf(t, &pod).ID,
		} {
			if m := k.podEvents(t, pod.Name, reason); !anyContains(m, part) {
				t.Errorf("%s: %q", reason, m)
			}
		}
	})
	t.Run("annotation", func(t *testing.T) {
		p.refused(t, "annotation is not set by vpc-resource-controller", "annotate", "pod", k.guards(t)[0].Name, "--overwrite", "vpc.amazonaws.com/pod-eni=[]")
		p.refused(t, "pod cannot be created with vpc.amazonaws.com/pod-eni annotation", "run", "forger", "--image=x", "--annotations=vpc.amazonaws.com/pod-eni=[]")
	})
	t.Run("service account", func(t *testing.T) { w.byServiceAccount(t, k, p, group) })
	t.Run("missing group", func(t *testing.T) { w.missingGroup(t, k, p) })
	t.Run("kill", func(t *testing.T) {
		w.kill()
		w.run()
		eventually(t, time.Minute, "the pods run on", func() error {
			now := k.guards(t)
			for i := range now {
				if ip, ok := had[now[i].Name]; !ok || now[i].Status.PodIP != ip {
					return fmt.Errorf("%s has %s, had %q", now[i].Name, now[i].Status.PodIP, ip)
				}
			}
			if len(now) != len(had) {
				return fmt.Errorf("%d pods run", len(now))
			}
			return nil
		})
		w.guarded(t, k, group)
	})
	t.Run("deletion", func(t *testing.T) { w.cooldown(t, k, p) })
	t.Run("unsupported type", func(t *testing.T) { w.unsupported(t, k) })
	t.Run("node group", func(t *testing.T) {
		p.ok(t, "", "scale", "deployment/guarded", "--replicas=2")
		p.ok(t, "", "rollout", "status", "deployment/guarded", "--timeout=60s")
		w.leave(t, "dev")
		eventually(t, 30*time.Second, "nothing is left", func() error {
			if left := w.branches(t); len(left) > 0 {
				return fmt.Errorf("%d branch interfaces", len(left))
			}
			return nil
		})
		must(w.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &group}))(t)
		for _, s := range w.subnets {
			must(w.ec2.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: &s}))(t)
		}
	})
}

func (k *kube) guards(t *testing.T) []corev1.Pod {
	t.Helper()
	pods := must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=guarded"}))(t).Items
	return slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !podRuns(&p) || p.DeletionTimestamp != nil })
}

// guarded checks that every pod's address is that of a branch interface with the
// policy's group, and returns the addresses.
func (w *world) guarded(t *testing.T, k *kube, group string) map[string]string {
	t.Helper()
	all, out, vlans := w.branches(t), map[string]string{}, map[int]bool{}
	pods := k.guards(t)
	if len(pods) != 4 {
		t.Errorf("%d pods run", len(pods))
	}
	for _, p := range pods {
		b := branchOf(t, &p)
		e, ok := all[b.ID]
		if !ok || aws.ToString(e.PrivateIpAddress) != p.Status.PodIP || b.IP != p.Status.PodIP || *e.MacAddress != b.MAC || len(e.Groups) != 1 || *e.Groups[0].GroupId != group ||
			e.InterfaceType != ec2types.NetworkInterfaceTypeBranch || e.Status != ec2types.NetworkInterfaceStatusInUse {
			t.Errorf("%s has %s, annotated %+v, EC2 has %+v", p.Name, p.Status.PodIP, b, e)
		}
		tags := map[string]string{}
		for _, tag := range e.TagSet {
			tags[*tag.Key] = *tag.Value
		}
		if tags["eks:eni:owner"] != "eks-vpc-resource-controller" || tags["vpcresources.k8s.aws/vlan-id"] != fmt.Sprint(b.VLAN) || tags["kubernetes.io/cluster/dev"] != "owned" {
			t.Errorf("tags %v", tags)
		}
		if vlans[b.VLAN] {
			t.Errorf("VLAN %d twice", b.VLAN)
		}
		vlans[b.VLAN], out[p.Name] = true, p.Status.PodIP
		limit := p.Spec.Containers[0].Resources.Limits["vpc.amazonaws.com/pod-eni"]
		if limit.Value() != 1 {
			t.Errorf("limits of %s: %v", p.Name, p.Spec.Containers[0].Resources.Limits)
		}
	}
	return out
}

// trunk looks at the node's trunk, which takes one of its three interfaces.
func (w *world) trunk(t *testing.T, k *kube) {
	n := k.nodes(t, "")[0]
	enis := w.podInterfaces(t, &n)
	last := enis[len(enis)-1]
	if last.InterfaceType != ec2types.NetworkInterfaceTypeTrunk || *last.Description != "aws-k8s-trunk-eni" || *last.Attachment.DeviceIndex != 2 || !*last.Attachment.DeleteOnTermination || len(enis) > 3 {
		t.Errorf("interfaces %+v", enis)
	}
	for _, list := range []corev1.ResourceList{n.Status.Capacity, n.Status.Allocatable} {
		if q := list["vpc.amazonaws.com/pod-eni"]; q.Value() != 9 { // m5.large
			t.Errorf("the node has %s branch interfaces", q.String())
		}
	}
	as := must(w.ec2.DescribeTrunkInterfaceAssociations(t.Context(), &ec2.DescribeTrunkInterfaceAssociationsInput{}))(t).InterfaceAssociations
	for _, a := range as {
		if *a.TrunkInterfaceId != *last.NetworkInterfaceId {
			t.Errorf("association %+v", a)
		}
	}
	if len(as) != 4 {
		t.Errorf("%d associations", len(as))
	}
}

func (w *world) byServiceAccount(t *testing.T, k *kube, p person, group string) {
	p.ok(t, "", "create", "namespace", "other")
	p.ok(t, "", "create", "serviceaccount", "guard", "-n", "other")
	p.ok(t, "", "label", "serviceaccount", "guard", "-n", "other", "role=my-role")
	p.ok(t, fmt.Sprintf(policyManifest, "by-account", "serviceAccountSelector", group), "apply", "-n", "other", "-f", "-")
	for name, account := range map[string]string{"with": "guard", "without": "default"} {
		p.ok(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"serviceAccountName":%q,"containers":[{"name":"web","image":"x"}]}}`, name, account), "apply", "-n", "other", "-f", "-")
		p.ok(t, "", "wait", "-n", "other", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
		pod := must(k.CoreV1().Pods("other").Get(t.Context(), name, metav1.GetOptions{}))(t)
		if _, given := pod.Annotations["vpc.amazonaws.com/pod-eni"]; given != (account == "guard") {
			t.Errorf("%s: %v", name, pod.Annotations)
		}
	}
	p.ok(t, "", "delete", "namespace", "other", "--wait=false")
}

// missingGroup: EC2 refuses the interface, and the pod recovers when the policy is
// mended.
func (w *world) missingGroup(t *testing.T, k *kube, p person) {
	p.ok(t, fmt.Sprintf(strings.ReplaceAll(policyManifest, "my-role", "lost"), "lost", "podSelector", "sg-0123456789abcdef0"), "apply", "-f", "-")
	p.ok(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"lost","labels":{"role":"lost"}},"spec":{"containers":[{"name":"web","image":"x"}]}}`, "apply", "-f", "-")
	m := k.podEvents(t, "lost", "BranchAllocationFailed")
	if !anyContains(m, "failed to allocate branch ENI to pod: creating network interface, operation error EC2: CreateNetworkInterface, https response error StatusCode: 400, RequestID: ") ||
		!anyContains(m, "api error InvalidGroup.NotFound: The security group 'sg-0123456789abcdef0' does not exist") {
		t.Errorf("BranchAllocationFailed: %q", m)
	}
	if m := k.podEvents(t, "lost", "FailedCreatePodSandBox"); !anyContains(m, "add cmd: failed to assign an IP address to container") {
		t.Errorf("FailedCreatePodSandBox: %q", m)
	}
	own := *must(w.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{{Name: aws.String("group-name"), Values: []string{"pods"}}}}))(t).SecurityGroups[0].GroupId
	p.ok(t, fmt.Sprintf(strings.ReplaceAll(policyManifest, "my-role", "lost"), "lost", "podSelector", own), "apply", "-f", "-")
	p.ok(t, "", "wait", "--for=condition=Ready", "pod/lost", "--timeout=60s")
	p.ok(t, "", "delete", "pod", "lost", "--wait=false")
}

// cooldown: branch interfaces stay a while after their pods; 30 s is the least that
// the ConfigMap can say.
func (w *world) cooldown(t *testing.T, k *kube, p person) {
	p.ok(t, "", "patch", "configmap", "amazon-vpc-cni", "-n", "kube-system", "--type=merge", "-p", `{"data":{"branch-eni-cooldown":"30"}}`)
	pod := k.guards(t)[0]
	id := branchOf(t, &pod).ID
	p.ok(t, "", "scale", "deployment/guarded", "--replicas=0")
	p.ok(t, "", "wait", "--for=delete", "pod", "-l", "app=guarded", "--timeout=30s")
	gone := time.Now()
	if _, ok := w.branches(t)[id]; !ok {
		t.Error("no cooldown")
	}
	eventually(t, 90*time.Second, "the branch interfaces go", func() error {
		if left := w.branches(t); len(left) > 0 {
			return fmt.Errorf("%d are left", len(left))
		}
		return nil
	})
	if after := time.Since(gone); after < 25*time.Second {
		t.Errorf("they went after %s", after)
	}
	p.ok(t, "", "scale", "deployment/guarded", "--replicas=1")
	p.ok(t, "", "rollout", "status", "deployment/guarded", "--timeout=60s")
}

// unsupported: a type without trunk interfaces.
func (w *world) unsupported(t *testing.T, k *kube) {
	w.nodegroup(t, "dev", "burst", 1, func(in *eks.CreateNodegroupInput) { in.InstanceTypes = []string{"t3.medium"} })
	n := k.nodes(t, "node.kubernetes.io/instance-type=t3.medium")[0]
	eventually(t, 30*time.Second, "the controller says so", func() error {
		for _, e := range must(k.CoreV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Unsupported"}))(t).Items {
			if e.InvolvedObject.Name == n.Name && e.Message == "The instance type t3.medium is not supported for trunk interface (Security Group for Pods)" {
				return nil
			}
		}
		return fmt.Errorf("no event about %s", n.Name)
	})
	if q, ok := n.Status.Capacity["vpc.amazonaws.com/pod-eni"]; ok {
		t.Errorf("it has %s branch interfaces", q.String())
	}
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("burst")}))(t)
	waiter := eks.NewNodegroupDeletedWaiter(w.eks)
	if err := waiter.Wait(t.Context(), &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("burst")}, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
}
