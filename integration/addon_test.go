package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

var allAddons = []string{"vpc-cni", "coredns", "kube-proxy", "metrics-server", "aws-ebs-csi-driver", "eks-pod-identity-agent"}

func (w *world) addonIs(t *testing.T, cluster, name string, want ekstypes.AddonStatus) *ekstypes.Addon {
	t.Helper()
	var out *ekstypes.Addon
	eventually(t, time.Minute, "add-on "+name+" is "+string(want), func() error {
		d, err := w.eks.DescribeAddon(t.Context(), &eks.DescribeAddonInput{ClusterName: &cluster, AddonName: &name})
		if err != nil {
			return err
		}
		if out = d.Addon; out.Status != want {
			return fmt.Errorf("it is %s %v", out.Status, addonIssues(out))
		}
		return nil
	})
	return out
}

func addonIssues(a *ekstypes.Addon) (s []string) {
	for _, i := range a.Health.Issues {
		s = append(s, string(i.Code)+": "+aws.ToString(i.Message))
	}
	return s
}

func (w *world) addon(t *testing.T, cluster, name string, change ...func(*eks.CreateAddonInput)) {
	t.Helper()
	in := &eks.CreateAddonInput{ClusterName: &cluster, AddonName: &name}
	for _, f := range change {
		f(in)
	}
	if a := must(w.eks.CreateAddon(t.Context(), in))(t).Addon; a.Status != ekstypes.AddonStatusCreating {
		t.Errorf("a new add-on is %s, want CREATING", a.Status)
	}
}

// updateAddon waits for an update's end.
func (w *world) updateAddon(t *testing.T, want ekstypes.UpdateStatus, in *eks.UpdateAddonInput) *ekstypes.Update {
	t.Helper()
	u := must(w.eks.UpdateAddon(t.Context(), in))(t).Update
	return w.updated(t, &eks.DescribeUpdateInput{Name: in.ClusterName, AddonName: in.AddonName, UpdateId: u.Id}, want)
}

func coreDNS(t *testing.T, k kubernetes.Interface) *appsv1.Deployment {
	t.Helper()
	return must(k.AppsV1().Deployments("kube-system").Get(t.Context(), "coredns", metav1.GetOptions{}))(t)
}

// TestAddons takes every add-on through its life on a cluster that has them
// self-managed.
func TestAddons(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	k, _ := w.kubernetes(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.35") }))

	// The self-managed ones are just what EKS would install: no conflict, no change.
	var before *appsv1.Deployment
	eventually(t, 30*time.Second, "the cluster has what new ones have", func() (err error) {
		before, err = k.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		return err
	})
	for _, name := range allAddons {
		w.addon(t, "dev", name, func(in *eks.CreateAddonInput) { in.ResolveConflicts = ekstypes.ResolveConflictsNone })
	}
	for _, name := range []string{"coredns", "metrics-server"} { // without nodes
		a := w.addonIs(t, "dev", name, ekstypes.AddonStatusDegraded)
		if len(a.Health.Issues) != 1 || a.Health.Issues[0].Code != ekstypes.AddonIssueCodeInsufficientNumberOfReplicas {
			t.Errorf("%s: health %v", name, addonIssues(a))
		}
	}
	w.nodegroup(t, "dev", "ng", 2)
	active := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if a := w.addonIs(t, "dev", name, ekstypes.AddonStatusActive); len(a.Health.Issues) != 0 || aws.ToString(a.AddonVersion) == "" {
				t.Errorf("%s: %v %v", name, aws.ToString(a.AddonVersion), addonIssues(a))
			}
		}
	}
	active("vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent")
	if after := coreDNS(t, k); after.Generation != before.Generation {
		t.Errorf("the managed coredns differs from the self-managed one: generation %d, before %d", after.Generation, before.Generation)
	}

	t.Run("configuration values", func(t *testing.T) { w.configureAddons(t, k) })
	t.Run("conflicts", func(t *testing.T) { w.conflictAddons(t, k) })
	t.Run("version", func(t *testing.T) {
		old := w.addonIs(t, "dev", "kube-proxy", ekstypes.AddonStatusActive)
		versions := must(w.eks.DescribeAddonVersions(ctx, &eks.DescribeAddonVersionsInput{AddonName: aws.String("kube-proxy"), KubernetesVersion: aws.String("1.35")}))(t)
		var other string
		for _, v := range versions.Addons[0].AddonVersions {
			if *v.AddonVersion != *old.AddonVersion {
				other = *v.AddonVersion
			}
		}
		w.updateAddon(t, ekstypes.UpdateStatusSuccessful, &eks.UpdateAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String("kube-proxy"), AddonVersion: &other})
		a := w.addonIs(t, "dev", "kube-proxy", ekstypes.AddonStatusActive)
		ds := must(k.AppsV1().DaemonSets("kube-system").Get(ctx, "kube-proxy", metav1.GetOptions{}))(t)
		release, _, _ := strings.Cut(other, "-")
		if image := ds.Spec.Template.Spec.Containers[0].Image; *a.AddonVersion != other || !strings.Contains(image, release) {
			t.Errorf("version %s with %s after an update to %s", *a.AddonVersion, image, other)
		}
	})
	active("metrics-server", "aws-ebs-csi-driver") // whose probes begin late
	t.Run("deletion", func(t *testing.T) { w.deleteAddons(t, k) })
}

func (w *world) configureAddons(t *testing.T, k kubernetes.Interface) {
	w.updateAddon(t, ekstypes.UpdateStatusSuccessful, &eks.UpdateAddonInput{
		ClusterName: aws.String("dev"), AddonName: aws.String("coredns"), ConfigurationValues: aws.String(`{"replicaCount":3,"resources":{"limits":{"memory":"200Mi"}}}`),
	})
	if d := coreDNS(t, k); *d.Spec.Replicas != 3 || d.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String() != "200Mi" {
		t.Errorf("%+v", d.Spec)
	}
	w.updateAddon(t, ekstypes.UpdateStatusSuccessful, &eks.UpdateAddonInput{
		ClusterName: aws.String("dev"), AddonName: aws.String("vpc-cni"), ConfigurationValues: aws.String("env:\n  WARM_IP_TARGET: \"7\"\n"),
	})
	ds := must(k.AppsV1().DaemonSets("kube-system").Get(t.Context(), "aws-node", metav1.GetOptions{}))(t)
	env := ""
	for _, c := range ds.Spec.Template.Spec.Containers {
		for _, e := range c.Env {
			if c.Name == "aws-node" && e.Name == "WARM_IP_TARGET" {
				env = e.Value
			}
		}
	}
	if env != "7" {
		t.Errorf("WARM_IP_TARGET=%q", env)
	}
	_, err := w.eks.UpdateAddon(t.Context(), &eks.UpdateAddonInput{
		ClusterName: aws.String("dev"), AddonName: aws.String("coredns"), ConfigurationValues: aws.String(`{"nonsense":1}`),
	})
	if errorAs[*ekstypes.InvalidParameterException](err) == nil {
		t.Errorf("values that are not in the schema: %v", err)
	}
}

// conflictAddons changes what EKS manages, as kubectl edit does.
func (w *world) conflictAddons(t *testing.T, k kubernetes.Interface) {
	patch := []byte(`{"spec":{"template":{"spec":{"priorityClassName":"system-node-critical","containers":[{"name":"coredns","resources":{"limits":{"memory":"333Mi"}}}]}}}}`)
	must(k.AppsV1().Deployments("kube-system").Patch(t.Context(), "coredns", types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}))(t)
	update := func(want ekstypes.UpdateStatus, mode ekstypes.ResolveConflicts, replicas int) *ekstypes.Update {
		t.Helper()
		return w.updateAddon(t, want, &eks.UpdateAddonInput{
			ClusterName: aws.String("dev"), AddonName: aws.String("coredns"), ResolveConflicts: mode,
			ConfigurationValues: aws.String(fmt.Sprintf(`{"replicaCount":%d,"resources":{"limits":{"memory":"200Mi"}}}`, replicas)),
		})
	}
	check := func(mode string, replicas int32, memory string) {
		t.Helper()
		if d := coreDNS(t, k); *d.Spec.Replicas != replicas || d.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String() != memory {
			t.Errorf("after %s: %d replicas, limits %v, want %d and %s", mode, *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Resources.Limits, replicas, memory)
		}
	}
	u := update(ekstypes.UpdateStatusFailed, ekstypes.ResolveConflictsNone, 2)
	if u.Errors[0].ErrorCode != ekstypes.ErrorCodeConfigurationConflict || !strings.Contains(*u.Errors[0].ErrorMessage, "resources.limits.memory") {
		t.Errorf("errors %s %s", u.Errors[0].ErrorCode, *u.Errors[0].ErrorMessage)
	}
	w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusUpdateFailed)
	check("NONE", 3, "333Mi")
	update(ekstypes.UpdateStatusSuccessful, ekstypes.ResolveConflictsPreserve, 2)
	w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusActive)
	check("PRESERVE", 2, "333Mi")
	update(ekstypes.UpdateStatusSuccessful, ekstypes.ResolveConflictsOverwrite, 2)
	w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusActive)
	check("OVERWRITE", 2, "200Mi")
}

