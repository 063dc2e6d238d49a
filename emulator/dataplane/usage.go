package dataplane

import (
	"fmt"
	"math"
	"net/http"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
)

// What a node's own processes use.
const (
	systemMilliCPU = 45
	systemMemory   = 350 << 20
)

// load is a container's simulated consumption: a slow wave around half of what
// the container requests, or exactly what the annotations cpu-usage and
// memory-usage say.
type load struct {
	cores     float64 // now
	coreTime  float64 // core seconds since the start, never falling
	memory    int64
	startedAt time.Time
}

// wave is how long consumption takes to come back to where it was.
const wave = 10 * time.Minute

// loadOf computes a running container's load at a moment; ok is false for others.
func loadOf(pod *corev1.Pod, c *corev1.Container, now time.Time) (l load, ok bool) {
	_, status := containerIn(pod, c.Name)
	if status == nil || status.State.Running == nil {
		return load{}, false
	}
	l.startedAt = status.State.Running.StartedAt.Time
	elapsed := max(now.Sub(l.startedAt), 0).Seconds()
	seed := number(string(pod.UID) + c.Name)
	base := float64(1+seed%4) / 1000
	if q := c.Resources.Requests.Cpu(); !q.IsZero() {
		base = q.AsApproximateFloat64() * (0.3 + float64(seed%40)/100)
	}
	amplitude := base / 4
	r := &annotationReader{pod: pod, plain: true}
	if q, ok := r.quantity("cpu-usage", c.Name); ok {
		base, amplitude = q.AsApproximateFloat64(), 0
	}
	omega := 2 * math.Pi / wave.Seconds()
	l.cores = base + amplitude*math.Sin(omega*elapsed)
	l.coreTime = base*elapsed + amplitude/omega*(1-math.Cos(omega*elapsed))
	if limit := c.Resources.Limits.Cpu(); !limit.IsZero() {
		l.cores = min(l.cores, limit.AsApproximateFloat64())
	}
	l.memory = int64(12+seed%30) << 20
	if q := c.Resources.Requests.Memory(); !q.IsZero() {
		l.memory = int64(float64(q.Value()) * (0.5 + float64(seed%30)/100))
	}
	if q, ok := r.quantity("memory-usage", c.Name); ok {
		l.memory = q.Value()
	}
	if limit := c.Resources.Limits.Memory(); !limit.IsZero() {
		l.memory = min(l.memory, limit.Value())
	}
	return l, true
}

func (r *annotationReader) quantity(key, container string) (resource.Quantity, bool) {
	name, v, ok := r.lookup(key, container)
	if !ok {
		return resource.Quantity{}, false
	}
	q, err := resource.ParseQuantity(v)
	if err != nil || q.Sign() < 0 {
		r.fail(name, v, `a quantity such as "250m" or "64Mi"`)
		return resource.Quantity{}, false
	}
	return q, true
}

// containerLoad is one container's line in a report.
type containerLoad struct {
	name string
	load
}

// podLoad is a pod's report.
type podLoad struct {
	pod        *corev1.Pod
	containers []containerLoad
	load       // the sum
}

