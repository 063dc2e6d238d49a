package ec2

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// FullARN has nothing to complete but launch templates, which requests may name by
// name, launch-template/name/NAME: ARNs have ids.
func (s *Service) FullARN(sc awsid.Scope, resource string) string {
	name, ok := strings.CutPrefix(resource, "launch-template/name/")
	if !ok {
		return ""
	}
	for _, t := range LaunchTemplates.List(s.store, sc) {
		if deref(t.LaunchTemplateName) == name {
			return sc.ARN("ec2", "launch-template/"+deref(t.LaunchTemplateId))
		}
	}
	return sc.ARN("ec2", "launch-template/*")
}

// Launches are the requests for instances that a call comes to, each with what its
// launch template says: IAM is asked about that too. A template that is not there
// leaves a request as it is, for the operation to refuse.
func (s *Service) Launches(sc awsid.Scope, in any) []*ec2.RunInstancesInput {
	switch in := in.(type) {
	case *ec2.RunInstancesInput:
		return []*ec2.RunInstancesInput{s.effective(sc, in)}
	case *ec2.CreateFleetInput:
		var out []*ec2.RunInstancesInput
		for _, c := range in.LaunchTemplateConfigs {
			over := c.Overrides
			if len(over) == 0 {
				over = []types.FleetLaunchTemplateOverridesRequest{{}}
			}
			for _, o := range over {
				run := &ec2.RunInstancesInput{ImageId: o.ImageId, InstanceType: o.InstanceType, SubnetId: o.SubnetId, TagSpecifications: in.TagSpecifications}
				if t := c.LaunchTemplateSpecification; t != nil {
					run.LaunchTemplate = &types.LaunchTemplateSpecification{LaunchTemplateId: t.LaunchTemplateId, LaunchTemplateName: t.LaunchTemplateName, Version: t.Version}
				}
				out = append(out, s.effective(sc, run))
			}
		}
		return out
	}
	return nil
}

func (s *Service) effective(sc awsid.Scope, in *ec2.RunInstancesInput) *ec2.RunInstancesInput {
	merged, _, err := withTemplate(s.store, sc, in)
	if err != nil {
		return in
	}
	return merged
}

// PolicyResource tells policies the tags of a resource and, of some kinds, what it
// belongs to ("Actions, resources, and condition keys for Amazon EC2").
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	sc := a.Scope()
	kind, id, _ := strings.Cut(a.Resource, "/")
	if id == "*" || id == "" {
		return policy.Resource{}, false
	}
	switch kind {
	case "key-pair": // by name or id
		for _, k := range KeyPairs.List(s.store, sc) {
			if deref(k.KeyName) == id {
				id = deref(k.KeyPairId)
			}
		}
	case "placement-group":
		for _, g := range PlacementGroups.List(s.store, sc) {
			if deref(g.GroupName) == id {
				id = deref(g.GroupId)
			}
		}
	}
	i := slices.IndexFunc(taggables, func(k taggable) bool { return k.owns(id) })
	if i < 0 {
		return policy.Resource{}, false
	}
	tags, ok := taggables[i].tagsOf(s.store, sc, id)
	if !ok {
		return policy.Resource{}, false
	}
	out := policy.Resource{Tags: make(map[string]string, len(tags)), Keys: s.conditionKeys(sc, kind, id)}
	for _, t := range tags {
		out.Tags[deref(t.Key)] = deref(t.Value)
	}
	return out, true
}

// conditionKeys are those of EC2's that people write about what is already there.
func (s *Service) conditionKeys(sc awsid.Scope, kind, id string) map[string][]string {
	out := map[string][]string{}
	set := func(key, kind string, v *string) {
		switch v := deref(v); {
		case v == "":
		case kind == "":
			out[key] = []string{v}
		default:
			out[key] = []string{sc.ARN("ec2", kind+"/"+v)}
		}
	}
	switch kind {
	case "instance":
		if i := Instances.Get(s.store, sc, id); i != nil {
			instanceType := string(i.InstanceType)
			set("ec2:instancetype", "", &instanceType)
			if i.IamInstanceProfile != nil {
				set("ec2:instanceprofile", "", i.IamInstanceProfile.Arn)
			}
			if i.Placement != nil {
				set("ec2:availabilityzone", "", i.Placement.AvailabilityZone)
			}
		}
	case "subnet":
		if v := Subnets.Get(s.store, sc, id); v != nil {
			set("ec2:vpc", "vpc", v.VpcId)
			set("ec2:availabilityzone", "", v.AvailabilityZone)
		}
	case "security-group":
		if v := SecurityGroups.Get(s.store, sc, id); v != nil {
			set("ec2:vpc", "vpc", v.VpcId)
		}
	case "route-table":
		if v := RouteTables.Get(s.store, sc, id); v != nil {
			set("ec2:vpc", "vpc", v.VpcId)
		}
	case "network-interface":
		if v := NetworkInterfaces.Get(s.store, sc, id); v != nil {
			set("ec2:vpc", "vpc", v.VpcId)
			set("ec2:subnet", "subnet", v.SubnetId)
			set("ec2:availabilityzone", "", v.AvailabilityZone)
		}
	case "volume":
		if v := Volumes.Get(s.store, sc, id); v != nil {
			volumeType := string(v.VolumeType)
			set("ec2:volumetype", "", &volumeType)
			set("ec2:availabilityzone", "", v.AvailabilityZone)
		}
	}
	return out
}

func (k *kind[T]) tagsOf(r store.Reader, sc awsid.Scope, id string) ([]types.Tag, bool) {
	rec := k.table.Get(r, sc, id)
	if rec == nil {
		return nil, false
	}
	return *k.tags(rec), true
}

func (ruleTags) tagsOf(r store.Reader, sc awsid.Scope, id string) ([]types.Tag, bool) {
	for _, g := range SecurityGroups.List(r, sc) {
		for _, rule := range g.Rules {
			if deref(rule.SecurityGroupRuleId) == id {
				return rule.Tags, true
			}
		}
	}
	return nil, false
}

func (noTags) tagsOf(store.Reader, awsid.Scope, string) ([]types.Tag, bool) { return nil, false }
