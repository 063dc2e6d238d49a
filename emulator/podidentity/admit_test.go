package podidentity

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const role = "arn:aws:iam::111122223333:role/reader"

func env(pairs ...string) (out []corev1.EnvVar) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

var (
	irsaMount  = corev1.VolumeMount{Name: "aws-iam-token", ReadOnly: true, MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount"}
	agentMount = corev1.VolumeMount{Name: "eks-pod-identity-token", ReadOnly: true, MountPath: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"}
	irsaEnv    = env("AWS_STS_REGIONAL_ENDPOINTS", "regional", "AWS_DEFAULT_REGION", "eu-west-1", "AWS_REGION", "eu-west-1",
		"AWS_ROLE_ARN", role, "AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token")
	agentEnv = env("AWS_STS_REGIONAL_ENDPOINTS", "regional", "AWS_DEFAULT_REGION", "eu-west-1", "AWS_REGION", "eu-west-1",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token")
)

func token(name, audience, path string, seconds int64) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: &seconds, Path: path}},
	}}}}
}

func pod(containers ...corev1.Container) corev1.Pod {
	return corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "app", Containers: containers}}
}

// admit returns the pod as the API server makes it of the answer.
func admit(t *testing.T, w Webhook, p corev1.Pod) corev1.Pod {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Admit(&admissionv1.AdmissionRequest{UID: "u", Namespace: "shop", Object: runtime.RawExtension{Raw: raw}})
	if err != nil || !r.Allowed || r.UID != "u" {
		t.Fatalf("answer = %+v, %v", r, err)
	}
	if r.Patch != nil {
		patch, err := jsonpatch.DecodePatch(r.Patch)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = patch.Apply(raw); err != nil {
			t.Fatal(err)
		}
	}
	var out corev1.Pod
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAdmit(t *testing.T) {
	annotated := map[string]string{AnnotationRole: role}
	more := func(k, v string) map[string]string { return map[string]string{AnnotationRole: role, k: v} }
	irsaVolume := token("aws-iam-token", "sts.amazonaws.com", "token", 86400)
	plain := pod(corev1.Container{Name: "c"})
	irsa := pod(corev1.Container{Name: "c", Env: irsaEnv, VolumeMounts: []corev1.VolumeMount{irsaMount}})
	irsa.Spec.Volumes = []corev1.Volume{irsaVolume}
	volume := func(v corev1.Volume) corev1.Pod {
		p := *irsa.DeepCopy()
		p.Spec.Volumes = []corev1.Volume{v}
		return p
	}
	agent := pod(corev1.Container{Name: "c", Env: agentEnv, VolumeMounts: []corev1.VolumeMount{agentMount}})
	agent.Labels = map[string]string{Label: "enabled"}
	agent.Spec.Volumes = []corev1.Volume{token("eks-pod-identity-token", "pods.eks.amazonaws.com", "eks-pod-identity-token", 79200+7)}

	full := pod(corev1.Container{Name: "c", Env: env("A", "1"), VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}})
	full.Spec.InitContainers = []corev1.Container{{Name: "i"}}
	full.Spec.Volumes = []corev1.Volume{{Name: "v"}}
	fullAfter := pod(corev1.Container{Name: "c", Env: append(env("A", "1"), irsaEnv...), VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}, irsaMount}})
	fullAfter.Spec.InitContainers = []corev1.Container{{Name: "i", Env: irsaEnv, VolumeMounts: []corev1.VolumeMount{irsaMount}}}
	fullAfter.Spec.Volumes = []corev1.Volume{irsaVolume, {Name: "v"}}

	skips := func(v string) corev1.Pod {
		p := pod(corev1.Container{Name: "c"}, corev1.Container{Name: "side"})
		p.Annotations = map[string]string{AnnotationSkipContainers: v}
		return p
	}
	skipped := skips("side,other")
	skipped.Spec.Containers[0] = irsa.Spec.Containers[0]
	skipped.Spec.Volumes = []corev1.Volume{irsaVolume}
	unreadable := skips(`"side`)
	unreadable.Spec.Containers = []corev1.Container{irsa.Spec.Containers[0], irsa.Spec.Containers[0]}
	unreadable.Spec.Containers[1].Name = "side"
	unreadable.Spec.Volumes = []corev1.Volume{irsaVolume}

	expires := *plain.DeepCopy()
	expires.Annotations = map[string]string{AnnotationExpiration: "3600"}
	expiresAfter := volume(token("aws-iam-token", "sts.amazonaws.com", "token", 3600))
	expiresAfter.Annotations = expires.Annotations

	ownRegion := pod(corev1.Container{Name: "c", Env: env("AWS_REGION", "us-west-2")})
	ownRegionAfter := volume(irsaVolume)
	ownRegionAfter.Spec.Containers[0].Env = append(env("AWS_REGION", "us-west-2", "AWS_STS_REGIONAL_ENDPOINTS", "regional"), irsaEnv[3:]...)
	ownRole := pod(corev1.Container{Name: "c", Env: env("AWS_ROLE_ARN", "arn:other")})
	ownRoleAfter := volume(irsaVolume)
	ownRoleAfter.Spec.Containers[0].Env = append(env("AWS_ROLE_ARN", "arn:other"), irsaEnv[:3]...)
	ownAll := pod(corev1.Container{Name: "c", Env: env("AWS_ROLE_ARN", "arn:other", "AWS_REGION", "r", "AWS_STS_REGIONAL_ENDPOINTS", "legacy")})
	ownAllAfter := *ownAll.DeepCopy()
	ownAllAfter.Spec.Volumes = []corev1.Volume{irsaVolume}

	legacy := volume(irsaVolume)
	legacy.Spec.Containers[0].Env = irsaEnv[1:]
	windows := *plain.DeepCopy()
	windows.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"}
	windowsAfter := volume(irsaVolume)
	windowsAfter.Spec.NodeSelector = windows.Spec.NodeSelector
	windowsAfter.Spec.Containers[0].Env = append(append([]corev1.EnvVar{}, irsaEnv[:4]...),
		env("AWS_WEB_IDENTITY_TOKEN_FILE", `C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token`)...)

	labelled := *plain.DeepCopy()
	labelled.Labels = map[string]string{"app": "web"}
	labelledAfter := *agent.DeepCopy()
	labelledAfter.Labels = map[string]string{"app": "web", Label: "enabled"}
	ipv6 := *agent.DeepCopy()
	ipv6.Spec.Containers[0].Env[3].Value = "http://[fd00:ec2::23]/v1/credentials"
	short := *agent.DeepCopy()
	short.Spec.Volumes = []corev1.Volume{token("eks-pod-identity-token", "pods.eks.amazonaws.com", "eks-pod-identity-token", 1200)}

	for _, tt := range []struct {
		name        string
		annotations map[string]string // of the service account
		associated  bool
		ipv6        bool
		pod, want   corev1.Pod
	}{
		{"no role", nil, false, false, plain, plain},
		{"role", annotated, false, false, plain, irsa},
		{"init containers, variables and volumes of its own", annotated, false, false, full, fullAfter},
		{"audience", more(AnnotationAudience, "other"), false, false, plain, volume(token("aws-iam-token", "other", "token", 86400))},
		{"expiration", more(AnnotationExpiration, "7200"), false, false, plain, volume(token("aws-iam-token", "sts.amazonaws.com", "token", 7200))},
		{"expiration below Kubernetes' minimum", more(AnnotationExpiration, "10"), false, false, plain, volume(token("aws-iam-token", "sts.amazonaws.com", "token", 600))},
		{"expiration that is no number", more(AnnotationExpiration, "1h"), false, false, plain, irsa},
		{"expiration of the pod", more(AnnotationExpiration, "7200"), false, false, expires, expiresAfter},
		{"global STS", more(AnnotationRegionalSTS, "false"), false, false, plain, legacy},
		{"an unreadable switch", more(AnnotationRegionalSTS, "no"), false, false, plain, irsa},
		{"a container left alone", annotated, false, false, skips("side,other"), skipped},
		{"an unreadable list", annotated, false, false, skips(`"side`), unreadable},
		{"a region of its own", annotated, false, false, ownRegion, ownRegionAfter},
		{"a role of its own", annotated, false, false, ownRole, ownRoleAfter},
		{"everything of its own", annotated, false, false, ownAll, ownAllAfter},
		{"Windows", annotated, false, false, windows, windowsAfter},
		{"association", nil, true, false, plain, agent},
		{"association and role", annotated, true, false, plain, agent},
		{"association and labels", nil, true, false, labelled, labelledAfter},
		{"association in an IPv6 cluster", nil, true, true, plain, ipv6},
		{"association with an expiration", map[string]string{AnnotationExpiration: "1200"}, true, false, plain, short},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Webhook{
				Region: "eu-west-1", IPv6: tt.ipv6,
				Account: func(namespace, name string) (Account, bool, error) {
					if namespace != "shop" || name != "app" {
						t.Errorf("asked for %s/%s", namespace, name)
					}
					return AccountOf(tt.annotations), true, nil
				},
				Associated: func(namespace, name string) bool { return tt.associated && namespace == "shop" && name == "app" },
				Random:     func(n int64) int64 { return min(7, n-1) },
			}
			got := admit(t, w, tt.pod)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("the pod (-want +got):\n%s", d)
			}
			if d := cmp.Diff(got, admit(t, w, got)); d != "" {
				t.Errorf("asked again, it changes the pod further:\n%s", d)
			}
		})
	}
}

