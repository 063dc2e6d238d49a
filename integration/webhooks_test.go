package integration

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// TestWebhooks installs what charts install, with admission webhooks of
// failurePolicy Fail on pods that are simulated: the cluster goes on working.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	k := w.kube(t, w.cluster(t, "dev"))
	w.nodegroup(t, "dev", "ng", 1)
	k.apply(t, "webhooks.yaml")
	k.warnings.take()

	t.Run("certificates", k.certificates)
	t.Run("ingress", k.ingress)
	t.Run("every pod", k.everyPod)
	t.Run("conversion", k.conversion)
	t.Run("aggregated API", k.aggregated)
	t.Run("by URL", k.webhookByURL)
	t.Run("helm", k.helm)
}

// skipped checks that the client was told of a webhook that was not called.
func (k *kube) skipped(t *testing.T, service string) {
	t.Helper()
	want := "ekslocal skipped admission webhook of service " + service + ": its pods are simulated"
	if got := k.warnings.take(); !anyContains(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
}

func certificate(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "certs.example.com/v1", "kind": "Certificate", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"secretName": name + "-tls", "dnsNames": []any{name + ".example.com"}},
	}}
}

func (k *kube) certificates(t *testing.T) {
	certs := k.dynamic.Resource(schema.GroupVersionResource{Group: "certs.example.com", Version: "v1", Resource: "certificates"}).Namespace("default")
	c := must(certs.Create(t.Context(), certificate("shop"), metav1.CreateOptions{}))(t)
	k.skipped(t, "certs/webhook")
	if err := unstructured.SetNestedField(c.Object, "True", "status", "ready"); err != nil {
		t.Fatal(err)
	}
	must(certs.UpdateStatus(t.Context(), c, metav1.UpdateOptions{}))(t)
	k.skipped(t, "certs/webhook")
	if out, err := k.kubectl(t, "", "get", "crt", "-o", "name"); err != nil || out != "certificate.certs.example.com/shop\n" {
		t.Errorf("kubectl get crt: %q, %v", out, err)
	}
}

func (k *kube) ingress(t *testing.T) {
	must(k.CoreV1().Secrets("ingress").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "admission"}}, metav1.CreateOptions{}))(t)
	k.warnings.take()
	i := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: networkingv1.IngressSpec{
			IngressClassName: aws.String("example"),
			DefaultBackend:   &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "shop", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		},
	}
	must(k.NetworkingV1().Ingresses("default").Create(t.Context(), i, metav1.CreateOptions{}))(t)
	k.skipped(t, "ingress/admission")
	for _, d := range [][2]string{{"certs", "webhook"}, {"ingress", "ingress"}, {"policies", "engine"}} {
		eventually(t, 45*time.Second, d[1]+" is available", func() error {
			got, err := k.AppsV1().Deployments(d[0]).Get(t.Context(), d[1], metav1.GetOptions{})
			if err == nil && got.Status.AvailableReplicas != 1 {
				err = fmt.Errorf("%+v", got.Status)
			}
			return err
		})
	}
	eventually(t, 30*time.Second, "the chart's hook is done", func() error {
		j, err := k.BatchV1().Jobs("ingress").Get(t.Context(), "admission-create", metav1.GetOptions{})
		if err == nil && j.Status.Succeeded != 1 {
			err = fmt.Errorf("%+v", j.Status)
		}
		return err
	})
}

// everyPod: a webhook on all pods hinders neither users nor controllers.
func (k *kube) everyPod(t *testing.T) {
	must(k.AppsV1().Deployments("default").Create(t.Context(), deployment("web", 2), metav1.CreateOptions{}))(t)
	k.skipped(t, "policies/engine")
	eventually(t, 30*time.Second, "its pods run", func() error {
		list, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if !podRuns(&p) {
				return fmt.Errorf("%s is %s", p.Name, p.Status.Phase)
			}
		}
		if len(list.Items) != 2 {
			return fmt.Errorf("%d pods", len(list.Items))
		}
		return nil
	})
}

// conversion: what needs no conversion works; what does is refused at once, for
// nobody could make it up.
func (k *kube) conversion(t *testing.T) {
	gateways := func(version string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "mesh.example.com", Version: version, Resource: "gateways"}
	}
	g := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "mesh.example.com/v1", "kind": "Gateway", "metadata": map[string]any{"name": "edge"}}}
	must(k.dynamic.Resource(gateways("v1")).Namespace("default").Create(t.Context(), g, metav1.CreateOptions{}))(t)
	must(k.dynamic.Resource(gateways("v1")).Namespace("default").List(t.Context(), metav1.ListOptions{}))(t)
	begin := time.Now()
	_, err := k.dynamic.Resource(gateways("v1beta1")).Namespace("default").Get(t.Context(), "edge", metav1.GetOptions{})
	if err == nil || !strings.Contains(err.Error(), "simulated by ekslocal") {
		t.Errorf("an object in a version to convert to: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the refusal took %v", took)
	}
}

