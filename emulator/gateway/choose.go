package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// index finds services by what requests say of them.
type index struct {
	byTarget  map[string][]*wire.Service // X-Amz-Target prefix
	byVersion map[string][]*wire.Service // Version of Query and EC2 services
	bySigning map[string][]*wire.Service // service in the credential scope
	rest      []*wire.Service
}

func newIndex(services []*wire.Service) index {
	ix := index{map[string][]*wire.Service{}, map[string][]*wire.Service{}, map[string][]*wire.Service{}, nil}
	for _, s := range services {
		m := s.Model()
		ix.bySigning[m.SigningName] = append(ix.bySigning[m.SigningName], s)
		switch m.Protocol {
		case wire.JSON10, wire.JSON11:
			ix.byTarget[m.TargetPrefix] = append(ix.byTarget[m.TargetPrefix], s)
		case wire.Query, wire.EC2:
			ix.byVersion[m.APIVersion] = append(ix.byVersion[m.APIVersion], s)
		case wire.RESTJSON:
			ix.rest = append(ix.rest, s)
		}
	}
	return ix
}

// choose finds the service and, if it has it, the operation. What AWS tells
// apart by host name has to show in the request here: the target header, else
// Action and Version, else the credential scope and the path.
func (g *Gateway) choose(x *exchange) error {
	x.auth, x.authErr = sigv4.Parse(x.r)
	scope := scopeService(x)
	switch {
	case x.r.Header.Get("X-Amz-Target") != "":
		g.index.chooseByTarget(x, scope)
	case x.form.Get("Action") != "":
		g.index.chooseByAction(x, scope)
	default:
		g.index.chooseByPath(x, scope)
	}
	if x.service != nil {
		return nil
	}
	if x.auth == nil {
		return g.refuse(x, x.authErr)
	}
	return g.noService(scope)
}

// scopeService is the service that the request is signed for, as far as it can
// be read: a broken signature should still get its error in the right protocol.
func scopeService(x *exchange) string {
	if x.auth != nil {
		return x.auth.Service
	}
	_, cred, ok := strings.Cut(x.r.Header.Get("Authorization"), "Credential=")
	if !ok {
		cred = x.r.URL.Query().Get("X-Amz-Credential")
	}
	cred, _, _ = strings.Cut(cred, ",")
	if p := strings.Split(strings.TrimSpace(cred), "/"); len(p) >= 4 {
		return p[len(p)-2]
	}
	return ""
}

func (ix *index) chooseByTarget(x *exchange, scope string) {
	target := x.r.Header.Get("X-Amz-Target")
	i := strings.LastIndexByte(target, '.')
	x.opName = target[i+1:]
	x.use(pick(ix.byTarget[target[:max(i, 0)]], scope))
}

// chooseByAction: elb and elbv2 share a signing name, so the version decides; a
// version that nobody here has (an old SDK's) leaves it to the signing name.
func (ix *index) chooseByAction(x *exchange, scope string) {
	x.opName = x.form.Get("Action")
	s := pick(ix.byVersion[x.form.Get("Version")], scope)
	if s == nil {
		for _, c := range ix.bySigning[scope] {
			if p := c.Model().Protocol; (p == wire.Query || p == wire.EC2) && (s == nil || c.Operation(x.opName) != nil) {
				s = c
			}
		}
	}
	x.use(s)
}

func (ix *index) chooseByPath(x *exchange, scope string) {
	candidates := ix.rest
	if scope != "" {
		candidates = ix.bySigning[scope]
	}
	path := x.r.URL.EscapedPath()
	x.opName = x.r.Method + " " + path
	for _, s := range candidates {
		if s.Model().Protocol != wire.RESTJSON {
			continue
		}
		if op, labels := s.Route(x.r.Method, path); op != nil {
			x.service, x.op, x.opName, x.labels = s, op, op.Name, labels
			return
		}
	}
	if scope != "" && len(candidates) > 0 {
		x.service, x.opName = candidates[0], "" // its error for unknown operations
		if x.service.Model().Protocol == wire.RESTJSON {
			x.opName = x.r.Method + " " + path
		}
	}
}

// pick prefers the service that the request is signed for.
func pick(candidates []*wire.Service, scope string) *wire.Service {
	for _, s := range candidates {
		if s.Model().SigningName == scope {
			return s
		}
	}
	if len(candidates) == 0 || scope != "" && len(candidates) > 1 {
		return nil
	}
	return candidates[0]
}

func (x *exchange) use(s *wire.Service) {
	if s != nil {
		x.service, x.op = s, s.Operation(x.opName)
	}
}

// requireOperation comes after authentication: whoever may not come in does not
// learn what is inside.
func (g *Gateway) requireOperation(x *exchange) error {
	switch {
	case x.op == nil && x.opName == "":
		return &apiError{"MissingAction", "The request is missing an action or operation.", http.StatusBadRequest}
	case x.op == nil:
		return x.service.UnknownOperation(x.opName)
	case !x.op.Implemented():
		return x.service.NotImplemented(x.op)
	default:
		return nil
	}
}

// noService is the error for a service that is not here. Its code is none of
// those that clients take for "this partition lacks the feature" and pass over
// in silence, its status none that SDKs retry.
func (g *Gateway) noService(scope string) error {
	return &apiError{"ServiceNotImplemented", fmt.Sprintf("ekslocal does not emulate the service %q. It has: %s. "+
		"To send this service's requests elsewhere, start ekslocal with --upstream URL, or set AWS_ENDPOINT_URL_<SERVICE> for it.", scope, strings.Join(g.serviceIDs(), ", ")), http.StatusNotImplemented}
}

func (g *Gateway) serviceIDs() []string {
	ids := map[string]bool{}
	for _, s := range g.cfg.Services {
		ids[s.Model().ID] = true
	}
	return slices.Sorted(maps.Keys(ids))
}
