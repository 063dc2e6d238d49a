package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

func TestRunInstances(t *testing.T) {
	f := newFixtureIn(t, "eu-west-1")
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/24", "eu-west-1b")
	sg := f.group(vpc, "nodes")
	out := must(f.RunInstances(f.ctx, &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(2), SubnetId: &sub, ImageId: f.image(), InstanceType: "m5.large", SecurityGroupIds: []string{sg},
		UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("hello"))), IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String("nodes")},
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("n")}}},
			{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("disk"), Value: aws.String("d")}}},
		},
		ClientToken: aws.String("t"),
	}))(t)
	if len(out.Instances) != 2 || f.free(sub) != 249 {
		t.Fatalf("%d instances, %d free", len(out.Instances), f.free(sub))
	}
	i := out.Instances[0]
	if *i.PrivateIpAddress != "10.0.0.4" || *i.PrivateDnsName != "ip-10-0-0-4.eu-west-1.compute.internal" || i.State.Name != types.InstanceStateNamePending ||
		*i.Placement.AvailabilityZone != "eu-west-1b" || i.Architecture != types.ArchitectureValuesX8664 || *i.SecurityGroups[0].GroupId != sg ||
		!strings.HasSuffix(*i.IamInstanceProfile.Arn, ":instance-profile/nodes") || len(i.BlockDeviceMappings) != 1 || len(i.NetworkInterfaces) != 1 || i.PublicIpAddress != nil {
		t.Errorf("%+v", i)
	}
	vols := must(f.DescribeVolumes(f.ctx, &ec2.DescribeVolumesInput{Filters: append(filter("attachment.instance-id", *i.InstanceId), filter("tag:disk", "*")...)}))(t).Volumes
	if len(vols) != 1 || *vols[0].Size != 20 || vols[0].VolumeType != types.VolumeTypeGp3 {
		t.Errorf("volumes %+v", vols)
	}
	f.settle()
	states := must(f.DescribeInstanceStatus(f.ctx, &ec2.DescribeInstanceStatusInput{}))(t).InstanceStatuses
	if len(states) != 2 || states[0].InstanceStatus.Status != types.SummaryStatusOk {
		t.Errorf("status %+v", states)
	}
	res := must(f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{Filters: filter("instance-state-name", "running")}))(t).Reservations
	if len(res) != 1 || len(res[0].Instances) != 2 || *res[0].ReservationId != *out.ReservationId {
		t.Errorf("reservations %+v", res)
	}
	data := must(f.DescribeInstanceAttribute(f.ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: i.InstanceId, Attribute: types.InstanceAttributeNameUserData}))(t)
	if *data.UserData.Value != "aGVsbG8=" {
		t.Errorf("user data %v", *data.UserData.Value)
	}
	f.checkLedger()
}

