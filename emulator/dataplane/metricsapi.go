package dataplane

import (
	"fmt"
	"net/http"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// metricsWindow is metrics-server's default resolution.
const metricsWindow = 15 * time.Second

var metricsGroup = metrics.SchemeGroupVersion

// metricsAPI is metrics-server: the aggregated API metrics.k8s.io. Who may call it
// the API server has decided before it passes a request on.
func (f *Fleet) metricsAPI(w http.ResponseWriter, r *http.Request) {
	m := http.NewServeMux()
	base := "GET /apis/" + metricsGroup.String()
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	for _, p := range []string{"/healthz", "/livez", "/readyz"} {
		m.HandleFunc("GET "+p, ok)
	}
	m.HandleFunc("GET /apis", f.metricsGroups)
	m.HandleFunc("GET /apis/"+metrics.GroupName, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, metricsGroupOf()) })
	m.HandleFunc(base, f.metricsResources)
	m.HandleFunc(base+"/nodes", f.listNodeMetrics)
	m.HandleFunc(base+"/nodes/{name}", f.getNodeMetrics)
	m.HandleFunc(base+"/pods", f.listPodMetrics)
	m.HandleFunc(base+"/namespaces/{namespace}/pods", f.listPodMetrics)
	m.HandleFunc(base+"/namespaces/{namespace}/pods/{name}", f.getPodMetrics)
	m.ServeHTTP(w, r)
}

func metricsGroupOf() metav1.APIGroup {
	v := metav1.GroupVersionForDiscovery{GroupVersion: metricsGroup.String(), Version: metricsGroup.Version}
	return metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
		Name:     metrics.GroupName, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v,
	}
}

func (f *Fleet) metricsGroups(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{metricsGroupOf()}})
}

func (f *Fleet) metricsResources(w http.ResponseWriter, _ *http.Request) {
	verbs := metav1.Verbs{"get", "list"}
	writeJSON(w, metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: metricsGroup.String(),
		APIResources: []metav1.APIResource{
			{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
			{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: verbs},
		},
	})
}

func usageList(l load) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(l.cores*1e9), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(l.memory>>10<<10, resource.BinarySI),
	}
}

func typeOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: metricsGroup.String()}
}

func (f *Fleet) nodeMetrics(n *node) metrics.NodeMetrics {
	now := f.clock.Now()
	total, _ := f.nodeLoad(n.Name, now)
	return metrics.NodeMetrics{
		TypeMeta:   typeOf("NodeMetrics"),
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, CreationTimestamp: metav1.NewTime(now), Labels: nodeLabels(f.cfg.ClusterName, n.Node)},
		Timestamp:  metav1.NewTime(now), Window: metav1.Duration{Duration: metricsWindow}, Usage: usageList(total),
	}
}

func (f *Fleet) podMetrics(pod *corev1.Pod) (metrics.PodMetrics, bool) {
	now := f.clock.Now()
	p := podLoadOf(pod, now)
	m := metrics.PodMetrics{
		TypeMeta:   typeOf("PodMetrics"),
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, CreationTimestamp: metav1.NewTime(now), Labels: pod.Labels},
		Timestamp:  metav1.NewTime(now), Window: metav1.Duration{Duration: metricsWindow},
	}
	for _, c := range p.containers {
		m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: c.name, Usage: usageList(c.load)})
	}
	return m, pod.Status.Phase == corev1.PodRunning && len(m.Containers) > 0
}

// selectorOf reads the label selector of a list; it has answered if ok is false.
func selectorOf(w http.ResponseWriter, r *http.Request) (labels.Selector, bool) {
	s, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		writeStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return nil, false
	}
	return s, true
}

func writeStatus(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	writeJSON(w, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

func (f *Fleet) listNodeMetrics(w http.ResponseWriter, r *http.Request) {
	selector, ok := selectorOf(w, r)
	if !ok {
		return
	}
	list := metrics.NodeMetricsList{TypeMeta: typeOf("NodeMetricsList"), Items: []metrics.NodeMetrics{}}
	names := f.nodeNames()
	sort.Strings(names)
	for _, name := range names {
		if n := f.node(name); n != nil {
			if m := f.nodeMetrics(n); selector.Matches(labels.Set(m.Labels)) {
				list.Items = append(list.Items, m)
			}
		}
	}
	writeJSON(w, list)
}

func (f *Fleet) getNodeMetrics(w http.ResponseWriter, r *http.Request) {
	n := f.node(r.PathValue("name"))
	if n == nil {
		writeStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("nodemetrics.metrics.k8s.io %q not found", r.PathValue("name")))
		return
	}
	writeJSON(w, f.nodeMetrics(n))
}

func (f *Fleet) listPodMetrics(w http.ResponseWriter, r *http.Request) {
	selector, ok := selectorOf(w, r)
	if !ok {
		return
	}
	list := metrics.PodMetricsList{TypeMeta: typeOf("PodMetricsList"), Items: []metrics.PodMetrics{}}
	for _, o := range f.pods.GetStore().List() {
		pod := o.(*corev1.Pod)
		if ns := r.PathValue("namespace"); ns != "" && ns != pod.Namespace || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if m, ok := f.podMetrics(pod); ok {
			list.Items = append(list.Items, m)
		}
	}
	sort.Slice(list.Items, func(i, j int) bool {
		a, b := &list.Items[i], &list.Items[j]
		return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
	})
	writeJSON(w, list)
}

func (f *Fleet) getPodMetrics(w http.ResponseWriter, r *http.Request) {
	if pod := f.podNamed(r.PathValue("namespace"), r.PathValue("name")); pod != nil {
		if m, ok := f.podMetrics(pod); ok {
			writeJSON(w, m)
			return
		}
	}
	writeStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("podmetrics.metrics.k8s.io \"%s/%s\" not found", r.PathValue("namespace"), r.PathValue("name")))
}
