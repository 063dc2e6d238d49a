package logs

import (
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// FullARN has nothing to complete: groups and streams are named as their ARNs are.
func (*Service) FullARN(awsid.Scope, string) string { return "" }

// PolicyResource tells policies the tags of a log group, of whose streams the ARN may
// be.
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	rest, ok := strings.CutPrefix(a.Resource, "log-group:")
	name, _, _ := strings.Cut(rest, ":")
	g := groups.Get(s.store, a.Scope(), name)
	if !ok || g == nil {
		return policy.Resource{}, false
	}
	return policy.Resource{Tags: g.Tags}, true
}