func (w *world) deleteAddons(t *testing.T, k kubernetes.Interface) {
	for _, name := range allAddons {
		a := must(w.eks.DeleteAddon(t.Context(), &eks.DeleteAddonInput{ClusterName: aws.String("dev"), AddonName: &name, Preserve: name == "coredns"}))(t).Addon
		if a.Status != ekstypes.AddonStatusDeleting {
			t.Errorf("a deleted add-on is %s", a.Status)
		}
	}
	eventually(t, 30*time.Second, "there are no add-ons", func() error {
		left := must(w.eks.ListAddons(t.Context(), &eks.ListAddonsInput{ClusterName: aws.String("dev")}))(t).Addons
		if len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
	if d := coreDNS(t, k); d.DeletionTimestamp != nil {
		t.Error("the preserved coredns is being deleted")
	}
	for _, name := range []string{"aws-node", "kube-proxy", "ebs-csi-node", "eks-pod-identity-agent"} {
		eventually(t, 20*time.Second, name+" is gone", func() error {
			_, err := k.AppsV1().DaemonSets("kube-system").Get(t.Context(), name, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("it is there"), err)
			}
			return nil
		})
	}
}

// TestNoSelfManagedAddons makes a cluster without a CNI: nodes come up NotReady
// until there is one.
func TestNoSelfManagedAddons(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, "--join-timeout", "8s"))
	ctx := t.Context()
	k, _ := w.kubernetes(t, w.cluster(t, "bare", func(in *eks.CreateClusterInput) { in.BootstrapSelfManagedAddons = aws.Bool(false) }))
	w.startNodegroup(t, "bare", "ng", 1)
	var node *corev1.Node
	eventually(t, 30*time.Second, "the node registers", func() error {
		if ns := nodesOf(t, k, "ng"); len(ns) == 1 {
			node = &ns[0]
			return nil
		}
		return fmt.Errorf("no node")
	})
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && (c.Status != corev1.ConditionFalse || !strings.Contains(c.Message, "cni plugin not initialized")) {
			t.Errorf("condition %+v", c)
		}
	}
	ng := w.nodegroupIs(t, "bare", "ng", ekstypes.NodegroupStatusCreateFailed)
	if is := ng.Health.Issues; len(is) != 1 || is[0].Code != ekstypes.NodegroupIssueCodeNodeCreationFailure || *is[0].Message != "Unhealthy nodes in the kubernetes cluster" {
		t.Errorf("health %+v", ng.Health)
	}
	ds := must(k.AppsV1().DaemonSets("kube-system").List(ctx, metav1.ListOptions{}))(t)
	deps := must(k.AppsV1().Deployments("kube-system").List(ctx, metav1.ListOptions{}))(t)
	if len(ds.Items)+len(deps.Items) != 0 {
		t.Errorf("it has %d DaemonSets and %d Deployments", len(ds.Items), len(deps.Items))
	}
	w.restart("--no-spare") // the next group is to come up, however long that takes
	w.startNodegroup(t, "bare", "later", 1)
	w.addon(t, "bare", "vpc-cni")
	w.nodegroupIs(t, "bare", "later", ekstypes.NodegroupStatusActive)
	w.addonIs(t, "bare", "vpc-cni", ekstypes.AddonStatusActive)
	readyNodes(t, k, 2)
}
