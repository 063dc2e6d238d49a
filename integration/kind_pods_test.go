package integration

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kindPods is a kind cluster with two real nodes, and kubectl for it.
type kindPods struct {
	*world
	*kube
	person
	cluster *ekstypes.Cluster
	nodes   []corev1.Node
}

// TestKindPods looks at pods that run on real nodes: their addresses are the VPC's, and
// everything reaches them. make test-kind provides the engine and the node image.
func TestKindPods(t *testing.T) {
	t.Parallel()
	k := newKindPods(t, 2)
	t.Run("add-ons", k.addons)
	k.workloads(t)
	t.Run("credentials", k.credentials)
	t.Run("reach", k.reach)
	t.Run("streams", k.streams)
	t.Run("host port", k.hostPort)
	t.Run("pod identity", k.podIdentity)
	t.Run("settings", k.settings)
	t.Run("static", k.static)
	t.Run("emulator away", k.away)
	t.Run("node restarts", k.nodeRestarts)
	t.Run("no address left", k.exhaustion)
}

// podReady waits for a pod's containers.
func podReady(p *corev1.Pod) bool {
	return podCondition(p, corev1.PodReady).Status == corev1.ConditionTrue
}

// addons: EKS's own manifests run as they are.
func (k *kindPods) addons(t *testing.T) {
	eventually(t, 3*time.Minute, "all pods of the default add-ons are ready", func() error {
		pods := must(k.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{}))(t).Items
		counts := map[string]int{}
		for _, p := range pods {
			if !podReady(&p) {
				return fmt.Errorf("%s is not: %s", p.Name, p.Status.Phase)
			}
			counts[p.Labels["k8s-app"]]++
		}
		if counts["aws-node"] != 2 || counts["kube-proxy"] != 2 || counts["kube-dns"] != 2 {
			return fmt.Errorf("%v", counts)
		}
		return nil
	})
	for _, name := range []string{"vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent"} {
		k.addon(t, "real", name)
	}
	for _, name := range []string{"vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent"} {
		eventually(t, 2*time.Minute, name+" is ACTIVE", func() error {
			a := must(k.eks.DescribeAddon(t.Context(), &eks.DescribeAddonInput{ClusterName: k.cluster.Name, AddonName: &name}))(t).Addon
			if a.Status != ekstypes.AddonStatusActive {
				return fmt.Errorf("it is %s %v", a.Status, addonIssues(a))
			}
			return nil
		})
	}
}

const kindWorkload = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  hostNetwork: %[3]t
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: docker.io/library/busybox:latest
      imagePullPolicy: IfNotPresent
      command: [sh, -c, "cd /tmp && hostname >index.html && exec httpd -f -v -p %[4]d"]
