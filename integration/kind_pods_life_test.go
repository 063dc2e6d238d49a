package integration

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// container is the one of a node.
func (k *kindPods) container(t *testing.T, node int) string {
	t.Helper()
	id := k.nodes[node].Spec.ProviderID
	id = id[strings.LastIndexByte(id, '/')+1:]
	for _, name := range containersOf(t, k.cluster) {
		if strings.HasSuffix(name, id) {
			return name
		}
	}
	t.Fatalf("no container of %s", id)
	return ""
}

func (k *kindPods) onNode(t *testing.T, node int, command string) error {
	out, err := exec.CommandContext(t.Context(), "docker", "exec", k.container(t, node), "sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}

// static: a pod of a node's own manifest has an address of the VPC, although its sandbox
// has another UID than its mirror.
func (k *kindPods) static(t *testing.T) {
	const manifest = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
  {"name": "c", "image": "docker.io/library/busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"]}]}}`
	if err := k.onNode(t, 0, "mkdir -p /etc/kubernetes/manifests && echo '"+manifest+"' >/etc/kubernetes/manifests/static.yaml"); err != nil {
		t.Fatal(err)
	}
	name := "static-" + k.nodes[0].Name
	eventually(t, time.Minute, "the static pod is ready", func() error {
		p, err := k.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && (!podReady(p) || !strings.HasPrefix(p.Status.PodIP, "10.0.")) {
			err = fmt.Errorf("it is %s with %q; %v", p.Status.Phase, p.Status.PodIP, k.sandboxEvents(t, name))
		}
		return err
	})
	if err := k.onNode(t, 0, "rm /etc/kubernetes/manifests/static.yaml"); err != nil {
		t.Error(err)
	}
	eventually(t, time.Minute, "the static pod is gone", func() error {
		if _, err := k.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

// away: a pod may end while no emulator answers, and pods that run keep their addresses
// when it is back, also where the settings of aws-node have changed meanwhile.
func (k *kindPods) away(t *testing.T) {
	before := map[string]string{}
	for _, name := range []string{"one", "two"} {
		before[name] = k.kindPod(t, name).Status.PodIP
	}
	k.ok(t, fmt.Sprintf(kindWorkload, "mortal", k.nodes[0].Name, false, 80), "apply", "-f", "-")
	freed := k.kindPod(t, "mortal").Status.PodIP
	k.emulator.kill()
	// The API server runs on; only tokens of AWS need the emulator.
	cp := strings.TrimSuffix(k.container(t, 0), k.container(t, 0)[strings.LastIndex(k.container(t, 0), "-i-"):]) + "-control-plane"
	admin := func(args ...string) ([]byte, error) {
		return exec.CommandContext(t.Context(), "docker", append([]string{"exec", cp, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, args...)...).CombinedOutput()
	}
	if out, err := admin("delete", "pod", "mortal", "--timeout=60s"); err != nil {
		t.Errorf("a pod does not end without the emulator: %v: %s", err, out)
	}
	if out, err := admin("set", "env", "daemonset/aws-node", "-n=kube-system", "-c=aws-node", "ENABLE_PREFIX_DELEGATION=true"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k.emulator.run()
	k.clusterIs(t, "real", ekstypes.ClusterStatusActive)
	k.kube = k.world.kube(t, k.cluster)
	eventually(t, time.Minute, "the cluster answers again", func() error {
		_, err := k.CoreV1().Pods("default").Get(t.Context(), "one", metav1.GetOptions{})
		return err
	})
	k.ok(t, "", "rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=2m")
	for name, ip := range before {
		if p := k.kindPod(t, name); p.Status.PodIP != ip || p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("%s had %s and has %s, %d restarts", name, ip, p.Status.PodIP, p.Status.ContainerStatuses[0].RestartCount)
		}
	}
	k.ok(t, fmt.Sprintf(kindWorkload, "late", k.nodes[0].Name, false, 80), "apply", "-f", "-")
	late := k.kindPod(t, "late")
	for name, ip := range before {
		if late.Status.PodIP == ip {
			t.Errorf("the new pod has the address of %s", name)
		}
	}
	t.Logf("an ended pod had %s, a new one has %s", freed, late.Status.PodIP)
	if err := k.fetch(t, "two", late.Status.PodIP, 80); err != nil {
		t.Error(err)
	}
	for name, ip := range before { // nor has it gone back to EC2
		enis := must(k.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
			Filters: []ec2types.Filter{{Name: aws.String("addresses.private-ip-address"), Values: []string{ip}}},
		}))(t).NetworkInterfaces
		if len(enis) != 1 {
			t.Errorf("%d interfaces have the address %s of %s", len(enis), ip, name)
		}
	}
	k.ok(t, "", "delete", "pod", "late", "--wait=false")
	k.ok(t, "", "set", "env", "daemonset/aws-node", "-n", "kube-system", "-c", "aws-node", "ENABLE_PREFIX_DELEGATION=false")
	k.ok(t, "", "rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=2m")
}

// nodeRestarts: the pods of a node that starts again are back, with routes that work.
func (k *kindPods) nodeRestarts(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "docker", "restart", "-t", "5", k.container(t, 1)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, 3*time.Minute, "the pod of the node is back", func() error {
		p := must(k.CoreV1().Pods("default").Get(t.Context(), "two", metav1.GetOptions{}))(t)
		if !podReady(p) || p.Status.ContainerStatuses[0].RestartCount == 0 {
			return fmt.Errorf("%s, %+v", p.Status.Phase, p.Status.ContainerStatuses)
		}
		return k.fetch(t, "one", p.Status.PodIP, 80)
	})
	eventually(t, time.Minute, "the name is reached", func() error { return k.fetch(t, "one", "two.default.svc.cluster.local", 80) })
	if err := k.fetch(t, "two", k.kindPod(t, "one").Status.PodIP, 80); err != nil {
		t.Error(err)
	}
}

// exhaustion: pods for which a small subnet has no address say so in EKS's words, and run
// when others have gone.
func (k *kindPods) exhaustion(t *testing.T) {
	small := k.small(t, "10.0.101.0/28", "a")
	k.startNodegroup(t, "real", "small", 1, func(in *eks.CreateNodegroupInput) { in.Subnets = []string{small} })
	eventually(t, 4*time.Minute, "the node group is ACTIVE", func() error {
		if s := k.nodegroupNow(t, "real", "small").Status; s != ekstypes.NodegroupStatusActive {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	const pods = 12
	k.ok(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 12
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      nodeSelector: {eks.amazonaws.com/nodegroup: small}
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "docker.io/library/busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1000000"]}]
`, "apply", "-f", "-")
	var waits, runs []string
	count := func() {
		waits, runs = nil, nil
		for _, p := range must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=many"}))(t).Items {
			if podReady(&p) {
				runs = append(runs, p.Name)
			} else if p.DeletionTimestamp == nil {
				waits = append(waits, p.Name)
			}
		}
	}
	const words = `plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`
	eventually(t, 3*time.Minute, "pods have no address", func() error {
		count()
		if len(runs) < 5 || len(waits)+len(runs) != pods {
			return fmt.Errorf("%d run, %d wait", len(runs), len(waits))
		}
		for _, name := range waits {
			if !anyContains(k.sandboxEvents(t, name), words) {
				return fmt.Errorf("events of %s: %q", name, k.sandboxEvents(t, name))
			}
		}
		if len(waits) == 0 {
			return errors.New("none waits")
		}
		return nil
	})
	if out := runCLI(t, k.emulator, k.env, "ips"); !strings.Contains(out, waits[0]) {
		t.Errorf("ips does not show that %s waits: %s", waits[0], out)
	}
	t.Logf("%d pods run, %d wait", len(runs), len(waits))
	k.ok(t, "", "scale", "deployment", "many", fmt.Sprintf("--replicas=%d", len(runs)-1))
	eventually(t, 3*time.Minute, "the others run", func() error {
		count()
		if len(waits) > 0 || len(runs) == 0 {
			return fmt.Errorf("%d run, %d wait", len(runs), len(waits))
		}
		return nil
	})
}
