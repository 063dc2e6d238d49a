package dataplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// issueTimeout bounds how long a caller waits for a kubelet's first certificate.
const issueTimeout = 15 * time.Second

// kubeletServer is the HTTPS server of all the fleet's kubelets. Connections come
// from the egress proxy, each already bound to a node; none has a port of its own.
type kubeletServer struct {
	fleet   *Fleet
	issue   issuer
	roots   *x509.CertPool
	server  *http.Server
	conns   *connQueue
	stopped chan struct{}
	wanted  chan string // nodes whose certificate is to be asked for ahead of need

	mu      sync.Mutex
	allowed map[string]time.Time // authorization answers that were yes, by question
}

func newKubeletServer(f *Fleet) *kubeletServer {
	k := &kubeletServer{
		fleet: f, issue: f.requestCertificate, roots: x509.NewCertPool(), conns: newConnQueue(),
		stopped: make(chan struct{}), wanted: make(chan string, 4096), allowed: map[string]time.Time{},
	}
	k.roots.AppendCertsFromPEM(f.cfg.ClientCA)
	k.server = &http.Server{
		Handler:           k.authenticate(k.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(discardHandshakes{f}, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				if nc, ok := t.NetConn().(*nodeConn); ok {
					return context.WithValue(ctx, nodeKey{}, nc.node)
				}
			}
			return ctx
		},
	}
	return k
}

// discardHandshakes keeps the HTTP server's own complaints at debug level.
type discardHandshakes struct{ f *Fleet }

func (d discardHandshakes) Write(b []byte) (int, error) {
	d.f.log.Debug("kubelet API: " + strings.TrimSpace(string(b)))
	return len(b), nil
}

type nodeKey struct{}

// nodeConn is a connection to one node's kubelet.
type nodeConn struct {
	net.Conn
	node *node
}

// run serves until ctx ends; streams that are still open are cut.
func (k *kubeletServer) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { k.issueAhead(ctx) })
	}
	wg.Go(func() { _ = k.server.Serve(k.conns) }) // always ErrServerClosed
	<-ctx.Done()
	close(k.stopped)
	k.server.Close()
	k.conns.Close()
	wg.Wait()
}

// certify asks for the node's certificate ahead of need, as a kubelet does when
// it starts. A full queue only means that it comes later, with the first caller.
func (k *kubeletServer) certify(nodeName string) {
	select {
	case k.wanted <- nodeName:
	default:
	}
}

func (k *kubeletServer) issueAhead(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-k.wanted:
			n := k.fleet.node(name)
			if n == nil {
				continue
			}
			issueCtx, cancel := context.WithTimeout(ctx, issueTimeout)
			if _, err := n.serving.get(issueCtx, n, k.issue, k.fleet.clock.Now()); err != nil && ctx.Err() == nil {
				k.fleet.log.Warn("kubelet has no serving certificate yet", "error", err)
			}
			cancel()
		}
	}
}

// accept hands a connection for a node's kubelet port to the server.
func (k *kubeletServer) accept(c net.Conn, n *node) {
	k.conns.add(tls.Server(&nodeConn{c, n}, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // streams upgrade the connection, which HTTP/2 cannot
		ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs:  k.roots,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			ctx, cancel := context.WithTimeout(h.Context(), issueTimeout)
			defer cancel()
			return n.serving.get(ctx, n, k.issue, k.fleet.clock.Now())
		},
	}))
}

func (k *kubeletServer) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	m.HandleFunc("GET /pods", k.pods)
	m.HandleFunc("GET /runningpods/", k.pods)
	m.HandleFunc("GET /configz", k.configz)
	m.HandleFunc("GET /stats/summary", k.summary)
	m.HandleFunc("GET /metrics/resource", k.resourceMetrics)
	m.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.containerLogs)
	for _, method := range []string{"GET", "POST"} {
		m.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", k.exec)
		m.HandleFunc(method+" /exec/{namespace}/{pod}/{uid}/{container}", k.exec)
		m.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", k.attach)
		m.HandleFunc(method+" /attach/{namespace}/{pod}/{uid}/{container}", k.attach)
		m.HandleFunc(method+" /portForward/{namespace}/{pod}", k.portForward)
		m.HandleFunc(method+" /portForward/{namespace}/{pod}/{uid}", k.portForward)
	}
	return m
}

