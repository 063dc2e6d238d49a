package eks

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ekslocal/ekslocal/emulator/store"
)

func nodegroupInput(cluster, name string, change ...func(*eks.CreateNodegroupInput)) *eks.CreateNodegroupInput {
	in := &eks.CreateNodegroupInput{
		ClusterName: &cluster, NodegroupName: &name, NodeRole: aws.String(roleARN("node")), Subnets: []string{"subnet-a", "subnet-b"},
		ClientRequestToken: aws.String("create-" + name),
	}
	for _, f := range change {
		f(in)
	}
	return in
}

// nodegroup makes an active node group.
func (w *world) nodegroup(cluster, name string, change ...func(*eks.CreateNodegroupInput)) {
	w.t.Helper()
	if _, err := w.CreateNodegroup(w.ctx, nodegroupInput(cluster, name, change...)); err != nil {
		w.t.Fatal(err)
	}
	w.settleNodegroup(cluster, name)
}

func (w *world) settleNodegroup(cluster, name string) {
	w.t.Helper()
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		n := Nodegroups.Edit(tx, w.scope, ChildID(cluster, name))
		n.Applied()
		n.Resource.Status = ekstypes.NodegroupStatusActive
		if n.UpdateID != "" {
			FinishUpdate(tx, w.scope, cluster, n.UpdateID)
			n.UpdateID = ""
		}
		Nodegroups.Put(tx, w.scope, ChildID(cluster, name), n)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestCreateNodegroupDefaults(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(i *eks.CreateClusterInput) { i.Version = aws.String("1.34") })
	got := must(w.CreateNodegroup(w.ctx, nodegroupInput("dev", "ng"))).Nodegroup
	want := &ekstypes.Nodegroup{
		NodegroupName: aws.String("ng"), ClusterName: aws.String("dev"), Version: aws.String("1.34"), ReleaseVersion: aws.String("1.34.4-20260415"),
		Status: "CREATING", CapacityType: "ON_DEMAND", InstanceTypes: []string{"t3.medium"}, AmiType: "AL2023_x86_64_STANDARD", DiskSize: aws.Int32(20),
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), MaxSize: aws.Int32(2), DesiredSize: aws.Int32(2)},
		UpdateConfig:  &ekstypes.NodegroupUpdateConfig{MaxUnavailable: aws.Int32(1)}, NodeRole: aws.String(roleARN("node")),
		Subnets: []string{"subnet-a", "subnet-b"}, Labels: map[string]string{}, Tags: map[string]string{}, Health: &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{}},
	}
	diff := cmp.Diff(want, got, cmpopts.IgnoreFields(ekstypes.Nodegroup{}, "NodegroupArn", "CreatedAt", "ModifiedAt"),
		cmpopts.IgnoreUnexported(ekstypes.Nodegroup{}, ekstypes.NodegroupScalingConfig{}, ekstypes.NodegroupUpdateConfig{}, ekstypes.NodegroupHealth{}))
	if diff != "" {
		t.Error(diff)
	}
	n := Nodegroups.Get(w.store, w.scope, ChildID("dev", "ng"))
	if !strings.HasSuffix(*got.NodegroupArn, ":nodegroup/dev/ng/"+n.ID) || n.AutoScalingGroupName() != "eks-ng-"+n.ID || n.NodeRoleID != "AROANODE" {
		t.Errorf("%s %s", *got.NodegroupArn, n.ID)
	}
	if again := must(w.CreateNodegroup(w.ctx, nodegroupInput("dev", "ng"))).Nodegroup; *again.NodegroupArn != *got.NodegroupArn {
		t.Error("a retry made another node group")
	}
	_, err := w.CreateNodegroup(w.ctx, nodegroupInput("dev", "ng", func(i *eks.CreateNodegroupInput) { i.ClientRequestToken = nil }))
	wantError(t, err, "ResourceInUseException", "NodeGroup already exists with name ng and cluster name dev")
	arm := must(w.CreateNodegroup(w.ctx, nodegroupInput("dev", "arm", func(i *eks.CreateNodegroupInput) { i.InstanceTypes = []string{"t4g.large", "m7g.large"} }))).Nodegroup
	if arm.AmiType != ekstypes.AMITypesAl2023Arm64Standard {
		t.Errorf("%s", arm.AmiType)
	}
}

