package lifecycle

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// claims is who has, or has a right to, addresses of a node when its daemon comes.
type claims struct {
	// holders have an address in the node's pool.
	holders map[types.UID]netip.Addr
	// pods are what the API server has bound to the node.
	pods map[types.UID]*corev1.Pod
	// known are the addresses that sandboxes have, whether or not the API server was told
	// of them, and those that pods show, whose sandbox may be made anew; not what a pod shows
	// and another's sandbox has.
	known map[types.UID]*lease
}

// claims asks the API server and the pool. The pool goes first: whoever gets an address
// after that is no matter of adopt's, and whoever has got one before is in the list.
func (a *agents) claims(ctx context.Context, node dataplane.Node, sandboxes []controlplane.Sandbox) (claims, error) {
	c := claims{holders: a.l.Addresses.Pods(node.InstanceID), known: map[types.UID]*lease{}}
	var err error
	if c.pods, err = a.podsOn(ctx, node.Name); err != nil {
		return c, fmt.Errorf("pods of %s: %w", node.Name, err)
	}
	wired := map[netip.Addr]bool{}
	for _, s := range sandboxes {
		uid := s.UID
		if uid == "" {
			uid = uidOf(c.pods, s.Pod)
		}
		if uid != "" && s.IP.IsValid() && !a.elsewhere(uid, node.InstanceID) {
			c.known[uid] = &lease{instance: node.InstanceID, container: s.ContainerID, pod: s.Pod, ip: s.IP}
			wired[s.IP] = true
		}
	}
	for uid, pod := range c.pods {
		ip, err := netip.ParseAddr(pod.Status.PodIP)
		if c.known[uid] == nil && err == nil && !wired[ip] && !pod.Spec.HostNetwork && !finished(pod) && podeni.Wants(pod) == 0 && !a.elsewhere(uid, node.InstanceID) {
			c.known[uid] = &lease{instance: node.InstanceID, pod: keyOfPod(pod), ip: ip}
		}
	}
	return c, nil
}

// elsewhere tells whether a pod has its address of another instance, whose word about it
// counts.
func (a *agents) elsewhere(uid types.UID, instanceID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.held[uid]
	return h != nil && h.instance != instanceID
}

// expected are the addresses that the node's pool must not give back when it starts.
func (c claims) expected() map[types.UID]netip.Addr {
	out := make(map[types.UID]netip.Addr, len(c.known))
	for uid, h := range c.known {
		out[uid] = h.ip
	}
	return out
}

// adopt takes back, before any address is given, those that pods have, and gives back
// those of pods that ended while nobody could say so. An error leaves what is done: it is
// found in the pool by the next try.
func (a *agents) adopt(ctx context.Context, node dataplane.Node, c claims) error {
	for uid, h := range c.known {
		ip, err := a.l.Addresses.Assign(ctx, node.InstanceID, uid, h.pod, h.ip)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, seen := a.l.Addresses.View(node.InstanceID); err != nil && !seen {
			return fmt.Errorf("addresses of %s: %w", node.InstanceID, err) // its interfaces are not known yet
		}
		if err == nil && ip == h.ip {
			a.hold(uid, h)
			continue
		}
		a.l.Log.Warn("pod lost its address", "pod", h.pod, "address", h.ip, "error", err)
		if err == nil {
			a.l.Addresses.Release(ctx, node.InstanceID, uid)
		}
		delete(c.known, uid)
	}
	for uid := range c.holders {
		// A pod that lives keeps its own: a sandbox may come to be at this moment.
		if c.known[uid] == nil && ended(c.pods[uid]) {
			a.drop(uid, node.InstanceID)
			a.l.Addresses.Release(ctx, node.InstanceID, uid)
		}
	}
	return nil
}

// ended tells whether a pod needs no address any more; nil is one that is gone.
func ended(p *corev1.Pod) bool { return p == nil || finished(p) }

func (a *agents) hold(uid types.UID, h *lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[uid] = h
}

func (a *agents) drop(uid types.UID, instanceID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.held[uid]; h != nil && h.instance == instanceID {
		delete(a.held, uid)
	}
}

