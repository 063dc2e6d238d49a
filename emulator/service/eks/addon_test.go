package eks

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/store"
)

func (w *world) settleAddon(cluster, name string) {
	w.t.Helper()
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		d := Addons.Edit(tx, w.scope, ChildID(cluster, name))
		d.Applied()
		d.Resource.Status = ekstypes.AddonStatusActive
		if d.UpdateID != "" {
			FinishUpdate(tx, w.scope, cluster, d.UpdateID)
			d.UpdateID = ""
		}
		Addons.Put(tx, w.scope, ChildID(cluster, name), d)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAddonLife(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(i *eks.CreateClusterInput) { i.Version = aws.String("1.34") })
	dev, cni := aws.String("dev"), aws.String("vpc-cni")
	if list := must(w.ListAddons(w.ctx, &eks.ListAddonsInput{ClusterName: dev})).Addons; len(list) != 0 {
		t.Errorf("a new cluster has add-ons %v", list)
	}
	got := must(w.CreateAddon(w.ctx, &eks.CreateAddonInput{ClusterName: dev, AddonName: cni, ClientRequestToken: aws.String("t")})).Addon
	if got.Status != "CREATING" || *got.AddonVersion != "v1.22.4-eksbuild.3" || !strings.HasPrefix(*got.AddonArn, "arn:aws:eks:us-east-1:000000000000:addon/dev/vpc-cni/") {
		t.Errorf("%+v", got)
	}
	_, err := w.CreateAddon(w.ctx, &eks.CreateAddonInput{ClusterName: dev, AddonName: cni})
	wantError(t, err, "ResourceInUseException", "Addon already exists.")
	_, err = w.UpdateAddon(w.ctx, &eks.UpdateAddonInput{ClusterName: dev, AddonName: cni})
	wantError(t, err, "ResourceInUseException", "CREATING")
	w.settleAddon("dev", "vpc-cni")

	u := must(w.UpdateAddon(w.ctx, &eks.UpdateAddonInput{
		ClusterName: dev, AddonName: cni, AddonVersion: aws.String("v1.20.5-eksbuild.1"), ResolveConflicts: "OVERWRITE",
		ConfigurationValues:     aws.String(`{"env":{"ENABLE_PREFIX_DELEGATION":"true"}}`),
		PodIdentityAssociations: []ekstypes.AddonPodIdentityAssociations{{ServiceAccount: aws.String("aws-node"), RoleArn: aws.String(roleARN("pod"))}},
	})).Update
	var params []string
	for _, p := range u.Params {
		params = append(params, string(p.Type))
	}
	if diff := cmp.Diff([]string{"AddonVersion", "ResolveConflicts", "ConfigurationValues", "PodIdentityAssociations"}, params); diff != "" {
		t.Error(diff)
	}
	d := Addons.Get(w.store, w.scope, ChildID("dev", "vpc-cni"))
	if *d.Resource.AddonVersion != "v1.22.4-eksbuild.3" || d.Desired.Version != "v1.20.5-eksbuild.1" || d.Resource.Status != "UPDATING" || d.Desired.ResolveConflicts != "OVERWRITE" {
		t.Errorf("%+v", d)
	}
	w.settleAddon("dev", "vpc-cni")
	after := must(w.DescribeAddon(w.ctx, &eks.DescribeAddonInput{ClusterName: dev, AddonName: cni})).Addon
	if *after.AddonVersion != "v1.20.5-eksbuild.1" || len(after.PodIdentityAssociations) != 1 || !strings.Contains(*after.ConfigurationValues, "PREFIX") {
		t.Errorf("%+v", after)
	}
	up := must(w.DescribeUpdate(w.ctx, &eks.DescribeUpdateInput{Name: dev, AddonName: cni, UpdateId: u.Id})).Update
	if up.Status != "Successful" {
		t.Errorf("%s", up.Status)
	}
	p := FindPodIdentity(w.store, w.scope, "dev", "kube-system", "aws-node")
	if p == nil || *p.Resource.OwnerArn != *after.AddonArn {
		t.Fatalf("%+v", p)
	}
	_, err = w.DeletePodIdentityAssociation(w.ctx, &eks.DeletePodIdentityAssociationInput{ClusterName: dev, AssociationId: p.Resource.AssociationId})
	wantError(t, err, "InvalidRequestException", "owned by")

	del := must(w.DeleteAddon(w.ctx, &eks.DeleteAddonInput{ClusterName: dev, AddonName: cni, Preserve: true})).Addon
	if d := Addons.Get(w.store, w.scope, ChildID("dev", "vpc-cni")); del.Status != "DELETING" || !d.Preserve {
		t.Errorf("%+v", del)
	}
	if FindPodIdentity(w.store, w.scope, "dev", "kube-system", "aws-node") != nil {
		t.Error("the add-on's association stays")
	}
	_, err = w.DescribeAddon(w.ctx, &eks.DescribeAddonInput{ClusterName: dev, AddonName: aws.String("coredns")})
	wantError(t, err, "ResourceNotFoundException", "No addon: coredns found in cluster: dev")
}

