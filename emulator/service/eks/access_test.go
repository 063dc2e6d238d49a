package eks

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

func TestAccessEntries(t *testing.T) {
	w := newWorld(t)
	w.active("old")
	w.active("dev", withMode("API"))
	dev := aws.String("dev")
	_, err := w.CreateAccessEntry(w.ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String("old"), PrincipalArn: aws.String(roleARN("pod"))})
	wantError(t, err, "InvalidRequestException", "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")

	type in = *eks.CreateAccessEntryInput
	for name, tc := range map[string]struct {
		change     func(in)
		code, part string
	}{
		"session":    {func(i in) { i.PrincipalArn = aws.String("arn:aws:sts::000000000000:assumed-role/a/b") }, "InvalidParameterException", "The principalArn parameter format is not valid"},
		"nobody":     {func(i in) { i.PrincipalArn = aws.String(roleARN("none")) }, "InvalidParameterException", "The specified principalArn is invalid: invalid principal."},
		"again":      {func(i in) { i.PrincipalArn = aws.String(roleARN("admin")) }, "ResourceInUseException", "The specified access entry resource is already in use on this cluster."},
		"masters":    {func(i in) { i.KubernetesGroups = []string{"system:masters"} }, "InvalidParameterException", "The kubernetes group name system:masters is invalid, it cannot start with system:"},
		"user name":  {func(i in) { i.Username = aws.String("eks:x") }, "InvalidParameterException", "cannot start with eks:"},
		"session at": {func(i in) { i.Username = aws.String("x{{SessionName}}") }, "InvalidParameterException", "colon"},
		"type":       {func(i in) { i.Type = aws.String("X") }, "InvalidParameterException", "type X is invalid"},
		"node group": {func(i in) { i.Type, i.KubernetesGroups = aws.String("EC2_LINUX"), []string{"x"} }, "InvalidParameterException", "type EC2_LINUX"},
		"no cluster": {func(i in) { i.ClusterName = aws.String("none") }, "ResourceNotFoundException", "No cluster found"},
	} {
		t.Run(name, func(t *testing.T) {
			i := &eks.CreateAccessEntryInput{ClusterName: dev, PrincipalArn: aws.String(roleARN("pod"))}
			tc.change(i)
			_, err := w.CreateAccessEntry(w.ctx, i)
			wantError(t, err, tc.code, tc.part)
		})
	}
	e := must(w.CreateAccessEntry(w.ctx, &eks.CreateAccessEntryInput{
		ClusterName: dev, PrincipalArn: aws.String(roleARN("pod")), KubernetesGroups: []string{"team"}, Tags: map[string]string{"a": "b"},
	})).AccessEntry
	if *e.Type != "STANDARD" || *e.Username != "arn:aws:sts::000000000000:assumed-role/pod/{{SessionName}}" {
		t.Errorf("%+v", e)
	}
	u := must(w.UpdateAccessEntry(w.ctx, &eks.UpdateAccessEntryInput{ClusterName: dev, PrincipalArn: e.PrincipalArn, Username: aws.String("bob:{{SessionName}}")})).AccessEntry
	if *u.Username != "bob:{{SessionName}}" || !cmp.Equal(u.KubernetesGroups, []string{"team"}) {
		t.Errorf("%+v", u)
	}
	other := must(w.CreateAccessEntry(w.ctx, &eks.CreateAccessEntryInput{ClusterName: dev, PrincipalArn: aws.String("arn:aws:iam::111111111111:user/eve")})).AccessEntry
	if *other.Username != "arn:aws:iam::111111111111:user/eve" {
		t.Errorf("%s", *other.Username)
	}
	must(w.DeleteAccessEntry(w.ctx, &eks.DeleteAccessEntryInput{ClusterName: dev, PrincipalArn: other.PrincipalArn}))
	_, err = w.DescribeAccessEntry(w.ctx, &eks.DescribeAccessEntryInput{ClusterName: dev, PrincipalArn: other.PrincipalArn})
	wantError(t, err, "ResourceNotFoundException", "The specified principalArn could not be found.")
}

