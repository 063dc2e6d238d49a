package dataplane

import (
	"context"
	"errors"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// branchGrace is how long a sandbox waits for a branch interface without complaining.
// On EKS the first try mostly fails and the next one, ten seconds later, succeeds.
const branchGrace = time.Second

// errNoBranch is what the CNI plugin says of a pod whose branch interface is not there
// yet: ipamd's answer has no reason in it.
var errNoBranch = errors.New("failed to assign an IP address to container")

// sandboxAddress is the address that the CNI gives a pod: that of the branch interface
// which the VPC resource controller made for it, if it asks for one, else one of the
// node's pool.
func (f *Fleet) sandboxAddress(ctx context.Context, n *node, pod *corev1.Pod, had netip.Addr) (netip.Addr, error) {
	if podeni.Wants(pod) == 0 {
		return f.assign(ctx, n, pod, had)
	}
	if err := f.unreachable(n); err != nil && !had.IsValid() {
		return netip.Addr{}, err
	}
	ip := podeni.Address(pod, n.PrivateIP.Is6())
	if !ip.IsValid() {
		return ip, errNoBranch
	}
	return ip, nil
}

// awaitsBranch is how long a pod's sandbox is to wait for its branch interface before
// it is worth a try.
func awaitsBranch(pod *corev1.Pod, rec *podRecord, n *node, now time.Time) time.Duration {
	if podeni.Wants(pod) == 0 || podeni.Address(pod, n.PrivateIP.Is6()).IsValid() {
		return 0
	}
	return max(rec.admitted.Add(branchGrace).Sub(now), 0)
}

// hasBranch tells whether a pod has been given the branch interface that it waits for.
func hasBranch(pod *corev1.Pod, n *node) bool {
	return podeni.Wants(pod) > 0 && podeni.Address(pod, n.PrivateIP.Is6()).IsValid()
}

// OnPods lets f hear of every pod bound to a node: when it comes, changes and goes.
// To be called before Run.
func (f *Fleet) OnPods(hear func(*corev1.Pod)) {
	say := func(o any) {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if pod, ok := o.(*corev1.Pod); ok {
			hear(pod)
		}
	}
	// Errors: the informer has not started, which is the only reason for one.
	_, _ = f.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: say, UpdateFunc: func(_, o any) { say(o) }, DeleteFunc: say})
}

// PodsOn lists the pods that are bound to a node. They are shared.
func (f *Fleet) PodsOn(nodeName string) []*corev1.Pod { return f.podsOn(nodeName) }
