package ec2

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// convert copies between two of the SDK's types that say the same with the same
// field names: the model has a request, a response and a RunInstances form of
// each part of a launch template. What to lacks is dropped.
func convert(from, to any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("ec2: copy %T: %w", from, err)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("ec2: copy %T to %T: %w", from, to, err)
	}
	return nil
}

// maxUserData is the limit before base64.
const maxUserData = 16384

func checkUserData(data *string) error {
	if data == nil {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(*data)
	if err != nil {
		return apiError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if len(raw) > maxUserData {
		return apiError("InvalidUserData.Malformed", "User data is limited to %d bytes", maxUserData)
	}
	return nil
}

// checkTemplateData does what EC2 checks when a template is made; most of it is
// looked at only when an instance is launched.
func checkTemplateData(d *types.RequestLaunchTemplateData) error {
	if d.InstanceType != "" && d.InstanceRequirements != nil {
		return errCombination("InstanceType and InstanceRequirements cannot be specified together.")
	}
	if len(d.NetworkInterfaces) > 0 && len(d.SecurityGroupIds)+len(d.SecurityGroups) > 0 {
		return errCombination("Network interfaces and an instance-level security groups may not be specified on the same request")
	}
	return checkUserData(d.UserData)
}

// overlayData returns base with every field that over sets.
func overlayData(base, over types.RequestLaunchTemplateData) *types.RequestLaunchTemplateData {
	overlay(reflect.ValueOf(&base).Elem(), reflect.ValueOf(over))
	return &base
}

func overlay(dst, src reflect.Value) {
	for i := range src.NumField() {
		if f := src.Field(i); src.Type().Field(i).IsExported() && !f.IsZero() {
			dst.Field(i).Set(f)
		}
	}
}

// withTemplate returns the request as it is after its launch template filled in
// what the request itself leaves out, and the version that did.
func withTemplate(r store.Reader, sc awsid.Scope, in *ec2.RunInstancesInput) (*ec2.RunInstancesInput, *LaunchTemplateVersion, error) {
	spec := in.LaunchTemplate
	if spec == nil {
		return in, nil, nil
	}
	lt, err := templateOf(r, sc, spec.LaunchTemplateId, spec.LaunchTemplateName)
	if err != nil {
		return nil, nil, err
	}
	v, err := versionOf(r, sc, lt, deref(spec.Version))
	if err != nil {
		return nil, nil, err
	}
	merged := new(ec2.RunInstancesInput)
	if err := convert(v.Request, merged); err != nil {
		return nil, nil, err
	}
	fromTemplate := merged.TagSpecifications
	// Interfaces and groups exclude one another: the request's choice is whole.
	if len(in.NetworkInterfaces) > 0 {
		merged.SecurityGroupIds, merged.SecurityGroups = nil, nil
	}
	overlay(reflect.ValueOf(merged).Elem(), reflect.ValueOf(*in))
	merged.TagSpecifications = mergeSpecifications(fromTemplate, in.TagSpecifications)
	return merged, v, nil
}

// mergeSpecifications lets a request's tags win over a template's, key by key.
func mergeSpecifications(base, over []types.TagSpecification) []types.TagSpecification {
	out := slices.Clone(base)
	for _, o := range over {
		i := slices.IndexFunc(out, func(b types.TagSpecification) bool { return b.ResourceType == o.ResourceType })
		if i < 0 {
			out = append(out, o)
			continue
		}
		tags := slices.DeleteFunc(slices.Clone(out[i].Tags), func(t types.Tag) bool {
			return slices.ContainsFunc(o.Tags, func(n types.Tag) bool { return deref(n.Key) == deref(t.Key) })
		})
		out[i].Tags = append(tags, o.Tags...)
	}
	return out
}
