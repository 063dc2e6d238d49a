package authn

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

func TestChina(t *testing.T) {
	w := newWorld()
	china := awsid.Scope{Account: account, Region: "cn-north-1"}
	w.cluster.Scope = china
	w.keys["ADMIN"] = key("arn:aws-cn:sts::111122223333:assumed-role/admin/bob", "AROAADMIN:bob", "ADMIN", "t")
	role := "arn:aws-cn:iam::111122223333:role/admin"
	w.entries[role] = Entry{PrincipalARN: role, Type: "STANDARD", Policies: []PolicyAssociation{
		{PolicyARN: accesspolicies.ARN(awsid.PartitionChina, accesspolicies.ClusterAdmin), ScopeType: "cluster"},
	}}
	a := w.authenticator(t)
	got, ok, err := a.Authenticate(t.Context(), clusterID, w.token(t, "ADMIN"))
	if !ok || err != nil || got.Username != "arn:aws-cn:sts::111122223333:assumed-role/admin/bob" || !cmp.Equal(got.Extra["canonicalArn"], []string{role}) {
		t.Fatalf("%+v, %v, %v", got, ok, err)
	}
	if ok, why, err := a.Authorize(t.Context(), clusterID, controlplane.Attributes{Extra: got.Extra, Verb: "delete", Resource: "nodes"}); !ok || err != nil {
		t.Errorf("the policy of China does not count: %s, %v", why, err)
	}
	if !a.MayJoin(t.Context(), clusterID, nodeRole(t, w)) {
		t.Error("aws-auth does not let nodes of China join")
	}
	// A token of the same account number elsewhere, whom mapAccounts would let in.
	w.awsAuth = map[string]string{"mapAccounts": "[\"111122223333\"]"}
	w.cluster.Scope = home
	token := w.token(t, "ALICE")
	w.cluster.Scope = china
	if got, ok, _ := a.Authenticate(t.Context(), clusterID, token); ok || !strings.Contains(w.log.String(), "signed for the region us-east-1 of the partition aws, the cluster is in aws-cn") {
		t.Errorf("a token of another partition is %+v\n%s", got, w.log.String())
	}
}

// nodeRole is a role of China that only aws-auth knows.
func nodeRole(t *testing.T, w *world) string {
	t.Helper()
	const role = "arn:aws-cn:iam::111122223333:role/nodes"
	w.awsAuth = map[string]string{"mapRoles": "- {rolearn: " + role + ", username: node, groups: [system:nodes]}"}
	return role
}
