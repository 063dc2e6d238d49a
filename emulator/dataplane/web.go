package dataplane

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// webServer answers HTTP, plain or over TLS, in the place of simulated pods. The
// answer says what it is: nobody should take it for the application's.
type webServer struct {
	fleet  *Fleet
	server *http.Server
	conns  *connQueue
	cert   func() (*tls.Certificate, error)
}

func newWebServer(f *Fleet) *webServer {
	s := &webServer{fleet: f, conns: newConnQueue(), cert: sync.OnceValues(selfSigned)}
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(discardHandshakes{f}, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			if pc, ok := c.(*podConn); ok {
				return context.WithValue(ctx, podConnKey{}, pc)
			}
			return ctx
		},
	}
	return s
}

func (s *webServer) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.server.Serve(s.conns) }) // always ErrServerClosed
	<-ctx.Done()
	s.server.Close()
	s.conns.Close()
	wg.Wait()
}

type podConnKey struct{}

// podConn is a connection to a port of a simulated pod.
type podConn struct {
	net.Conn
	r    *bufio.Reader
	pod  *corev1.Pod
	port int32
}

func (c *podConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// firstByte is how long a client may take to say something. Clients of protocols
// in which the server speaks first get nothing and are let go.
const firstByte = 30 * time.Second

// accept takes a connection for a pod's port; the first byte tells TLS from plain.
func (s *webServer) accept(c net.Conn, pod *corev1.Pod, port int32) {
	pc := &podConn{Conn: c, r: bufio.NewReader(c), pod: pod, port: port}
	go func() {
		timer := time.AfterFunc(firstByte, func() { c.Close() })
		first, err := pc.r.Peek(1)
		if !timer.Stop() || err != nil {
			c.Close()
			return
		}
		if first[0] != 0x16 {
			s.conns.add(pc)
			return
		}
		s.conns.add(tls.Server(pc, &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert() },
		}))
	}()
}

// selfSigned is the certificate of all simulated servers: who checks it fails, as
// with a metrics-server that made its own.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "simulated-pod.ekslocal"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"*.svc", "*.svc.cluster.local", "localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func (s *webServer) serve(w http.ResponseWriter, r *http.Request) {
	pc, ok := r.Context().Value(podConnKey{}).(*podConn)
	if !ok {
		http.Error(w, "no pod", http.StatusInternalServerError)
		return
	}
	if isMetricsServer(pc.pod) {
		s.fleet.metricsAPI(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/openapi/") {
		// The aggregator asks every APIService's pods again and again, and would log
		// each time that it cannot read the text below.
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Server", "ekslocal-simulated-pod")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Ekslocal-Simulated", "true")
	fmt.Fprintf(w, "This answer is simulated by ekslocal: no process runs in pod %s/%s.\n", pc.pod.Namespace, pc.pod.Name)
	fmt.Fprintf(w, "node:    %s\npod IP:  %s\nport:    %d\nimages:  %s\nrequest: %s %s\n", pc.pod.Spec.NodeName, pc.pod.Status.PodIP, pc.port, images(pc.pod), r.Method, r.URL.RequestURI())
}

func images(pod *corev1.Pod) string {
	var names []string
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Image)
	}
	return strings.Join(names, ", ")
}

// isMetricsServer recognizes metrics-server by its image, whatever the chart
// called the rest.
func isMetricsServer(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		name, _ := imageNames(pod.Spec.Containers[i].Image)
		name, _, _ = strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
		name, _, _ = strings.Cut(name, "@")
		if name == "metrics-server" {
			return true
		}
	}
	return false
}

// streamConn makes a connection of a stream, which has neither addresses nor
// deadlines.
type streamConn struct {
	io.ReadWriteCloser
	done chan struct{}
	once sync.Once
}

func newStreamConn(s io.ReadWriteCloser) *streamConn {
	return &streamConn{ReadWriteCloser: s, done: make(chan struct{})}
}

func (c *streamConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.ReadWriteCloser.Close()
}
func (c *streamConn) LocalAddr() net.Addr              { return inProcess{} }
func (c *streamConn) RemoteAddr() net.Addr             { return inProcess{} }
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }
