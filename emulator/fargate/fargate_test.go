package fargate

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "prod-eu", Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestChoose(t *testing.T) {
	in := func(name, ns string, labels ...string) Profile {
		s := Selector{Namespace: ns, Labels: map[string]string{}}
		for i := 0; i < len(labels); i += 2 {
			s.Labels[labels[i]] = labels[i+1]
		}
		return Profile{name, []Selector{{Namespace: "nowhere"}, s}}
	}
	for _, tc := range []struct {
		name     string
		profiles []Profile
		change   func(*corev1.Pod)
		want     string
	}{
		{"namespace", []Profile{in("a", "prod-eu")}, nil, "a"},
		{"another namespace", []Profile{in("a", "prod")}, nil, ""},
		{"wildcards", []Profile{in("a", "prod-*", "app", "w?b")}, nil, "a"},
		{"wildcard that does not fit", []Profile{in("a", "prod-?")}, nil, ""},
		{"all labels", []Profile{in("a", "prod-eu", "app", "web", "tier", "front")}, nil, "a"},
		{"a label is missing", []Profile{in("a", "prod-eu", "app", "web", "team", "x")}, nil, ""},
		{"first by name", []Profile{in("b", "prod-eu"), in("a", "prod-eu")}, nil, "a"},
		{"the named one", []Profile{in("a", "prod-eu"), in("b", "prod-eu")}, func(p *corev1.Pod) { p.Labels[ProfileLabel] = "b" }, "b"},
		{"the named one does not match", []Profile{in("a", "prod-eu"), in("b", "x")}, func(p *corev1.Pod) { p.Labels[ProfileLabel] = "b" }, ""},
		{"stays on EC2", []Profile{in("a", "*")}, func(p *corev1.Pod) { p.Annotations = map[string]string{ComputeType: "ec2"} }, ""},
		{"asks for Fargate", []Profile{in("a", "*")}, func(p *corev1.Pod) { p.Annotations = map[string]string{ComputeType: "Fargate"} }, "a"},
		{"a DaemonSet's", []Profile{in("a", "*")}, func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "d", Controller: ptr.To(true)}}
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := pod()
			if tc.change != nil {
				tc.change(p)
			}
			if got, ok := Choose(tc.profiles, p); got.Name != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q %v, want %q", got.Name, ok, tc.want)
			}
		})
	}
}

func requests(cpu, memory string) corev1.ResourceRequirements {
	r := corev1.ResourceList{}
	if cpu != "" {
		r[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		r[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return corev1.ResourceRequirements{Requests: r}
}

func TestSizeOf(t *testing.T) {
	for _, tc := range []struct{ cpu, memory, want string }{
		{"", "", "0.25vCPU 0.5GB"},
		{"250m", "256Mi", "0.25vCPU 0.5GB"},
		{"250m", "257Mi", "0.25vCPU 1GB"}, // 256 MiB are Kubernetes's
		{"251m", "0", "0.5vCPU 1GB"},
		{"", "1793Mi", "0.5vCPU 3GB"},
		{"1", "8Gi", "2vCPU 9GB"},
		{"1", "7Gi", "1vCPU 8GB"},
		{"3", "1Gi", "4vCPU 8GB"},
		{"5", "17Gi", "8vCPU 20GB"},
		{"16", "119Gi", "16vCPU 120GB"},
		{"16", "120Gi", ""},
		{"17", "", ""},
	} {
		p := pod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests(tc.cpu, tc.memory) })
		got, ok := SizeOf(p)
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("%s %s: got %s %v, want %q", tc.cpu, tc.memory, got, ok, tc.want)
		}
	}
	several := pod(func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Resources: requests("400m", "1Gi")}, {Resources: requests("400m", "1Gi")}}
		p.Spec.InitContainers = []corev1.Container{{Resources: requests("100m", "5Gi")}}
	})
	if got, _ := SizeOf(several); got != (Size{1000, 6 * 1024}) {
		t.Errorf("containers and an init container: %+v", got)
	}
}

func TestUnsupported(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*corev1.Pod)
		want   string
	}{
		{"plain", func(*corev1.Pod) {}, ""},
		{"host network and port", func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
		}, "Pod not supported on Fargate: fields not supported: HostNetwork, port contains HostIP or HostPort"},
		{"privileged", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		}, "Pod not supported on Fargate: invalid SecurityContext fields: Privileged"},
		{"host path", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "proc", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}},
			}
		}, "Pod not supported on Fargate: volumes not supported: proc is of an unsupported volume Type"},
		{"too large", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests("20", "") },
			"Your pod's cpu/memory requirements exceed the max Fargate configuration"},
	} {
		if got := Unsupported(pod(tc.change)); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestAdmit(t *testing.T) {
	profiles := []Profile{{"fp", []Selector{{Namespace: "batch"}}}}
	raw := func(p *corev1.Pod) []byte { b, _ := json.Marshal(p); return b }
	ask := func(ns string, p *corev1.Pod) *admissionv1.AdmissionResponse {
		t.Helper()
		out, err := Admit(profiles, &admissionv1.AdmissionRequest{
			UID: "u", Operation: admissionv1.Create, Namespace: ns, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object: runtime.RawExtension{Raw: raw(p)},
		})
		if err != nil || !out.Allowed || out.UID != "u" {
			t.Fatalf("%+v %v", out, err)
		}
		return out
	}
	bare := pod(func(p *corev1.Pod) { p.Namespace, p.Labels = "", nil })
	for _, p := range []*corev1.Pod{bare, pod(func(p *corev1.Pod) { p.Namespace = "" })} {
		out := ask("batch", p)
		for _, part := range []string{`"fargate-scheduler"`, `"fp"`, "system-node-critical", "2000001000"} {
			if !strings.Contains(string(out.Patch), part) {
				t.Errorf("%s is not in %s", part, out.Patch)
			}
		}
	}
	if out := ask("default", bare); out.Patch != nil {
		t.Errorf("a pod that no profile selects is changed: %s", out.Patch)
	}
	if _, err := Admit(profiles, &admissionv1.AdmissionRequest{
		Operation: admissionv1.Create, Resource: metav1.GroupVersionResource{Resource: "pods"}, Object: runtime.RawExtension{Raw: []byte("{")},
	}); err == nil {
		t.Error("a pod that is not JSON is admitted")
	}
}

// FuzzGlob: matching ends, and a pattern matches itself unless it has wildcards
// that the text has not.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "aXXbYc")
	f.Add("***", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		_ = glob(pattern, s) // must end
		if !glob(s, s) || !glob("*", s) {
			t.Errorf("%q does not match itself, or *", s)
		}
	})
}
