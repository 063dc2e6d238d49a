package gateway

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
)

// forwardedHeader marks requests on their way to the upstream: one that comes
// back has gone in a circle.
const forwardedHeader = "X-Ekslocal-Forwarded"

// ParseUpstream checks the URL of an upstream. It has no path: one would change
// the path that clients signed.
func ParseUpstream(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("upstream %q: %w", s, err)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, fmt.Errorf("upstream %q is not a URL such as http://127.0.0.1:5000", s)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("upstream %q must be scheme, host and port only", s)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// foreign tells whether a request is for a service that is not here. It decides
// by the header alone: the body may be a large object on its way to S3.
func (g *Gateway) foreign(r *http.Request) bool {
	x := &exchange{r: r}
	x.auth, x.authErr = sigv4.Parse(r)
	scope := scopeService(x)
	_, known := g.index.bySigning[scope]
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, ours := g.index.byTarget[target[:max(strings.LastIndexByte(target, '.'), 0)]]
		return !ours && !known
	}
	if scope != "" {
		return !known
	}
	return g.foreignUnsigned(x)
}

// foreignUnsigned is about requests that do not say what they are for: public
// objects of S3 and what is signed as before 2014. Ours are Query calls, whose
// Action is in the body or the query, and the paths of REST services.
func (g *Gateway) foreignUnsigned(x *exchange) bool {
	if strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return false
	}
	if q := x.r.URL.Query(); q.Has("Action") {
		_, ours := g.index.byVersion[q.Get("Version")]
		return !ours
	}
	g.index.chooseByPath(x, "")
	return x.service == nil
}

func newProxy(to *url.URL, log *slog.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			out := p.Out
			out.URL.Scheme, out.URL.Host = to.Scheme, to.Host
			// The signature covers Host, path and query just as the client wrote them.
			out.Host, out.URL.RawQuery = p.In.Host, p.In.URL.RawQuery
			if path, _, _ := strings.Cut(p.In.RequestURI, "?"); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
				out.URL.Opaque = path
			}
			out.Header.Set(forwardedHeader, "1")
		},
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			DisableCompression:    true, // the client's Accept-Encoding is signed
			ExpectContinueTimeout: time.Second,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       90 * time.Second,
		},
		FlushInterval: -1,
		ErrorLog:      slogLogger(log),
	}
}

func slogLogger(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

// admit judges a request to S3 by a user or a session that are known here: pods have
// them. Requests without a signature, by keys that are not known here, or by an
// account's root are the upstream's own business, and those to other services too: what
// they do, and to what, is in their bodies.
func (g *Gateway) admit(x *exchange) error {
	judge, ok := g.cfg.Authorizer.(ForeignAuthorizer)
	if !ok || x.auth == nil || x.auth.Service != "s3" {
		return nil
	}
	known, ok := g.cfg.Keys.Key(x.ctx, awsid.PartitionOf(x.auth.Region), x.auth.AccessKeyID)
	if !ok || known.Caller.IsRoot() {
		return nil
	}
	key, err := g.verifier.VerifyHead(x.ctx, x.auth, x.r)
	if err != nil {
		return refuseS3(err)
	}
	x.caller = key.Caller
	x.caller.Region, x.caller.AccessKeyID = x.auth.Region, x.auth.AccessKeyID
	x.caller.RequestID, x.caller.UserAgent, x.caller.SourceIP = x.requestID, x.r.UserAgent(), sourceIP(x.r)
	return refuseS3(judge.AuthorizeForeign(x.ctx, x.caller, x.auth.Service, x.r))
}

// refuseS3 words errors of authentication as S3 does ("Error responses" of the S3 API
// Reference).
func refuseS3(err error) error {
	var e *sigv4.Error
	switch {
	case !errors.As(err, &e):
		return err
	case e.Code == sigv4.CodeUnknownKey:
		return &apiError{"InvalidToken", "The provided token is malformed or otherwise invalid.", http.StatusBadRequest}
	case e.Code == sigv4.CodeExpired:
		return &apiError{"ExpiredToken", "The provided token has expired.", http.StatusBadRequest}
	}
	return &apiError{e.Code, e.Message, e.HTTPStatusCode()}
}

// forward hands a request to the upstream, streaming both ways.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, ctx: r.Context(), start: g.cfg.Clock.Now(), requestID: awsid.NewUUID(), upstream: true}
	x.auth, x.authErr = sigv4.Parse(r)
	x.opName = r.Method + " " + r.URL.EscapedPath()
	if t := r.Header.Get("X-Amz-Target"); t != "" {
		x.opName = t
	}
	defer g.record(x)
	if r.Header.Get(forwardedHeader) != "" {
		x.err = &apiError{"UpstreamLoop", fmt.Sprintf("The upstream %s leads back to this ekslocal, which does not emulate the service %q.", g.cfg.Upstream, scopeService(x)), http.StatusLoopDetected}
		g.encode(x)
		return
	}
	if x.err = g.admit(x); x.err != nil {
		g.encode(x)
		return
	}
	proxy := *g.proxy
	proxy.ModifyResponse = func(res *http.Response) error { x.status = res.StatusCode; return nil }
	proxy.ErrorHandler = func(_ http.ResponseWriter, r *http.Request, err error) {
		if r.Context().Err() != nil {
			x.err, x.status = err, 499 // the client went away: nobody reads an answer
			return
		}
		x.err = &apiError{"UpstreamUnavailable", fmt.Sprintf("ekslocal does not emulate the service %q and hands its requests to the upstream %s (--upstream), which does not answer: %v.", scopeService(x), g.cfg.Upstream, err), http.StatusBadGateway}
		g.encode(x)
	}
	proxy.ServeHTTP(w, r)
}
