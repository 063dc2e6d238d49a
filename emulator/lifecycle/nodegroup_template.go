package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ensureTemplate keeps the launch template that EKS makes for a group, eks-<uuid>,
// at a version that says what new nodes boot from. A node of another version is
// outdated. It answers the group as it is now, nil if it is gone.
func (l *Lifecycle) ensureTemplate(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, rt *runtime) (*ekssvc.Nodegroup, error) {
	// Of what the user asked for only: a newer image, another address of the API
	// server or another number of pods must not replace nodes that nobody asked to
	// update.
	hash, err := hashOf(ng.Desired, ng.SecurityGroupIDs)
	if err != nil {
		return nil, err
	}
	if ng.ManagedTemplateHash == hash {
		return ng, nil
	}
	ctx = as(ctx, ng.Scope)
	users, err := l.usersTemplate(ctx, ng)
	if err != nil {
		return nil, err
	}
	if ng, err = l.ensureMaxPods(ctx, ng, rt, users, hash); err != nil || ng == nil {
		return nil, err
	}
	data, err := l.templateData(c, ng, users)
	if err != nil {
		return nil, err
	}
	id, version := ng.ManagedLaunchTemplateID, int64(1)
	// The tokens make a second try after a crash find the first one's result.
	if id == "" {
		out, err := l.EC2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String(templateName(ng)), LaunchTemplateData: data, ClientToken: aws.String(ng.ID + "-" + hash),
			TagSpecifications: tagged(ec2types.ResourceTypeLaunchTemplate, map[string]string{
				tagCluster: *ng.Resource.ClusterName, tagNodegroup: *ng.Resource.NodegroupName,
			}),
		})
		if err != nil {
			return nil, fmt.Errorf("launch template of %s: %w", *ng.Resource.NodegroupName, err)
		}
		id, version = *out.LaunchTemplate.LaunchTemplateId, aws.ToInt64(out.LaunchTemplate.LatestVersionNumber)
	} else {
		out, err := l.EC2.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: &id, LaunchTemplateData: data, ClientToken: aws.String(ng.ID + "-" + hash),
		})
		if err != nil {
			return nil, fmt.Errorf("launch template of %s: %w", *ng.Resource.NodegroupName, err)
		}
		version = aws.ToInt64(out.LaunchTemplateVersion.VersionNumber)
	}
	var now *ekssvc.Nodegroup
	err = l.editNodegroup(ctx, ng, func(_ *store.Tx, n *ekssvc.Nodegroup) bool {
		n.ManagedLaunchTemplateID, n.ManagedLaunchTemplateVersion = id, strconv.FormatInt(version, 10)
		n.ManagedTemplateHash = hash
		now = n
		return true
	})
	return now, err
}

func templateName(ng *ekssvc.Nodegroup) string { return "eks-" + ng.ID }

func hashOf(v ...any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("launch template data: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// templateData is what the group's nodes boot from: the user's launch template, if
// there is one, with what EKS adds to it.
func (l *Lifecycle) templateData(c *ekssvc.Cluster, ng *ekssvc.Nodegroup, data *ec2types.RequestLaunchTemplateData) (*ec2types.RequestLaunchTemplateData, error) {
	var err error
	if data.UserData, err = userData(c, ng); err != nil {
		return nil, err
	}
	if ng.Desired.ImageID == "" {
		im, ok := ekssvc.Image(ng.Scope.Region, ng.Desired.Version, ng.Resource.AmiType)
		if !ok {
			return nil, fmt.Errorf("there is no %s image for Kubernetes %s", ng.Resource.AmiType, ng.Desired.Version)
		}
		data.ImageId = &im.ID
	}
	if data.InstanceType == "" {
		data.InstanceType = ec2types.InstanceType(ng.Resource.InstanceTypes[0])
	}
	data.IamInstanceProfile = &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String(profileName(ng))}
	if data.MetadataOptions == nil {
		data.MetadataOptions = &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(2)}
	}
	if len(ng.SecurityGroupIDs) == 0 {
		addSecurityGroup(data, c.SecurityGroupID)
	}
	if ng.RemoteSecurityGroupID != "" { // and with it no launch template of the user's
		data.SecurityGroupIds = append(data.SecurityGroupIds, ng.RemoteSecurityGroupID)
		data.KeyName = ng.Resource.RemoteAccess.Ec2SshKey
	}
	if size := ng.Resource.DiskSize; size != nil {
		device := "/dev/xvda"
		if strings.HasPrefix(string(ng.Resource.AmiType), "BOTTLEROCKET") {
			device = "/dev/xvdb" // the first one is the system's
		}
		data.BlockDeviceMappings = []ec2types.LaunchTemplateBlockDeviceMappingRequest{{
			DeviceName: &device,
			Ebs:        &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: size, VolumeType: ec2types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)},
		}}
	}
	return data, nil
}

// addSecurityGroup gives nodes a group where the template names none: a template
// names groups either for the instance or for its interfaces.
func addSecurityGroup(data *ec2types.RequestLaunchTemplateData, id string) {
	if len(data.NetworkInterfaces) == 0 {
		data.SecurityGroupIds = []string{id}
	}
	for i := range data.NetworkInterfaces {
		data.NetworkInterfaces[i].Groups = []string{id}
	}
}

// usersTemplate reads the launch template that the user gave the group; empty if
// there is none.
func (l *Lifecycle) usersTemplate(ctx context.Context, ng *ekssvc.Nodegroup) (*ec2types.RequestLaunchTemplateData, error) {
	data := new(ec2types.RequestLaunchTemplateData)
	spec := ng.Desired.LaunchTemplate
	if spec == nil {
		return data, nil
	}
	out, err := l.EC2.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: spec.Id, Versions: []string{aws.ToString(spec.Version)},
	})
	if err != nil {
		return nil, fmt.Errorf("read the launch template of %s: %w", *ng.Resource.NodegroupName, err)
	}
	if len(out.LaunchTemplateVersions) != 1 {
		return nil, fmt.Errorf("launch template %s has no version %s", aws.ToString(spec.Id), aws.ToString(spec.Version))
	}
	// The SDK's response and request types have the same fields by name.
	b, err := json.Marshal(out.LaunchTemplateVersions[0].LaunchTemplateData)
	if err == nil {
		err = json.Unmarshal(b, data)
	}
	if err != nil {
		return nil, fmt.Errorf("launch template %s: %w", aws.ToString(spec.Id), err)
	}
	return data, nil
}

// removeTemplate deletes the group's launch template. It goes by the name: the id
// may not have made it into the record before a crash.
func (l *Lifecycle) removeTemplate(ctx context.Context, ng *ekssvc.Nodegroup) error {
	_, err := l.EC2.DeleteLaunchTemplate(as(ctx, ng.Scope), &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String(templateName(ng))})
	if err != nil && !isCode(err, "InvalidLaunchTemplateName.NotFoundException") {
		return fmt.Errorf("delete launch template: %w", err)
	}
	return nil
}