// authenticate lets in whom the cluster's CA vouches for and the cluster's
// authorizer allows nodes/proxy and the like, as kubelet's webhook mode does.
func (k *kubeletServer) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			writeError(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		n, ok := r.Context().Value(nodeKey{}).(*node)
		if !ok {
			writeError(w, "no such node", http.StatusNotFound)
			return
		}
		leaf := r.TLS.PeerCertificates[0]
		allowed, err := k.authorize(r.Context(), leaf, n.Name, r)
		if err != nil {
			writeError(w, fmt.Sprintf("Authorization error (user=%s): %v", leaf.Subject.CommonName, err), http.StatusInternalServerError)
			return
		}
		if !allowed {
			writeError(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource=%s)", leaf.Subject.CommonName, verbOf(r), subresourceOf(r)), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorize asks the cluster, and remembers a yes for a while.
func (k *kubeletServer) authorize(ctx context.Context, leaf *x509.Certificate, nodeName string, r *http.Request) (bool, error) {
	for _, g := range leaf.Subject.Organization {
		if g == "system:masters" {
			return true, nil
		}
	}
	attrs := &authorizationv1.ResourceAttributes{Verb: verbOf(r), Version: "v1", Resource: "nodes", Subresource: subresourceOf(r), Name: nodeName}
	question := strings.Join([]string{leaf.Subject.String(), attrs.Verb, attrs.Subresource, nodeName}, "|")
	now := k.fleet.clock.Now()
	k.mu.Lock()
	until := k.allowed[question]
	k.mu.Unlock()
	if now.Before(until) {
		return true, nil
	}
	review, err := k.fleet.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: leaf.Subject.CommonName, Groups: append([]string{"system:authenticated"}, leaf.Subject.Organization...), ResourceAttributes: attrs,
		},
	}, metav1.CreateOptions{})
	if err != nil || !review.Status.Allowed {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.allowed) > 10000 {
		clear(k.allowed)
	}
	k.allowed[question] = now.Add(5 * time.Minute)
	return true, nil
}

func verbOf(r *http.Request) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

func subresourceOf(r *http.Request) string {
	switch {
	case strings.HasPrefix(r.URL.Path, "/stats"):
		return "stats"
	case strings.HasPrefix(r.URL.Path, "/metrics"):
		return "metrics"
	case strings.HasPrefix(r.URL.Path, "/logs"):
		return "log"
	}
	return "proxy"
}

// writeError answers as kubelet does, without http.Error's newline: the text
// becomes the message of the API server's status.
func writeError(w http.ResponseWriter, text string, code int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprint(w, text)
}

func nodeOf(r *http.Request) *node { n, _ := r.Context().Value(nodeKey{}).(*node); return n }

// podOf finds the pod that the request names on its node; it has answered if not.
func (k *kubeletServer) podOf(w http.ResponseWriter, r *http.Request) *corev1.Pod {
	pod := k.fleet.podNamed(r.PathValue("namespace"), r.PathValue("pod"))
	uid := r.PathValue("uid")
	if pod == nil || pod.Spec.NodeName != nodeOf(r).Name || uid != "" && uid != string(pod.UID) {
		writeError(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return nil
	}
	return pod
}

// podNamed returns a pod that is bound to a node, or nil.
func (f *Fleet) podNamed(namespace, name string) *corev1.Pod {
	obj, ok, err := f.pods.GetIndexer().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil
	}
	return obj.(*corev1.Pod)
}

// containerIn finds a container's spec and status; spec is nil if there is none.
func containerIn(pod *corev1.Pod, name string) (spec *corev1.Container, status *corev1.ContainerStatus) {
	spec = containerSpec(pod, name)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return spec, &list[i]
			}
		}
	}
	return spec, nil
}

func containerSpec(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers, ephemerals(pod)} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func (k *kubeletServer) pods(w http.ResponseWriter, r *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range k.fleet.podsOn(nodeOf(r).Name) {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, list)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

// configz is the part of kubelet's configuration that people look up.
func (k *kubeletServer) configz(w http.ResponseWriter, r *http.Request) {
	n := nodeOf(r)
	writeJSON(w, map[string]any{"kubeletconfig": map[string]any{
		"clusterDomain": "cluster.local", "maxPods": n.MaxPods, "serverTLSBootstrap": true, "cgroupDriver": "systemd", "port": kubeletPort,
		"providerID":           providerID(n.Node),
		"evictionHard":         map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
		"kubeReserved":         map[string]string{"cpu": fmt.Sprintf("%dm", reservedMilliCPU(n.VCPUs)), "memory": fmt.Sprintf("%dMi", 11*n.MaxPods+255), "ephemeral-storage": "1Gi"},
		"systemReservedCgroup": "/system", "kubeReservedCgroup": "/runtime",
	}})
}
