package integration

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestKindNodes is the life of node groups whose nodes are containers, through the APIs
// of EKS and EC2 and the engine's own. make test-kind provides the engine and the image.
func TestKindNodes(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	w := newWorld(t, startAs(t, "--no-spare", "--backend", "kind", "--kind-node-image", image))
	c := w.cluster(t, "real")
	t.Cleanup(func() {
		w.stop() // or it would make what is removed
		removeContainers(t, c)
		for _, n := range networksOf(t, w.vpc) {
			docker(t, "network", "rm", n)
		}
	})
	r := &real{world: w, c: c}
	r.k, _ = w.kubernetes(t, c)

	began := time.Now()
	w.nodegroup(t, "real", "ng", 2, func(in *eks.CreateNodegroupInput) {
		in.Labels = map[string]string{"team": "a"}
		in.Taints = []ekstypes.Taint{{Key: aws.String("dedicated"), Value: aws.String("x"), Effect: ekstypes.TaintEffectPreferNoSchedule}}
	})
	t.Logf("two nodes are Ready and the group ACTIVE after %s", time.Since(began).Round(100*time.Millisecond))
	r.look(t)
	r.reach(t)
	for _, s := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"docker restart", r.restartNode}, {"stop and start", r.stopAndStart}, {"docker kill", r.killNode}, {"terminate", r.terminate},
		{"scale", r.scale}, {"crash", r.crash}, {"restart", r.restarted}, {"roll", r.rollTemplate},
	} {
		if !t.Run(s.name, s.do) {
			return // what follows builds on it
		}
	}
	w.deleteNodegroup(t, "real", "ng")
	eventually(t, 20*time.Second, "only the control plane is left", func() error {
		if left := containersOf(t, c); len(left) != 1 {
			return fmt.Errorf("containers %v", left)
		}
		return nil
	})
	if n := networksOf(t, w.vpc); len(n) != 0 {
		t.Errorf("networks %v of the VPC are left", n)
	}
	must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("real")}))(t)
	eventually(t, time.Minute, "no container is left", func() error {
		if left := containersOf(t, c); len(left) > 0 {
			return fmt.Errorf("containers %v", left)
		}
		return nil
	})
}

// real is a cluster with real nodes.
type real struct {
	*world
	c *ekstypes.Cluster
	k *kubernetes.Clientset
}

// look compares the nodes with their instances.
func (r *real) look(t *testing.T) {
	t.Helper()
	nodes := map[string]corev1.Node{}
	for _, n := range nodesOf(t, r.k, "ng") {
		nodes[n.Name] = n
	}
	instances := r.instances(t, "ng")
	if len(nodes) != len(instances) {
		t.Errorf("%d nodes of %d instances", len(nodes), len(instances))
	}
	for _, i := range instances {
		n, ok := nodes[*i.PrivateDnsName]
		if !ok {
			t.Errorf("there is no node %s", *i.PrivateDnsName)
			continue
		}
		if want := "aws:///" + *i.Placement.AvailabilityZone + "/" + *i.InstanceId; n.Spec.ProviderID != want {
			t.Errorf("%s: provider id %s, want %s", n.Name, n.Spec.ProviderID, want)
		}
		for k, want := range map[string]string{
			"team": "a", "eks.amazonaws.com/nodegroup": "ng", "topology.kubernetes.io/zone": *i.Placement.AvailabilityZone,
			"topology.kubernetes.io/region": region, "node.kubernetes.io/instance-type": "m5.large", "kubernetes.io/hostname": n.Name,
		} {
			if n.Labels[k] != want {
				t.Errorf("%s: label %s is %q, want %q", n.Name, k, n.Labels[k], want)
			}
		}
		want := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: *i.PrivateIpAddress}, {Type: corev1.NodeInternalDNS, Address: n.Name}, {Type: corev1.NodeHostName, Address: n.Name}}
		if !slices.Equal(n.Status.Addresses, want) {
			t.Errorf("%s: addresses %v, want %v", n.Name, n.Status.Addresses, want)
		}
		for _, taint := range n.Spec.Taints {
			if taint.Key != "dedicated" && taint.Effect != corev1.TaintEffectNoExecute { // not-ready goes some seconds later
				t.Errorf("%s: taint %v", n.Name, taint)
			}
		}
		if pods := n.Status.Allocatable.Pods().Value(); pods != 29 {
			t.Errorf("%s takes %d pods, want 29", n.Name, pods)
		}
		// What an m5.large leaves, or what this machine has if that is less.
		for name, most := range map[corev1.ResourceName]string{corev1.ResourceCPU: "1930m", corev1.ResourceMemory: "7260980Ki"} {
			got, limit := n.Status.Allocatable[name], resource.MustParse(most)
			if has := n.Status.Capacity[name]; has.Cmp(limit) < 0 {
				limit = has
			}
			if got.Cmp(limit) != 0 {
				t.Errorf("%s: allocatable %s is %s, want %s", n.Name, name, got.String(), limit.String())
			}
		}
	}
}

