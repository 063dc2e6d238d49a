package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/api/admin"
)

// TestIPs lets a cluster run out of addresses and looks on with `ekslocal ips`.
func TestIPs(t *testing.T) {
	t.Parallel() // it waits more than it works
	w := newWorld(t, start(t))
	w.subnets = nil
	for az, cidr := range map[string]string{"a": "10.0.200.0/27", "b": "10.0.200.32/27"} {
		s := must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(region + az)}))(t)
		w.subnets = append(w.subnets, *s.Subnet.SubnetId)
	}
	k := w.kube(t, w.cluster(t, "dev"))
	w.nodegroup(t, "dev", "ng", 3)
	const replicas = 60 // in 54 addresses, some of which are not for pods
	must(k.AppsV1().Deployments("default").Create(t.Context(), deploymentOf("web", replicas), metav1.CreateOptions{}))(t)
	sh := shell{w.emulator, w.env(t.TempDir() + "/config")}
	lines := sh.watch(t)

	use := sh.atRest(t, w, k)
	for _, p := range use.Waiting {
		if p.Cluster != "dev" || p.Since.IsZero() || !strings.Contains(p.Message, "failed to assign an IP address to container") {
			t.Errorf("waiting: %+v", p)
		}
	}
	stuck := 0
	for _, n := range use.Nodes {
		if len(n.Interfaces) == 0 || len(n.Interfaces) > n.MaxInterfaces || n.MaxInterfaces != 3 || n.MaxAddresses != 27 || !slices.Contains(n.Settings, "WARM_ENI_TARGET=1") {
			t.Errorf("node: %+v", n)
		}
		if n.RetryAt != nil && strings.Contains(n.LastError, "InsufficientFreeAddressesInSubnet") {
			stuck++
		}
	}
	if len(use.Nodes) != 3 || stuck == 0 {
		t.Errorf("%d nodes, of which %d say that the subnet is full: %+v", len(use.Nodes), stuck, use.Nodes)
	}
	sh.agrees(t, use)
	sh.names(t, use, k)

	table := sh.ok(t, "ips", "--cluster", "dev")
	for _, want := range append([]string{"POD WAITING FOR AN ADDRESS (" + fmt.Sprint(len(use.Waiting)) + ")", "default/" + use.Waiting[0].Name, use.Nodes[0].Name, "WARM_ENI_TARGET=1"}, w.subnets...) {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	sh.fails(t, `there is no cluster "nope": there is dev (us-east-1, account 000000000000)`, "ips", "--cluster", "nope")
	sh.fails(t, `there is no region "mars"`, "ips", "--region", "mars")
	if out := sh.ok(t, "ips", "--region", "eu-west-1"); !strings.HasPrefix(out, "No subnets there.") {
		t.Errorf("a region without anything: %s", out)
	}

	// The watch shows the shortage, and its end.
	lines.until(t, "pods wait", func(u *admin.AddressUse) bool { return len(u.Waiting) > 0 })
	patch := []byte(`{"spec":{"replicas":10}}`)
	must(k.AppsV1().Deployments("default").Patch(t.Context(), "web", types.MergePatchType, patch, metav1.PatchOptions{}))(t)
	lines.until(t, "nobody waits, addresses cool down", func(u *admin.AddressUse) bool {
		cooling := 0
		for _, s := range u.Subnets {
			cooling += s.Held[admin.HeldPodCooling]
		}
		return len(u.Waiting) == 0 && cooling > 0
	})
}

func deploymentOf(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}}},
	}}
}

// atRest waits until every pod runs or waits, and ips, EC2 and the cluster say the
// same.
func (s shell) atRest(t *testing.T, w *world, k *kube) *admin.AddressUse {
	t.Helper()
	var use admin.AddressUse
	eventually(t, time.Minute, "the addresses are used up, and everybody agrees who has them", func() error {
		if err := json.Unmarshal([]byte(s.ok(t, "ips", "--cluster", "dev", "-o", "json")), &use); err != nil {
			return err
		}
		pods, err := k.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var waiting, listed []string
		own := 0
		for _, p := range pods.Items {
			switch {
			case p.Spec.NodeName == "":
				return errors.New("a pod is not scheduled")
			case p.Spec.HostNetwork:
			case p.Status.PodIP == "":
				waiting = append(waiting, p.Namespace+"/"+p.Name)
			default:
				own++
			}
		}
		for _, p := range use.Waiting {
			listed = append(listed, p.Namespace+"/"+p.Name)
		}
		slices.Sort(waiting)
		slices.Sort(listed)
		if !slices.Equal(waiting, listed) || len(waiting) == 0 {
			return fmt.Errorf("pods without an address: %v; ips has %v", waiting, listed)
		}
		assigned := 0
		for _, sub := range use.Subnets {
			assigned += sub.Held[admin.HeldPodAssigned]
			if err := addsUp(t, w, sub); err != nil {
				return err
			}
		}
		if assigned != own {
			return fmt.Errorf("%d pods have addresses, ips says %d", own, assigned)
		}
		return nil
	})
	return &use
}

