package eks

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// finish does what the lifecycle does at the end of a cluster's update.
func (w *world) finish(cluster string) {
	w.t.Helper()
	w.settle(cluster)
	w.edit(func(tx *store.Tx) { FinishIdentityProvider(tx, w.scope, cluster) })
}

func TestIdentityProviderLife(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	in := &eks.AssociateIdentityProviderConfigInput{
		ClusterName: aws.String("dev"), ClientRequestToken: aws.String("t"), Tags: map[string]string{"a": "b"}, Oidc: &ekstypes.OidcIdentityProviderConfigRequest{
			IdentityProviderConfigName: aws.String("idp"), IssuerUrl: aws.String("https://idp.example.com/a"), ClientId: aws.String("k"), RequiredClaims: map[string]string{"x": "y"},
		},
	}
	u := must(w.AssociateIdentityProviderConfig(w.ctx, in)).Update
	if again := must(w.AssociateIdentityProviderConfig(w.ctx, in)).Update; *again.Id != *u.Id {
		t.Error("the same request once more makes another update")
	}
	if d := cmp.Diff(`[{"type":"oidc","name":"idp"}]`, *u.Params[0].Value); d != "" {
		t.Error(d)
	}
	describe := func() (*ekstypes.OidcIdentityProviderConfig, error) {
		out, err := w.DescribeIdentityProviderConfig(w.ctx, &eks.DescribeIdentityProviderConfigInput{
			ClusterName: aws.String("dev"), IdentityProviderConfig: &ekstypes.IdentityProviderConfig{Type: aws.String("oidc"), Name: aws.String("idp")},
		})
		if err != nil {
			return nil, err
		}
		return out.IdentityProviderConfig.Oidc, nil
	}
	if p := must(describe()); p.Status != ekstypes.ConfigStatusCreating || p.RequiredClaims["x"] != "y" || p.Tags["a"] != "b" {
		t.Errorf("it begins as %+v", p)
	}
	remove := &eks.DisassociateIdentityProviderConfigInput{
		ClusterName: aws.String("dev"), IdentityProviderConfig: &ekstypes.IdentityProviderConfig{Type: aws.String("oidc"), Name: aws.String("idp")},
	}
	_, err := w.DisassociateIdentityProviderConfig(w.ctx, remove)
	wantError(t, err, "ResourceInUseException", "in progress")
	w.finish("dev")
	if p := must(describe()); p.Status != ekstypes.ConfigStatusActive {
		t.Errorf("after the update it is %s", p.Status)
	}
	if u := must(w.DisassociateIdentityProviderConfig(w.ctx, remove)).Update; u.Type != ekstypes.UpdateTypeDisassociateIdentityProviderConfig {
		t.Errorf("the update is a %s", u.Type)
	}
	if p := must(describe()); p.Status != ekstypes.ConfigStatusDeleting {
		t.Errorf("it is %s", p.Status)
	}
	w.finish("dev")
	_, err = describe()
	wantError(t, err, "ResourceNotFoundException", "idp")
}
