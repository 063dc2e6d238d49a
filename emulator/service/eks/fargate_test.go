package eks

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/store"
)

func (w *world) fargateProfile(cluster, name string, change ...func(*eks.CreateFargateProfileInput)) *ekstypes.FargateProfile {
	w.t.Helper()
	in := &eks.CreateFargateProfileInput{
		ClusterName: &cluster, FargateProfileName: &name, PodExecutionRoleArn: aws.String(roleARN("fargate")), ClientRequestToken: aws.String("create-" + name),
		Selectors: []ekstypes.FargateProfileSelector{{Namespace: aws.String("default")}}, Subnets: []string{"subnet-a", "subnet-b"},
	}
	for _, f := range change {
		f(in)
	}
	out, err := w.CreateFargateProfile(w.ctx, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.FargateProfile
}

// settleFargate does what the lifecycle does with a profile.
func (w *world) settleFargate(cluster, name string, to ekstypes.FargateProfileStatus) {
	w.t.Helper()
	w.edit(func(tx *store.Tx) {
		p := FargateProfiles.Edit(tx, w.scope, ChildID(cluster, name))
		if !p.Move(to) {
			w.t.Errorf("a profile that is %s does not become %s", p.Resource.Status, to)
		}
		FargateProfiles.Put(tx, w.scope, ChildID(cluster, name), p)
	})
}

func TestFargateProfileLife(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	p := w.fargateProfile("dev", "fp", func(in *eks.CreateFargateProfileInput) {
		in.Tags = map[string]string{"a": "b"}
		in.Selectors = []ekstypes.FargateProfileSelector{{Namespace: aws.String("prod-*"), Labels: map[string]string{"tier": "web"}}}
	})
	if p.Status != ekstypes.FargateProfileStatusCreating || p.Tags["a"] != "b" || p.Selectors[0].Labels["tier"] != "web" || p.Health == nil {
		t.Errorf("a new profile is %+v", p)
	}
	same := w.fargateProfile("dev", "fp", func(in *eks.CreateFargateProfileInput) {
		in.Tags = map[string]string{"a": "b"}
		in.Selectors = []ekstypes.FargateProfileSelector{{Namespace: aws.String("prod-*"), Labels: map[string]string{"tier": "web"}}}
	})
	if d := cmp.Diff(*p.FargateProfileArn, *same.FargateProfileArn); d != "" {
		t.Errorf("the same request once more makes another: %s", d)
	}
	_, err := w.DeleteFargateProfile(w.ctx, &eks.DeleteFargateProfileInput{ClusterName: aws.String("dev"), FargateProfileName: aws.String("fp")})
	wantError(t, err, "ResourceInUseException", "Cannot Delete Fargate Profile fp because cluster dev currently has Fargate profile fp in status CREATING")
	w.settleFargate("dev", "fp", ekstypes.FargateProfileStatusActive)
	list := must(w.ListFargateProfiles(w.ctx, &eks.ListFargateProfilesInput{ClusterName: aws.String("dev")}))
	if d := cmp.Diff([]string{"fp"}, list.FargateProfileNames); d != "" {
		t.Error(d)
	}
	_, err = w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: aws.String("dev")})
	wantError(t, err, "ResourceInUseException", "Cluster has Fargate Profiles in ACTIVE/CREATING state")
	arn := p.FargateProfileArn
	must(w.TagResource(w.ctx, &eks.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"c": "d"}}))
	if d := must(w.DescribeFargateProfile(w.ctx, &eks.DescribeFargateProfileInput{ClusterName: aws.String("dev"), FargateProfileName: aws.String("fp")})); d.FargateProfile.Tags["c"] != "d" {
		t.Errorf("tags are %v", d.FargateProfile.Tags)
	}
	for range 2 {
		out := must(w.DeleteFargateProfile(w.ctx, &eks.DeleteFargateProfileInput{ClusterName: aws.String("dev"), FargateProfileName: aws.String("fp")}))
		if out.FargateProfile.Status != ekstypes.FargateProfileStatusDeleting {
			t.Errorf("it is %s", out.FargateProfile.Status)
		}
	}
	w.settleFargate("dev", "fp", ekstypes.FargateProfileStatusDeleteFailed)
	must(w.DeleteFargateProfile(w.ctx, &eks.DeleteFargateProfileInput{ClusterName: aws.String("dev"), FargateProfileName: aws.String("fp")}))
}

// TestFargateMoves: what the table does not have does not happen.
func TestFargateMoves(t *testing.T) {
	all := ekstypes.FargateProfileStatus("").Values()
	n := 0
	for _, from := range all {
		for _, to := range all {
			p := &FargateProfile{Resource: ekstypes.FargateProfile{Status: from}}
			moved := p.Move(to)
			if moved {
				n++
			}
			if moved != (p.Resource.Status == to && from != to) {
				t.Errorf("%s to %s: moved %v, it is %s", from, to, moved, p.Resource.Status)
			}
		}
	}
	if n != 6 {
		t.Errorf("%d moves are allowed, want 6", n)
	}
}

func TestFargateSubnets(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(in *eks.CreateClusterInput) {
		in.ResourcesVpcConfig.SubnetIds = []string{"subnet-a", "subnet-public"}
	})
	p := w.fargateProfile("dev", "own", func(in *eks.CreateFargateProfileInput) { in.Subnets = nil })
	if d := cmp.Diff([]string{"subnet-a"}, p.Subnets); d != "" {
		t.Errorf("without subnets a profile takes the cluster's private ones: %s", d)
	}
}