func TestCreateNodegroupRefusals(t *testing.T) {
	type in = *eks.CreateNodegroupInput
	for name, tc := range map[string]struct {
		change     func(in)
		code, part string
	}{
		"no cluster":   {func(i in) { i.ClusterName = aws.String("none") }, "ResourceNotFoundException", "No cluster found for name: none."},
		"bad name":     {func(i in) { i.NodegroupName = aws.String("_x") }, "InvalidParameterException", "begin with a letter"},
		"long name":    {func(i in) { i.NodegroupName = aws.String(strings.Repeat("x", 64)) }, "InvalidParameterException", "63"},
		"not active":   {func(i in) { i.ClusterName = aws.String("new") }, "InvalidRequestException", "Cluster 'new' is not in ACTIVE status"},
		"role missing": {func(i in) { i.NodeRole = aws.String(roleARN("none")) }, "InvalidParameterException", "The role with name none cannot be found."},
		"role trust":   {func(i in) { i.NodeRole = aws.String(roleARN("cluster")) }, "InvalidParameterException", "Following required service principals [ec2.amazonaws.com] were not found in the trust relationships of nodeRole"},
		"no subnets":   {func(i in) { i.Subnets = nil }, "InvalidParameterException", "Subnets"},
		"subnet gone":  {func(i in) { i.Subnets = []string{"subnet-z"} }, "InvalidParameterException", "InvalidSubnetID.NotFound"},
		"subnet vpc":   {func(i in) { i.Subnets = []string{"subnet-x"} }, "InvalidParameterException", "vpc-1"},
		"min > desired": {func(i in) {
			i.ScalingConfig = &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(3), MaxSize: aws.Int32(5)}
		}, "InvalidParameterException", "minSize can't be greater than desiredSize"},
		"desired > max": {func(i in) { i.ScalingConfig = &ekstypes.NodegroupScalingConfig{DesiredSize: aws.Int32(5)} }, "InvalidParameterException", "desiredSize can't be greater than maxSize"},
		"label prefix":  {func(i in) { i.Labels = map[string]string{"kubernetes.io/x": "y"} }, "InvalidParameterException", "reserved prefixes"},
		"label value":   {func(i in) { i.Labels = map[string]string{"x": "a b"} }, "InvalidParameterException", "label x"},
		"taint effect":  {func(i in) { i.Taints = []ekstypes.Taint{{Key: aws.String("k"), Effect: "NoSchedule"}} }, "InvalidParameterException", "taint effect"},
		"arch mix":      {func(i in) { i.InstanceTypes = []string{"t3.large", "t4g.large"} }, "InvalidParameterException", "same architecture"},
		"arch ami": {func(i in) { i.InstanceTypes, i.AmiType = []string{"t4g.large"}, "AL2023_x86_64_STANDARD" }, "InvalidParameterException",
			"[t4g.large] is not a valid instance type for requested amiType AL2023_x86_64_STANDARD"},
		"no type": {func(i in) { i.InstanceTypes = []string{"q1.large"} }, "InvalidParameterException", "InvalidInstanceType"},
		"AL2":     {func(i in) { i.AmiType = "AL2_x86_64" }, "InvalidParameterException", "only supported for kubernetes versions 1.32 or earlier"},
		"windows": {func(i in) { i.AmiType = "WINDOWS_CORE_2022_x86_64" }, "InvalidParameterException", "no images"},
		"version": {func(i in) { i.Version = aws.String("1.33") }, "InvalidParameterException", "should be equal to Cluster kubernetes version 1.35"},
		"release": {func(i in) { i.ReleaseVersion = aws.String("1.33.1-20250101") }, "InvalidParameterException", "Requested release version 1.33.1-20250101 is not valid for kubernetes version 1.35."},
		"two maxima": {func(i in) {
			i.UpdateConfig = &ekstypes.NodegroupUpdateConfig{MaxUnavailable: aws.Int32(1), MaxUnavailablePercentage: aws.Int32(1)}
		}, "InvalidParameterException", "Only one of"},
		"template":     {func(i in) { i.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Id: aws.String("lt-9")} }, "InvalidParameterException", "InvalidLaunchTemplateId.NotFound"},
		"template x2":  {func(i in) { i.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{} }, "InvalidParameterException", "Either the id or the name"},
		"disk with lt": {func(i in) { lt(i); i.DiskSize = aws.Int32(30) }, "InvalidParameterException", "Disk size must be specified within the launch template."},
		"ssh with lt":  {func(i in) { lt(i); i.RemoteAccess = &ekstypes.RemoteAccessConfig{} }, "InvalidParameterException", "Remote access configuration cannot be specified with a launch template."},
		"type with lt": {func(i in) { lt(i); i.InstanceTypes = []string{"t3.large"} }, "InvalidParameterException", "not in both"},
		"key gone": {func(i in) { i.RemoteAccess = &ekstypes.RemoteAccessConfig{Ec2SshKey: aws.String("lost")} }, "InvalidParameterException",
			"The key pair 'lost' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidKeyPair.NotFound;"},
		"no key": {func(i in) { i.RemoteAccess = &ekstypes.RemoteAccessConfig{SourceSecurityGroups: []string{"sg-1"}} }, "InvalidParameterException", "ec2SshKey must be specified"},
		"override": {func(i in) {
			i.NodeRepairConfig = &ekstypes.NodeRepairConfig{NodeRepairConfigOverrides: []ekstypes.NodeRepairConfigOverrides{{RepairAction: "Reboot"}}}
		}, "InvalidParameterException", "nodeRepairConfigOverrides must specify"},
		"custom type": {func(i in) { i.AmiType = "CUSTOM" }, "InvalidParameterException", "image id"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.active("dev")
			w.create("new")
			w.ec2.templates = []ec2types.LaunchTemplateVersion{template1(1)}
			_, err := w.CreateNodegroup(w.ctx, nodegroupInput("dev", "ng", tc.change))
			wantError(t, err, tc.code, tc.part)
		})
	}
}

