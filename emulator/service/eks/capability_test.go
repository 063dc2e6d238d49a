package eks

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ekslocal/ekslocal/emulator/store"
)

func capability(t ekstypes.CapabilityType) *eks.CreateCapabilityInput {
	in := &eks.CreateCapabilityInput{
		ClusterName: aws.String("dev"), CapabilityName: aws.String("my-" + strings.ToLower(string(t))), Type: t, RoleArn: aws.String(roleARN("cap")),
		DeletePropagationPolicy: "RETAIN", Tags: map[string]string{"a": "b"},
	}
	if t == ekstypes.CapabilityTypeArgocd {
		in.Configuration = &ekstypes.CapabilityConfigurationRequest{ArgoCd: &ekstypes.ArgoCdConfigRequest{
			AwsIdc:           &ekstypes.ArgoCdAwsIdcConfigRequest{IdcInstanceArn: aws.String("arn:aws:sso:::instance/ssoins-1")},
			RbacRoleMappings: []ekstypes.ArgoCdRoleMapping{{Role: "ADMIN", Identities: identities("u1", "u2")}},
		}}
	}
	return in
}

func identities(ids ...string) (out []ekstypes.SsoIdentity) {
	for _, id := range ids {
		out = append(out, ekstypes.SsoIdentity{Id: aws.String(id), Type: "SSO_USER"})
	}
	return out
}

// settleCapability does what the lifecycle does when a capability is up.
func (w *world) settleCapability(name string) {
	w.t.Helper()
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		c := Capabilities.Edit(tx, w.scope, ChildID("dev", name))
		c.Resource.Status = ekstypes.CapabilityStatusActive
		if c.UpdateID != "" {
			FinishUpdate(tx, w.scope, "dev", c.UpdateID)
			c.UpdateID = ""
		}
		Capabilities.Put(tx, w.scope, ChildID("dev", name), c)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestCapabilityLife(t *testing.T) {
	w := newWorld(t)
	w.active("dev", withMode("API"))
	dev := aws.String("dev")
	for _, kind := range ekstypes.CapabilityType("").Values() {
		c := must(w.CreateCapability(w.ctx, capability(kind))).Capability
		if c.Status != "CREATING" || !strings.HasPrefix(*c.Arn, "arn:aws:eks:us-east-1:000000000000:capability/dev/"+strings.ToLower(string(kind))+"/"+*c.CapabilityName+"/") {
			t.Errorf("%+v", c)
		}
		_, err := w.UpdateCapability(w.ctx, &eks.UpdateCapabilityInput{ClusterName: dev, CapabilityName: c.CapabilityName, RoleArn: c.RoleArn})
		wantError(t, err, "ResourceInUseException", "CREATING")
		w.settleCapability(*c.CapabilityName)
	}
	other := capability("KRO")
	other.CapabilityName = aws.String("second")
	_, err := w.CreateCapability(w.ctx, other)
	wantError(t, err, "ResourceInUseException", "A capability of type KRO already exists in cluster dev: my-kro")

	var names []string
	for _, c := range must(w.ListCapabilities(w.ctx, &eks.ListCapabilitiesInput{ClusterName: dev})).Capabilities {
		names = append(names, *c.CapabilityName+" "+string(c.Status))
	}
	if diff := cmp.Diff([]string{"my-ack ACTIVE", "my-argocd ACTIVE", "my-kro ACTIVE"}, names); diff != "" {
		t.Error(diff)
	}
	var policies []string
	for _, p := range must(w.ListAssociatedAccessPolicies(w.ctx, &eks.ListAssociatedAccessPoliciesInput{ClusterName: dev, PrincipalArn: aws.String(roleARN("cap"))})).AssociatedAccessPolicies {
		policies = append(policies, RoleName(*p.PolicyArn))
	}
	if diff := cmp.Diff([]string{"AmazonEKSACKPolicy", "AmazonEKSArgoCDClusterPolicy", "AmazonEKSArgoCDPolicy", "AmazonEKSKROPolicy"}, policies); diff != "" {
		t.Error(diff)
	}

	argo := aws.String("my-argocd")
	u := must(w.UpdateCapability(w.ctx, &eks.UpdateCapabilityInput{ClusterName: dev, CapabilityName: argo, Configuration: &ekstypes.UpdateCapabilityConfiguration{
		ArgoCd: &ekstypes.UpdateArgoCdConfig{RbacRoleMappings: &ekstypes.UpdateRoleMappings{
			AddOrUpdateRoleMappings: []ekstypes.ArgoCdRoleMapping{{Role: "VIEWER", Identities: identities("u3")}},
			RemoveRoleMappings:      []ekstypes.ArgoCdRoleMapping{{Role: "ADMIN", Identities: identities("u1")}},
		}},
	}})).Update
	got := must(w.DescribeCapability(w.ctx, &eks.DescribeCapabilityInput{ClusterName: dev, CapabilityName: argo})).Capability
	want := []ekstypes.ArgoCdRoleMapping{{Role: "ADMIN", Identities: identities("u2")}, {Role: "VIEWER", Identities: identities("u3")}}
	if diff := cmp.Diff(want, got.Configuration.ArgoCd.RbacRoleMappings, cmpopts.IgnoreUnexported(ekstypes.ArgoCdRoleMapping{}, ekstypes.SsoIdentity{})); diff != "" || got.Status != "UPDATING" {
		t.Errorf("%s %s", got.Status, diff)
	}
	if *got.Configuration.ArgoCd.Namespace != "argocd" || *got.Configuration.ArgoCd.AwsIdc.IdcRegion != "us-east-1" {
		t.Errorf("defaults %+v", got.Configuration.ArgoCd)
	}
	w.settleCapability("my-argocd")
	d := must(w.DescribeUpdate(w.ctx, &eks.DescribeUpdateInput{Name: dev, CapabilityName: argo, UpdateId: u.Id})).Update
	if d.Type != "CapabilityUpdate" || d.Status != "Successful" || len(d.Params) != 2 {
		t.Errorf("%+v", d)
	}
	if ids := must(w.ListUpdates(w.ctx, &eks.ListUpdatesInput{Name: dev, CapabilityName: argo})).UpdateIds; len(ids) != 1 || ids[0] != *u.Id {
		t.Errorf("updates of the capability %v", ids)
	}
	if ids := must(w.ListUpdates(w.ctx, &eks.ListUpdatesInput{Name: dev})).UpdateIds; len(ids) != 0 {
		t.Errorf("updates of the cluster %v", ids)
	}
	must(w.UpdateCapability(w.ctx, &eks.UpdateCapabilityInput{ClusterName: dev, CapabilityName: aws.String("my-ack"), Configuration: &ekstypes.UpdateCapabilityConfiguration{
		Ack: &ekstypes.UpdateAckConfig{DisabledServices: []string{"s3"}},
	}}))
	ack := must(w.DescribeCapability(w.ctx, &eks.DescribeCapabilityInput{ClusterName: dev, CapabilityName: aws.String("my-ack")})).Capability.Configuration.Ack
	if *ack.EnableCrossNamespace || len(ack.DisabledServices) != 1 {
		t.Errorf("%+v", ack)
	}
	if tags := must(w.ListTagsForResource(w.ctx, &eks.ListTagsForResourceInput{ResourceArn: got.Arn})).Tags; tags["a"] != "b" {
		t.Errorf("tags %v", tags)
	}
	if del := must(w.DeleteCapability(w.ctx, &eks.DeleteCapabilityInput{ClusterName: dev, CapabilityName: argo})).Capability; del.Status != "DELETING" {
		t.Errorf("%+v", del)
	}
}