func podLoadOf(pod *corev1.Pod, now time.Time) podLoad {
	p := podLoad{pod: pod}
	add := func(c *corev1.Container) {
		l, ok := loadOf(pod, c, now)
		if !ok {
			return
		}
		p.containers = append(p.containers, containerLoad{c.Name, l})
		p.cores += l.cores
		p.coreTime += l.coreTime
		p.memory += l.memory
	}
	for i := range pod.Spec.InitContainers {
		if isSidecar(&pod.Spec.InitContainers[i]) {
			add(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return p
}

// nodeLoad is what runs on a node, in a stable order, and the sum of it.
func (f *Fleet) nodeLoad(name string, now time.Time) (total load, pods []podLoad) {
	total = load{cores: systemMilliCPU / 1000., memory: systemMemory, coreTime: systemMilliCPU / 1000. * float64(now.Unix()%(1<<24))}
	for _, pod := range f.podsOn(name) {
		p := podLoadOf(pod, now)
		if len(p.containers) == 0 {
			continue
		}
		pods = append(pods, p)
		total.cores += p.cores
		total.coreTime += p.coreTime
		total.memory += p.memory
	}
	sort.Slice(pods, func(i, j int) bool { return keyOf(pods[i].pod).String() < keyOf(pods[j].pod).String() })
	return total, pods
}

func cpuStats(l load, at metav1.Time) *stats.CPUStats {
	return &stats.CPUStats{Time: at, UsageNanoCores: ptr.To(uint64(l.cores * 1e9)), UsageCoreNanoSeconds: ptr.To(uint64(l.coreTime * 1e9))}
}

func memoryStats(l load, at metav1.Time) *stats.MemoryStats {
	return &stats.MemoryStats{Time: at, UsageBytes: ptr.To(uint64(l.memory)), WorkingSetBytes: ptr.To(uint64(l.memory)), RSSBytes: ptr.To(uint64(l.memory * 9 / 10))}
}

// summary answers /stats/summary.
func (k *kubeletServer) summary(w http.ResponseWriter, r *http.Request) {
	n := nodeOf(r)
	now := k.fleet.clock.Now()
	at := metav1.NewTime(now)
	total, pods := k.fleet.nodeLoad(n.Name, now)
	s := stats.Summary{Node: stats.NodeStats{NodeName: n.Name, CPU: cpuStats(total, at), Memory: memoryStats(total, at)}, Pods: []stats.PodStats{}}
	s.Node.Memory.AvailableBytes = ptr.To(uint64(max(visibleMemoryKiB(n.MemoryMiB)<<10-total.memory, 0)))
	for _, p := range pods {
		ps := stats.PodStats{
			PodRef: stats.PodReference{Name: p.pod.Name, Namespace: p.pod.Namespace, UID: string(p.pod.UID)},
			CPU:    cpuStats(p.load, at), Memory: memoryStats(p.load, at),
		}
		if p.pod.Status.StartTime != nil {
			ps.StartTime = *p.pod.Status.StartTime
		}
		for _, c := range p.containers {
			ps.Containers = append(ps.Containers, stats.ContainerStats{Name: c.name, StartTime: metav1.NewTime(c.startedAt), CPU: cpuStats(c.load, at), Memory: memoryStats(c.load, at)})
		}
		s.Pods = append(s.Pods, ps)
	}
	writeJSON(w, s)
}

// resourceMetrics answers /metrics/resource in Prometheus' text format.
func (k *kubeletServer) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	now := k.fleet.clock.Now()
	total, pods := k.fleet.nodeLoad(nodeOf(r).Name, now)
	families := []struct{ name, kind, help string }{
		{"container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds"},
		{"container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes"},
		{"node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds"},
		{"node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes"},
		{"pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"},
		{"pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"},
		{"resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise"},
	}
	ms := now.UnixMilli()
	value := func(l load, name string) float64 {
		if strings.Contains(name, "cpu") {
			return l.coreTime
		}
		return float64(l.memory)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, m := range families {
		fmt.Fprintf(w, "# HELP %s [STABLE] %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		switch {
		case strings.HasPrefix(m.name, "node_"):
			fmt.Fprintf(w, "%s %g %d\n", m.name, value(total, m.name), ms)
		case strings.HasPrefix(m.name, "resource_"):
			fmt.Fprintf(w, "%s 0\n", m.name)
		default:
			for _, p := range pods {
				if strings.HasPrefix(m.name, "pod_") {
					fmt.Fprintf(w, "%s{namespace=%q,pod=%q} %g %d\n", m.name, p.pod.Namespace, p.pod.Name, value(p.load, m.name), ms)
					continue
				}
				for _, c := range p.containers {
					fmt.Fprintf(w, "%s{container=%q,namespace=%q,pod=%q} %g %d\n", m.name, c.name, p.pod.Namespace, p.pod.Name, value(c.load, m.name), ms)
				}
			}
		}
	}
}
