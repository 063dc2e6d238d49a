package ssm

import (
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// FullARN has nothing to complete: parameters are named as their ARNs are.
func (*Service) FullARN(awsid.Scope, string) string { return "" }

// PolicyResource tells policies the tags of a parameter. An ARN does not tell whether
// its name begins with a slash.
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	name, ok := strings.CutPrefix(a.Resource, "parameter/")
	if !ok {
		return policy.Resource{}, false
	}
	for _, n := range []string{"/" + name, name} {
		if p := parameters.Get(s.store, a.Scope(), n); p != nil {
			return policy.Resource{Tags: p.Tags}, true
		}
	}
	return policy.Resource{}, false
}
