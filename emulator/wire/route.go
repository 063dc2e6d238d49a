package wire

import (
	"net/url"
	"strings"
)

// routes are rest-json's operations by method and number of path segments.
type routes map[routeKey][]route

type routeKey struct {
	method   string
	segments int
}

type route struct {
	op       *Operation
	segments []string // "{name}" is a label
}

func newRoutes(ops []*Operation) routes {
	rs := routes{}
	for _, o := range ops {
		segs := strings.Split(o.info.uri, "/")
		k := routeKey{o.info.method, len(segs)}
		rs[k] = append(rs[k], route{o, segs})
	}
	return rs
}

// Route finds the rest-json operation of a request and the labels of its path.
// escapedPath is the path as it was sent (URL.EscapedPath): labels may hold
// escaped slashes, as ARNs do. It returns nil if no operation matches.
func (s *Service) Route(method, escapedPath string) (*Operation, map[string]string) {
	segs := strings.Split(escapedPath, "/")
	var best route
	most := -1
	for _, r := range s.routes[routeKey{method, len(segs)}] {
		if n := r.match(segs); n > most {
			best, most = r, n
		}
	}
	if most < 0 {
		return nil, nil
	}
	labels := map[string]string{}
	for i, seg := range best.segments {
		if name, ok := label(seg); ok {
			value, err := url.PathUnescape(segs[i])
			if err != nil {
				return nil, nil
			}
			labels[name] = value
		}
	}
	return best.op, labels
}

// match counts the literal segments that the path shares with the route: of
// two routes that fit, the more literal one wins. It is -1 for no match.
func (r route) match(segs []string) int {
	literal := 0
	for i, seg := range r.segments {
		switch _, isLabel := label(seg); {
		case isLabel && segs[i] == "":
			return -1
		case isLabel:
		case seg != segs[i]:
			return -1
		default:
			literal++
		}
	}
	return literal
}

func label(seg string) (string, bool) {
	if strings.HasPrefix(seg, "{") && strings.HasSuffix(seg, "}") {
		return seg[1 : len(seg)-1], true
	}
	return "", false
}