func lt(i *eks.CreateNodegroupInput) {
	i.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Id: aws.String("lt-1"), Version: aws.String("1")}
}

func template1(version int64) ec2types.LaunchTemplateVersion {
	return ec2types.LaunchTemplateVersion{
		LaunchTemplateId: aws.String("lt-1"), LaunchTemplateName: aws.String("mine"), VersionNumber: &version,
		LaunchTemplateData: &ec2types.ResponseLaunchTemplateData{InstanceType: "m5.large", SecurityGroupIds: []string{"sg-1"}},
	}
}

func TestNodegroupWithLaunchTemplate(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	w.ec2.templates = []ec2types.LaunchTemplateVersion{template1(1)}
	w.nodegroup("dev", "ng", lt)
	n := Nodegroups.Get(w.store, w.scope, ChildID("dev", "ng"))
	if r := n.Resource; r.DiskSize != nil || r.InstanceTypes != nil || *r.LaunchTemplate.Name != "mine" || *r.LaunchTemplate.Version != "1" || *r.Version != "1.35" || n.SecurityGroupIDs[0] != "sg-1" {
		t.Errorf("%+v", n)
	}
	w.ec2.templates = []ec2types.LaunchTemplateVersion{template1(2)}
	u := must(w.UpdateNodegroupVersion(w.ctx, &eks.UpdateNodegroupVersionInput{
		ClusterName: aws.String("dev"), NodegroupName: aws.String("ng"), LaunchTemplate: &ekstypes.LaunchTemplateSpecification{Id: aws.String("lt-1"), Version: aws.String("2")},
	})).Update
	if u.Type != "VersionUpdate" || len(u.Params) != 2 || *u.Params[1].Value != "2" {
		t.Errorf("%+v", u)
	}
	w.settleNodegroup("dev", "ng")
	if n := Nodegroups.Get(w.store, w.scope, ChildID("dev", "ng")); *n.Resource.LaunchTemplate.Version != "2" {
		t.Errorf("%+v", n.Resource.LaunchTemplate)
	}
}