// aggregated: an API of simulated pods breaks neither discovery nor the deletion
// of namespaces, which both ask every API.
func (k *kube) aggregated(t *testing.T) {
	services := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	eventually(t, 30*time.Second, "the APIService is available", func() error {
		a, err := k.dynamic.Resource(services).Get(t.Context(), "v1beta1.external.metrics.example.com", metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(a.Object, "status", "conditions")
		for _, c := range conditions {
			if m := c.(map[string]any); m["type"] == "Available" && m["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("conditions %v", conditions)
	})
	must(k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "brief"}}, metav1.CreateOptions{}))(t)
	names := []string{"brief", "ingress"}
	for _, name := range names {
		if err := k.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		eventually(t, 30*time.Second, "namespace "+name+" goes", func() error {
			ns, err := k.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %v, %+v", err, ns.Status)
			}
			return nil
		})
	}
	if out, err := k.kubectl(t, "", "api-resources", "-o", "name"); err != nil || !strings.Contains(out, "certificates.certs.example.com") {
		t.Errorf("kubectl api-resources: %q, %v", out, err)
	}
}

// reviewer is a webhook on this machine: it labels ConfigMaps and refuses those
// that are named "bad".
func reviewer(t *testing.T, calls *atomic.Int32) *httptest.Server {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: review.Request.Name != "bad"}
		if answer.Allowed {
			answer.PatchType = ptr.To(admissionv1.PatchTypeJSONPatch)
			answer.Patch = []byte(`[{"op":"add","path":"/metadata/labels","value":{"reviewed":"yes"}}]`)
			answer.Warnings = []string{"seen by the reviewer"}
		} else {
			answer.Result = &metav1.Status{Message: "bad is a bad name", Code: http.StatusForbidden}
		}
		review.Request, review.Response = nil, answer
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // the API server says what it misses
	}))
	t.Cleanup(s.Close)
	return s
}

func (k *kube) webhookByURL(t *testing.T) {
	var calls atomic.Int32
	s := reviewer(t, &calls)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "reviewer"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "reviewer.example.com", AdmissionReviewVersions: []string{"v1"},
			ClientConfig:  admissionregistrationv1.WebhookClientConfig{URL: aws.String(s.URL + "/review"), CABundle: ca},
			FailurePolicy: ptr.To(admissionregistrationv1.Fail), SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), TimeoutSeconds: aws.Int32(5),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "default"}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
	must(k.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), c, metav1.CreateOptions{}))(t)
	defer func() {
		if err := k.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), "reviewer", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	k.warnings.take()
	i := 0
	eventually(t, 15*time.Second, "the webhook's patch is applied", func() error {
		i++ // the API server learns of the configuration by a watch
		m, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("good-%d", i)}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if m.Labels["reviewed"] != "yes" {
			return fmt.Errorf("labels %v", m.Labels)
		}
		return nil
	})
	if got := k.warnings.take(); !anyContains(got, "seen by the reviewer") {
		t.Errorf("warnings %q", got)
	}
	_, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `admission webhook "reviewer.example.com" denied the request: bad is a bad name`) {
		t.Errorf("a ConfigMap that the webhook refuses: %v", err)
	}
	if calls.Load() < 2 {
		t.Errorf("the webhook was called %d times", calls.Load())
	}
}

// helm installs a chart whose webhook would refuse helm's own objects.
func (k *kube) helm(t *testing.T) {
	helm := tool(t, "helm")
	env := []string{"KUBECONFIG=" + k.kubeconfig(t), "HOME=" + t.TempDir(), "PATH=/usr/local/bin:/usr/bin:/bin"}
	if out, err := runTool(t, env, "", helm, "install", "tiny", "testdata/chart", "--wait", "--timeout", "60s"); err != nil || !strings.Contains(out, "STATUS: deployed") {
		t.Fatalf("helm install: %q, %v", out, err)
	}
	if out, err := runTool(t, env, "", helm, "upgrade", "tiny", "testdata/chart", "--set", "replicas=3", "--wait", "--timeout", "60s"); err != nil {
		t.Fatalf("helm upgrade: %q, %v", out, err)
	}
	if out, err := runTool(t, env, "", helm, "uninstall", "tiny", "--wait"); err != nil {
		t.Fatalf("helm uninstall: %q, %v", out, err)
	}
}

// TestSimulatedWebhooksFail: who wants to know can have webhooks fail as their
// failurePolicy says, at once.
func TestSimulatedWebhooksFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, "--simulated-webhooks", "fail"))
	k := w.kube(t, w.cluster(t, "dev"))
	k.apply(t, "webhooks.yaml")
	begin := time.Now()
	eventually(t, 15*time.Second, "the webhook refuses", func() error {
		d := deployment("web", 1)
		_, err := k.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return errors.New("the deployment was let in")
		}
		if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `failed calling webhook "mutate.policies.example.com"`) || !strings.Contains(err.Error(), "simulated by ekslocal") {
			t.Errorf("refused with %v", err)
		}
		return nil
	})
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the refusal took %v", took)
	}
	ignore := []byte(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	must(k.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), "policies", "application/json-patch+json", ignore, metav1.PatchOptions{}))(t)
	eventually(t, 15*time.Second, "a webhook of failurePolicy Ignore is passed over", func() error {
		_, err := k.AppsV1().Deployments("default").Create(t.Context(), deployment("web", 1), metav1.CreateOptions{})
		return err
	})
}
