package autoscaling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	autoscalingapi "github.com/ekslocal/ekslocal/api/autoscaling"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

var scope = awsid.Scope{Account: "111122223333", Region: "eu-west-1"}

// tableFleet is the emulator's own Fleet, over EC2's table.
type tableFleet struct{ st *store.Store }

func (f tableFleet) Grouped(r store.Reader, sc awsid.Scope) map[string][]ec2types.Instance {
	out := map[string][]ec2types.Instance{}
	for _, i := range ec2svc.Instances.List(r, sc) {
		if g := tagOf(i.Instance, tagGroup); g != "" {
			out[g] = append(out[g], i.Instance)
		}
	}
	return out
}

func (f tableFleet) Watch(func(awsid.Scope, string)) (cancel func()) { return func() {} }

// oneNodegroup is a managed node group.
type oneNodegroup struct{ m Managed }

func (o *oneNodegroup) Managed(_ store.Reader, _ awsid.Scope, cluster, nodegroup string) *Managed {
	if cluster != o.m.Cluster || nodegroup != o.m.Nodegroup {
		return nil
	}
	m := o.m
	return &m
}

func (o *oneNodegroup) Resize(_ *store.Tx, _ awsid.Scope, m *Managed) { o.m = *m }

// told is what EventBridge was told.
type told []string

func (t *told) Emit(_ *store.Tx, _ awsid.Scope, source, detailType string, _ []string, _ any) error {
	*t = append(*t, source+": "+detailType)
	return nil
}

type fixture struct {
	*Service
	t       *testing.T
	ctx     context.Context
	ec2     *ec2svc.Service
	clock   *clocktesting.FakeClock
	ng      *oneNodegroup
	told    *told
	subnets []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)), ng: &oneNodegroup{}, told: &told{}}
	f.ctx = awsid.WithCaller(t.Context(), awsid.Caller{Scope: scope, ARN: "arn:aws:iam::111122223333:root", UserID: "111122223333"})
	f.ec2 = ec2svc.New(ec2svc.Config{Store: st, Clock: f.clock})
	// EC2's own loop moves instances on; boot and shutdown take no time.
	go func() { _ = f.ec2.Run(t.Context()) }()
	f.Service = New(Config{Store: st, Clock: f.clock, EC2: f.ec2, Fleet: tableFleet{st}, Nodegroups: f.ng, Events: f.told})
	out, err := f.ec2.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range out.Subnets {
		f.subnets = append(f.subnets, *s.SubnetId)
	}
	slices.Sort(f.subnets)
	im, ok := images.EKSImage(scope.Region, "1.33", images.AL2023, images.X86)
	if !ok {
		t.Fatal("no image")
	}
	if _, err := f.CreateLaunchConfiguration(f.ctx, &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: aws.String("lc"), ImageId: &im.ID, InstanceType: aws.String("m5.large")}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) create(name string, least, most, desired int32) {
	f.t.Helper()
	_, err := f.CreateAutoScalingGroup(f.ctx, &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: &name, MinSize: &least, MaxSize: &most, DesiredCapacity: &desired, LaunchConfigurationName: aws.String("lc"),
		VPCZoneIdentifier: aws.String(strings.Join(f.subnets[:2], ",")), Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("node"), PropagateAtLaunch: aws.Bool(true)}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) group(name string) *types.AutoScalingGroup {
	f.t.Helper()
	out, err := f.DescribeAutoScalingGroups(f.ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		f.t.Fatal(err)
	}
	if len(out.AutoScalingGroups) == 0 {
		return nil
	}
	return &out.AutoScalingGroups[0]
}

// settle reconciles a group until it has n instances in service and no others.
func (f *fixture) settle(name string, n int) []types.Instance {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
	defer cancel()
	for {
		if err := f.reconcile(ctx, key{scope, name}); err != nil {
			f.t.Fatal(err)
		}
		g := f.group(name)
		if g == nil || len(g.Instances) == n && !slices.ContainsFunc(g.Instances, func(i types.Instance) bool { return i.LifecycleState != types.LifecycleStateInService }) {
			if err := f.reconcile(ctx, key{scope, name}); err != nil {
				f.t.Fatal(err)
			}
			if g == nil {
				return nil
			}
			return g.Instances
		}
	}
}

func (f *fixture) activities(name string) []string {
	f.t.Helper()
	out, err := f.DescribeScalingActivities(f.ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &name, IncludeDeletedGroups: aws.Bool(true)})
	if err != nil {
		f.t.Fatal(err)
	}
	var all []string
	for _, a := range out.Activities {
		what, _, _ := strings.Cut(*a.Description, ":")
		all = append(all, fmt.Sprintf("%s %s", what, a.StatusCode))
	}
	slices.Sort(all)
	return all
}