func TestUpdateNodegroupConfig(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	w.nodegroup("dev", "ng", func(i *eks.CreateNodegroupInput) {
		i.Labels = map[string]string{"a": "1", "b": "2"}
		i.Taints = []ekstypes.Taint{{Key: aws.String("k"), Value: aws.String("v"), Effect: "NO_SCHEDULE"}}
	})
	base := func() *eks.UpdateNodegroupConfigInput {
		return &eks.UpdateNodegroupConfigInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")}
	}
	_, err := w.UpdateNodegroupConfig(w.ctx, base())
	wantError(t, err, "InvalidParameterException", "At least one")
	in := base()
	in.ScalingConfig = &ekstypes.NodegroupScalingConfig{MaxSize: aws.Int32(5), DesiredSize: aws.Int32(3)}
	in.Labels = &ekstypes.UpdateLabelsPayload{AddOrUpdateLabels: map[string]string{"a": "9", "c": "3"}, RemoveLabels: []string{"b"}}
	in.Taints = &ekstypes.UpdateTaintsPayload{
		AddOrUpdateTaints: []ekstypes.Taint{{Key: aws.String("k"), Value: aws.String("w"), Effect: "NO_EXECUTE"}},
		RemoveTaints:      []ekstypes.Taint{{Key: aws.String("k"), Value: aws.String("v"), Effect: "NO_SCHEDULE"}},
	}
	in.UpdateConfig = &ekstypes.NodegroupUpdateConfig{MaxUnavailablePercentage: aws.Int32(50)}
	u := must(w.UpdateNodegroupConfig(w.ctx, in)).Update
	var params []string
	for _, p := range u.Params {
		params = append(params, string(p.Type)+"="+*p.Value)
	}
	want := []string{
		"MaxSize=5", "DesiredSize=3", `LabelsToAdd={"a":"9","c":"3"}`, `LabelsToRemove=["b"]`,
		`TaintsToAdd=[{"effect":"NO_EXECUTE","key":"k","value":"w"}]`, `TaintsToRemove=[{"effect":"NO_SCHEDULE","key":"k","value":"v"}]`, "MaxUnavailablePercentage=50",
	}
	if diff := cmp.Diff(want, params); diff != "" {
		t.Error(diff)
	}
	got := must(w.DescribeNodegroup(w.ctx, &eks.DescribeNodegroupInput{ClusterName: in.ClusterName, NodegroupName: in.NodegroupName})).Nodegroup
	if got.Status != "UPDATING" || *got.ScalingConfig.MinSize != 1 || *got.ScalingConfig.DesiredSize != 3 || len(got.Taints) != 1 || *got.Taints[0].Value != "w" ||
		got.UpdateConfig.MaxUnavailable != nil || !cmp.Equal(got.Labels, map[string]string{"a": "9", "c": "3"}) {
		t.Errorf("%+v", got)
	}
	in.ScalingConfig.MaxSize = aws.Int32(6)
	_, err = w.UpdateNodegroupConfig(w.ctx, in)
	wantError(t, err, "ResourceInUseException", "Nodegroup cannot be updated as it is currently not in Active State")
	ids := must(w.ListUpdates(w.ctx, &eks.ListUpdatesInput{Name: aws.String("dev"), NodegroupName: aws.String("ng")})).UpdateIds
	if len(ids) != 1 || ids[0] != *u.Id {
		t.Errorf("%v", ids)
	}
	if own := must(w.ListUpdates(w.ctx, &eks.ListUpdatesInput{Name: aws.String("dev")})).UpdateIds; len(own) != 0 {
		t.Errorf("cluster updates %v", own)
	}
	// Deletion ends the update.
	del := must(w.DeleteNodegroup(w.ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")})).Nodegroup
	up := must(w.DescribeUpdate(w.ctx, &eks.DescribeUpdateInput{Name: aws.String("dev"), NodegroupName: aws.String("ng"), UpdateId: u.Id})).Update
	if del.Status != "DELETING" || up.Status != "Failed" {
		t.Errorf("%s %s", del.Status, up.Status)
	}
	_, err = w.DescribeNodegroup(w.ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("x")})
	wantError(t, err, "ResourceNotFoundException", "No node group found for name: x.")
}

func TestUpdateNodegroupVersion(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(i *eks.CreateClusterInput) { i.Version = aws.String("1.34") })
	w.nodegroup("dev", "ng")
	must(w.UpdateClusterVersion(w.ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: aws.String("1.35")}))
	w.settle("dev")
	up := func(version *string) (*eks.UpdateNodegroupVersionOutput, error) {
		return w.UpdateNodegroupVersion(w.ctx, &eks.UpdateNodegroupVersionInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng"), Version: version, Force: true})
	}
	_, err := up(aws.String("1.36"))
	wantError(t, err, "InvalidParameterException", "Nodegroup Kubernetes version should be equal to Cluster kubernetes version 1.35 or NodeGroup kubernetes version 1.34")
	u := must(up(aws.String("1.35"))).Update
	n := Nodegroups.Get(w.store, w.scope, ChildID("dev", "ng"))
	if *n.Resource.Version != "1.34" || n.Desired.Version != "1.35" || !n.Force || *u.Params[1].Value != n.Desired.ReleaseVersion {
		t.Errorf("%+v", n)
	}
	w.settleNodegroup("dev", "ng")
	if n := Nodegroups.Get(w.store, w.scope, ChildID("dev", "ng")); *n.Resource.Version != "1.35" || *n.Resource.ReleaseVersion != "1.35.2-20260415" {
		t.Errorf("%+v", n.Resource)
	}
}