func TestRunInstancesErrors(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/28", "us-east-1a")
	arm, _ := images.EKSImage("us-east-1", "1.34", images.AL2023, "arm64")
	long := base64.StdEncoding.EncodeToString(make([]byte, maxUserData+1))
	for name, c := range map[string]struct {
		change        func(*ec2.RunInstancesInput)
		code, message string
	}{
		"no count":      {func(in *ec2.RunInstancesInput) { in.MinCount = nil }, "MissingParameter", "MinCount"},
		"counts":        {func(in *ec2.RunInstancesInput) { in.MinCount = aws.Int32(2) }, "InvalidParameterValue", "maxCount"},
		"no image":      {func(in *ec2.RunInstancesInput) { in.ImageId = nil }, "MissingParameter", "The request must contain the parameter ImageId"},
		"image":         {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ami-0123456789abcdef0") }, "InvalidAMIID.NotFound", "The image id '[ami-0123456789abcdef0]' does not exist"},
		"image id":      {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("foo") }, "InvalidAMIID.Malformed", "Invalid id"},
		"type":          {func(in *ec2.RunInstancesInput) { in.InstanceType = "m5.huge" }, "InvalidParameterValue", "Invalid value 'm5.huge' for InstanceType."},
		"architecture":  {func(in *ec2.RunInstancesInput) { in.ImageId = &arm.ID }, "InvalidParameterValue", "does not match the architecture 'arm64'"},
		"subnet":        {func(in *ec2.RunInstancesInput) { in.SubnetId = aws.String("subnet-01234567") }, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-01234567' does not exist"},
		"group":         {func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-01234567"} }, "InvalidGroup.NotFound", "sg-01234567"},
		"key":           {func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("k") }, "InvalidKeyPair.NotFound", "The key pair 'k' does not exist"},
		"user data":     {func(in *ec2.RunInstancesInput) { in.UserData = aws.String("%%") }, "InvalidUserData.Malformed", "BASE64"},
		"big user data": {func(in *ec2.RunInstancesInput) { in.UserData = &long }, "InvalidUserData.Malformed", "User data is limited to 16384 bytes"},
		"full":          {func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(12), aws.Int32(12) }, "InsufficientFreeAddressesInSubnet", "free addresses"},
		"template": {func(in *ec2.RunInstancesInput) {
			in.LaunchTemplate = &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("none")}
		}, "InvalidLaunchTemplateName.NotFoundException", "with template name none, does not exist"},
		"tag": {func(in *ec2.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("aws:x")}}}}
		}, "InvalidParameterValue", "reserved"},
		"dry": {func(in *ec2.RunInstancesInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation", "would have succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &sub, ImageId: f.image(), InstanceType: "t3.small"}
			c.change(in)
			_, err := f.RunInstances(f.ctx, in)
			wantError(t, err, c.code, c.message)
		})
	}
	if n := len(Instances.List(f.store, f.sc)) + len(Volumes.List(f.store, f.sc)); n != 0 || f.free(sub) != 11 {
		t.Errorf("refused launches left %d records, %d free", n, f.free(sub))
	}
	// As many as fit, if that is at least the minimum.
	out := must(f.RunInstances(f.ctx, &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(20), SubnetId: &sub, ImageId: f.image(), InstanceType: "t3.small"}))(t)
	if len(out.Instances) != 11 || f.free(sub) != 0 {
		t.Errorf("%d instances, %d free", len(out.Instances), f.free(sub))
	}
	f.checkLedger()
}

func TestInstanceLife(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	id := f.run(sub, "t3.small", 1)[0].InstanceId
	ids := []string{*id}
	now := func() types.InstanceStateName {
		out := must(f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}))(t)
		return out.Reservations[0].Instances[0].State.Name
	}
	f.settle()
	must(f.RebootInstances(f.ctx, &ec2.RebootInstancesInput{InstanceIds: ids}))(t)
	ch := must(f.StopInstances(f.ctx, &ec2.StopInstancesInput{InstanceIds: ids}))(t).StoppingInstances
	if ch[0].PreviousState.Name != types.InstanceStateNameRunning || ch[0].CurrentState.Name != types.InstanceStateNameStopping || *ch[0].CurrentState.Code != 64 {
		t.Errorf("%+v", ch[0])
	}
	_, err := f.StartInstances(f.ctx, &ec2.StartInstancesInput{InstanceIds: ids})
	wantCode(t, err, "IncorrectInstanceState")
	f.settle()
	if s := now(); s != types.InstanceStateNameStopped || f.free(sub) != 250 {
		t.Errorf("%s, %d free", s, f.free(sub))
	}
	must(f.ModifyInstanceAttribute(f.ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: id, InstanceType: &types.AttributeValue{Value: aws.String("m5.large")}}))(t)
	must(f.StartInstances(f.ctx, &ec2.StartInstancesInput{InstanceIds: ids}))(t)
	f.settle()
	must(f.ModifyInstanceAttribute(f.ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: id, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
	_, err = f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	wantCode(t, err, "OperationNotPermitted")
	must(f.TerminateInstances(f.as("autoscaling"), &ec2.TerminateInstancesInput{InstanceIds: ids}))(t)
	f.settle()
	shown := must(f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}))(t).Reservations[0].Instances[0]
	if shown.State.Name != types.InstanceStateNameTerminated || shown.PrivateIpAddress != nil || len(shown.NetworkInterfaces) != 0 || f.free(sub) != 251 {
		t.Errorf("%+v, %d free", shown, f.free(sub))
	}
	if n := len(Volumes.List(f.store, f.sc)); n != 0 {
		t.Errorf("%d volumes left", n)
	}
	f.clock.Step(terminatedFor)
	f.settle()
	_, err = f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: ids})
	wantError(t, err, "InvalidInstanceID.NotFound", "The instance ID '"+*id+"' does not exist")
	_, err = f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*id, "i-0123456789abcdef0"}})
	wantError(t, err, "InvalidInstanceID.NotFound", "The instance IDs '"+*id+", i-0123456789abcdef0' do not exist")
}