// reach: nodes and the control plane reach kubelets at their addresses in the VPC, and
// come from theirs.
func (r *real) reach(t *testing.T) {
	t.Helper()
	instances := r.instances(t, "ng")
	from := map[string]string{"the control plane": containerOf(t, r.c, "-control-plane")}
	for _, i := range instances {
		from[*i.InstanceId] = containerOf(t, r.c, *i.InstanceId)
	}
	for who, container := range from {
		for _, i := range instances {
			// A node that was just started shows as Ready before its kubelet listens.
			eventually(t, 20*time.Second, fmt.Sprintf("%s reaches %s at %s", who, *i.InstanceId, *i.PrivateIpAddress), func() error {
				out, err := dockerOut("exec", container, "timeout", "5", "bash", "-c", "</dev/tcp/"+*i.PrivateIpAddress+"/10250")
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
	}
	for _, i := range instances[1:] {
		out, err := dockerOut("exec", from[*i.InstanceId], "ip", "route", "get", *instances[0].PrivateIpAddress)
		if err != nil || !strings.Contains(out, "src "+*i.PrivateIpAddress+" ") {
			t.Errorf("%s comes from %s (%v), want its address %s", *i.InstanceId, out, err, *i.PrivateIpAddress)
		}
	}
}

// restartNode: a reboot changes nothing.
func (r *real) restartNode(t *testing.T) {
	i := r.instances(t, "ng")[0]
	docker(t, "restart", containerOf(t, r.c, *i.InstanceId))
	r.well(t, 2)
	if !slices.ContainsFunc(r.instances(t, "ng"), func(o ec2types.Instance) bool { return *o.InstanceId == *i.InstanceId }) {
		t.Errorf("%s was replaced", *i.InstanceId)
	}
	r.reach(t)
}

// stopAndStart: with its Auto Scaling group looking away, an instance comes back with
// its disk.
func (r *real) stopAndStart(t *testing.T) {
	ctx := t.Context()
	i := r.instances(t, "ng")[0]
	container := containerOf(t, r.c, *i.InstanceId)
	docker(t, "exec", container, "touch", "/var/marker")
	r.suspend(t, true)
	must(r.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{*i.InstanceId}}))(t)
	eventually(t, 30*time.Second, "the machine is halted and its node gone", func() error {
		_, err := r.k.CoreV1().Nodes().Get(ctx, *i.PrivateDnsName, metav1.GetOptions{})
		if err == nil || running(t, container) {
			return fmt.Errorf("node: %w; runs: %v", err, running(t, container))
		}
		return nil
	})
	must(r.ec2.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{*i.InstanceId}}))(t)
	r.well(t, 2)
	docker(t, "exec", container, "test", "-e", "/var/marker")
	r.suspend(t, false)
	r.look(t)
}

// suspend keeps the group from doing anything about its instances.
func (r *real) suspend(t *testing.T, suspended bool) {
	t.Helper()
	c := autoscaling.NewFromConfig(r.config())
	name := r.nodegroupNow(t, "real", "ng").Resources.AutoScalingGroups[0].Name
	if suspended {
		must(c.SuspendProcesses(t.Context(), &autoscaling.SuspendProcessesInput{AutoScalingGroupName: name}))(t)
		return
	}
	must(c.ResumeProcesses(t.Context(), &autoscaling.ResumeProcessesInput{AutoScalingGroupName: name}))(t)
}

// killNode: a machine that ends by itself is an instance that shut down, which its group
// replaces.
func (r *real) killNode(t *testing.T) {
	i := r.instances(t, "ng")[0]
	container := containerOf(t, r.c, *i.InstanceId)
	calm(t, container)
	docker(t, "kill", container)
	eventually(t, 30*time.Second, "EC2 has heard of it", func() error {
		now := r.instance(t, *i.InstanceId)
		if now.StateReason == nil {
			return fmt.Errorf("it is %s", now.State.Name)
		}
		return nil
	})
	r.replaced(t, *i.InstanceId, container)
}

// calm waits until no container is being made in a node: with version 1 of cgroups one
// that is killed then stays half dead, which is the engine's trouble and not the test's.
func calm(t *testing.T, node string) {
	t.Helper()
	quiet := 0
	eventually(t, 20*time.Second, node+" is quiet", func() error {
		if quiet++; dockerOK("exec", node, "pgrep", "runc") {
			quiet = 0
		}
		if quiet < 10 {
			return fmt.Errorf("it makes containers")
		}
		return nil
	})
}

// terminate: an instance that is terminated goes with its machine, and is replaced.
func (r *real) terminate(t *testing.T) {
	i := r.instances(t, "ng")[0]
	container := containerOf(t, r.c, *i.InstanceId)
	began := time.Now()
	must(r.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))(t)
	r.gone(t, container)
	t.Logf("a machine is gone %s after its instance's end", time.Since(began).Round(100*time.Millisecond))
	r.replaced(t, *i.InstanceId, container)
}

