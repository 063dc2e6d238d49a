package dataplane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// sandboxRetry is kubelet's pace for a pod whose sandbox failed; jitter comes on top.
const sandboxRetry = 10 * time.Second

// hideShorter is the longest wait before Running that is not worth a status
// update of its own: one update a pod is what lets 5,000 pods start quickly.
const hideShorter = time.Second

// podRecord is what a node remembers of a pod. It belongs to the worker that has the
// pod's key from the queue.
type podRecord struct {
	uid   types.UID
	node  *node
	known corev1.PodStatus // with times that are more exact than the API's
	wrote *written

	admitted, network, stopping time.Time

	ips      []netip.Addr
	assigned bool      // Addresses holds an address for the pod
	retryAt  time.Time // next attempt at a sandbox
	starving bool
	waiting  *WaitingPod // nil while the pod has an address; guarded by Fleet.mu

	life     life
	lifeOf   string // the resource version that life was read from
	refs     refState
	pulls    map[string]*pullState
	forgiven map[string]int32
	ended    map[string]int32 // guarded by Fleet.mu: attach sessions set it
	deleted  bool
}

// written is the last status that the API server took from us.
type written struct {
	status corev1.PodStatus
	rv     string
	at     time.Time
}

// syncPod brings one pod up to now. It returns when to look again, 0 for not
// before something changes.
func (f *Fleet) syncPod(ctx context.Context, key string) (time.Duration, error) {
	obj, exists, err := f.pods.GetIndexer().GetByKey(key)
	if err != nil {
		return 0, err
	}
	if !exists {
		f.forget(key, "")
		return 0, nil
	}
	pod := obj.(*corev1.Pod)
	n, ready := f.host(pod.Spec.NodeName)
	if !ready {
		return 0, nil // Join or adopt will queue the pod
	}
	rec := f.recordOf(key, pod, n)
	if rec.deleted {
		return 0, nil
	}
	if isTerminal(rec.known.Phase) {
		f.release(ctx, n, rec)
		if pod.DeletionTimestamp != nil {
			return 0, f.finalize(ctx, pod, rec)
		}
		return 0, f.write(ctx, pod, rec)
	}
	return f.live(ctx, n, pod, rec)
}

// host returns the node of that name if its pods may be worked on.
func (f *Fleet) host(name string) (*node, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	return n, n != nil && n.adopted
}

// recordOf returns the pod's record, a new one for a new pod of the same name.
func (f *Fleet) recordOf(key string, pod *corev1.Pod, n *node) *podRecord {
	f.mu.Lock()
	rec := f.records[key]
	f.mu.Unlock()
	if rec != nil && rec.uid == pod.UID && rec.node == n {
		return rec
	}
	if rec != nil && rec.uid != pod.UID {
		f.forget(key, "")
	}
	rec = f.newRecord(pod, n)
	f.mu.Lock()
	f.records[key] = rec
	f.mu.Unlock()
	return rec
}

// newRecord starts from what the API server knows: nothing for a new pod, the
// whole story for one that an earlier process ran.
func (f *Fleet) newRecord(pod *corev1.Pod, n *node) *podRecord {
	rec := &podRecord{
		uid: pod.UID, node: n, known: *pod.Status.DeepCopy(), admitted: f.clock.Now(),
		pulls: map[string]*pullState{}, forgiven: map[string]int32{}, ended: map[string]int32{},
	}
	if pod.Status.StartTime != nil {
		rec.admitted = pod.Status.StartTime.Time
		rec.wrote = &written{status: rec.known, rv: pod.ResourceVersion}
	}
	return rec
}

// forget drops a pod's record and gives its address back. uid "" means whoever.
func (f *Fleet) forget(key string, uid types.UID) {
	f.mu.Lock()
	rec := f.records[key]
	if rec == nil || uid != "" && rec.uid != uid {
		f.mu.Unlock()
		return
	}
	delete(f.records, key)
	delete(f.starved[rec.node.Name], key)
	f.mu.Unlock()
	f.loseDaemon(rec.node, rec.uid)
	f.release(context.Background(), rec.node, rec)
}

// release gives the pod's address back, and lets a pod that waits for one try.
func (f *Fleet) release(ctx context.Context, n *node, rec *podRecord) {
	if !rec.assigned {
		return
	}
	rec.assigned = false
	f.cfg.Addresses.Release(ctx, n.InstanceID, rec.uid)
	f.wakeStarved(n.Name, 1)
}

// RetryAddresses lets the node's pods that wait for an address try at once; for
// the CNI to call when it has got new ones.
func (f *Fleet) RetryAddresses(nodeName string) { f.wakeStarved(nodeName, -1) }

