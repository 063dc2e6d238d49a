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
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// TestAddonCatalog takes the rest of the catalog, and what refuses add-ons, to a
// cluster with nodes.
func TestAddonCatalog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	k, _ := w.kubernetes(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.35") }))
	w.nodegroup(t, "dev", "ng", 2)

	t.Run("adoption", func(t *testing.T) { w.adoptAddon(t, k) })
	t.Run("prerequisite", func(t *testing.T) { w.addonPrerequisite(t, k) })
	t.Run("role and namespace", func(t *testing.T) { w.addonPlaces(t, k) })
	t.Run("admission", func(t *testing.T) { w.refuseAddon(t, k) })
	t.Run("health", func(t *testing.T) { w.addonHealth(t, k) })
	t.Run("all", func(t *testing.T) {
		var names []string
		all := must(w.eks.DescribeAddonVersions(t.Context(), &eks.DescribeAddonVersionsInput{KubernetesVersion: aws.String("1.35")}))(t)
		for _, a := range all.Addons {
			if _, err := w.eks.DescribeAddon(t.Context(), &eks.DescribeAddonInput{ClusterName: aws.String("dev"), AddonName: a.AddonName}); err == nil {
				continue
			}
			names = append(names, *a.AddonName)
			w.addon(t, "dev", *a.AddonName)
		}
		for _, name := range names {
			w.addonIs(t, "dev", name, ekstypes.AddonStatusActive)
		}
		if len(names) < 10 {
			t.Errorf("only %v were left to install", names)
		}
		for _, ds := range []string{"kube-system/efs-csi-node", "kube-system/s3-csi-node", "amazon-cloudwatch/fluent-bit", "amazon-guardduty/aws-guardduty-agent"} {
			namespace, name, _ := strings.Cut(ds, "/")
			if d, err := k.AppsV1().DaemonSets(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil || d.Status.NumberReady != 2 {
				t.Errorf("%s: %v", ds, err)
			}
		}
	})
}

// adoptAddon makes an add-on of a self-managed one that a user changed: nothing is
// touched until conflicts may be overwritten.
func (w *world) adoptAddon(t *testing.T, k kubernetes.Interface) {
	cms := k.CoreV1().ConfigMaps("kube-system")
	eventually(t, 2*time.Minute, "coredns is there", func() error {
		_, err := cms.Get(t.Context(), "coredns", metav1.GetOptions{})
		return err
	})
	must(cms.Patch(t.Context(), "coredns", types.MergePatchType, []byte(`{"data":{"Corefile":".:53 {}"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"}))(t)
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"coredns","image":"mine"}]}}}}`)
	must(k.AppsV1().Deployments("kube-system").Patch(t.Context(), "coredns", types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}))(t)
	before := coreDNS(t, k)

	values := aws.String(`{"replicaCount":3}`)
	w.addon(t, "dev", "coredns", func(in *eks.CreateAddonInput) {
		in.ResolveConflicts, in.ConfigurationValues = ekstypes.ResolveConflictsNone, values
	})
	a := w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusCreateFailed)
	want := "ConfigurationConflict: Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts:\n" +
		"ConfigMap coredns - .data.Corefile\n" +
		`Deployment.apps coredns - .spec.template.spec.containers[name="coredns"].image`
	if got := addonIssues(a); len(got) != 1 || got[0] != want {
		t.Errorf("health %q\nwant %q", got, want)
	}
	if after := coreDNS(t, k); after.Generation != before.Generation || *after.Spec.Replicas != 2 {
		t.Errorf("the Deployment was changed: generation %d to %d, %d replicas", before.Generation, after.Generation, *after.Spec.Replicas)
	}
	w.updateAddon(t, ekstypes.UpdateStatusSuccessful, &eks.UpdateAddonInput{
		ClusterName: aws.String("dev"), AddonName: aws.String("coredns"), ResolveConflicts: ekstypes.ResolveConflictsOverwrite, ConfigurationValues: values,
	})
	if after := coreDNS(t, k); *after.Spec.Replicas != 3 || after.Spec.Template.Spec.Containers[0].Image == "mine" {
		t.Errorf("OVERWRITE left %d replicas of %s", *after.Spec.Replicas, after.Spec.Template.Spec.Containers[0].Image)
	}
}

// addonPrerequisite installs ADOT before and after what it needs.
func (w *world) addonPrerequisite(t *testing.T, k kubernetes.Interface) {
	w.addon(t, "dev", "adot")
	a := w.addonIs(t, "dev", "adot", ekstypes.AddonStatusCreateFailed)
	if is := a.Health.Issues; len(is) != 1 || is[0].Code != ekstypes.AddonIssueCodeK8sResourceNotFound || !strings.Contains(*is[0].Message, "cert-manager.io") {
		t.Errorf("health %v", addonIssues(a))
	}
	w.addon(t, "dev", "cert-manager")
	w.addonIs(t, "dev", "cert-manager", ekstypes.AddonStatusActive)
	w.updateAddon(t, ekstypes.UpdateStatusSuccessful, &eks.UpdateAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String("adot")})
	w.addonIs(t, "dev", "adot", ekstypes.AddonStatusActive)
	must(k.AppsV1().Deployments("opentelemetry-operator-system").Get(t.Context(), "opentelemetry-operator", metav1.GetOptions{}))(t)
}