func (f *fixture) resize(name string, n int32) {
	f.t.Helper()
	if _, err := f.SetDesiredCapacity(f.ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: &name, DesiredCapacity: &n}); err != nil {
		f.t.Fatal(err)
	}
}

// TestLife is a self-managed group from its creation to its end.
func TestLife(t *testing.T) {
	f := newFixture(t)
	f.create("g", 0, 6, 4)
	got := f.settle("g", 4)
	zones := map[string]int{}
	for _, i := range got {
		zones[*i.AvailabilityZone]++
	}
	if len(zones) != 2 {
		t.Errorf("spread %v, want two zones", zones)
	}
	for z, n := range zones {
		if n != 2 {
			t.Errorf("%d instances in %s", n, z)
		}
	}
	d, err := f.ec2.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*got[0].InstanceId}})
	if err != nil {
		t.Fatal(err)
	}
	if i := d.Reservations[0].Instances[0]; tagOf(i, "Name") != "node" || tagOf(i, tagGroup) != "g" {
		t.Errorf("the instance's tags are %v", i.Tags)
	}
	f.resize("g", 1)
	f.settle("g", 1)
	if d := cmp.Diff([]string{
		"Launching a new EC2 instance Successful", "Launching a new EC2 instance Successful", "Launching a new EC2 instance Successful", "Launching a new EC2 instance Successful",
		"Terminating EC2 instance Successful", "Terminating EC2 instance Successful", "Terminating EC2 instance Successful",
	}, f.activities("g")); d != "" {
		t.Errorf("activities (-want +got):\n%s", d)
	}
	if n := len(*f.told); n != 7 {
		t.Errorf("EventBridge was told %d times: %v", n, *f.told)
	}
	if _, err := f.DeleteAutoScalingGroup(f.ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("g"), ForceDelete: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if g := f.group("g"); g == nil || aws.ToString(g.Status) != "Delete in progress" {
		t.Errorf("while it is deleted: %+v", g)
	}
	for range 100 {
		if f.settle("g", 0); f.group("g") == nil {
			return
		}
	}
	t.Error("the group is still there")
}

// TestReplacement: what ends by itself or is declared unhealthy is replaced.
func TestReplacement(t *testing.T) {
	f := newFixture(t)
	f.create("g", 1, 3, 2)
	before := f.settle("g", 2)
	if _, err := f.ec2.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*before[0].InstanceId}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetInstanceHealth(f.ctx, &autoscaling.SetInstanceHealthInput{InstanceId: before[1].InstanceId, HealthStatus: aws.String("Unhealthy")}); err != nil {
		t.Fatal(err)
	}
	for _, i := range before {
		gone := func() bool {
			return !slices.ContainsFunc(f.settle("g", 2), func(o types.Instance) bool { return *o.InstanceId == *i.InstanceId })
		}
		for n := 0; !gone(); n++ {
			if n > 100 {
				t.Fatalf("%s was not replaced", *i.InstanceId)
			}
		}
	}
}

// TestTerminate: the one that was named goes, and with it the capacity.
func TestTerminate(t *testing.T) {
	f := newFixture(t)
	f.create("g", 1, 3, 3)
	before := f.settle("g", 3)
	out, err := f.TerminateInstanceInAutoScalingGroup(f.ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: before[1].InstanceId, ShouldDecrementDesiredCapacity: aws.Bool(true)})
	if err != nil || !strings.Contains(*out.Activity.Cause, "in response to a user request, shrinking the capacity from 3 to 2.") {
		t.Fatal(out, err)
	}
	var left []string
	for _, i := range f.settle("g", 2) {
		left = append(left, *i.InstanceId)
	}
	if d := cmp.Diff([]string{*before[0].InstanceId, *before[2].InstanceId}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	if _, err := f.DetachInstances(f.ctx, &autoscaling.DetachInstancesInput{AutoScalingGroupName: aws.String("g"), InstanceIds: left[:1], ShouldDecrementDesiredCapacity: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	if now := f.settle("g", 2); slices.ContainsFunc(now, func(i types.Instance) bool { return *i.InstanceId == left[0] }) {
		t.Error("the detached instance is still there")
	}
	d, err := f.ec2.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: left[:1]})
	if err != nil || d.Reservations[0].Instances[0].State.Name != ec2types.InstanceStateNameRunning {
		t.Errorf("the detached instance is %v, %v", d, err)
	}
}