func TestAdmitFailures(t *testing.T) {
	boom := errors.New("boom")
	w := Webhook{Account: func(string, string) (Account, bool, error) { return Account{}, false, boom }}
	if _, err := w.Admit(&admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte("{}")}}); !errors.Is(err, boom) {
		t.Errorf("error = %v", err)
	}
	if _, err := w.Admit(&admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte("[")}}); err == nil {
		t.Error("half a pod is taken")
	}
	// A pod whose service account is nowhere runs as it is, as on EKS.
	w = Webhook{
		Account:    func(string, string) (Account, bool, error) { return Account{}, false, nil },
		Associated: func(string, string) bool { return false },
	}
	p := pod(corev1.Container{Name: "c"})
	p.ObjectMeta = metav1.ObjectMeta{Name: "p"}
	if d := cmp.Diff(p, admit(t, w, p)); d != "" {
		t.Error(d)
	}
}

// TestEndpoint: pods that run code are told where AWS is, and may say otherwise.
func TestEndpoint(t *testing.T) {
	const here = "http://192.0.2.1:4567"
	told := env("AWS_ENDPOINT_URL", here, "AWS_ENDPOINT_URL_STS", here)
	w := Webhook{Region: "eu-west-1", Endpoint: here,
		Account: func(_, name string) (Account, bool, error) {
			if name == "app" {
				return AccountOf(map[string]string{AnnotationRole: role}), true, nil
			}
			return Account{}, false, nil
		},
		Associated: func(string, string) bool { return false },
	}
	own := env("AWS_ENDPOINT_URL", "https://aws.example")
	sts := env("AWS_ENDPOINT_URL_STS", "https://sts.example")
	all := env("AWS_ROLE_ARN", "arn:other", "AWS_REGION", "r", "AWS_STS_REGIONAL_ENDPOINTS", "legacy")
	for name, c := range map[string]struct{ env, want []corev1.EnvVar }{
		"told":                     {nil, append(slices.Clone(told), irsaEnv...)},
		"its own":                  {own, append(slices.Clone(own), irsaEnv...)},
		"everything else its own":  {all, append(slices.Clone(all), told...)},
		"its own for STS":          {sts, append(append(slices.Clone(sts), told[0]), irsaEnv...)},
		"told by an earlier round": {append(slices.Clone(told), irsaEnv...), append(slices.Clone(told), irsaEnv...)},
	} {
		got := admit(t, w, pod(corev1.Container{Name: "c", Env: c.env}))
		if d := cmp.Diff(c.want, got.Spec.Containers[0].Env); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	without := pod(corev1.Container{Name: "c"})
	without.Spec.ServiceAccountName = "other"
	if d := cmp.Diff(without, admit(t, w, without)); d != "" {
		t.Errorf("without a role: %s", d)
	}
}
