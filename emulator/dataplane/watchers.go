package dataplane

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// watchers wakes those who follow a single pod (log followers, exec sessions),
// so that none of them polls.
type watchers struct {
	mu    sync.Mutex
	byKey map[string]map[chan struct{}]struct{}
}

// watch returns a channel that has something in it after the pod changed.
func (w *watchers) watch(key string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = map[string]map[chan struct{}]struct{}{}
	}
	if w.byKey[key] == nil {
		w.byKey[key] = map[chan struct{}]struct{}{}
	}
	w.byKey[key][c] = struct{}{}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.byKey[key], c)
		if len(w.byKey[key]) == 0 {
			delete(w.byKey, key)
		}
	}
}

func (w *watchers) notify(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.byKey[key] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// whileRunning returns a context that ends with the container's present run.
func (f *Fleet) whileRunning(ctx context.Context, pod *corev1.Pod, container string) (context.Context, context.CancelFunc) {
	_, status := containerIn(pod, container)
	ctx, cancel := context.WithCancel(ctx)
	if status == nil || status.State.Running == nil {
		cancel()
		return ctx, cancel
	}
	id, key := status.ContainerID, keyOf(pod).String()
	changed, stop := f.watchers.watch(key)
	go func() {
		defer stop()
		defer cancel()
		for {
			now := f.podNamed(pod.Namespace, pod.Name)
			if now == nil || now.UID != pod.UID {
				return
			}
			if _, s := containerIn(now, container); s == nil || s.State.Running == nil || s.ContainerID != id {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-f.kubelet.stopped:
				return
			case <-changed:
			}
		}
	}()
	return ctx, cancel
}
