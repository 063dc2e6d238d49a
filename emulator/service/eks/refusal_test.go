package eks

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	eksapi "github.com/ekslocal/ekslocal/api/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

// TestRefusals runs testdata/refusals.yaml in the world of refusalWorld.
func TestRefusals(t *testing.T) {
	w, values := refusalWorld(t)
	refusal.Run(w.ctx, t, eksapi.Model(), w.Service, values)
}

// refusalWorld has these clusters and no port for another:
//
//	dev     ACTIVE at 1.34, with one of everything, and of what can be, one that is being made
//	new     CREATING, mode CONFIG_MAP
//	old     ACTIVE at 1.34 since an update from 1.33 eight days ago, with all the Fargate profiles that are allowed and a
//	        certificate authority whose distribution goes on
//	rolled  ACTIVE at 1.34 since an update from 1.33 yesterday, which an insight forbids to take back; it is going back
func refusalWorld(t *testing.T) (*world, map[string]string) {
	w := newWorld(t)
	w.ports = [2]int{6500, 6503}
	w.ec2.templates = []ec2types.LaunchTemplateVersion{{
		LaunchTemplateId: aws.String("lt-1"), LaunchTemplateName: aws.String("lt"), VersionNumber: aws.Int64(1), LaunchTemplateData: &ec2types.ResponseLaunchTemplateData{},
	}}
	at134 := func(in *eks.CreateClusterInput) { in.Version = aws.String("1.34") }
	w.active("dev", at134, withMode(ekstypes.AuthenticationModeApiAndConfigMap))
	w.active("old", at134)
	w.active("rolled", at134)
	w.create("new", at134)

	ctx := w.ctx
	done := must(w.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: aws.String("dev"), ZonalShiftConfig: &ekstypes.ZonalShiftConfigRequest{Enabled: aws.Bool(true)}}))
	w.settle("dev")
	must(w.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: aws.String("dev"), ZonalShiftConfig: &ekstypes.ZonalShiftConfigRequest{Enabled: aws.Bool(false)}}))
	w.settle("dev")
	must(w.AssociateIdentityProviderConfig(ctx, &eks.AssociateIdentityProviderConfigInput{ClusterName: aws.String("dev"), Oidc: &ekstypes.OidcIdentityProviderConfigRequest{
		IdentityProviderConfigName: aws.String("idp"), IssuerUrl: aws.String("https://idp.example.com"), ClientId: aws.String("k"),
	}}))
	w.settle("dev")
	w.nodegroup("dev", "ng")
	w.settleNodegroup("dev", "ng")
	must(w.CreateNodegroup(ctx, nodegroupInput("dev", "busy"))) // stays CREATING
	for _, name := range []string{"coredns", "kube-proxy"} {
		must(w.CreateAddon(ctx, &eks.CreateAddonInput{ClusterName: aws.String("dev"), AddonName: &name}))
	}
	w.settleAddon("dev", "coredns")
	must(w.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String(roleARN("node"))}))
	must(w.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String(roleARN("fargate")), Type: aws.String(EntryFargateLinux)}))
	association := must(w.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String("dev"), Namespace: aws.String("default"), ServiceAccount: aws.String("taken"), RoleArn: aws.String(roleARN("pod")),
	}))
	w.fargateProfile("dev", "fp")
	w.settleFargate("dev", "fp", ekstypes.FargateProfileStatusActive)
	w.fargateProfile("dev", "making")
	for i := range maxFargateProfiles {
		name := fmt.Sprintf("fp%d", i)
		w.fargateProfile("old", name)
		w.settleFargate("old", name, ekstypes.FargateProfileStatusActive)
	}
	w.fargateProfile("rolled", "fp")
	w.settleFargate("rolled", "fp", ekstypes.FargateProfileStatusActive)
	w.certify("old")
	_, signs, _ := w.look("old")
	successor := must(w.CreateCertificateAuthority(ctx, &eks.CreateCertificateAuthorityInput{ClusterName: aws.String("old")}))
	w.rotated("old")
	w.upgraded("old", "1.33", 8*24*time.Hour)
	w.upgraded("rolled", "1.33", 24*time.Hour)
	back := must(w.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: aws.String("rolled"), Version: aws.String("1.33")}))
	w.insight("rolled", ekstypes.CategoryRollbackReadiness, "Kubelet version rollback compatibility", ekstypes.InsightStatusValueError)
	return w, map[string]string{
		"role": roleARN("cluster"), "node": roleARN("node"), "pod": roleARN("pod"), "fargate": roleARN("fargate"),
		"done": *done.Update.Id, "running": *back.Update.Id, "association": *association.Association.AssociationId,
		"arn": w.scope.ARN("eks", "cluster/dev"), "signer": signs, "successor": *successor.CertificateAuthority.Id,
	}
}

// upgraded makes a cluster have been updated from a version some time ago.
func (w *world) upgraded(cluster, from string, ago time.Duration) {
	w.t.Helper()
	at := w.clock.Now().Add(-ago)
	w.edit(func(tx *store.Tx) {
		c := Clusters.Edit(tx, w.scope, cluster)
		c.UpgradedFrom, c.UpgradedAt = from, &at
		Clusters.Put(tx, w.scope, cluster, c)
	})
}

func (w *world) edit(f func(tx *store.Tx)) {
	w.t.Helper()
	if err := w.store.Update(w.ctx, func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) insight(cluster string, category ekstypes.Category, name string, status ekstypes.InsightStatusValue) *Insight {
	w.t.Helper()
	now := w.clock.Now()
	id := "00000000-0000-0000-0000-" + fmt.Sprintf("%012d", len(Insights.ListAll(w.store)))
	i := &Insight{Scope: w.scope, Cluster: cluster, Resource: ekstypes.Insight{
		Id: &id, Name: &name, Category: category, KubernetesVersion: aws.String("1.35"), LastRefreshTime: &now, LastTransitionTime: &now,
		InsightStatus: &ekstypes.InsightStatus{Status: status, Reason: aws.String("reason")},
	}}
	w.edit(func(tx *store.Tx) { Insights.Put(tx, w.scope, ChildID(cluster, id), i) })
	return i
}
