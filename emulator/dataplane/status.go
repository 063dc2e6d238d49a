package dataplane

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// write tells the API server what the node knows, if that is news to it.
func (f *Fleet) write(ctx context.Context, pod *corev1.Pod, rec *podRecord) error {
	if rec.wrote != nil && equality.Semantic.DeepEqual(rec.wrote.status, rec.known) && !drifted(pod, rec) {
		return nil
	}
	got, err := f.putStatus(ctx, pod, &rec.known)
	switch {
	case apierrors.IsNotFound(err):
		return nil // deleted meanwhile; the watch will say so
	case apierrors.IsConflict(err):
		// Another pod by now, or only another version: the patch's UID decides.
		if err := f.patchStatus(ctx, pod, &rec.known); err != nil {
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				return nil
			}
			return fmt.Errorf("status: %w", err)
		}
		got = pod
	case err != nil:
		return fmt.Errorf("status: %w", err)
	}
	rec.wrote = &written{status: *rec.known.DeepCopy(), rv: got.ResourceVersion, at: f.clock.Now()}
	return nil
}

// putStatus is one whole update: it costs the API server much less than a patch,
// and the resource version keeps it from undoing what others wrote.
func (f *Fleet) putStatus(ctx context.Context, pod *corev1.Pod, own *corev1.PodStatus) (*corev1.Pod, error) {
	update := *pod
	update.Status = *pod.Status.DeepCopy()
	st := &update.Status
	st.Phase, st.Reason, st.Message = own.Phase, own.Reason, own.Message
	st.HostIP, st.HostIPs, st.PodIP, st.PodIPs = own.HostIP, own.HostIPs, own.PodIP, own.PodIPs
	st.StartTime, st.ObservedGeneration = own.StartTime, own.ObservedGeneration
	st.InitContainerStatuses = own.InitContainerStatuses
	st.ContainerStatuses = own.ContainerStatuses
	st.EphemeralContainerStatuses = own.EphemeralContainerStatuses
	for _, c := range own.Conditions {
		if old := findCondition(st.Conditions, c.Type); old != nil {
			*old = c
		} else {
			st.Conditions = append(st.Conditions, c)
		}
	}
	return f.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, &update, metav1.UpdateOptions{})
}

// patchStatus merges own into whatever the status is now, for this UID only.
func (f *Fleet) patchStatus(ctx context.Context, pod *corev1.Pod, own *corev1.PodStatus) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   own,
	})
	if err != nil {
		return err
	}
	_, err = f.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// drifted tells whether somebody else changed what the node had written: the
// node life cycle controller sets Ready to False when heartbeats stop, and a
// kubelet that is back puts it right. Versions from before our own write, which
// the watch still delivers, do not count.
func drifted(pod *corev1.Pod, rec *podRecord) bool {
	if seen, err := strconv.ParseUint(pod.ResourceVersion, 10, 64); err != nil || seen < version(rec.wrote.rv) {
		return false
	}
	if pod.Status.Phase != rec.known.Phase || pod.Status.PodIP != rec.known.PodIP {
		return true
	}
	for _, own := range rec.known.Conditions {
		if c := findCondition(pod.Status.Conditions, own.Type); c == nil || c.Status != own.Status {
			return true
		}
	}
	return false
}

func version(rv string) uint64 {
	n, err := strconv.ParseUint(rv, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
