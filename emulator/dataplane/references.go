package dataplane

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

const (
	refsFresh  = 30 * time.Second // how long an object is known to exist
	refsAbsent = time.Second      // how long one is known not to
	refsRetry  = 30 * time.Second // longest pause between two looks for a missing one
)

// refState is how far a pod is with finding its ConfigMaps and Secrets.
type refState struct {
	done  bool
	tries int
	again time.Time
	held  map[string]hold
}

// objectRef names a ConfigMap or Secret.
type objectRef struct {
	secret          bool
	namespace, name string
}

func (r objectRef) kind() string {
	if r.secret {
		return "secret"
	}
	return "configmap"
}

// references looks ConfigMaps and Secrets up. The 1,000 pods of a Deployment cost
// one read: answers are shared for a while, and an informer, which would hold
// every Secret of the cluster in this process, is not needed.
type references struct {
	client kubernetes.Interface
	clock  clock.PassiveClock
	mu     sync.Mutex
	cached map[objectRef]*refEntry
}

// refEntry is an answer, or one under way: its mu is held during the read.
type refEntry struct {
	mu   sync.Mutex
	at   time.Time
	keys map[string]bool // nil: does not exist
}

func newReferences(client kubernetes.Interface, c clock.PassiveClock) *references {
	return &references{client: client, clock: c, cached: map[objectRef]*refEntry{}}
}

// keys returns the object's keys, nil if it does not exist.
func (r *references) keys(ctx context.Context, ref objectRef) (map[string]bool, error) {
	r.mu.Lock()
	if len(r.cached) > 10000 {
		clear(r.cached)
	}
	e := r.cached[ref]
	if e == nil {
		e = &refEntry{}
		r.cached[ref] = e
	}
	r.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	age := r.clock.Since(e.at)
	if !e.at.IsZero() && (age < refsAbsent || e.keys != nil && age < refsFresh) {
		return e.keys, nil
	}
	keys, err := r.read(ctx, ref)
	if err != nil {
		return nil, err
	}
	e.keys, e.at = keys, r.clock.Now()
	return keys, nil
}

func (r *references) read(ctx context.Context, ref objectRef) (map[string]bool, error) {
	keys := map[string]bool{}
	var err error
	if ref.secret {
		var s *corev1.Secret
		if s, err = r.client.CoreV1().Secrets(ref.namespace).Get(ctx, ref.name, metav1.GetOptions{}); err == nil {
			for k := range s.Data {
				keys[k] = true
			}
		}
	} else {
		var c *corev1.ConfigMap
		if c, err = r.client.CoreV1().ConfigMaps(ref.namespace).Get(ctx, ref.name, metav1.GetOptions{}); err == nil {
			for k := range c.Data {
				keys[k] = true
			}
			for k := range c.BinaryData {
				keys[k] = true
			}
		}
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return keys, err
}

// missing finds out which configuration the pod asks for does not exist: volumes
// hold the whole pod in ContainerCreating, environment variables hold their
// container in CreateContainerConfigError.
func (f *Fleet) missing(ctx context.Context, n *node, pod *corev1.Pod, rec *podRecord, now time.Time) (map[string]hold, time.Duration) {
	s := &rec.refs
	if s.done {
		return nil, 0
	}
	if now.Before(s.again) {
		return s.held, s.again.Sub(now)
	}
	s.held = map[string]hold{}
	var warned []podEvent
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if text := f.missingVolume(ctx, pod.Namespace, v); text != "" {
			s.held[""] = hold{reasonContainerCreating, ""}
			warned = append(warned, podEvent{warning: true, reason: "FailedMount", message: fmt.Sprintf("MountVolume.SetUp failed for volume %q : %s", v.Name, text)})
		}
	}
	if len(s.held) == 0 {
		warned = append(warned, f.missingEnvs(ctx, pod, pod.Spec.InitContainers, true, s.held)...)
		warned = append(warned, f.missingEnvs(ctx, pod, pod.Spec.Containers, false, s.held)...)
	}
	for _, e := range warned {
		f.events.pod(n, pod, e)
	}
	if len(s.held) == 0 {
		s.done = true
		return nil, 0
	}
	wait := min(500*time.Millisecond<<min(s.tries, 10), refsRetry)
	s.tries++
	s.again = now.Add(wait)
	return s.held, wait
}