// addonPlaces checks the service account's role and a namespace of the user's.
func (w *world) addonPlaces(t *testing.T, k kubernetes.Interface) {
	role := w.role(t, "external-dns", "pods.eks.amazonaws.com")
	w.addon(t, "dev", "external-dns", func(in *eks.CreateAddonInput) {
		in.ServiceAccountRoleArn = &role
		in.NamespaceConfig = &ekstypes.AddonNamespaceConfigRequest{Namespace: aws.String("edge")}
		in.ConfigurationValues = aws.String("policy: sync\ndomainFilters: [example.com]\n")
	})
	a := w.addonIs(t, "dev", "external-dns", ekstypes.AddonStatusActive)
	if aws.ToString(a.NamespaceConfig.Namespace) != "edge" || aws.ToString(a.ServiceAccountRoleArn) != role {
		t.Errorf("%+v", a)
	}
	sa := must(k.CoreV1().ServiceAccounts("edge").Get(t.Context(), "external-dns", metav1.GetOptions{}))(t)
	d := must(k.AppsV1().Deployments("edge").Get(t.Context(), "external-dns", metav1.GetOptions{}))(t)
	args := strings.Join(d.Spec.Template.Spec.Containers[0].Args, " ")
	if sa.Annotations["eks.amazonaws.com/role-arn"] != role || !strings.Contains(args, "--policy=sync") || !strings.Contains(args, "--domain-filter=example.com") {
		t.Errorf("annotations %v, arguments %s", sa.Annotations, args)
	}
	w.updateAddon(t, ekstypes.UpdateStatusSuccessful, &eks.UpdateAddonInput{
		ClusterName: aws.String("dev"), AddonName: aws.String("external-dns"), ServiceAccountRoleArn: aws.String(""),
		PodIdentityAssociations: []ekstypes.AddonPodIdentityAssociations{{ServiceAccount: aws.String("external-dns"), RoleArn: &role}},
	})
	list := must(w.eks.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{ClusterName: aws.String("dev"), Namespace: aws.String("edge")}))(t)
	if len(list.Associations) != 1 || aws.ToString(list.Associations[0].OwnerArn) != *a.AddonArn {
		t.Errorf("associations %+v", list.Associations)
	}
	sa = must(k.CoreV1().ServiceAccounts("edge").Get(t.Context(), "external-dns", metav1.GetOptions{}))(t)
	if v, ok := sa.Annotations["eks.amazonaws.com/role-arn"]; ok {
		t.Errorf("the service account still has role %s", v)
	}
}

