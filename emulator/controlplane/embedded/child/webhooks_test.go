package child_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// warnings collects what the server warns a client of.
type warnings struct {
	mu  sync.Mutex
	all []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.all, "\n")
}

// installWebhooks does what charts with admission webhooks do: a Service that
// selects pods, and configurations that fail closed.
func installWebhooks(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	t.Helper()
	if _, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "hooks"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "hooks"}, Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fail, none, path := admissionv1.Fail, admissionv1.SideEffectClassNone, "/check"
	client := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "hooks", Path: &path}}
	unfilled := client
	unfilled.CABundle = []byte("\n") // as many charts ship it
	rules := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	hooks := c.AdmissionregistrationV1()
	if _, err := hooks.ValidatingWebhookConfigurations().Create(ctx, &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hooks"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "validate.example.com", ClientConfig: unfilled, Rules: rules, FailurePolicy: &fail, SideEffects: &none,
			AdmissionReviewVersions: []string{"v1", "v1beta1"},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := hooks.MutatingWebhookConfigurations().Create(ctx, &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hooks"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "mutate.example.com", ClientConfig: client, Rules: rules, FailurePolicy: &fail, SideEffects: &none,
			AdmissionReviewVersions: []string{"v1beta1"},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func warnedClient(info controlplane.Info) (*rest.Config, *warnings) {
	w := &warnings{}
	cfg := rest.CopyConfig(info.Admin)
	cfg.WarningHandler = w
	return cfg, w
}

func TestSimulatedWebhooksAreSkipped(t *testing.T) {
	b, ctx := newBackend(t, startEtcd(t), nil), testContext(t)
	info, err := b.Create(ctx, conformance.NewSpec(t, "hooks", "1.34"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, warned := warnedClient(info)
	c := kubernetes.NewForConfigOrDie(cfg)
	installWebhooks(ctx, t, c)
	// The configurations take a moment to reach the admission plugins.
	waitFor(ctx, t, "a warning of both webhooks", func() bool {
		_, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(warned.String(), "default/hooks") >= 2
	})
	checkConversion(ctx, t, cfg)
	checkAPIService(ctx, t, cfg)
}

func TestSimulatedWebhooksCanFail(t *testing.T) {
	b, ctx := newBackend(t, startEtcd(t), func(c *embedded.Config) { c.SimulatedWebhooks = embedded.FailWebhooks }), testContext(t)
	info, err := b.Create(ctx, conformance.NewSpec(t, "hooks", "1.34"))
	if err != nil {
		t.Fatal(err)
	}
	c := kubernetes.NewForConfigOrDie(info.Admin)
	installWebhooks(ctx, t, c)
	waitFor(ctx, t, "a refusal", func() bool {
		t0 := time.Now()
		_, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}}, metav1.CreateOptions{})
		return err != nil && strings.Contains(err.Error(), "simulated") && time.Since(t0) < time.Second
	})
}

// checkConversion wants a clear and quick refusal of a conversion nobody computes.
func checkConversion(ctx context.Context, t *testing.T, cfg *rest.Config) {
	t.Helper()
	preserve, path := true, "/convert"
	schemaOf := func(name string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: storage,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &preserve}},
		}
	}
	_, err := apiextensions.NewForConfigOrDie(cfg).ApiextensionsV1().CustomResourceDefinitions().Create(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.ClusterScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{schemaOf("v1", true), schemaOf("v2", false)},
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
				ConversionReviewVersions: []string{"v1"},
				ClientConfig:             &apiextensionsv1.WebhookClientConfig{CABundle: []byte("\n"), Service: &apiextensionsv1.ServiceReference{Namespace: "default", Name: "hooks", Path: &path}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	things := dynamic.NewForConfigOrDie(cfg)
	stored := things.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"})
	waitFor(ctx, t, "the stored version to be served", func() bool {
		_, err = stored.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "one"},
		}}, metav1.CreateOptions{})
		return err == nil
	})
	t0 := time.Now()
	_, err = things.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "things"}).Get(ctx, "one", metav1.GetOptions{})
	if err == nil || !strings.Contains(err.Error(), "simulated") || time.Since(t0) > time.Second {
		t.Errorf("conversion: %v after %v", err, time.Since(t0))
	}
}

// checkAPIService wants an aggregated API without a backend to be unavailable, and
// the rest of discovery to be as quick as ever.
func checkAPIService(ctx context.Context, t *testing.T, cfg *rest.Config) {
	t.Helper()
	c := aggregator.NewForConfigOrDie(cfg).ApiregistrationV1().APIServices()
	if _, err := c.Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.agg.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "agg.example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "hooks"},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t0 := time.Now()
	waitFor(ctx, t, "the APIService to be unavailable", func() bool {
		s, err := c.Get(ctx, "v1.agg.example.com", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range s.Status.Conditions {
			if k.Type == apiregistrationv1.Available && k.Status == apiregistrationv1.ConditionFalse {
				t.Logf("unavailable after %v: %s", time.Since(t0), k.Message)
				return true
			}
		}
		return false
	})
	t0 = time.Now()
	if _, _, err := kubernetes.NewForConfigOrDie(cfg).Discovery().ServerGroupsAndResources(); err != nil {
		t.Logf("discovery: %v", err)
	}
	if d := time.Since(t0); d > 2*time.Second {
		t.Errorf("discovery took %v", d)
	}
}