func (f *Fleet) wakeStarved(nodeName string, limit int) {
	f.mu.Lock()
	var keys []string
	for key := range f.starved[nodeName] {
		if limit >= 0 && len(keys) == limit {
			break
		}
		keys = append(keys, key)
		delete(f.starved[nodeName], key)
	}
	f.mu.Unlock()
	for _, key := range keys {
		f.queue.Add(key)
	}
}

// live works on a pod that has not ended.
func (f *Fleet) live(ctx context.Context, n *node, pod *corev1.Pod, rec *podRecord) (time.Duration, error) {
	now := f.clock.Now()
	if rec.lifeOf != pod.ResourceVersion || rec.lifeOf == "" {
		var errs []error
		rec.life, errs = lifeOf(pod)
		if rec.lifeOf == "" {
			for _, err := range errs {
				f.events.pod(n, pod, podEvent{warning: true, reason: "InvalidAnnotation", message: err.Error()})
			}
		}
		rec.lifeOf = pod.ResourceVersion
	}
	if pod.DeletionTimestamp != nil && rec.stopping.IsZero() {
		rec.stopping = now
		f.killing(n, pod, rec)
	}
	var again waits
	if rec.stopping.IsZero() {
		again.add(f.sandbox(ctx, n, pod, rec, now))
	}
	held, wait := f.holds(ctx, n, pod, rec, now)
	again.add(wait)
	rec.forgive(now)
	f.observe(ctx, n, pod, &rec.known)

	images, minor := f.imagesFor(n, pod)
	s := next(situation{
		images: images, minor: minor, pod: pod, was: rec.known, life: f.withDaemon(n, pod, &rec.known, rec.life), now: now, admitted: rec.admitted, network: rec.network,
		ips: rec.ips, hostIP: n.PrivateIP, stopping: rec.stopping, held: held, forgiven: rec.forgiven, ended: f.takeEnded(rec),
	})
	rec.known = s.status
	f.observe(ctx, n, pod, &rec.known) // its container may have started just now
	if len(s.events) > 0 {
		f.noteImages(n, pod, &s.status)
	}
	for _, e := range s.events {
		f.events.pod(n, pod, e)
	}
	again.add(s.again)
	if soon := rec.wrote == nil && s.status.Phase == corev1.PodPending && s.again > 0 && s.again < hideShorter; !soon {
		if err := f.write(ctx, pod, rec); err != nil {
			return 0, err
		}
	}
	if s.stopped {
		f.release(ctx, n, rec)
		return 0, f.finalize(ctx, pod, rec)
	}
	if isTerminal(s.status.Phase) {
		f.release(ctx, n, rec)
	}
	return again.next, f.noteNetwork(ctx, n, pod, s.status.Phase)
}

// imagesFor tells which of the pod's images the node has, and its minor version.
func (f *Fleet) imagesFor(n *node, pod *corev1.Pod) (map[string]bool, int) {
	images := map[string]bool{}
	f.mu.Lock()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers, ephemerals(pod)} {
		for i := range list {
			images[list[i].Image] = n.images[list[i].Image]
		}
	}
	f.mu.Unlock()
	minor := 0
	if v := strings.SplitN(n.KubeletVersion, ".", 3); len(v) == 3 {
		minor, _ = strconv.Atoi(v[1]) // 0 is an old one
	}
	return images, minor
}

// noteImages remembers the images of containers that have started.
func (f *Fleet) noteImages(n *node, pod *corev1.Pod, st *corev1.PodStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if c := containerSpec(pod, list[i].Name); c != nil && list[i].ContainerID != "" {
				n.images[c.Image] = true
			}
		}
	}
}

// waits keeps the shortest positive one of several waits.
type waits struct{ next time.Duration }

func (w *waits) add(d time.Duration) {
	if d > 0 && (w.next == 0 || d < w.next) {
		w.next = d
	}
}

// finalize removes a pod under deletion whose containers have ended.
func (f *Fleet) finalize(ctx context.Context, pod *corev1.Pod, rec *podRecord) error {
	if err := f.deletePod(ctx, pod); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	rec.deleted = true
	return nil
}

func (f *Fleet) killing(n *node, pod *corev1.Pod, rec *podRecord) {
	for _, cs := range rec.known.ContainerStatuses {
		if cs.State.Running != nil {
			f.events.pod(n, pod, podEvent{container: cs.Name, reason: "Killing", message: "Stopping container " + cs.Name})
		}
	}
}

func (f *Fleet) takeEnded(rec *podRecord) map[string]int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended := rec.ended
	if len(ended) > 0 {
		rec.ended = map[string]int32{}
	}
	return ended
}

