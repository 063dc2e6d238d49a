package child

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"
	openapi "k8s.io/kube-aggregator/pkg/controllers/openapi/aggregator"
	openapimerge "k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// openAPIv2 serves /openapi/v2. The API server builds that document, of all its
// resources, at every start, which is most of a second and tens of megabytes for
// what few clients still read (Terraform's kubernetes_manifest is one). Here the
// first of them waits for it, and it is given up again when nobody asks.
type openAPIv2 struct {
	core       *genericapiserver.GenericAPIServer
	config     *common.Config
	routes     []*restful.WebService
	extensions http.Handler // the CRDs' part
	downloader openapi.Downloader

	mu      sync.Mutex
	builtin *spec.Swagger
	etag    string // of the CRDs' part in service
	service *servedSpec
	expiry  *time.Timer
}

// openAPIKeep is how long OpenAPI documents stay that nobody asks for.
const openAPIKeep = 5 * time.Minute

// servedSpec is a path handler for the one path that handler.OpenAPIService serves.
type servedSpec struct{ http.Handler }

func (s *servedSpec) Handle(_ string, h http.Handler) { s.Handler = h }

func newOpenAPIv2(config *common.Config, version string, outer *genericapiserver.GenericAPIServer) (*openAPIv2, error) {
	core, ok := outer.NextDelegate().(*genericapiserver.GenericAPIServer)
	if !ok {
		return nil, fmt.Errorf("the aggregator delegates to a %T", outer.NextDelegate())
	}
	config.Info.Version = version
	if config.SecurityDefinitions == nil {
		config.SecurityDefinitions = &spec.SecurityDefinitions{"BearerToken": &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication",
		}}}
		config.DefaultSecurity = []map[string][]string{{"BearerToken": {}}}
	}
	o := &openAPIv2{core: core, config: config, extensions: core.NextDelegate().UnprotectedHandler(), downloader: openapi.NewDownloader()}
	seen := map[string]bool{}
	for _, s := range []*genericapiserver.GenericAPIServer{outer, core} { // the outer one answers first
		for _, w := range s.Handler.GoRestfulContainer.RegisteredWebServices() {
			if !seen[w.RootPath()] {
				seen[w.RootPath()] = true
				o.routes = append(o.routes, w)
			}
		}
	}
	return o, nil
}

func (o *openAPIv2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, err := o.current()
	if err != nil {
		klog.ErrorS(err, "Building OpenAPI v2")
		http.Error(w, "building OpenAPI v2: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h.ServeHTTP(w, r)
}

func (o *openAPIv2) current() (http.Handler, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.expiry != nil {
		o.expiry.Stop()
	}
	o.expiry = time.AfterFunc(openAPIKeep, o.drop)
	crds, etag, status, err := o.downloader.Download(o.extensions, o.etag)
	if err != nil {
		return nil, err
	}
	if status == http.StatusNotModified && o.service != nil {
		return o.service, nil
	}
	if o.builtin == nil {
		if o.builtin, err = builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(o.routes), o.config); err != nil {
			return nil, err
		}
		o.builtin.Definitions = handler.PruneDefaults(o.builtin.Definitions)
	}
	merged := *o.builtin
	if crds != nil {
		all := &spec.Swagger{}
		*all = merged
		all.Paths = &spec.Paths{Paths: make(map[string]spec.PathItem, len(merged.Paths.Paths)), VendorExtensible: merged.Paths.VendorExtensible}
		for p, i := range merged.Paths.Paths {
			all.Paths.Paths[p] = i
		}
		if err := openapimerge.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(all, crds); err != nil {
			return nil, err
		}
		merged = *all
	}
	o.service = &servedSpec{}
	handler.NewOpenAPIService(&merged).RegisterOpenAPIVersionedService("/openapi/v2", o.service)
	o.etag = etag
	return o.service, nil
}

func (o *openAPIv2) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.builtin, o.service, o.etag = nil, nil, ""
}
