package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kube is what a user of one cluster has: clients, and the warnings they got.
type kube struct {
	*kubernetes.Clientset
	cfg      *rest.Config
	dynamic  dynamic.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	warnings *warningLog
}

// warningLog collects what API servers say in Warning headers.
type warningLog struct {
	mu   sync.Mutex
	seen []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warningLog) HandleWarningHeader(code int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if code == 299 {
		w.seen = append(w.seen, text)
	}
}

// take returns the warnings since the last take.
func (w *warningLog) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen
	w.seen = nil
	return s
}

func (w *world) kube(t *testing.T, c *ekstypes.Cluster) *kube {
	t.Helper()
	_, cfg := w.kubernetes(t, c)
	k := &kube{cfg: cfg, warnings: &warningLog{}}
	cfg.WarningHandler = k.warnings
	k.Clientset = must(kubernetes.NewForConfig(cfg))(t)
	k.dynamic = must(dynamic.NewForConfig(cfg))(t)
	k.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(k.Clientset.Discovery()))
	return k
}

// kubeconfig writes one with the client's token, for kubectl.
func (k *kube) kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: k.cfg.Host, CertificateAuthorityData: k.cfg.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: k.cfg.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// apply applies a file of testdata server-side, as `kubectl apply --server-side`
// does; objects whose kind a CustomResourceDefinition of the file brings are
// tried until the kind is served.
func (k *kube) apply(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	for {
		var o unstructured.Unstructured
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(o.Object) == 0 {
			continue
		}
		eventually(t, 20*time.Second, fmt.Sprintf("%s %s is applied", o.GetKind(), o.GetName()), func() error {
			_, err := k.applyOne(t.Context(), &o)
			if meta.IsNoMatchError(err) {
				k.mapper.Reset()
				return err
			}
			if err != nil {
				t.Fatalf("%s: %s %s: %v", file, o.GetKind(), o.GetName(), err)
			}
			return nil
		})
	}
}

func (k *kube) applyOne(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	gvk := o.GroupVersionKind()
	m, err := k.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	var r dynamic.ResourceInterface = k.dynamic.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		ns := o.GetNamespace()
		if ns == "" {
			ns = "default"
		}
		r = k.dynamic.Resource(m.Resource).Namespace(ns)
	}
	return r.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "integration"})
}

// pod waits for the pod to be as ok wants it.
func (k *kube) pod(t *testing.T, name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var p *corev1.Pod
	eventually(t, 45*time.Second, "pod "+name+" "+what, func() (err error) {
		if p, err = k.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !ok(p) {
			return fmt.Errorf("its status is %+v", p.Status)
		}
		return nil
	})
	return p
}

func podRuns(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }

func waitsFor(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == reason
	}
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.PodCondition{}
}

// podEvents waits until the pod has an event of that reason and returns its messages.
func (k *kube) podEvents(t *testing.T, pod, reason string) []string {
	t.Helper()
	var messages []string
	eventually(t, 30*time.Second, fmt.Sprintf("pod %s has an event %s", pod, reason), func() error {
		list, err := k.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
		if err != nil {
			return err
		}
		messages = nil
		var others []string
		for _, e := range list.Items {
			if e.Reason == reason {
				messages = append(messages, e.Message)
			}
			others = append(others, e.Reason)
		}
		if len(messages) == 0 {
			return fmt.Errorf("it has %v", others)
		}
		return nil
	})
	return messages
}

func anyContains(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}
