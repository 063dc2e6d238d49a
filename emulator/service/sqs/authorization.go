package sqs

import (
	"github.com/ekslocal/ekslocal/emulator/awsid"
	iampolicy "github.com/ekslocal/ekslocal/emulator/policy"
)

// FullARN has nothing to complete: a queue's name is its ARN's end.
func (*Service) FullARN(awsid.Scope, string) string { return "" }

// PolicyResource tells policies the tags and the policy of a queue.
func (s *Service) PolicyResource(a awsid.ARN) (iampolicy.Resource, bool) {
	q := queues.Get(s.store, a.Scope(), a.Resource)
	if q == nil {
		return iampolicy.Resource{}, false
	}
	out := iampolicy.Resource{Tags: q.Tags}
	if doc := q.Attributes["Policy"]; doc != "" {
		d, err := s.parsed.Parse(doc)
		if err != nil {
			s.log.Warn("sqs: the policy of a queue cannot be read: it allows nothing", "queue", q.arn(), "error", err)
			return out, true
		}
		out.Policies = []iampolicy.Policy{{Name: "Policy", ARN: q.arn(), Document: d}}
	}
	return out, true
}