func (r *real) replaced(t *testing.T, instance, container string) {
	t.Helper()
	eventually(t, 30*time.Second, instance+" is terminated", func() error {
		if now := r.instance(t, instance); now.State.Name != ec2types.InstanceStateNameTerminated {
			return fmt.Errorf("it is %s", now.State.Name)
		}
		return nil
	})
	r.gone(t, container)
	r.well(t, 2)
	r.look(t)
}

func (r *real) instance(t *testing.T, id string) ec2types.Instance {
	t.Helper()
	return must(r.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))(t).Reservations[0].Instances[0]
}

func (r *real) scale(t *testing.T) {
	to := func(n int32) {
		began := time.Now()
		r.configure(t, &eks.UpdateNodegroupConfigInput{ClusterName: aws.String("real"), NodegroupName: aws.String("ng"),
			ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(10), DesiredSize: &n}})
		r.well(t, int(n))
		t.Logf("%d nodes after %s", n, time.Since(began).Round(100*time.Millisecond))
	}
	to(4)
	r.reach(t)
	to(2)
	r.look(t)
}

// crash: machines run on while there is no emulator; what it finds afterwards that is
// nobody's it removes, and what should run it starts.
func (r *real) crash(t *testing.T) {
	before := r.started(t)
	i := r.instances(t, "ng")
	r.kill()
	docker(t, "stop", containerOf(t, r.c, *i[0].InstanceId))
	orphan := strings.TrimSuffix(containerOf(t, r.c, "-control-plane"), "-control-plane") + "-i-00000000000000bad"
	docker(t, "create", "--name", orphan, "--label", "io.x-k8s.kind.cluster="+clusterLabel(r.c), "--label", "io.x-k8s.kind.role=worker",
		"--label", "ekslocal.dev/instance=i-00000000000000bad", os.Getenv("EKSLOCAL_KIND_NODE_IMAGE"))
	r.run()
	r.gone(t, orphan)
	r.well(t, 2)
	r.look(t)
	r.reach(t)
	after := r.started(t)
	other := containerOf(t, r.c, *i[1].InstanceId)
	if after[other] != before[other] {
		t.Errorf("%s was started at %s, and again at %s", other, before[other], after[other])
	}
	if len(after) != len(before) {
		t.Errorf("containers %v became %v", before, after)
	}
}

// restarted: an emulator that stops takes its machines along, and brings them back.
func (r *real) restarted(t *testing.T) {
	before := containersOf(t, r.c)
	r.stop()
	for _, c := range before {
		if running(t, c) {
			t.Errorf("%s runs on", c)
		}
	}
	began := time.Now()
	r.run()
	r.well(t, 2)
	t.Logf("the nodes are Ready %s after the emulator's start", time.Since(began).Round(100*time.Millisecond))
	r.look(t)
	r.reach(t)
	slices.Sort(before)
	if after := containersOf(t, r.c); !slices.Equal(before, slices.Sorted(slices.Values(after))) {
		t.Errorf("containers %v became %v", before, after)
	}
}

// well waits until so many nodes are Ready, all nodes there are.
func (r *real) well(t *testing.T, n int) {
	t.Helper()
	eventually(t, time.Minute, "the cluster answers", func() error {
		k, _ := r.kubernetes(t, r.c)
		_, err := k.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
		r.k = k // a token is good for minutes only
		return err
	})
	eventually(t, time.Minute, fmt.Sprintf("%d instances are nodes, Ready", n), func() error {
		want, got := map[string]bool{}, map[string]bool{}
		for _, i := range r.instances(t, "ng") {
			want["aws:///"+*i.Placement.AvailabilityZone+"/"+*i.InstanceId] = true
		}
		list, err := r.k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			n := &list.Items[i]
			got[n.Spec.ProviderID] = nodeReady(n) && n.Labels["topology.kubernetes.io/zone"] != ""
		}
		if len(want) != n || !maps.Equal(want, got) {
			return fmt.Errorf("instances %v, nodes %v", want, got)
		}
		return nil
	})
	r.nodegroupIs(t, "real", "ng", ekstypes.NodegroupStatusActive)
	eventually(t, 20*time.Second, fmt.Sprintf("status shows %d nodes", n), func() error {
		if s := r.status(); len(s.Clusters) != 1 || s.Clusters[0].Nodes.Ready != n {
			return fmt.Errorf("it shows %+v", s.Clusters)
		}
		return nil
	})
}

func (r *real) gone(t *testing.T, container string) {
	t.Helper()
	eventually(t, 20*time.Second, container+" is gone", func() error {
		if slices.Contains(containersOf(t, r.c), container) {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// started are when the cluster's containers were started last.
func (r *real) started(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range containersOf(t, r.c) {
		out[c] = docker(t, "inspect", c, "--format", "{{.State.StartedAt}}")
	}
	return out
}