func TestAccessPolicies(t *testing.T) {
	w := newWorld(t)
	w.active("dev", withMode("API"))
	dev, admin := aws.String("dev"), aws.String(roleARN("admin"))
	if all := must(w.ListAccessPolicies(w.ctx, &eks.ListAccessPoliciesInput{})).AccessPolicies; len(all) < 5 {
		t.Errorf("%d policies", len(all))
	}
	view := aws.String(accesspolicies.ARN("aws", "AmazonEKSViewPolicy"))
	assoc := func(policy *string, s *ekstypes.AccessScope) (*eks.AssociateAccessPolicyOutput, error) {
		return w.AssociateAccessPolicy(w.ctx, &eks.AssociateAccessPolicyInput{ClusterName: dev, PrincipalArn: admin, PolicyArn: policy, AccessScope: s})
	}
	_, err := assoc(aws.String("arn:aws:eks::aws:cluster-access-policy/None"), &ekstypes.AccessScope{Type: "cluster"})
	wantError(t, err, "ResourceNotFoundException", "policyArn could not be found")
	for part, s := range map[string]*ekstypes.AccessScope{
		"accessScope must": nil, "At least one": {Type: "namespace"}, "type x": {Type: "x"},
		"cannot be specified": {Type: "cluster", Namespaces: []string{"a"}}, "namespace A_": {Type: "namespace", Namespaces: []string{"A_"}},
	} {
		_, err := assoc(view, s)
		wantError(t, err, "InvalidParameterException", part)
	}
	must(assoc(view, &ekstypes.AccessScope{Type: "namespace", Namespaces: []string{"dev-*"}}))
	out := must(assoc(view, &ekstypes.AccessScope{Type: "cluster"}))
	if out.AssociatedAccessPolicy.AccessScope.Type != "cluster" {
		t.Errorf("%+v", out)
	}
	list := must(w.ListAssociatedAccessPolicies(w.ctx, &eks.ListAssociatedAccessPoliciesInput{ClusterName: dev, PrincipalArn: admin})).AssociatedAccessPolicies
	if len(list) != 2 {
		t.Errorf("%d policies", len(list))
	}
	with := must(w.ListAccessEntries(w.ctx, &eks.ListAccessEntriesInput{ClusterName: dev, AssociatedPolicyArn: view})).AccessEntries
	if len(with) != 1 {
		t.Errorf("%v", with)
	}
	must(w.DisassociateAccessPolicy(w.ctx, &eks.DisassociateAccessPolicyInput{ClusterName: dev, PrincipalArn: admin, PolicyArn: view}))
	_, err = w.DisassociateAccessPolicy(w.ctx, &eks.DisassociateAccessPolicyInput{ClusterName: dev, PrincipalArn: admin, PolicyArn: view})
	wantError(t, err, "ResourceNotFoundException", "not associated")
	if with := must(w.ListAccessEntries(w.ctx, &eks.ListAccessEntriesInput{ClusterName: dev, AssociatedPolicyArn: view})).AccessEntries; len(with) != 0 {
		t.Errorf("%v", with)
	}
}

func TestPodIdentity(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	dev := aws.String("dev")
	in := &eks.CreatePodIdentityAssociationInput{
		ClusterName: dev, Namespace: aws.String("apps"), ServiceAccount: aws.String("s3"), RoleArn: aws.String(roleARN("none")), ClientRequestToken: aws.String("t"),
	}
	_, err := w.CreatePodIdentityAssociation(w.ctx, in)
	wantError(t, err, "InvalidParameterException", "Role provided in the request does not exist")
	in.RoleArn = aws.String(roleARN("node"))
	_, err = w.CreatePodIdentityAssociation(w.ctx, in)
	wantError(t, err, "InvalidParameterException", "pods.eks.amazonaws.com")
	in.RoleArn = aws.String(roleARN("pod"))
	p := must(w.CreatePodIdentityAssociation(w.ctx, in)).Association
	if again := must(w.CreatePodIdentityAssociation(w.ctx, in)).Association; *again.AssociationId != *p.AssociationId {
		t.Error("a retry made another association")
	}
	in.ClientRequestToken = nil
	_, err = w.CreatePodIdentityAssociation(w.ctx, in)
	wantError(t, err, "ResourceInUseException", "Association already exists: "+*p.AssociationId)
	list := must(w.ListPodIdentityAssociations(w.ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: dev, Namespace: aws.String("apps")})).Associations
	if len(list) != 1 || *list[0].AssociationArn != "arn:aws:eks:us-east-1:000000000000:podidentityassociation/dev/"+*p.AssociationId {
		t.Errorf("%+v", list)
	}
	u := must(w.UpdatePodIdentityAssociation(w.ctx, &eks.UpdatePodIdentityAssociationInput{
		ClusterName: dev, AssociationId: p.AssociationId, TargetRoleArn: aws.String("arn:aws:iam::111111111111:role/target"),
	})).Association
	if aws.ToString(u.ExternalId) != "us-east-1/000000000000/dev/apps/s3" {
		t.Errorf("%+v", u)
	}
	must(w.DeletePodIdentityAssociation(w.ctx, &eks.DeletePodIdentityAssociationInput{ClusterName: dev, AssociationId: p.AssociationId}))
	_, err = w.DescribePodIdentityAssociation(w.ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: dev, AssociationId: p.AssociationId})
	wantError(t, err, "ResourceNotFoundException", *p.AssociationId)
}
