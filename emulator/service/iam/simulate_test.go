package iam

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sansSerde = cmpopts.IgnoreUnexported(types.EvaluationResult{}, types.Statement{}, types.Position{}, types.ResourceSpecificResult{}, types.PermissionsBoundaryDecisionDetail{})

func at(id, kind string, line1, col1, line2, col2 int32) types.Statement {
	return types.Statement{
		SourcePolicyId: &id, SourcePolicyType: types.PolicySourceType(kind),
		StartPosition: &types.Position{Line: line1, Column: col1}, EndPosition: &types.Position{Line: line2, Column: col2},
	}
}

// TestSimulateCustomPolicy has the examples of the AWS CLI reference.
func TestSimulateCustomPolicy(t *testing.T) {
	ctx, s, _ := newService(t)
	const doc = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}`
	for when, want := range map[string]types.EvaluationResult{
		"2019-04-25T11:00:00Z": {EvalDecision: "allowed", MatchedStatements: []types.Statement{at("PolicyInputList.1", "IAM Policy", 1, 38, 1, 167)}},
		"2014-04-25T11:00:00Z": {EvalDecision: "implicitDeny", MatchedStatements: []types.Statement{}},
	} {
		want.EvalActionName, want.EvalResourceName, want.MissingContextValues = aws.String("dynamodb:CreateBackup"), aws.String("*"), []string{}
		out := must[iam.SimulateCustomPolicyOutput](t)(s.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{
			PolicyInputList: []string{doc}, ActionNames: []string{"dynamodb:CreateBackup"},
			ContextEntries: []types.ContextEntry{{ContextKeyName: aws.String("aws:CurrentTime"), ContextKeyValues: []string{when}, ContextKeyType: types.ContextKeyTypeEnumDate}},
		}))
		if diff := cmp.Diff([]types.EvaluationResult{want}, out.EvaluationResults, sansSerde); diff != "" || out.IsTruncated {
			t.Errorf("%s: %s", when, diff)
		}
	}
}

func TestSimulateResources(t *testing.T) {
	ctx, s, _ := newService(t)
	const (
		own      = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:Delete*","Resource":"arn:aws:s3:::b/keep/*"}]}`
		boundary = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"a"}}}]}`
		bucket   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"s3:DeleteObject","Resource":"arn:aws:s3:::b/*"}]}`
	)
	in := iam.SimulateCustomPolicyInput{
		PolicyInputList: []string{own}, ActionNames: []string{"s3:DeleteObject"},
		ResourceArns: []string{"arn:aws:s3:::b/x", "arn:aws:s3:::b/keep/x"}, PermissionsBoundaryPolicyInputList: []string{boundary},
	}
	t.Run("boundary", func(t *testing.T) {
		out := must[iam.SimulateCustomPolicyOutput](t)(s.SimulateCustomPolicy(ctx, &in))
		missing := []string{"aws:PrincipalTag/team"}
		bounded := &types.PermissionsBoundaryDecisionDetail{}
		deny := []types.Statement{at("PolicyInputList.1", "IAM Policy", 1, 87, 1, 162)}
		want := []types.EvaluationResult{{
			EvalActionName: aws.String("s3:DeleteObject"), EvalResourceName: aws.String("*"), EvalDecision: "explicitDeny", EvalDecisionDetails: map[string]types.PolicyEvaluationDecisionType{},
			MatchedStatements: deny, MissingContextValues: missing, PermissionsBoundaryDecisionDetail: bounded,
			ResourceSpecificResults: []types.ResourceSpecificResult{
				{EvalResourceName: aws.String("arn:aws:s3:::b/x"), EvalResourceDecision: "implicitDeny", MatchedStatements: []types.Statement{}, MissingContextValues: missing, PermissionsBoundaryDecisionDetail: bounded},
				{EvalResourceName: aws.String("arn:aws:s3:::b/keep/x"), EvalResourceDecision: "explicitDeny", MatchedStatements: deny, MissingContextValues: missing, PermissionsBoundaryDecisionDetail: bounded},
			},
		}}
		if diff := cmp.Diff(want, out.EvaluationResults, sansSerde); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("across accounts", func(t *testing.T) {
		in := in
		in.PermissionsBoundaryPolicyInputList, in.ResourceArns = nil, []string{"arn:aws:s3:::b/x"}
		in.CallerArn, in.ResourcePolicy, in.ResourceOwner = aws.String("arn:aws:iam::111122223333:user/alice"), aws.String(bucket), aws.String("arn:aws:iam::444455556666:root")
		in.ActionNames = []string{"s3:DeleteObject", "s3:GetObject"}
		out := must[iam.SimulateCustomPolicyOutput](t)(s.SimulateCustomPolicy(ctx, &in))
		type brief struct {
			Decision types.PolicyEvaluationDecisionType
			Details  map[string]types.PolicyEvaluationDecisionType
		}
		var got []brief
		for _, r := range out.EvaluationResults {
			got = append(got, brief{r.EvalDecision, r.EvalDecisionDetails})
		}
		want := []brief{
			{"allowed", map[string]types.PolicyEvaluationDecisionType{"IAM Policy": "allowed", "Resource Policy": "allowed"}},
			{"implicitDeny", map[string]types.PolicyEvaluationDecisionType{"IAM Policy": "allowed", "Resource Policy": "implicitDeny"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("pages", func(t *testing.T) {
		in := in
		in.ActionNames, in.MaxItems = []string{"s3:B", "s3:A", "s3:C"}, aws.Int32(2)
		var got []string
		for {
			out := must[iam.SimulateCustomPolicyOutput](t)(s.SimulateCustomPolicy(ctx, &in))
			for _, r := range out.EvaluationResults {
				got = append(got, *r.EvalActionName)
			}
			if !out.IsTruncated {
				break
			}
			in.Marker = out.Marker
		}
		if diff := cmp.Diff([]string{"s3:B", "s3:A", "s3:C"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// simulated makes a role and a user in a group, each with policies of its own.
func simulated(t *testing.T, ctx context.Context, s *Service) {
	t.Helper()
	createRole(t, ctx, s, "ops")
	must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("ops"), PolicyArn: aws.String(clusterP)}))
	must[iam.PutRolePolicyOutput](t)(s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("ops"), PolicyName: aws.String("own"), PolicyDocument: aws.String(allowAll)}))
	must[iam.CreateUserOutput](t)(s.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("alice")}))
	must[iam.CreateGroupOutput](t)(s.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("devs")}))
	must[iam.AddUserToGroupOutput](t)(s.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: aws.String("alice")}))
	home := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::home/${aws:username}/*"}]}`
	must[iam.PutGroupPolicyOutput](t)(s.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: aws.String("home"), PolicyDocument: &home}))
}

func TestSimulatePrincipalPolicy(t *testing.T) {
	ctx, s, _ := newService(t)
	simulated(t, ctx, s)
	role, alice, group := "arn:aws:iam::"+account+":role/ops", "arn:aws:iam::"+account+":user/alice", "arn:aws:iam::"+account+":group/devs"
	tests := []struct {
		name, source, action, resource string
		exclude                        []types.PolicyIdentifier
		want                           types.PolicyEvaluationDecisionType
		policies                       []string
	}{
		{"role", role, "eks:CreateCluster", "*", nil, "allowed", []string{"role_ops_own"}},
		{"inline and managed", role, "ec2:CreateSecurityGroup", "*", nil, "allowed", []string{"role_ops_own"}},
		{"managed alone", role, "ec2:DescribeInstances", "*", []types.PolicyIdentifier{&types.PolicyIdentifierMemberInlinePolicyIdentifier{Value: types.InlinePolicyIdentifierType{AttachmentName: aws.String("o*"), AttachmentType: types.AttachmentTypeRole, PolicyName: aws.String("own")}}}, "allowed", []string{"AmazonEKSClusterPolicy"}},
		{"nothing left", role, "ec2:DescribeInstances", "*", []types.PolicyIdentifier{
			&types.PolicyIdentifierMemberPolicyType{Value: types.PolicyIdentifierPolicyTypeInline}, &types.PolicyIdentifierMemberPolicyArn{Value: clusterP},
		}, "implicitDeny", nil},
		{"a group's policy with a variable", alice, "s3:GetObject", "arn:aws:s3:::home/alice/x", nil, "allowed", []string{"group_devs_home"}},
		{"somebody else's home", alice, "s3:GetObject", "arn:aws:s3:::home/bob/x", nil, "implicitDeny", nil},
		{"the group itself has no user name", group, "s3:GetObject", "arn:aws:s3:::home/alice/x", nil, "implicitDeny", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := must[iam.SimulatePrincipalPolicyOutput](t)(s.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{
				PolicySourceArn: &tt.source, ActionNames: []string{tt.action}, ResourceArns: []string{tt.resource}, PolicyExclusionList: tt.exclude,
			}))
			r := out.EvaluationResults[0]
			var first []string
			for _, m := range r.MatchedStatements[:min(1, len(r.MatchedStatements))] {
				first = append(first, *m.SourcePolicyId)
			}
			if r.EvalDecision != tt.want || !cmp.Equal(first, tt.policies) {
				t.Errorf("%s by %v, want %s by %v", r.EvalDecision, first, tt.want, tt.policies)
			}
		})
	}

	t.Run("boundary", func(t *testing.T) {
		must[iam.PutUserPermissionsBoundaryOutput](t)(s.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("alice"), PermissionsBoundary: aws.String(clusterP)}))
		out := must[iam.SimulatePrincipalPolicyOutput](t)(s.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: &alice, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::home/alice/x"},
		}))
		r := out.EvaluationResults[0]
		if b := r.PermissionsBoundaryDecisionDetail; r.EvalDecision != "implicitDeny" || b == nil || b.AllowedByPermissionsBoundary {
			t.Errorf("%+v", r)
		}
	})
	t.Run("context keys", func(t *testing.T) {
		out := must[iam.GetContextKeysForPrincipalPolicyOutput](t)(s.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{
			PolicySourceArn: &group, PolicyInputList: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}}`},
		}))
		if diff := cmp.Diff([]string{"aws:username", "aws:SecureTransport"}, out.ContextKeyNames); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGetAccountAuthorizationDetails(t *testing.T) {
	ctx, s, _ := newService(t)
	simulated(t, ctx, s)
	in := &iam.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(2)}
	var got []string
	for {
		out := must[iam.GetAccountAuthorizationDetailsOutput](t)(s.GetAccountAuthorizationDetails(ctx, in))
		for _, u := range out.UserDetailList {
			got = append(got, *u.UserName+" in "+u.GroupList[0])
		}
		for _, g := range out.GroupDetailList {
			got = append(got, *g.GroupName+" has "+*g.GroupPolicyList[0].PolicyName)
		}
		for _, r := range out.RoleDetailList {
			got = append(got, *r.RoleName+" has "+*r.RolePolicyList[0].PolicyName+" and "+*r.AttachedManagedPolicies[0].PolicyName)
		}
		for _, p := range out.Policies {
			got = append(got, *p.PolicyName)
		}
		if !out.IsTruncated {
			break
		}
		in.Marker = out.Marker
	}
	if diff := cmp.Diff([]string{"alice in devs", "devs has home", "ops has own and AmazonEKSClusterPolicy", "AmazonEKSClusterPolicy"}, got); diff != "" {
		t.Error(diff)
	}
}