func TestCreateAddonRefusals(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(i *eks.CreateClusterInput) { i.Version = aws.String("1.36") })
	w.create("new")
	type in = *eks.CreateAddonInput
	for name, tc := range map[string]struct {
		change     func(in)
		code, part string
	}{
		"unknown":     {func(i in) { i.AddonName = aws.String("x") }, "InvalidParameterException", "Addon x specified is not supported in 1.36 kubernetes version"},
		"version":     {func(i in) { i.AddonVersion = aws.String("v0.0.1") }, "InvalidParameterException", "Addon version specified is not supported"},
		"version k8s": {func(i in) { i.AddonVersion = aws.String("v1.19.6-eksbuild.7") }, "InvalidParameterException", "Addon version specified is not supported"},
		"values":      {func(i in) { i.ConfigurationValues = aws.String(`{"nope":1}`) }, "InvalidParameterException", "ConfigurationValue provided in request is not supported: Json schema validation failed"},
		"not json":    {func(i in) { i.ConfigurationValues = aws.String(`{`) }, "InvalidParameterException", "ConfigurationValue provided in request is not supported"},
		"role":        {func(i in) { i.ServiceAccountRoleArn = aws.String(roleARN("none")) }, "InvalidParameterException", "does not exist"},
		"resolve":     {func(i in) { i.ResolveConflicts = "X" }, "InvalidParameterException", "resolveConflicts"},
		"account": {func(i in) {
			i.PodIdentityAssociations = []ekstypes.AddonPodIdentityAssociations{{ServiceAccount: aws.String("x"), RoleArn: aws.String(roleARN("pod"))}}
		}, "InvalidParameterException", "service account x"},
		"not active": {func(i in) { i.ClusterName = aws.String("new") }, "InvalidRequestException", "not in ACTIVE status"},
		"no cluster": {func(i in) { i.ClusterName = aws.String("none") }, "ResourceNotFoundException", "No cluster found for name: none."},
	} {
		t.Run(name, func(t *testing.T) {
			i := &eks.CreateAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String("vpc-cni")}
			tc.change(i)
			_, err := w.CreateAddon(w.ctx, i)
			wantError(t, err, tc.code, tc.part)
			if n := len(Addons.ListAll(w.store)) + len(PodIdentityAssociations.ListAll(w.store)); n != 0 {
				t.Error("something was created")
			}
		})
	}
}

