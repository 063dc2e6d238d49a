package dataplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

const dialTimeout = 10 * time.Second

// dialService does kube-proxy's work for the API server: a service address leads
// to one of the service's endpoints. What is neither service nor simulated lies
// outside the cluster and is dialled for real.
func (f *Fleet) dialService(ip netip.Addr, port int32) (func(net.Conn), error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	list, err := f.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.clusterIP", ip.String()).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("services with address %s: %w", ip, err)
	}
	for i := range list.Items {
		if svc := &list.Items[i]; svc.Spec.ClusterIP == ip.String() {
			return f.dialEndpoint(ctx, svc, port)
		}
	}
	return dialOutside(ctx, ip.String(), port)
}

// dialEndpoint picks the first ready endpoint of a service's port.
func (f *Fleet) dialEndpoint(ctx context.Context, svc *corev1.Service, port int32) (func(net.Conn), error) {
	at := net.JoinHostPort(svc.Spec.ClusterIP, strconv.Itoa(int(port)))
	var name *string
	for _, p := range svc.Spec.Ports {
		if p.Port == port {
			name = ptr.To(p.Name)
		}
	}
	if name == nil {
		return nil, fmt.Errorf("dial tcp %s: connect: connection refused", at)
	}
	slices, err := f.client.DiscoveryV1().EndpointSlices(svc.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: svc.Name}).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("endpoints of service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	for _, slice := range slices.Items {
		for _, p := range slice.Ports {
			if ptr.Deref(p.Name, "") != *name || p.Port == nil {
				continue
			}
			for _, e := range slice.Endpoints {
				if ptr.Deref(e.Conditions.Ready, true) && len(e.Addresses) > 0 {
					return f.dialAddress(ctx, e.Addresses[0], *p.Port)
				}
			}
		}
	}
	return nil, fmt.Errorf("dial tcp %s: connect: connection refused (service %s/%s has no ready endpoint)", at, svc.Namespace, svc.Name)
}

func (f *Fleet) dialAddress(ctx context.Context, address string, port int32) (func(net.Conn), error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	if pod := f.podAt(ip); pod != nil {
		return f.dialPod(pod, port)
	}
	if n := f.nodeAt(address); n != nil {
		return f.dialHost(n, port)
	}
	return dialOutside(ctx, address, port)
}

// dialOutside connects to a real server, such as one on this machine that a
// Service's hand-made endpoints name.
func dialOutside(ctx context.Context, host string, port int32) (func(net.Conn), error) {
	to, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	return func(c net.Conn) { join(c, to) }, nil
}

// join copies both ways until both are done.
func join(a, b net.Conn) {
	half := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src) // either side may go away at any time
		if t, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = t.CloseWrite()
		} else {
			dst.Close()
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); half(b, a) }()
	half(a, b)
	<-done
	a.Close()
	b.Close()
}