// refuseAddon has a policy of the user's deny an add-on's installation, then its
// removal.
func (w *world) refuseAddon(t *testing.T, k kubernetes.Interface) {
	policies := k.AdmissionregistrationV1()
	deny := func(operations ...admissionv1.OperationType) {
		t.Helper()
		p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "no-agents"}}
		p.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
			RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: operations, Rule: admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"daemonsets"}},
			},
		}}}
		p.Spec.Validations = []admissionv1.Validation{{Expression: "request.name != 'eks-node-monitoring-agent'", Message: "no agents here"}}
		must(policies.ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{}))(t)
		b := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "no-agents"}}
		b.Spec.PolicyName, b.Spec.ValidationActions = "no-agents", []admissionv1.ValidationAction{admissionv1.Deny}
		must(policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), b, metav1.CreateOptions{}))(t)
	}
	allow := func() {
		t.Helper()
		for _, err := range []error{
			policies.ValidatingAdmissionPolicyBindings().Delete(t.Context(), "no-agents", metav1.DeleteOptions{}),
			policies.ValidatingAdmissionPolicies().Delete(t.Context(), "no-agents", metav1.DeleteOptions{}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	const name = "eks-node-monitoring-agent"
	sets := k.AppsV1().DaemonSets("kube-system")
	// The policy takes effect a moment after it was made: ask until it does.
	denied := func(try func() error) {
		t.Helper()
		eventually(t, 2*time.Minute, "the policy denies", func() error {
			if err := try(); !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
				return fmt.Errorf("it was answered with %w", err)
			}
			return nil
		})
	}
	dry := []string{metav1.DryRunAll}
	kubeProxy := must(sets.Get(t.Context(), "kube-proxy", metav1.GetOptions{}))(t)
	deny(admissionv1.Create, admissionv1.Update)
	denied(func() error {
		d := kubeProxy.DeepCopy()
		d.ObjectMeta = metav1.ObjectMeta{Name: name, Namespace: "kube-system"}
		_, err := sets.Create(t.Context(), d, metav1.CreateOptions{DryRun: dry})
		return err
	})
	w.addon(t, "dev", name)
	a := w.addonIs(t, "dev", name, ekstypes.AddonStatusCreateFailed)
	if is := a.Health.Issues; len(is) != 1 || is[0].Code != ekstypes.AddonIssueCodeAdmissionRequestDenied || !strings.Contains(*is[0].Message, "no agents here") {
		t.Errorf("health %v", addonIssues(a))
	}
	allow()
	eventually(t, 2*time.Minute, "the add-on is ACTIVE", func() error {
		u := must(w.eks.UpdateAddon(t.Context(), &eks.UpdateAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String(name)}))(t).Update
		for {
			d := must(w.eks.DescribeUpdate(t.Context(), &eks.DescribeUpdateInput{Name: aws.String("dev"), AddonName: aws.String(name), UpdateId: u.Id}))(t).Update
			switch d.Status {
			case ekstypes.UpdateStatusSuccessful:
				return nil
			case ekstypes.UpdateStatusFailed:
				return fmt.Errorf("the update failed: %s", *d.Errors[0].ErrorMessage)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	deny(admissionv1.Delete)
	denied(func() error { return sets.Delete(t.Context(), name, metav1.DeleteOptions{DryRun: dry}) })
	must(w.eks.DeleteAddon(t.Context(), &eks.DeleteAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String(name)}))(t)
	a = w.addonIs(t, "dev", name, ekstypes.AddonStatusDeleteFailed)
	if is := a.Health.Issues; len(is) != 1 || is[0].Code != ekstypes.AddonIssueCodeAdmissionRequestDenied {
		t.Errorf("health %v", addonIssues(a))
	}
	allow()
	eventually(t, 2*time.Minute, "the add-on is gone", func() error {
		_, err := w.eks.DeleteAddon(t.Context(), &eks.DeleteAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String(name)})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}

// addonHealth takes an ACTIVE add-on's replicas away and gives them back.
func (w *world) addonHealth(t *testing.T, k kubernetes.Interface) {
	patch := func(body string) {
		t.Helper()
		must(k.AppsV1().Deployments("kube-system").Patch(t.Context(), "coredns", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "kubectl-edit"}))(t)
	}
	w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusActive)
	patch(`{"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}`)
	a := w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusDegraded)
	want := "InsufficientNumberOfReplicas: The add-on is unhealthy because it doesn't have the desired number of replicas."
	if got := addonIssues(a); len(got) != 1 || got[0] != want {
		t.Errorf("health %q", got)
	}
	patch(`{"spec":{"template":{"spec":{"nodeSelector":{"no":null}}}}}`)
	if a := w.addonIs(t, "dev", "coredns", ekstypes.AddonStatusActive); len(a.Health.Issues) != 0 {
		t.Errorf("health %v", addonIssues(a))
	}
}
