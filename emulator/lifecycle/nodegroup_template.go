package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

// ensureTemplate keeps the launch template that EKS makes for a group, eks-<uuid>,
// at a version that says what new nodes boot from. A node of another version is
// outdated. It answers the group as it is now, nil if it is gone.
func (l *Lifecycle) ensureTemplate(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup) (*ekssvc.Nodegroup, error) {
	data, err := l.templateData(c, ng)
	if err != nil {
		return nil, err
	}
	hash, err := hashOf(data)
	if err != nil {
		return nil, err
	}
	if ng.ManagedTemplateHash == hash {
		return ng, nil
	}
	ctx = as(ctx, ng.Scope)
	id, version := ng.ManagedLaunchTemplateID, int64(1)
	// The tokens make a second try after a crash find the first one's result.
	if id == "" {
		out, err := l.EC2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("eks-" + ng.ID), LaunchTemplateData: data, ClientToken: aws.String(ng.ID + "-" + hash),
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

func hashOf(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("launch template data: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// templateData is what the group's nodes boot from, a function of the records only.
func (l *Lifecycle) templateData(c *ekssvc.Cluster, ng *ekssvc.Nodegroup) (*ec2types.RequestLaunchTemplateData, error) {
	d := ng.Desired
	groups := ng.SecurityGroupIDs
	if len(groups) == 0 {
		groups = []string{c.SecurityGroupID}
	}
	image := d.ImageID
	if image == "" {
		im, err := nodeImage(ng)
		if err != nil {
			return nil, err
		}
		image = im.ID
	}
	data := &ec2types.RequestLaunchTemplateData{
		ImageId: &image, SecurityGroupIds: groups,
		IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String(profileName(ng))},
		MetadataOptions:    &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(2)},
		UserData:           aws.String(userData(c, ng)),
	}
	if d.LaunchTemplate == nil {
		data.InstanceType = ec2types.InstanceType(ng.Resource.InstanceTypes[0])
		data.BlockDeviceMappings = []ec2types.LaunchTemplateBlockDeviceMappingRequest{{
			DeviceName: aws.String("/dev/xvda"),
			Ebs:        &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: ng.Resource.DiskSize, VolumeType: ec2types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)},
		}}
	}
	return data, nil
}

// nodeImage is the EKS optimized image for the group's AMI type and version.
func nodeImage(ng *ekssvc.Nodegroup) (images.Image, error) {
	variant, arch := imageLine(ng.Resource.AmiType)
	im, ok := images.EKSImage(ng.Scope.Region, ng.Desired.Version, variant, arch)
	if !ok {
		return im, fmt.Errorf("there is no %s image for Kubernetes %s", ng.Resource.AmiType, ng.Desired.Version)
	}
	return im, nil
}

// imageLine maps AMI types to lines of images.
func imageLine(t ekstypes.AMITypes) (images.Variant, string) {
	s := string(t)
	arch := images.X86
	if strings.Contains(s, "ARM") {
		arch = images.ARM
	}
	nvidia := strings.Contains(s, "NVIDIA") || strings.Contains(s, "GPU")
	switch {
	case strings.HasPrefix(s, "BOTTLEROCKET") && nvidia:
		return images.BottlerocketNVIDIA, arch
	case strings.HasPrefix(s, "BOTTLEROCKET"):
		return images.Bottlerocket, arch
	case strings.Contains(s, "NEURON"):
		return images.AL2023Neuron, arch
	case nvidia:
		return images.AL2023NVIDIA, arch
	}
	return images.AL2023, arch
}

// userData is the NodeConfig that EKS hands to nodeadm (Amazon EKS AMI, nodeadm
// API v1alpha1), after what the user's launch template brought.
func userData(c *ekssvc.Cluster, ng *ekssvc.Nodegroup) string {
	if ng.Desired.ImageID != "" {
		return ng.Desired.UserData // with a custom AMI, EKS merges nothing
	}
	config := fmt.Sprintf(`---
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: %s
    apiServerEndpoint: %s
    certificateAuthority: %s
    cidr: %s
`, *c.Resource.Name, aws.ToString(c.Resource.Endpoint), base64PEM(c.CACert), serviceCIDR(c))
	mime := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\nContent-Type: application/node.eks.aws\n\n" + config + "\n--//--\n"
	return base64.StdEncoding.EncodeToString([]byte(mime))
}

func (l *Lifecycle) removeTemplate(ctx context.Context, ng *ekssvc.Nodegroup) error {
	if ng.ManagedLaunchTemplateID == "" {
		return nil
	}
	_, err := l.EC2.DeleteLaunchTemplate(as(ctx, ng.Scope), &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: &ng.ManagedLaunchTemplateID})
	if err != nil && !isCode(err, "InvalidLaunchTemplateId.NotFound") {
		return fmt.Errorf("delete launch template: %w", err)
	}
	return nil
}
