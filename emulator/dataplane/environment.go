package dataplane

import (
	"context"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// resolver reads ConfigMaps and Secrets for a container's environment and files,
// only when somebody looks. A nil resolver knows none.
type resolver struct {
	ctx    context.Context
	client kubernetes.Interface
	dnsIP  string
	// disk reads a file of a node's disk.
	disk func(nodeName, path string) ([]byte, bool)
}

func (r *resolver) dns() string {
	if r == nil || r.dnsIP == "" {
		return "172.20.0.10"
	}
	return r.dnsIP
}

// data returns an object's content, nil if there is none.
func (r *resolver) data(ref objectRef) map[string][]byte {
	if r == nil {
		return nil
	}
	if ref.secret {
		s, err := r.client.CoreV1().Secrets(ref.namespace).Get(r.ctx, ref.name, metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return s.Data
	}
	c, err := r.client.CoreV1().ConfigMaps(ref.namespace).Get(r.ctx, ref.name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	data := map[string][]byte{}
	for k, v := range c.Data {
		data[k] = []byte(v)
	}
	for k, v := range c.BinaryData {
		data[k] = v
	}
	return data
}

// mounted finds a file in the ConfigMap and Secret volumes of the container.
func (r *resolver) mounted(pod *corev1.Pod, c *corev1.Container, file string) ([]byte, bool) {
	if r == nil {
		return nil, false
	}
	file = path.Clean(file)
	for _, m := range c.VolumeMounts {
		name, ok := strings.CutPrefix(file, strings.TrimSuffix(path.Clean(m.MountPath), "/")+"/")
		if m.SubPath != "" && file == path.Clean(m.MountPath) {
			name, ok = m.SubPath, true
		}
		if !ok {
			continue
		}
		for i := range pod.Spec.Volumes {
			if v := &pod.Spec.Volumes[i]; v.Name == m.Name {
				if v.HostPath != nil {
					return r.onDisk(pod.Spec.NodeName, path.Join(v.HostPath.Path, name))
				}
				if data, found := r.volumeFile(pod.Namespace, v, name); found {
					return data, true
				}
			}
		}
	}
	if isDaemon(pod) && c.Name == daemonName {
		return r.onDisk(pod.Spec.NodeName, file) // AWS's documentation says so, the image has it below /host
	}
	return nil, false
}

func (r *resolver) onDisk(nodeName, path string) ([]byte, bool) {
	if r.disk == nil {
		return nil, false
	}
	return r.disk(nodeName, path)
}

func (r *resolver) volumeFile(ns string, v *corev1.Volume, name string) ([]byte, bool) {
	var ref objectRef
	var items []corev1.KeyToPath
	switch {
	case v.ConfigMap != nil:
		ref, items = objectRef{false, ns, v.ConfigMap.Name}, v.ConfigMap.Items
	case v.Secret != nil:
		ref, items = objectRef{true, ns, v.Secret.SecretName}, v.Secret.Items
	default:
		return nil, false
	}
	for _, i := range items {
		if i.Path == name {
			name = i.Key
		}
	}
	data, ok := r.data(ref)[name]
	return data, ok
}

// Environment is what the processes of a container on one of the nodes see.
func (f *Fleet) Environment(ctx context.Context, pod *corev1.Pod, c *corev1.Container) map[string]string {
	return environment(pod, c, f.resolver(ctx))
}

// environment is what the container's processes see.
func environment(pod *corev1.Pod, c *corev1.Container, r *resolver) map[string]string {
	host := pod.Spec.Hostname
	if host == "" {
		host = pod.Name
	}
	if pod.Spec.HostNetwork {
		host = pod.Spec.NodeName
	}
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "HOSTNAME": host,
	}
	for _, from := range c.EnvFrom {
		var ref objectRef
		switch {
		case from.ConfigMapRef != nil:
			ref = objectRef{false, pod.Namespace, from.ConfigMapRef.Name}
		case from.SecretRef != nil:
			ref = objectRef{true, pod.Namespace, from.SecretRef.Name}
		}
		for k, v := range r.data(ref) {
			env[from.Prefix+k] = string(v)
		}
	}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom == nil:
			env[e.Name] = expandRefs(e.Value, env)
		case e.ValueFrom.FieldRef != nil:
			env[e.Name] = field(pod, e.ValueFrom.FieldRef.FieldPath)
		case e.ValueFrom.ResourceFieldRef != nil:
			env[e.Name] = resourceField(c, e.ValueFrom.ResourceFieldRef)
		case e.ValueFrom.ConfigMapKeyRef != nil:
			env[e.Name] = string(r.data(objectRef{false, pod.Namespace, e.ValueFrom.ConfigMapKeyRef.Name})[e.ValueFrom.ConfigMapKeyRef.Key])
		case e.ValueFrom.SecretKeyRef != nil:
			env[e.Name] = string(r.data(objectRef{true, pod.Namespace, e.ValueFrom.SecretKeyRef.Name})[e.ValueFrom.SecretKeyRef.Key])
		}
	}
	return env
}

// expandRefs replaces $(NAME) by variables defined before; $$ is a dollar.
func expandRefs(s string, env map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 >= len(s) {
			out.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			v, ok := "", false
			if end > 0 {
				v, ok = env[s[i+2:i+end]]
			}
			if !ok {
				out.WriteByte('$')
				continue
			}
			out.WriteString(v)
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

func field(pod *corev1.Pod, p string) string {
	keyed := func(m map[string]string) string {
		key := p[strings.IndexByte(p, '[')+1:]
		return m[strings.Trim(key, "'\"]")]
	}
	switch {
	case p == "metadata.name":
		return pod.Name
	case p == "metadata.namespace":
		return pod.Namespace
	case p == "metadata.uid":
		return string(pod.UID)
	case strings.HasPrefix(p, "metadata.labels["):
		return keyed(pod.Labels)
	case strings.HasPrefix(p, "metadata.annotations["):
		return keyed(pod.Annotations)
	case p == "spec.nodeName":
		return pod.Spec.NodeName
	case p == "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName
	case p == "status.podIP", p == "status.podIPs":
		return pod.Status.PodIP
	case p == "status.hostIP", p == "status.hostIPs":
		return pod.Status.HostIP
	}
	return ""
}

func resourceField(c *corev1.Container, f *corev1.ResourceFieldSelector) string {
	kind, name, _ := strings.Cut(f.Resource, ".")
	list := c.Resources.Requests
	if kind == "limits" {
		list = c.Resources.Limits
	}
	q := list[corev1.ResourceName(name)]
	div := f.Divisor.MilliValue()
	if div <= 0 {
		div = 1000
	}
	return strconv.FormatInt((q.MilliValue()+div-1)/div, 10)
}