func TestDescribeAddonVersions(t *testing.T) {
	w := newWorld(t)
	all := must(w.DescribeAddonVersions(w.ctx, &eks.DescribeAddonVersionsInput{})).Addons
	var names []string
	for _, a := range all {
		names = append(names, *a.AddonName)
	}
	want := []string{
		"adot", "amazon-cloudwatch-observability", "aws-ebs-csi-driver", "aws-efs-csi-driver", "aws-guardduty-agent", "aws-mountpoint-s3-csi-driver", "cert-manager", "coredns",
		"eks-node-monitoring-agent", "eks-pod-identity-agent", "external-dns", "kube-proxy", "kube-state-metrics", "metrics-server", "prometheus-node-exporter", "snapshot-controller", "vpc-cni",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	one := must(w.DescribeAddonVersions(w.ctx, &eks.DescribeAddonVersionsInput{AddonName: aws.String("kube-proxy"), KubernetesVersion: aws.String("1.34")})).Addons
	defaults := 0
	for _, v := range one[0].AddonVersions {
		if len(v.Compatibilities) != 1 || *v.Compatibilities[0].ClusterVersion != "1.34" {
			t.Errorf("%+v", v)
		}
		if v.Compatibilities[0].DefaultVersion {
			defaults++
			if *v.AddonVersion != "v1.34.6-eksbuild.8" {
				t.Errorf("default %s", *v.AddonVersion)
			}
		}
	}
	if defaults != 1 {
		t.Errorf("%d defaults", defaults)
	}
	for name, tc := range map[string]struct {
		in   eks.DescribeAddonVersionsInput
		want []string
	}{
		"owner":     {eks.DescribeAddonVersionsInput{Owners: []string{"community"}}, []string{"cert-manager", "external-dns", "kube-state-metrics", "metrics-server", "prometheus-node-exporter"}},
		"type":      {eks.DescribeAddonVersionsInput{Types: []string{"storage"}}, []string{"aws-ebs-csi-driver", "aws-efs-csi-driver", "aws-mountpoint-s3-csi-driver", "snapshot-controller"}},
		"publisher": {eks.DescribeAddonVersionsInput{Publishers: []string{"kubecost"}}, nil},
		"both":      {eks.DescribeAddonVersionsInput{Types: []string{"networking"}, Owners: []string{"community"}}, []string{"external-dns"}},
		"no name":   {eks.DescribeAddonVersionsInput{AddonName: aws.String("kubecost_kubecost")}, nil},
	} {
		var got []string
		for _, a := range must(w.DescribeAddonVersions(w.ctx, &tc.in)).Addons {
			got = append(got, *a.AddonName)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	cfg := must(w.DescribeAddonConfiguration(w.ctx, &eks.DescribeAddonConfigurationInput{AddonName: aws.String("vpc-cni"), AddonVersion: aws.String("v1.21.1-eksbuild.3")}))
	if !strings.Contains(*cfg.ConfigurationSchema, "enableNetworkPolicy") || len(cfg.PodIdentityConfiguration) != 1 {
		t.Errorf("%+v", cfg)
	}
	_, err := w.DescribeAddonConfiguration(w.ctx, &eks.DescribeAddonConfigurationInput{AddonName: aws.String("vpc-cni"), AddonVersion: aws.String("v9")})
	wantError(t, err, "InvalidParameterException", "Addon version")
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	w.active("dev", withMode("API"))
	w.nodegroup("dev", "ng")
	must(w.CreateAddon(w.ctx, &eks.CreateAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String("coredns")}))
	p := must(w.CreatePodIdentityAssociation(w.ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String("dev"), Namespace: aws.String("a"), ServiceAccount: aws.String("b"), RoleArn: aws.String(roleARN("pod")),
	})).Association
	arns := []*string{
		Clusters.Get(w.store, w.scope, "dev").Resource.Arn, Nodegroups.Get(w.store, w.scope, "dev/ng").Resource.NodegroupArn,
		Addons.Get(w.store, w.scope, "dev/coredns").Resource.AddonArn, p.AssociationArn,
		AccessEntries.Get(w.store, w.scope, ChildID("dev", roleARN("admin"))).Resource.AccessEntryArn,
	}
	for _, arn := range arns {
		must(w.TagResource(w.ctx, &eks.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"a": "1", "b": "2"}}))
		must(w.UntagResource(w.ctx, &eks.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"b", "none"}}))
		if diff := cmp.Diff(map[string]string{"a": "1"}, must(w.ListTagsForResource(w.ctx, &eks.ListTagsForResourceInput{ResourceArn: arn})).Tags); diff != "" {
			t.Errorf("%s: %s", *arn, diff)
		}
	}
	if got := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster.Tags; got["a"] != "1" {
		t.Errorf("%v", got)
	}
	for arn, code := range map[string]string{
		"x": "BadRequestException", "arn:aws:s3:::b": "BadRequestException", "arn:aws:eks:us-east-1:000000000000:thing/x": "BadRequestException",
		"arn:aws:eks:us-east-1:000000000000:cluster/none": "NotFoundException", "arn:aws:eks:eu-west-1:000000000000:cluster/dev": "NotFoundException",
		"arn:aws:eks:us-east-1:000000000000:nodegroup/dev/ng/other": "NotFoundException",
	} {
		_, err := w.ListTagsForResource(w.ctx, &eks.ListTagsForResourceInput{ResourceArn: &arn})
		wantError(t, err, code, "")
	}
	_, err := w.TagResource(w.ctx, &eks.TagResourceInput{ResourceArn: arns[0], Tags: map[string]string{"aws:x": ""}})
	wantError(t, err, "BadRequestException", "aws:")
}

func FuzzNextToken(f *testing.F) {
	good, err := encodeCursor("L", "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(*good)
	f.Add("e30")
	f.Add("?")
	f.Fuzz(func(_ *testing.T, token string) {
		_, _, _ = page("L", []string{"a", "x", "z"}, itself, nil, &token)
	})
}
