package autoscaling

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

const groupARN = "autoScalingGroup:*:"

// FullARN finds the id of a group, by the group's name or by an instance in it.
func (s *Service) FullARN(sc awsid.Scope, resource string) string {
	rest, ok := strings.CutPrefix(resource, groupARN)
	if !ok {
		return ""
	}
	if instance, ok := strings.CutPrefix(rest, "instance/"); ok {
		name, err := s.groupOf(s.store, sc, instance)
		if err != nil {
			return sc.ARN("autoscaling", groupARN+"autoScalingGroupName/*")
		}
		rest = "autoScalingGroupName/" + name
	}
	if g := groups.Get(s.store, sc, strings.TrimPrefix(rest, "autoScalingGroupName/")); g != nil {
		return g.arn()
	}
	return ""
}

// PolicyResource tells policies the tags of a group: cluster-autoscaler's policy asks
// for them.
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	_, name, ok := strings.Cut(a.Resource, ":autoScalingGroupName/")
	if !ok {
		return policy.Resource{}, false
	}
	g := groups.Get(s.store, a.Scope(), name)
	if g == nil {
		return policy.Resource{}, false
	}
	out := policy.Resource{Tags: make(map[string]string, len(g.Tags))}
	for _, t := range g.Tags {
		out.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out, true
}