// TestRun drives the loop itself by the clock.
func TestRun(t *testing.T) {
	f := newFixture(t)
	var err error
	if f.timing, err = timing.New(timing.Realistic, 3); err != nil { // 5 s to boot, 10 s to shut down
		t.Fatal(err)
	}
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	seen := make(chan types.InstanceStateName, 16)
	f.store.Subscribe(Instances.Name(), func(c store.Change) {
		if i := Instances.Get(f.store, c.Scope, c.ID); i != nil {
			seen <- i.State.Name
		} else {
			seen <- "gone"
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	// await lets the clock run in steps of d whenever the loop waits for it.
	await := func(d time.Duration, want types.InstanceStateName) {
		t.Helper()
		for time.Now().Before(deadline) {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			default:
				if d > 0 && f.clock.HasWaiters() {
					f.clock.Step(d)
				}
				runtime.Gosched()
			}
		}
		t.Fatalf("no %s", want)
	}
	id := f.run(sub, "t3.small", 1)[0].InstanceId
	await(0, types.InstanceStateNamePending)
	await(time.Second, types.InstanceStateNameRunning)
	must(f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*id}}))(t)
	await(time.Second, types.InstanceStateNameTerminated)
	await(time.Minute, "gone")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	f.checkLedger()
}

func TestLaunchTemplates(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/24", "us-east-1a")
	sg := f.group(vpc, "nodes")
	data := &types.RequestLaunchTemplateData{
		ImageId: f.image(), InstanceType: "t3.small", SecurityGroupIds: []string{sg}, UserData: aws.String("aGVsbG8="),
		IamInstanceProfile:  &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String("nodes")},
		MetadataOptions:     &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: types.LaunchTemplateHttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(3)},
		BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(80)}}},
		TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{
			{Key: aws.String("from"), Value: aws.String("template")}, {Key: aws.String("Name"), Value: aws.String("template")},
		}}},
	}
	in := &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("karpenter.k8s.aws/1"), LaunchTemplateData: data, ClientToken: aws.String("t")}
	lt := must(f.CreateLaunchTemplate(f.ctx, in))(t).LaunchTemplate
	if again := must(f.CreateLaunchTemplate(f.ctx, in))(t).LaunchTemplate; *again.LaunchTemplateId != *lt.LaunchTemplateId {
		t.Error("the same token made two templates")
	}
	_, err := f.CreateLaunchTemplate(f.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: in.LaunchTemplateName, LaunchTemplateData: data})
	wantError(t, err, "InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")

	out := must(f.RunInstances(f.ctx, &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &sub, InstanceType: "m5.large",
		LaunchTemplate:    &types.LaunchTemplateSpecification{LaunchTemplateId: lt.LaunchTemplateId, Version: aws.String("$Latest")},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("request")}}}},
	}))(t).Instances[0]
	tags := map[string]string{}
	for _, tag := range out.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if out.InstanceType != "m5.large" || *out.SecurityGroups[0].GroupId != sg || *out.MetadataOptions.HttpPutResponseHopLimit != 3 ||
		tags["Name"] != "request" || tags["from"] != "template" || tags["aws:ec2launchtemplate:id"] != *lt.LaunchTemplateId || tags["aws:ec2launchtemplate:version"] != "1" {
		t.Errorf("%+v\n%v", out, tags)
	}
	vol := must(f.DescribeVolumes(f.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{*out.BlockDeviceMappings[0].Ebs.VolumeId}}))(t).Volumes[0]
	rec := Instances.Get(f.store, f.sc, *out.InstanceId)
	if *vol.Size != 80 || rec.UserData != "aGVsbG8=" || rec.LaunchTemplateVersion != "1" {
		t.Errorf("volume of %d GiB, record %+v", *vol.Size, rec)
	}

	v2 := must(f.CreateLaunchTemplateVersion(f.ctx, &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateName: in.LaunchTemplateName, SourceVersion: aws.String("1"), LaunchTemplateData: &types.RequestLaunchTemplateData{InstanceType: "c5.large"},
	}))(t).LaunchTemplateVersion
	if *v2.VersionNumber != 2 || *v2.DefaultVersion || v2.LaunchTemplateData.InstanceType != "c5.large" || *v2.LaunchTemplateData.ImageId != *f.image() {
		t.Errorf("%+v", v2)
	}
	versions := must(f.DescribeLaunchTemplateVersions(f.ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: lt.LaunchTemplateId}))(t).LaunchTemplateVersions
	if len(versions) != 2 || *versions[0].VersionNumber != 2 || !*versions[1].DefaultVersion {
		t.Errorf("%+v", versions)
	}
	_, err = f.DescribeLaunchTemplateVersions(f.ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: lt.LaunchTemplateId, Versions: []string{"3"}})
	wantCode(t, err, "InvalidLaunchTemplateId.VersionNotFound")
	must(f.ModifyLaunchTemplate(f.ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: lt.LaunchTemplateId, DefaultVersion: aws.String("2")}))(t)
	del := must(f.DeleteLaunchTemplateVersions(f.ctx, &ec2.DeleteLaunchTemplateVersionsInput{LaunchTemplateId: lt.LaunchTemplateId, Versions: []string{"1", "2", "7"}}))(t)
	if len(del.SuccessfullyDeletedLaunchTemplateVersions) != 1 || len(del.UnsuccessfullyDeletedLaunchTemplateVersions) != 2 {
		t.Errorf("%+v", del)
	}
	must(f.DeleteLaunchTemplate(f.ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: in.LaunchTemplateName}))(t)
	_, err = f.DescribeLaunchTemplates(f.ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{*in.LaunchTemplateName}})
	wantCode(t, err, "InvalidLaunchTemplateName.NotFoundException")
	if n := len(LaunchTemplateVersions.List(f.store, f.sc)); n != 0 {
		t.Errorf("%d versions left", n)
	}
}

func TestRunInstancesToken(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	in := ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &sub, ImageId: f.image(), InstanceType: "t3.small", ClientToken: aws.String("t")}
	one := must(f.RunInstances(f.ctx, &in))(t)
	two := must(f.RunInstances(f.ctx, &in))(t)
	if *one.Instances[0].InstanceId != *two.Instances[0].InstanceId {
		t.Error("the same token launched two")
	}
	in.InstanceType = "t3.large"
	_, err := f.RunInstances(f.ctx, &in)
	wantCode(t, err, "IdempotentParameterMismatch")
	f.clock.Step(tokenLife + time.Second)
	f.sweepTokens(f.ctx)
	if n := len(clientTokens.ListAll(f.store)); n != 0 {
		t.Errorf("%d tokens left", n)
	}
	must(f.RunInstances(f.ctx, &in))(t)
}
