package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestKindLost: somebody removes the container of a control plane, while the emulator runs
// and while it does not. The cluster is one again, with EKS's objects, its add-ons and
// its nodes, and says that users' are lost.
func TestKindLost(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	flags := []string{"--no-spare", "--backend", "kind", "--kind-node-image", image}
	w := newWorld(t, startAs(t, flags...))
	c := w.cluster(t, "real", func(in *eks.CreateClusterInput) {
		in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeConfigMap} // nodes come in by a row of aws-auth
		in.BootstrapSelfManagedAddons = aws.Bool(false)
	})
	t.Cleanup(func() {
		w.stop() // or it would make what is removed
		removeContainers(t, c)
		for _, n := range networksOf(t, w.vpc) {
			docker(t, "network", "rm", n)
		}
	})
	for _, name := range []string{"vpc-cni", "kube-proxy"} {
		must(w.eks.CreateAddon(t.Context(), &eks.CreateAddonInput{ClusterName: aws.String("real"), AddonName: &name}))(t)
	}
	w.nodegroup(t, "real", "ng", 1)
	lost := func(when string) {
		t.Helper()
		k, _ := w.kubernetes(t, c)
		must(k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "marker"}}, metav1.CreateOptions{}))(t)
		all := containersOf(t, c)
		began := time.Now()
		switch when {
		case "while it runs":
			i := slices.IndexFunc(all, func(name string) bool { return strings.HasSuffix(name, "-control-plane") })
			docker(t, "rm", "-f", "-v", all[i])
		default: // as `docker container prune` does
			w.stop()
			docker(t, append([]string{"rm", "-v"}, all...)...)
			w.restart(flags...)
		}
		eventually(t, 2*time.Minute, "the cluster is one again after it was lost "+when, func() error {
			if _, err := k.CoreV1().Namespaces().Get(t.Context(), "marker", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("a user's object: %v", err)
			}
			for _, ds := range []string{"aws-node", "kube-proxy"} {
				d, err := k.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(t.Context(), ds, metav1.GetOptions{})
				if err != nil || d.Status.NumberReady != 1 {
					return fmt.Errorf("%s: %v, %+v", ds, err, d.Status)
				}
			}
			list, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) != 1 || !nodeReady(&list.Items[0]) {
				return fmt.Errorf("%d nodes, %v", len(list.Items), err)
			}
			return nil
		})
		t.Logf("%s: after %s", when, time.Since(began).Round(100*time.Millisecond))
		now := w.clusterIs(t, "real", ekstypes.ClusterStatusActive)
		if now.Health == nil || len(now.Health.Issues) != 1 || now.Health.Issues[0].Code != ekstypes.ClusterIssueCodeInternalFailure {
			t.Errorf("the cluster's health is %+v", now.Health)
		}
		if n := len(w.instances(t, "ng")); n != 1 || len(containersOf(t, c)) != 2 {
			t.Errorf("%d instances, containers %v", n, containersOf(t, c))
		}
	}
	lost("while it runs")
	lost("while the emulator is away")
}
