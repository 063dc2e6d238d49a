// Package gateway takes AWS API requests from the network to the operation that
// answers them, and serves the emulator's plain HTTP surface beside them on the
// same port.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Config is what a gateway serves and what it asks on the way. Services, Keys,
// Clock and Log must be set.
type Config struct {
	Services []*wire.Service
	Keys     sigv4.Keys
	Clock    clock.PassiveClock
	Log      *slog.Logger

	// Version is the emulator's own, for whoever opens / in a browser.
	Version string
	// DefaultRegion is where requests without a credential scope belong
	// (us-east-1 if empty).
	DefaultRegion string
	// Lax takes requests by unknown access keys from this machine as the root of
	// the default account. Known keys are verified all the same.
	Lax bool
	// MaxBody limits request bodies (10 MiB if 0).
	MaxBody int64
	// TLS makes the port answer HTTPS too; nil is plain HTTP only.
	TLS *tls.Config
	// Authorizer nil allows every operation to everybody who is authenticated.
	Authorizer Authorizer
	// Faults nil injects none.
	Faults Faults
	// Caller nil calls every operation once, at once.
	Caller Caller
	// Upstream takes the requests for services that are not here; nil refuses them.
	Upstream *url.URL
	// Registry collects metrics for /metrics; nil makes one. Collectors are added to
	// the gateway's own.
	Registry   *prometheus.Registry
	Collectors []prometheus.Collector
	// Routes mounts further handlers; paths beside /_ekslocal/ and /oidc/ would
	// hide AWS's own.
	Routes func(*mux.Router)
}

// Gateway is an http.Handler. Make it with New.
type Gateway struct {
	cfg      Config
	log      *slog.Logger
	verifier *sigv4.Verifier
	index    index
	metrics  *metrics
	recent   *ring
	plain    http.Handler
	proxy    *httputil.ReverseProxy // nil without Upstream
	server   *http.Server
}

// New returns a gateway that serves nothing yet.
func New(c Config) (*Gateway, error) {
	if len(c.Services) == 0 || c.Keys == nil || c.Clock == nil || c.Log == nil {
		return nil, errors.New("gateway: Services, Keys, Clock and Log must be set")
	}
	if c.DefaultRegion == "" {
		c.DefaultRegion = "us-east-1"
	}
	if c.MaxBody == 0 {
		c.MaxBody = 10 << 20
	}
	if c.Registry == nil {
		c.Registry = newRegistry()
	}
	m, err := newMetrics(c.Registry)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	for _, more := range c.Collectors {
		if err := c.Registry.Register(more); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
	}
	g := &Gateway{
		cfg: c, log: c.Log, verifier: sigv4.New(c.Keys, c.Clock),
		index: newIndex(c.Services), metrics: m, recent: newRing(recentRequests),
	}
	if c.Upstream != nil {
		g.proxy = newProxy(c.Upstream, c.Log)
	}
	g.plain = g.newRouter()
	g.server = g.newServer()
	return g, nil
}

// exchange is one AWS request on its way, filled step by step.
type exchange struct {
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context
	start     time.Time
	requestID string

	body []byte     // readBody
	form url.Values // readBody

	service *wire.Service     // choose
	op      *wire.Operation   // choose; nil if the service has no such operation
	opName  string            // choose: as the client named it
	labels  map[string]string // choose

	auth    *sigv4.Authorization // choose
	authErr error                // choose: why there is no auth
	caller  awsid.Caller         // authenticate

	input  any // decode
	output any // call
	err    error

	status   int  // encode
	sent     int  // encode
	upstream bool // forward: answered by the upstream
}

// steps is a request's whole way, top to bottom. The first error ends it.
// Decoding comes before authorization, which is about the resources that the
// input names, and after authentication: strangers do not get to the codecs.
var steps = [...]func(*Gateway, *exchange) error{
	(*Gateway).readBody,         // body.go: the body, within the limit; the form
	(*Gateway).choose,           // choose.go: which service, which operation
	(*Gateway).authenticate,     // authenticate.go: SigV4 -> account, region, principal
	(*Gateway).requireOperation, // choose.go: it exists and is implemented
	(*Gateway).decode,           // operation.go: wire -> SDK input
	(*Gateway).authorize,        // operation.go: may the caller do it
	(*Gateway).injectFault,      // operation.go: is it to fail on purpose
	(*Gateway).call,             // operation.go: the service's own method
}

// ServeHTTP implements http.Handler. A signed request is an AWS call whatever
// its path; others are one if no plain HTTP route is theirs.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isSigV4(r) {
		g.serveAWS(w, r)
		return
	}
	g.plain.ServeHTTP(w, r)
}

// elsewhere marks requests of other machines.
type elsewhere struct{}

// ForContainers is the gateway for clients in containers. An engine in a virtual machine
// forwards them from this machine's loopback, which does not make them this machine.
func (g *Gateway) ForContainers() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), elsewhere{}, true)))
	})
}

func (g *Gateway) serveAWS(w http.ResponseWriter, r *http.Request) {
	if g.proxy != nil && g.foreign(r) {
		g.forward(w, r) // upstream.go
		return
	}
	x := &exchange{w: w, r: r, start: g.cfg.Clock.Now(), requestID: awsid.NewUUID()}
	x.ctx = r.Context()
	defer g.record(x) // record.go: access log, metrics, recent requests
	x.err = g.run(x)
	g.encode(x) // encode.go: output or error -> wire
}

// run goes through the steps. A panic in one of them is an internal failure of
// this request and of nothing else.
func (g *Gateway) run(x *exchange) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
			panic(p)
		}
		g.log.Error("operation panicked", "service", x.serviceID(), "operation", x.operation(),
			"request_id", x.requestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		err = internalFailure()
	}()
	for _, step := range steps {
		if err := step(g, x); err != nil {
			return err
		}
	}
	return nil
}

// Serve answers on ln until Shutdown. It returns nil after a Shutdown.
func (g *Gateway) Serve(ln net.Listener) error {
	if err := g.server.Serve(newListener(ln, g.server.TLSConfig)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// Shutdown stops accepting and waits for the requests under way; when ctx ends
// it cuts them off.
func (g *Gateway) Shutdown(ctx context.Context) error {
	err := g.server.Shutdown(ctx)
	if err != nil {
		g.server.Close()
	}
	return err
}

func (x *exchange) serviceID() string {
	if x.upstream {
		return "upstream"
	}
	if x.service == nil {
		return ""
	}
	return x.service.Model().ID
}

// operation is the operation's name, if it is one: what a client made up does
// not belong into logs' and metrics' labels.
func (x *exchange) operation() string {
	if x.op == nil {
		return ""
	}
	return x.op.Name
}