`

// workloads starts a pod on each node, and one on the host network.
func (k *kindPods) workloads(t *testing.T) {
	for i, name := range []string{"one", "two"} {
		k.ok(t, fmt.Sprintf(kindWorkload, name, k.nodes[i].Name, false, 80), "apply", "-f", "-")
	}
	k.ok(t, fmt.Sprintf(kindWorkload, "host", k.nodes[1].Name, true, 8099), "apply", "-f", "-")
	k.ok(t, "", "expose", "pod", "two", "--name", "two", "--port", "80")
	for _, name := range []string{"one", "two", "host"} {
		k.kindPod(t, name)
	}
}

// kindPod waits longer than simulated pods need.
func (k *kindPods) kindPod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, 2*time.Minute, name+" is ready", func() error {
		pod = must(k.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{}))(t)
		if !podReady(pod) {
			return fmt.Errorf("it is %s; %v", pod.Status.Phase, k.sandboxEvents(t, name))
		}
		return nil
	})
	return pod
}

// sandboxEvents are what has been said of a pod's sandbox so far.
func (k *kindPods) sandboxEvents(t *testing.T, pod string) (out []string) {
	t.Helper()
	for _, e := range must(k.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedCreatePodSandBox,involvedObject.name=" + pod}))(t).Items {
		out = append(out, e.Message)
	}
	return out
}

// fetch asks an address over HTTP, from within a pod.
func (k *kindPods) fetch(t *testing.T, from, host string, port int) error {
	out, err := k.person.kubectl(t, "", "exec", from, "--", "sh", "-c", fmt.Sprintf("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 %s %d", host, port))
	if err == nil && !strings.Contains(out, "200 OK") {
		err = errors.New("no answer")
	}
	if err != nil {
		return fmt.Errorf("%s does not reach %s:%d: %w: %s", from, host, port, err, out)
	}
	return nil
}

// reach: pods have addresses of their node's subnet, and reach each other, services,
// names, nodes and the world's own address of the cluster.
func (k *kindPods) reach(t *testing.T) {
	one, two, host := k.kindPod(t, "one"), k.kindPod(t, "two"), k.kindPod(t, "host")
	held := map[string]bool{}
	for i := range k.nodes {
		for _, e := range k.podInterfaces(t, &k.nodes[i]) {
			for _, a := range e.PrivateIpAddresses {
				held[*a.PrivateIpAddress] = !*a.Primary
			}
		}
	}
	for _, p := range []*corev1.Pod{one, two} {
		if !held[p.Status.PodIP] {
			t.Errorf("%s has %s, which is no secondary address of a node's interface", p.Name, p.Status.PodIP)
		}
	}
	if host.Status.PodIP != host.Status.HostIP {
		t.Errorf("the pod on the host network has %s, its node %s", host.Status.PodIP, host.Status.HostIP)
	}
	service := must(k.CoreV1().Services("default").Get(t.Context(), "two", metav1.GetOptions{}))(t).Spec.ClusterIP
	for _, to := range []struct {
		what, from, host string
		port             int
	}{
		{"a pod on another node", "one", two.Status.PodIP, 80},
		{"back", "two", one.Status.PodIP, 80},
		{"a pod on another node from a host network", "host", one.Status.PodIP, 80},
		{"a pod on its own node from the host network", "host", two.Status.PodIP, 80},
		{"another node", "one", host.Status.HostIP, 8099},
		{"its own node", "two", host.Status.HostIP, 8099},
		{"a service", "one", service, 80},
		{"a service of its own", "two", service, 80},
		{"a name", "one", "two.default.svc.cluster.local", 80},
	} {
		eventually(t, time.Minute, to.what+" is reached", func() error { return k.fetch(t, to.from, to.host, to.port) })
	}
	out := k.ok(t, "", "exec", "two", "--", "ip", "route")
	if !strings.Contains(out, "default via 169.254.1.1 dev eth0") {
		t.Errorf("routes of a pod: %s", out)
	}
}

// streams: kubectl comes to containers and ports.
func (k *kindPods) streams(t *testing.T) {
	if out := k.ok(t, "", "exec", "one", "--", "hostname"); strings.TrimSpace(out) != "one" {
		t.Errorf("exec: %q", out)
	}
	eventually(t, 30*time.Second, "the log", func() error {
		if out := k.ok(t, "", "logs", "two"); !strings.Contains(out, "response:200") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	if out := k.ok(t, "", "logs", "-n", "kube-system", "daemonset/aws-node", "-c", "aws-node"); !strings.Contains(out, "Successfully copied CNI plugin binary and config file.") {
		t.Errorf("the log of aws-node: %s", out)
	}
	forward := exec.CommandContext(t.Context(), "kubectl", "port-forward", "pod/two", ":80")
	forward.Env = k.env
	stdout := must(forward.StdoutPipe())(t)
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = forward.Process.Kill(); _ = forward.Wait() }()
	buf := make([]byte, 256)
	n := must(stdout.Read(buf))(t)
	m := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindSubmatch(buf[:n])
	if m == nil {
		t.Fatalf("port-forward says %q", buf[:n])
	}
	out, err := runTool(t, k.env, "", "curl", "-sS", "--max-time", "10", "http://127.0.0.1:"+string(m[1])+"/")
	if err != nil || strings.TrimSpace(out) != "two" {
		t.Errorf("port-forward: %q, %v", out, err)
	}
}

// hostPort: the node's own address leads to a pod that has a port of it.
func (k *kindPods) hostPort(t *testing.T) {
	pod := strings.Replace(fmt.Sprintf(kindWorkload, "ported", k.nodes[1].Name, false, 80), "      command:", "      ports: [{containerPort: 80, hostPort: 8098}]\n      command:", 1)
	k.ok(t, pod, "apply", "-f", "-")
	at := k.kindPod(t, "ported").Status.HostIP
	eventually(t, time.Minute, "the host port is reached", func() error { return k.fetch(t, "one", at, 8098) })
	k.ok(t, "", "delete", "pod", "ported", "--wait=false")
}

const kindIdentity = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  serviceAccountName: %[2]s
  terminationGracePeriodSeconds: 0
  containers:
    - name: c
      image: docker.io/library/busybox:latest
      imagePullPolicy: IfNotPresent
      command: [sleep, "1000000"]
      volumeMounts: [{name: token, mountPath: /token}]
  volumes:
    - name: token
      projected: {sources: [{serviceAccountToken: {path: token, audience: pods.eks.amazonaws.com}}]}
`

// podIdentity: the agent of a node gives a pod the role that its service account has, and
// others none.
func (k *kindPods) podIdentity(t *testing.T) {
	ctx := t.Context()
	role := must(k.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("reader"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`)}))(t).Role.Arn
	must(k.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: k.cluster.Name, Namespace: aws.String("default"), ServiceAccount: aws.String("reader"), RoleArn: role,
	}))(t)
	k.ok(t, "", "create", "serviceaccount", "reader")
	for pod, account := range map[string]string{"reader": "reader", "nobody": "default"} {
		k.ok(t, fmt.Sprintf(kindIdentity, pod, account), "apply", "-f", "-")
		k.kindPod(t, pod)
	}
	const ask = `printf "GET /v1/credentials HTTP/1.0\r\nAuthorization: $(cat /token/token)\r\n\r\n" | nc -w 5 169.254.170.23 80`
	eventually(t, time.Minute, "the agent gives credentials", func() error {
		out, err := k.person.kubectl(t, "", "exec", "reader", "--", "sh", "-c", ask)
		if err != nil || !strings.Contains(out, "200 OK") || !strings.Contains(out, `"AccessKeyId":"ASIA`) {
			return fmt.Errorf("%s: %v", out, err)
		}
		return nil
	})
	if out := k.ok(t, "", "exec", "nobody", "--", "sh", "-c", ask); !strings.Contains(out, "No pod identity association found") {
		t.Errorf("without an association: %s", out)
	}
	k.ok(t, "", "delete", "pod", "reader", "nobody", "--wait=false")
}

// settings of aws-node take effect in what EC2 says.
func (k *kindPods) settings(t *testing.T) {
	const ds = "daemonset/aws-node"
	k.ok(t, "", "set", "env", ds, "-n", "kube-system", "WARM_IP_TARGET=3")
	k.ok(t, "", "rollout", "status", ds, "-n", "kube-system", "--timeout=120s")
	for _, n := range k.nodes {
		eventually(t, 90*time.Second, "WARM_IP_TARGET", func() error {
			if got, want := secondary(k.podInterfaces(t, &n)), k.podsWithAddresses(t, n.Name)+3; got != want {
				return fmt.Errorf("%s has %d addresses, want %d", n.Name, got, want)
			}
			return nil
		})
	}
	eventually(t, time.Minute, "ipamd.log on the node", func() error {
		return k.onNode(t, 0, "grep -q 'Using WARM_IP_TARGET 3' /var/log/aws-routed-eni/ipamd.log")
	})
	for i := range k.nodes {
		if err := k.fetch(t, "one", k.kindPod(t, "two").Status.PodIP, 80); err != nil {
			t.Errorf("after a rollout of aws-node, node %d: %v", i, err)
		}
	}
	k.ok(t, "", "set", "env", ds, "-n", "kube-system", "IP_COOLDOWN_PERIOD=30s")
	eventually(t, 2*time.Minute, "aws-node refuses a setting", func() error {
		for _, p := range must(k.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=aws-node"}))(t).Items {
			for _, s := range p.Status.ContainerStatuses {
				if s.Name == "aws-node" && s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 1 {
					out, err := k.person.kubectl(t, "", "logs", "-n", "kube-system", p.Name, "-c", "aws-node", "--previous")
					if err == nil && strings.Contains(out, "IP_COOLDOWN_PERIOD MUST be a valid positive integer. 30s is invalid") {
						return nil
					}
				}
			}
		}
		return errors.New("none has")
	})
	k.ok(t, "", "set", "env", ds, "-n", "kube-system", "IP_COOLDOWN_PERIOD-", "WARM_IP_TARGET-")
	k.ok(t, "", "rollout", "status", ds, "-n", "kube-system", "--timeout=120s")
}