func addsUp(t *testing.T, w *world, s admin.SubnetUse) error {
	sum := s.Free
	for _, n := range s.Held {
		sum += n
	}
	out := must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{s.ID}}))(t)
	if ec2 := int(*out.Subnets[0].AvailableIpAddressCount); sum != s.Size || s.Free != ec2 || s.Available != ec2 {
		return fmt.Errorf("EC2 says %d available, ips has %+v", ec2, s)
	}
	return nil
}

// agrees compares with /metrics and status.
func (s shell) agrees(t *testing.T, use *admin.AddressUse) {
	t.Helper()
	r := must(http.Get(s.endpoint + "/metrics"))(t)
	defer r.Body.Close()
	text := string(must(io.ReadAll(r.Body))(t))
	for _, n := range use.Nodes {
		labels := fmt.Sprintf(`{account="000000000000",cluster="dev",instance_id=%q,node=%q,region="us-east-1"}`, n.InstanceID, n.Name)
		for name, value := range map[string]int{
			"awscni_eni_max": n.MaxInterfaces, "awscni_eni_allocated": len(n.Interfaces), "awscni_ip_max": n.MaxAddresses,
			"awscni_total_ip_addresses": n.Total, "awscni_assigned_ip_addresses": n.Assigned,
		} {
			if want := fmt.Sprintf("\n%s%s %d\n", name, labels, value); !strings.Contains(text, want) {
				t.Errorf("/metrics has no %s", strings.TrimSpace(want))
			}
		}
	}
	used, total := 0, 0
	for _, sub := range use.Subnets {
		if !slices.Contains(sub.Clusters, "dev") {
			continue
		}
		used, total = used+sub.Size-sub.Free-sub.Held[admin.HeldReserved], total+sub.Size-sub.Held[admin.HeldReserved]
		if want := fmt.Sprintf("subnet_id=%q,vpc_id=%q} %d\n", sub.ID, sub.VPC, sub.Available); !strings.Contains(text, want) {
			t.Errorf("/metrics has no ekslocal_subnet_available_addresses with %s", want)
		}
	}
	if want := fmt.Sprintf("\nekslocal_pods_waiting_for_address{account=\"000000000000\",cluster=\"dev\",region=\"us-east-1\"} %d\n", len(use.Waiting)); !strings.Contains(text, want) {
		t.Errorf("/metrics has no %s", strings.TrimSpace(want))
	}
	if got := s.status().Clusters[0].IPs; got != (admin.IPs{Used: used, Total: total}) {
		t.Errorf("status says %+v, ips %d of %d", got, used, total)
	}
}

// names looks at the owner of every single address.
func (s shell) names(t *testing.T, use *admin.AddressUse, k *kube) {
	t.Helper()
	pods := map[string]string{}
	for _, p := range must(k.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}))(t).Items {
		if !p.Spec.HostNetwork && p.Status.PodIP != "" {
			pods[p.Status.PodIP] = p.Namespace + "/" + p.Name
		}
	}
	for _, sub := range use.Subnets {
		var held admin.SubnetHoldings
		if err := json.Unmarshal([]byte(s.ok(t, "ips", "--subnet", sub.ID, "-o", "json")), &held); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, h := range held.Holdings {
			if seen[h.Address] || h.Owner == "" || h.Pod != pods[h.Address] {
				t.Errorf("%+v: the pod is %q, seen before: %t", h, pods[h.Address], seen[h.Address])
			}
			seen[h.Address] = true
			delete(pods, h.Address)
		}
		if len(seen) != sub.Size-sub.Free {
			t.Errorf("%d owners of addresses in %+v", len(seen), sub)
		}
	}
	if len(pods) != 0 {
		t.Errorf("pods with addresses that nobody holds: %v", pods)
	}
	s.fails(t, `there is no subnet "subnet-nope"`, "ips", "--subnet", "subnet-nope")
}

// reports are what a watch printed.
type reports chan *admin.AddressUse

// watch runs `ekslocal ips --watch` until the test ends.
func (s shell) watch(t *testing.T) reports {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, s.binary, "ips", "--cluster", "dev", "--watch", "-o", "json")
	cmd.Env = s.env
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(reports, 1000)
	go func() {
		defer close(lines)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var u admin.AddressUse
			if json.Unmarshal(sc.Bytes(), &u) == nil {
				lines <- &u
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	return lines
}

func (r reports) until(t *testing.T, what string, ok func(*admin.AddressUse) bool) {
	t.Helper()
	for patience := time.After(patience * time.Minute); ; {
		select {
		case u, more := <-r:
			if !more {
				t.Fatalf("the watch ended before %s", what)
			}
			if ok(u) {
				return
			}
		case <-patience:
			t.Fatalf("the watch never showed that %s", what)
		}
	}
}
