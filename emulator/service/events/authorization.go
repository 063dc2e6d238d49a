package events

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// FullARN has nothing to complete: buses and rules are named as their ARNs are.
func (*Service) FullARN(awsid.Scope, string) string { return "" }

// PolicyResource tells policies the tags of a rule or bus.
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	var tags []types.Tag
	kind, name, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "event-bus":
		b := s.findBus(s.store, a.Scope(), name)
		if b == nil {
			return policy.Resource{}, false
		}
		tags = b.Tags
	case "rule":
		if !strings.Contains(name, "/") {
			name = ruleID(defaultBus, name)
		}
		r := rules.Get(s.store, a.Scope(), name)
		if r == nil {
			return policy.Resource{}, false
		}
		tags = r.Tags
	}
	out := policy.Resource{Tags: make(map[string]string, len(tags))}
	for _, t := range tags {
		out.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out, true
}