func keyOfPod(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

func uidOf(pods map[types.UID]*corev1.Pod, name types.NamespacedName) types.UID {
	for uid, p := range pods {
		if keyOfPod(p) == name {
			return uid
		}
	}
	return ""
}

// sandboxUID is what the container runtime takes for a pod's UID. A static pod has one of
// its kubelet there, which its mirror in the API server names; that may be deleted and made
// anew over a pod that runs. Anybody may write the annotation, but no UID of the API
// server's, all of which have dashes, is taken from it.
func sandboxUID(p *corev1.Pod) types.UID {
	if own := p.Annotations[corev1.MirrorPodAnnotationKey]; own != "" && !strings.Contains(own, "-") {
		return types.UID(own)
	}
	return p.UID
}

// podsOn asks the API server itself: what a watch says may be old. The keys are those of
// sandboxes.
func (a *agents) podsOn(ctx context.Context, node string) (map[types.UID]*corev1.Pod, error) {
	list, err := a.rt.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, err
	}
	out := make(map[types.UID]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		out[sandboxUID(&list.Items[i])] = &list.Items[i]
	}
	return out, nil
}

// ledger is which sandboxes a node said that it has, and when that came.
type ledger struct {
	sandboxes []controlplane.Sandbox
	at        time.Time
}

// lacks tells whether the node was heard of after since, and then had no sandbox of the
// lease.
func (l ledger) lacks(uid types.UID, h *lease, since time.Time) bool {
	return l.at.After(since) && !slices.ContainsFunc(l.sandboxes, func(s controlplane.Sandbox) bool {
		return s.ContainerID == h.container || s.UID == uid || s.UID == "" && s.Pod == h.pod
	})
}

// Sandboxes implements controlplane.NodeAgents.
func (l *Lifecycle) Sandboxes(_ context.Context, clusterID, instanceID string, all []controlplane.Sandbox) error {
	a, err := l.agentsOf(clusterID)
	if err != nil {
		return err
	}
	if _, _, err := a.instanceNode(instanceID); err != nil {
		return err
	}
	a.tell(instanceID, all)
	return nil
}

func (a *agents) tell(instanceID string, all []controlplane.Sandbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledgers[instanceID] = ledger{all, a.l.Clock.Now()}
}

// sweep gives back the addresses of pods that have been gone, or finished, for a while,
// and of which the node has no sandbox: the word that it ended got lost. The pod alone
// says nothing: what a forced deletion leaves, or a kubelet that is stopped, runs on. A
// node whose agent does not list its sandboxes while it is connected, as older ones, keeps
// them until it connects again.
func (a *agents) sweep(ctx context.Context, node dataplane.Node) error {
	pods, err := a.podsOn(ctx, node.Name)
	if err != nil {
		return err
	}
	now := a.l.Clock.Now()
	var gone []types.UID
	a.mu.Lock()
	said := a.ledgers[node.InstanceID]
	for uid, h := range a.held {
		switch {
		case h.instance != node.InstanceID:
		case !ended(pods[uid]):
			h.missing = time.Time{}
		case h.missing.IsZero():
			h.missing = now
		case now.Sub(h.missing) >= missingLimit && said.lacks(uid, h, h.missing):
			gone = append(gone, uid)
			delete(a.held, uid)
		}
	}
	for uid, w := range a.waiting {
		if pod := pods[uid]; w.InstanceID == node.InstanceID && (ended(pod) || pod.DeletionTimestamp != nil) {
			delete(a.waiting, uid)
		}
	}
	a.mu.Unlock()
	for _, uid := range gone {
		a.l.Addresses.Release(ctx, node.InstanceID, uid)
	}
	return nil
}

// forget drops all that is known of an instance that has ended, or whose machine has.
func (a *agents) forget(instanceID string) {
	a.mu.Lock()
	me := a.nodes[instanceID]
	delete(a.nodes, instanceID)
	delete(a.address, instanceID)
	delete(a.ledgers, instanceID)
	delete(a.logged, instanceID)
	for uid, h := range a.held {
		if h.instance == instanceID {
			delete(a.held, uid)
		}
	}
	for uid, w := range a.waiting {
		if w.InstanceID == instanceID {
			delete(a.waiting, uid)
		}
	}
	a.mu.Unlock()
	if me != nil {
		me.end()
	}
	a.rt.cni.Gone(instanceID)
}