// TestFailure: EC2's refusal is an activity, and the group goes on trying.
func TestFailure(t *testing.T) {
	f := newFixture(t)
	if _, err := f.CreateLaunchConfiguration(f.ctx, &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: aws.String("bad"), ImageId: aws.String("ami-0123456789abcdef0"), InstanceType: aws.String("m5.large")}); err != nil {
		t.Fatal(err)
	}
	_, err := f.CreateAutoScalingGroup(f.ctx, &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("g"), MinSize: aws.Int32(1), MaxSize: aws.Int32(1), LaunchConfigurationName: aws.String("bad"), VPCZoneIdentifier: &f.subnets[0],
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.reconcile(f.ctx, key{scope, "g"}); err == nil {
		t.Error("the reconciler does not know that it has to try again")
	}
	out, err := f.DescribeScalingActivities(f.ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("g")})
	if err != nil || len(out.Activities) != 1 {
		t.Fatal(out, err)
	}
	const want = "The image id '[ami-0123456789abcdef0]' does not exist Launching EC2 instance failed."
	if a := out.Activities[0]; a.StatusCode != types.ScalingActivityStatusCodeFailed || aws.ToString(a.StatusMessage) != want {
		t.Errorf("%s: %s, want %s", a.StatusCode, aws.ToString(a.StatusMessage), want)
	}
	if d := cmp.Diff(told{"aws.autoscaling: EC2 Instance Launch Unsuccessful"}, *f.told); d != "" {
		t.Error(d)
	}
}

// TestFullSubnet: a group launches where there are addresses, and its activities tell
// where there are none.
func TestFullSubnet(t *testing.T) {
	f := newFixture(t)
	s, err := f.ec2.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{SubnetIds: f.subnets[:1]})
	if err != nil {
		t.Fatal(err)
	}
	small, err := f.ec2.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: s.Subnets[0].VpcId, CidrBlock: aws.String("172.31.255.240/28"), AvailabilityZone: s.Subnets[0].AvailabilityZone})
	if err != nil {
		t.Fatal(err)
	}
	full := *small.Subnet.SubnetId
	if _, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &full, SecondaryPrivateIpAddressCount: aws.Int32(10)}); err != nil {
		t.Fatal(err)
	}
	other := f.subnets[0]
	f.subnets = []string{full, other}
	f.create("g", 0, 4, 2)
	if err := f.reconcile(f.ctx, key{scope, "g"}); err != nil {
		t.Fatal(err)
	}
	for _, i := range (tableFleet{f.store}).Grouped(f.store, scope)["g"] {
		if *i.SubnetId != other {
			t.Errorf("an instance in %s", *i.SubnetId)
		}
	}
	out, err := f.DescribeScalingActivities(f.ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("g")})
	if err != nil {
		t.Fatal(err)
	}
	want := "There are not enough free addresses in subnet '" + full + "' to satisfy the requested number of instances. Launching EC2 instance failed."
	failed := slices.DeleteFunc(out.Activities, func(a types.Activity) bool { return a.StatusCode != types.ScalingActivityStatusCodeFailed })
	details := `{"Availability Zone":"` + *s.Subnets[0].AvailabilityZone + `","Subnet ID":"` + full + `"}`
	if len(failed) != 1 || *failed[0].StatusMessage != want || *failed[0].Details != details {
		t.Errorf("failed activities %+v", failed)
	}
}

