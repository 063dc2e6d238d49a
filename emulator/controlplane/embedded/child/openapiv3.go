package child

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/klog/v2"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler3"
)

const openAPIv3Path = "/openapi/v3"

// openAPIv3 serves the built-in resources' part of /openapi/v3. The API server
// builds the documents of all its groups at every start, some twenty megabytes that
// stay. Here a group's document is built when a client asks for it, and given up
// again when nobody does. The index needs none of them: a document is the same as
// long as the program and the version are, and so is the hash in its address.
// Definitions of custom resources and aggregated APIs are served by their own
// servers as ever; the aggregator merges the indexes.
type openAPIv3 struct {
	config  *common.OpenAPIV3Config
	version string
	groups  map[string]*restful.WebService // by path without the leading slash

	mu     sync.Mutex
	built  map[string]http.Handler
	expiry *time.Timer
}

func newOpenAPIv3(config *common.OpenAPIV3Config, version string, built apimachineryversion.Info, services []*restful.WebService) *openAPIv3 {
	o := &openAPIv3{
		config: config, version: version + " " + built.GitVersion,
		groups: map[string]*restful.WebService{}, built: map[string]http.Handler{},
	}
	for _, s := range services {
		if gv := strings.TrimPrefix(s.RootPath(), "/"); gv != "" {
			o.groups[gv] = s
		}
	}
	return o
}

// register puts the document's two addresses on a server.
func (o *openAPIv3) register(m *mux.PathRecorderMux) {
	m.Handle(openAPIv3Path, http.HandlerFunc(o.serveIndex))
	m.HandlePrefix(openAPIv3Path+"/", http.HandlerFunc(o.serveGroup))
}

func (o *openAPIv3) hash(gv string) string {
	return fmt.Sprintf("%X", sha256.Sum256([]byte(o.version+" "+gv)))
}

func (o *openAPIv3) serveIndex(w http.ResponseWriter, _ *http.Request) {
	index := handler3.OpenAPIV3Discovery{Paths: make(map[string]handler3.OpenAPIV3DiscoveryGroupVersion, len(o.groups))}
	for gv := range o.groups {
		index.Paths[gv] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: openAPIv3Path + "/" + gv + "?hash=" + o.hash(gv)}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(index); err != nil {
		klog.V(2).ErrorS(err, "Answering the index of OpenAPI v3")
	}
}

func (o *openAPIv3) serveGroup(w http.ResponseWriter, r *http.Request) {
	gv := strings.TrimPrefix(r.URL.Path, openAPIv3Path+"/")
	h := o.group(gv)
	if h == nil {
		http.NotFound(w, r)
		return
	}
	if asked := r.URL.Query().Get("hash"); asked != "" {
		if asked != o.hash(gv) {
			http.Redirect(w, r, r.URL.Path+"?hash="+o.hash(gv), http.StatusMovedPermanently)
			return
		}
		// The library's handler would compare with a hash of its own and not find it.
		r = r.Clone(r.Context())
		r.URL.RawQuery = ""
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	h.ServeHTTP(w, r)
}

// group returns what serves one group version's document, nil if there is no such
// group version.
func (o *openAPIv3) group(gv string) http.Handler {
	service := o.groups[gv]
	if service == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.expiry != nil {
		o.expiry.Stop()
	}
	o.expiry = time.AfterFunc(openAPIKeep, o.drop)
	if h := o.built[gv]; h != nil {
		return h
	}
	container := restful.NewContainer()
	container.Add(service)
	h := mux.NewPathRecorderMux("openapi-v3")
	routes.OpenAPI{V3Config: o.config}.InstallV3(container, h)
	o.built[gv] = h
	return h
}

func (o *openAPIv3) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.built = map[string]http.Handler{}
}