func (f *Fleet) missingEnvs(ctx context.Context, pod *corev1.Pod, list []corev1.Container, init bool, held map[string]hold) []podEvent {
	var events []podEvent
	for i := range list {
		text := f.missingEnv(ctx, pod.Namespace, &list[i])
		if text == "" {
			continue
		}
		held[list[i].Name] = hold{"CreateContainerConfigError", text}
		events = append(events, podEvent{container: list[i].Name, init: init, warning: true, reason: "Failed", message: "Error: " + text})
	}
	return events
}

// missingVolume says what a volume lacks, in kubelet's words.
func (f *Fleet) missingVolume(ctx context.Context, ns string, v *corev1.Volume) string {
	switch {
	case v.ConfigMap != nil:
		return f.missingItems(ctx, objectRef{false, ns, v.ConfigMap.Name}, v.ConfigMap.Optional, v.ConfigMap.Items)
	case v.Secret != nil:
		return f.missingItems(ctx, objectRef{true, ns, v.Secret.SecretName}, v.Secret.Optional, v.Secret.Items)
	case v.Projected != nil:
		for _, src := range v.Projected.Sources {
			var text string
			switch {
			case src.ConfigMap != nil:
				text = f.missingItems(ctx, objectRef{false, ns, src.ConfigMap.Name}, src.ConfigMap.Optional, src.ConfigMap.Items)
			case src.Secret != nil:
				text = f.missingItems(ctx, objectRef{true, ns, src.Secret.Name}, src.Secret.Optional, src.Secret.Items)
			}
			if text != "" {
				return text
			}
		}
	}
	return ""
}

func (f *Fleet) missingItems(ctx context.Context, ref objectRef, optional *bool, items []corev1.KeyToPath) string {
	if optional != nil && *optional {
		return ""
	}
	keys, err := f.refs.keys(ctx, ref)
	switch {
	case err != nil:
		return err.Error()
	case keys == nil:
		return fmt.Sprintf("%s %q not found", ref.kind(), ref.name)
	}
	for _, item := range items {
		if !keys[item.Key] {
			if ref.secret {
				return fmt.Sprintf("references non-existent secret key: %s", item.Key)
			}
			return fmt.Sprintf("references non-existent config key: %s", item.Key)
		}
	}
	return ""
}

// missingEnv says what a container's environment lacks, in kubelet's words.
func (f *Fleet) missingEnv(ctx context.Context, ns string, c *corev1.Container) string {
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			if text := f.missingItems(ctx, objectRef{false, ns, from.ConfigMapRef.Name}, from.ConfigMapRef.Optional, nil); text != "" {
				return text
			}
		case from.SecretRef != nil:
			if text := f.missingItems(ctx, objectRef{true, ns, from.SecretRef.Name}, from.SecretRef.Optional, nil); text != "" {
				return text
			}
		}
	}
	for _, env := range c.Env {
		if env.ValueFrom == nil {
			continue
		}
		if k := env.ValueFrom.ConfigMapKeyRef; k != nil {
			if text := f.missingKey(ctx, objectRef{false, ns, k.Name}, k.Key, k.Optional); text != "" {
				return text
			}
		}
		if k := env.ValueFrom.SecretKeyRef; k != nil {
			if text := f.missingKey(ctx, objectRef{true, ns, k.Name}, k.Key, k.Optional); text != "" {
				return text
			}
		}
	}
	return ""
}

func (f *Fleet) missingKey(ctx context.Context, ref objectRef, key string, optional *bool) string {
	if optional != nil && *optional {
		return ""
	}
	keys, err := f.refs.keys(ctx, ref)
	switch {
	case err != nil:
		return err.Error()
	case keys == nil:
		return fmt.Sprintf("%s %q not found", ref.kind(), ref.name)
	case !keys[key]:
		if ref.secret {
			return fmt.Sprintf("couldn't find key %s in Secret %s/%s", key, ref.namespace, ref.name)
		}
		return fmt.Sprintf("couldn't find key %s in ConfigMap %s/%s", key, ref.namespace, ref.name)
	}
	return ""
}
