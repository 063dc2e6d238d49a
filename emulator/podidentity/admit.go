package podidentity

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

// Webhook is the webhook of one cluster.
type Webhook struct {
	Region string
	IPv6   bool
	// Endpoint is the URL at which the cluster's pods reach AWS's APIs; empty: they run no
	// code.
	Endpoint string
	// Account finds a service account; ok is false if there is none.
	Account func(namespace, name string) (a Account, ok bool, err error)
	// Associated tells whether a service account has a pod identity association.
	Associated func(namespace, name string) bool
	// Random is a number in [0, n).
	Random func(n int64) int64
}

// change is what one pod gets.
type change struct {
	mount
	audience   string
	expiration int64
	regional   bool
	first      [2]string // the two variables that make an SDK use it
	values     [2]string
	label      bool
	endpoint   string
}

// Admit answers the webhook for a new pod.
func (w Webhook) Admit(r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	out := &admissionv1.AdmissionResponse{UID: r.UID, Allowed: true}
	var pod corev1.Pod
	if err := json.Unmarshal(r.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("podidentity: pod under admission: %w", err)
	}
	pod.Namespace = r.Namespace // the object may leave it out
	c, err := w.change(&pod)
	if err != nil || c == nil {
		return out, err
	}
	c.endpoint = w.Endpoint
	ops := c.patch(&pod, w.Region)
	if len(ops) == 0 {
		return out, nil
	}
	patch, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("podidentity: %w", err)
	}
	t := admissionv1.PatchTypeJSONPatch
	out.Patch, out.PatchType = patch, &t
	return out, nil
}

// change decides between the two ways: an association wins over the annotation.
func (w Webhook) change(pod *corev1.Pod) (*change, error) {
	a, ok, err := w.Account(pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return nil, err
	}
	if !ok {
		a = AccountOf(nil)
	}
	if w.Associated(pod.Namespace, pod.Spec.ServiceAccountName) {
		c := &change{
			mount: podIdentity, audience: AudiencePods, expiration: expiration(pod.Annotations, a.Expiration), regional: ok && a.RegionalSTS,
			first: [2]string{EnvCredentialsURI, EnvAuthorizationToken}, values: [2]string{AgentURI, podIdentity.path(pod)}, label: true,
		}
		if w.IPv6 {
			c.values[0] = AgentURIIPv6
		}
		if c.expiration == longest {
			c.expiration = leastByDefault + w.Random(longest-leastByDefault+1)
		}
		return c, nil
	}
	if a.RoleARN == "" {
		return nil, nil
	}
	return &change{
		mount: webIdentity, audience: a.Audience, expiration: expiration(pod.Annotations, a.Expiration), regional: a.RegionalSTS,
		first: [2]string{EnvRole, EnvTokenFile}, values: [2]string{a.RoleARN, webIdentity.path(pod)},
	}, nil
}

// path is where the pod's containers find the token.
func (m mount) path(pod *corev1.Pod) string {
	p := path.Join(m.folder, m.file)
	if pod.Spec.NodeSelector["kubernetes.io/os"] == "windows" || pod.Spec.NodeSelector["beta.kubernetes.io/os"] == "windows" {
		return "C:" + strings.ReplaceAll(p, "/", `\`)
	}
	return p
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch is empty for a pod that has it all: the webhook is called again when others
// have changed the pod.
func (c *change) patch(pod *corev1.Pod, region string) []patchOp {
	var ops []patchOp
	skip := skipped(pod)
	for _, list := range []struct {
		path       string
		containers []corev1.Container
	}{{"/spec/initContainers", pod.Spec.InitContainers}, {"/spec/containers", pod.Spec.Containers}} {
		for i := range list.containers {
			if k := &list.containers[i]; !skip[k.Name] {
				ops = append(ops, c.container(k, fmt.Sprintf("%s/%d", list.path, i), region)...)
			}
		}
	}
	if c.label && pod.Labels[Label] != "enabled" {
		if pod.Labels == nil {
			ops = append(ops, patchOp{"add", "/metadata/labels", map[string]string{Label: "enabled"}})
		} else {
			ops = append(ops, patchOp{"add", "/metadata/labels/" + strings.ReplaceAll(Label, "/", "~1"), "enabled"})
		}
	}
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == c.volume }) {
		return ops
	}
	volume := corev1.Volume{Name: c.volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: c.audience, ExpirationSeconds: &c.expiration, Path: c.file,
		}}},
	}}}
	if pod.Spec.Volumes == nil {
		return append(ops, patchOp{"add", "/spec/volumes", []corev1.Volume{volume}})
	}
	return append(ops, patchOp{"add", "/spec/volumes/0", volume})
}

// container gives one container what it has not: users' own variables stay.
func (c *change) container(k *corev1.Container, at, region string) []patchOp {
	has := func(names ...string) bool {
		return slices.ContainsFunc(k.Env, func(e corev1.EnvVar) bool { return slices.Contains(names, e.Name) })
	}
	var env []corev1.EnvVar
	if c.endpoint != "" && !has(EnvEndpoint) {
		env = append(env, corev1.EnvVar{Name: EnvEndpoint, Value: c.endpoint})
		if !has(EnvEndpointSTS) {
			env = append(env, corev1.EnvVar{Name: EnvEndpointSTS, Value: c.endpoint})
		}
	}
	if has(c.first[0], c.first[1]) && has(EnvRegion, EnvDefaultRegion) && has(EnvRegionalSTS) {
		return variables(k, at, env) // it has taken care of itself, and of the token too
	}
	if c.regional && !has(EnvRegionalSTS) {
		env = append(env, corev1.EnvVar{Name: EnvRegionalSTS, Value: "regional"})
	}
	if !has(EnvRegion, EnvDefaultRegion) { // either is the user's choice of a region
		env = append(env, corev1.EnvVar{Name: EnvDefaultRegion, Value: region}, corev1.EnvVar{Name: EnvRegion, Value: region})
	}
	if !has(c.first[0], c.first[1]) {
		env = append(env, corev1.EnvVar{Name: c.first[0], Value: c.values[0]}, corev1.EnvVar{Name: c.first[1], Value: c.values[1]})
	}
	ops := variables(k, at, env)
	if slices.ContainsFunc(k.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == c.volume }) {
		return ops
	}
	m := corev1.VolumeMount{Name: c.volume, ReadOnly: true, MountPath: c.folder}
	if k.VolumeMounts == nil {
		return append(ops, patchOp{"add", at + "/volumeMounts", []corev1.VolumeMount{m}})
	}
	return append(ops, patchOp{"add", at + "/volumeMounts/-", m})
}

// variables adds some to a container.
func variables(k *corev1.Container, at string, env []corev1.EnvVar) (ops []patchOp) {
	if len(env) > 0 && k.Env == nil {
		return []patchOp{{"add", at + "/env", env}}
	}
	for _, e := range env {
		ops = append(ops, patchOp{"add", at + "/env/-", e})
	}
	return ops
}
