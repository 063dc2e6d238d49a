package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRouter serves what is not AWS. Encoded paths are kept as they came, for
// those that turn out to be AWS's after all.
func (g *Gateway) newRouter() http.Handler {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	aws := http.HandlerFunc(g.serveAWS)
	r.NotFoundHandler = aws
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_") || r.URL.Path == "/metrics" {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		aws(w, r)
	})
	r.Use(g.survivePanics)
	r.Handle("/metrics", promhttp.HandlerFor(g.cfg.Registry, promhttp.HandlerOpts{})).Methods(http.MethodGet, http.MethodHead)
	if g.cfg.Routes != nil {
		g.cfg.Routes(r)
	}
	// Somebody with a browser, or curl, looks whether anything is there.
	r.HandleFunc("/", g.serveRoot).Methods(http.MethodGet, http.MethodHead).MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
		return r.URL.RawQuery == "" && r.Header.Get("Authorization") == "" && r.Header.Get("X-Amz-Target") == ""
	})
	return r
}

// survivePanics answers 500 where net/http would cut the connection.
func (g *Gateway) survivePanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(p)
			}
			g.log.Error("handler panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			http.Error(w, "internal failure", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}

func (g *Gateway) serveRoot(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "ekslocal %s answers AWS API requests here: %s\n\nPoint clients at it with\n\n"+
		"  export AWS_ENDPOINT_URL=http://%s AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=%s AWS_DEFAULT_REGION=%s\n\nHealth: /_ekslocal/health   Metrics: /metrics\n",
		g.cfg.Version, strings.Join(g.serviceIDs(), ", "), r.Host, g.cfg.DefaultRegion, g.cfg.DefaultRegion)
}