// forgive forgets the crashes of a container that has run long enough since.
func (r *podRecord) forgive(now time.Time) {
	for _, list := range [][]corev1.ContainerStatus{r.known.InitContainerStatuses, r.known.ContainerStatuses} {
		for _, cs := range list {
			if cs.State.Running != nil && cs.RestartCount > 0 && now.Sub(cs.State.Running.StartedAt.Time) >= backoffForget {
				r.forgiven[cs.Name] = cs.RestartCount
			}
		}
	}
}

// sandbox gives the pod its network if it has none. It returns when to try again.
func (f *Fleet) sandbox(ctx context.Context, n *node, pod *corev1.Pod, rec *podRecord, now time.Time) time.Duration {
	if !rec.network.IsZero() {
		return 0
	}
	had, _ := netip.ParseAddr(pod.Status.PodIP)
	if ip, own := n.ownAddress(pod); own {
		rec.ips = []netip.Addr{ip}
		rec.network = sandboxSince(rec, now)
		return 0
	}
	if !f.networkReady(n) {
		f.events.pod(n, pod, podEvent{warning: true, reason: "NetworkNotReady", message: "network is not ready: " + messageNoCNI})
		return 0 // noteNetwork queues the pod
	}
	key := keyOf(pod).String()
	if rec.starving && now.Before(rec.retryAt) && f.isStarved(n.Name, key) && !hasBranch(pod, n) {
		return rec.retryAt.Sub(now)
	}
	if wait := awaitsBranch(pod, rec, n, now); wait > 0 {
		return wait
	}
	ip, err := f.sandboxAddress(ctx, n, pod, had)
	if err != nil {
		f.starve(n.Name, key)
		rec.starving = true
		loseContainers(&rec.known, now) // of a pod whose address went to another one
		rec.retryAt = now.Add(sandboxRetry + time.Duration(rand.Int64N(int64(5*time.Second))))
		message := fmt.Sprintf(
			"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox %q: plugin type=\"aws-cni\" name=\"aws-cni\" failed (add): add cmd: %s",
			awsid.Hex(64), err)
		f.noteWaiting(n, pod, rec, had, message)
		f.events.pod(n, pod, podEvent{warning: true, reason: "FailedCreatePodSandBox", message: message})
		return rec.retryAt.Sub(now)
	}
	if f.node(n.Name) != n {
		// Removed meanwhile: Remove may have released before this address was taken.
		// (It is nothing to the pool if the address is a branch interface's.)
		f.cfg.Addresses.Release(ctx, n.InstanceID, pod.UID)
		return 0
	}
	f.mu.Lock()
	delete(f.starved[n.Name], key)
	rec.waiting = nil
	f.mu.Unlock()
	rec.starving, rec.assigned = false, podeni.Wants(pod) == 0
	rec.ips = []netip.Addr{ip}
	if had.IsValid() && had != ip {
		rec.network = now
		f.events.pod(n, pod, podEvent{reason: "SandboxChanged", message: "Pod sandbox changed, it will be killed and re-created."})
		loseContainers(&rec.known, now)
		return 0
	}
	rec.network = sandboxSince(rec, now)
	return 0
}

// assign asks the node's CNI for the pod's address. A pod that shows one has its
// sandbox already, which does not need the daemon any more.
func (f *Fleet) assign(ctx context.Context, n *node, pod *corev1.Pod, had netip.Addr) (netip.Addr, error) {
	if !had.IsValid() {
		if err := f.unreachable(n); err != nil {
			return netip.Addr{}, err
		}
	}
	return f.cfg.Addresses.Assign(ctx, n.InstanceID, pod.UID, keyOf(pod), had)
}

// sandboxSince is when a pod's sandbox came to be: before this process started,
// for a pod that ran already.
func sandboxSince(rec *podRecord, now time.Time) time.Time {
	if c := findCondition(rec.known.Conditions, corev1.PodReadyToStartContainers); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return now
}

// loseContainers ends the containers of a pod whose sandbox is gone; they restart.
func loseContainers(st *corev1.PodStatus, now time.Time) {
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses} {
		for i := range list {
			cs := &list[i]
			if cs.State.Running == nil {
				continue
			}
			cs.LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: exitCodeKilled, Reason: reasonError, StartedAt: cs.State.Running.StartedAt,
				FinishedAt: metav1.NewTime(now), ContainerID: cs.ContainerID,
			}}
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reasonContainerCreating}}
		}
	}
}

func (f *Fleet) networkReady(n *node) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return n.networkReady
}

func (f *Fleet) starve(nodeName, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.starved[nodeName] == nil {
		f.starved[nodeName] = keySet{}
	}
	f.starved[nodeName][key] = struct{}{}
}

func (f *Fleet) isStarved(nodeName, key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.starved[nodeName][key]
	return ok
}