func TestNodeRepairUpdate(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	w.nodegroup("dev", "ng")
	update := func(c *ekstypes.NodeRepairConfig) map[string]string {
		u := must(w.UpdateNodegroupConfig(w.ctx, &eks.UpdateNodegroupConfigInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng"), NodeRepairConfig: c})).Update
		params := map[string]string{}
		for _, p := range u.Params {
			params[string(p.Type)] = *p.Value
		}
		w.settleNodegroup("dev", "ng")
		return params
	}
	if diff := cmp.Diff(map[string]string{"NodeRepairEnabled": "true"}, update(&ekstypes.NodeRepairConfig{Enabled: aws.Bool(true)})); diff != "" {
		t.Error(diff)
	}
	override := ekstypes.NodeRepairConfigOverrides{
		NodeMonitoringCondition: aws.String("AcceleratedHardwareReady"), NodeUnhealthyReason: aws.String("NvidiaXID13Error"), MinRepairWaitTimeMins: aws.Int32(10), RepairAction: "Reboot",
	}
	got := update(&ekstypes.NodeRepairConfig{MaxParallelNodesRepairedCount: aws.Int32(2), NodeRepairConfigOverrides: []ekstypes.NodeRepairConfigOverrides{override}})
	want := map[string]string{"NodeRepairConfig": `{"maxParallelNodesRepairedCount":2,"nodeRepairConfigOverrides":[{"minRepairWaitTimeMins":10,"nodeMonitoringCondition":"AcceleratedHardwareReady","nodeUnhealthyReason":"NvidiaXID13Error","repairAction":"Reboot"}]}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	n := must(w.DescribeNodegroup(w.ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")})).Nodegroup
	if !*n.NodeRepairConfig.Enabled || len(n.NodeRepairConfig.NodeRepairConfigOverrides) != 1 {
		t.Errorf("%+v", n.NodeRepairConfig)
	}
}
