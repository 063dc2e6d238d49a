package dataplane

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ServeEgress answers HTTP CONNECT on l, which the API server dials for all that
// lies in the cluster's network (EgressSelectorConfiguration, type cluster): the
// kubelet port of nodes, pod addresses and service addresses. It returns when l
// is closed.
func (f *Fleet) ServeEgress(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("egress proxy: %w", err)
		}
		go f.tunnel(c)
	}
}

// tunnel reads one CONNECT and passes the connection on. A refusal says why in
// the status line: that is all the API server shows its clients.
func (f *Fleet) tunnel(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReaderSize(c, 4096)
	r, err := http.ReadRequest(in)
	if err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if r.Method != http.MethodConnect {
		refuse(c, http.StatusMethodNotAllowed, "only CONNECT is answered here")
		return
	}
	serve, err := f.dial(r.URL.Host)
	if err != nil {
		refuse(c, http.StatusBadGateway, err.Error())
		return
	}
	if _, err := fmt.Fprint(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		c.Close()
		return
	}
	if in.Buffered() > 0 {
		c = &bufferedConn{Conn: c, r: in}
	}
	serve(c)
}

func refuse(c net.Conn, code int, why string) {
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", code, why)
	c.Close()
}

// bufferedConn reads what was read ahead before the connection itself.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.r.Read(p) }

// dial finds what listens at an address of the cluster's network.
func (f *Fleet) dial(address string) (func(net.Conn), error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: bad port", address)
	}
	if n := f.nodeAt(host); n != nil {
		if port == kubeletPort {
			return func(c net.Conn) { f.kubelet.accept(c, n) }, nil
		}
		if n.Fargate == nil {
			return f.dialHost(n, int32(port))
		}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, fmt.Errorf("dial tcp: lookup %s: no such host", host)
	}
	if pod := f.podAt(ip); pod != nil {
		return f.dialPod(pod, int32(port))
	}
	return f.dialService(ip, int32(port))
}

// nodeAt finds a node by name or address.
func (f *Fleet) nodeAt(host string) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[host]; n != nil {
		return n
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return f.byIP[ip]
}

// podAt finds the pod that has an address of its own.
func (f *Fleet) podAt(ip netip.Addr) *corev1.Pod {
	objs, err := f.pods.GetIndexer().ByIndex(ipIndex, ip.String())
	if err != nil {
		return nil
	}
	for _, o := range objs {
		if pod := o.(*corev1.Pod); !isTerminal(pod.Status.Phase) {
			return pod
		}
	}
	return nil
}

// dialHost finds the host network pod that declares the port.
func (f *Fleet) dialHost(n *node, port int32) (func(net.Conn), error) {
	for _, pod := range f.podsOn(n.Name) {
		if pod.Spec.HostNetwork && declares(pod, port) {
			return f.dialPod(pod, port)
		}
	}
	return nil, refused(n.PrivateIP.String(), port)
}

// dialPod answers for a pod's port. A pod that names its ports has no others.
func (f *Fleet) dialPod(pod *corev1.Pod, port int32) (func(net.Conn), error) {
	if pod.Status.Phase != corev1.PodRunning || namesPorts(pod) && !declares(pod, port) {
		return nil, refused(pod.Status.PodIP, port)
	}
	return func(c net.Conn) { f.web.accept(c, pod, port) }, nil
}

func refused(ip string, port int32) error {
	return fmt.Errorf("dial tcp %s: connect: connection refused", net.JoinHostPort(ip, strconv.Itoa(int(port))))
}

func namesPorts(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		if len(pod.Spec.Containers[i].Ports) > 0 {
			return true
		}
	}
	return false
}

func declares(pod *corev1.Pod, port int32) bool {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.ContainerPort == port {
				return true
			}
		}
	}
	return false
}

// connQueue is a listener of connections that come from elsewhere.
type connQueue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newConnQueue() *connQueue {
	return &connQueue{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *connQueue) add(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *connQueue) Close() error { q.once.Do(func() { close(q.closed) }); return nil }

// Addr implements net.Listener.
func (q *connQueue) Addr() net.Addr { return inProcess{} }

type inProcess struct{}

func (inProcess) Network() string { return "in-process" }
func (inProcess) String() string  { return "in-process" }