// TestManaged: the group of a node group shows the node group, and changing one
// changes the other.
func TestManaged(t *testing.T) {
	f := newFixture(t)
	f.ng.m = Managed{Cluster: "dev", Nodegroup: "ng", ID: "uuid", Min: 1, Max: 5, Desired: 3, Subnets: f.subnets[:1], Zones: []string{"eu-west-1a"}, LaunchTemplateID: "lt-1", LaunchTemplateVersion: "2", InstanceTypes: []string{"m5.large"}}
	const name = "eks-ng-uuid"
	if err := f.EnsureManaged(f.ctx, scope, name, "dev", "ng", "uuid"); err != nil {
		t.Fatal(err)
	}
	out, err := f.DescribeAutoScalingGroups(f.ctx, &autoscaling.DescribeAutoScalingGroupsInput{Filters: []types.Filter{
		{Name: aws.String("tag:k8s.io/cluster-autoscaler/enabled"), Values: []string{"true"}}, {Name: aws.String("tag-key"), Values: []string{"k8s.io/cluster-autoscaler/dev"}},
	}})
	if err != nil || len(out.AutoScalingGroups) != 1 {
		t.Fatal(out, err)
	}
	g := out.AutoScalingGroups[0]
	if *g.MinSize != 1 || *g.MaxSize != 5 || *g.DesiredCapacity != 3 || *g.VPCZoneIdentifier != f.subnets[0] || *g.MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.Version != "2" {
		t.Errorf("the group is %+v", g)
	}
	tags := map[string]string{}
	for _, tag := range g.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if d := cmp.Diff(map[string]string{
		"eks:cluster-name": "dev", "eks:nodegroup-name": "ng", "k8s.io/cluster-autoscaler/enabled": "true", "k8s.io/cluster-autoscaler/dev": "owned", "kubernetes.io/cluster/dev": "owned",
	}, tags); d != "" {
		t.Errorf("tags (-want +got):\n%s", d)
	}
	f.resize(name, 5)
	if f.ng.m.Desired != 5 {
		t.Errorf("the node group's desired size is %d", f.ng.m.Desired)
	}
	if _, err := f.UpdateAutoScalingGroup(f.ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String(name), MaxSize: aws.Int32(4)}); err != nil {
		t.Fatal(err)
	}
	if f.ng.m.Max != 4 || f.ng.m.Desired != 4 {
		t.Errorf("the node group is %+v", f.ng.m)
	}
	if err := f.RemoveManaged(f.ctx, scope, name); err != nil || f.group(name) != nil {
		t.Errorf("still there: %v", err)
	}
}

func TestTagsAndProcesses(t *testing.T) {
	f := newFixture(t)
	f.create("g", 0, 1, 0)
	tag := types.Tag{ResourceId: aws.String("g"), ResourceType: aws.String(resourceType), Key: aws.String("k"), Value: aws.String("v"), PropagateAtLaunch: aws.Bool(true)}
	if _, err := f.CreateOrUpdateTags(f.ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: []types.Tag{tag}}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{tagGroup: "g", "Name": "node", "k": "v"}, f.LaunchTags(scope, "g")); d != "" {
		t.Errorf("launch tags (-want +got):\n%s", d)
	}
	if _, err := f.DeleteTags(f.ctx, &autoscaling.DeleteTagsInput{Tags: []types.Tag{tag}}); err != nil {
		t.Fatal(err)
	}
	out, err := f.DescribeTags(f.ctx, &autoscaling.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("auto-scaling-group"), Values: []string{"g"}}}})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "Name" {
		t.Errorf("tags %+v, %v", out, err)
	}
	if _, err := f.SuspendProcesses(f.ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("g"), ScalingProcesses: []string{"Launch"}}); err != nil {
		t.Fatal(err)
	}
	f.resize("g", 1)
	if err := f.reconcile(f.ctx, key{scope, "g"}); err != nil {
		t.Fatal(err)
	}
	if n := len(f.group("g").Instances); n != 0 {
		t.Errorf("%d instances in spite of the suspension", n)
	}
	if _, err := f.ResumeProcesses(f.ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: aws.String("g")}); err != nil {
		t.Fatal(err)
	}
	f.settle("g", 1)
}

func TestMarket(t *testing.T) {
	for _, tc := range []struct {
		base, percent, onDemand, spot int32
		want                          ec2types.MarketType
	}{
		{1, 0, 0, 0, ""}, {1, 0, 1, 0, "spot"}, {0, 50, 0, 0, ""}, {0, 50, 1, 0, "spot"}, {0, 50, 1, 1, ""}, {0, 100, 3, 0, ""}, {0, 0, 0, 3, "spot"},
	} {
		g := &group{}
		g.Resource.MixedInstancesPolicy = &types.MixedInstancesPolicy{InstancesDistribution: &types.InstancesDistribution{OnDemandBaseCapacity: &tc.base, OnDemandPercentageAboveBaseCapacity: &tc.percent}}
		if got := g.market(int(tc.onDemand), int(tc.spot)); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	f.create("there", 1, 3, 1)
	f.create("full", 1, 1, 1)
	i := f.settle("full", 1)
	f.ng.m = Managed{Cluster: "dev", Nodegroup: "ng", ID: "uuid", Min: 1, Max: 5, Desired: 3}
	if err := f.EnsureManaged(f.ctx, scope, "eks-ng-uuid", "dev", "ng", "uuid"); err != nil {
		t.Fatal(err)
	}
	refusal.Run(f.ctx, t, autoscalingapi.Model(), f.Service, map[string]string{"subnet": f.subnets[0], "i": *i[0].InstanceId, "long": strings.Repeat("a", 256)})
}
